//! A user namespace of the test's own, whose limits and processes are its own: what was left behind in it can be counted.
#![allow(dead_code)] // Each test target uses its own part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::Capability;
use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use tokio::time::{sleep, timeout};

/// The kernel takes namespaces down behind the last process, one after the other: some 70 ms for a lab. A run's own are
/// taken down by a process that outlives it, a little slower.
pub const CLEANUP: Duration = Duration::from_secs(60);
/// Between two looks at what has no way to tell.
pub const PAUSE: Duration = Duration::from_millis(20);
/// How many network namespaces all runs together may hold here: far more than they need at a time.
const ROOM: u32 = 2000;

/// Moves the process there. Before the first thread.
pub fn apart() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    allow(ROOM)
}

/// Sets how many network namespaces there may be.
fn allow(namespaces: u32) -> io::Result<()> {
    fs::write("/proc/sys/user/max_net_namespaces", namespaces.to_string())
}

/// What the host lacks for the scenario, as the program itself says.
pub fn lacking() -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_underlay")).args(["doctor", "--color", "never"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lacks = |capability: &Capability| text.contains(&format!("✗ {}", capability.name()));
    let needed = [Capability::Namespaces, Capability::Tun, Capability::Vxlan, Capability::Nftables];
    needed.iter().find(|need| lacks(need)).map(|need| format!("this host has no {need}"))
}

/// Processes in our user namespace, ourselves left out: those that left their process group are found too.
pub fn strays() -> io::Result<Vec<PathBuf>> {
    let ours = fs::read_link("/proc/self/ns/user")?;
    let own = PathBuf::from("/proc").join(std::process::id().to_string());
    let processes = fs::read_dir("/proc")?.filter_map(Result::ok);
    let processes = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let others = processes.map(|entry| entry.path()).filter(|path| *path != own);
    // What ended meanwhile, or isn't ours to look at, isn't ours; what has ended and was not asked for is gone too.
    let lives = |path: &Path| {
        let status = fs::read_to_string(path.join("stat")).unwrap_or_default();
        status.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    };
    let is_ours = |path: &PathBuf| fs::read_link(path.join("ns/user")).is_ok_and(|user| user == ours);
    Ok(others.filter(|path| is_ours(path) && lives(path)).collect())
}

/// Waits until no process is left in our user namespace.
pub async fn no_strays(patience: Duration) -> Result<(), Failed> {
    let gone = async {
        while !strays()?.is_empty() {
            sleep(PAUSE).await;
        }
        Ok::<_, io::Error>(())
    };
    match timeout(patience, gone).await {
        Ok(gone) => Ok(gone?),
        Err(_) => Err(format!("after {patience:?} processes are left: {:?}", strays()?).into()),
    }
}

/// Waits until the kernel has taken down every network namespace that was made in our user namespace: then, and only
/// then, one more may be made where one is the limit (user_namespaces(7), `max_net_namespaces`).
pub async fn none_left() -> Result<(), Failed> {
    allow(1)?;
    let gone = async {
        // A thread, since a namespace is a thread's; it ends, and the namespace with it.
        while !std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false) {
            sleep(PAUSE).await;
        }
    };
    let left = timeout(CLEANUP, gone).await.is_err();
    if left { Err(format!("after {CLEANUP:?} there still are network namespaces of the runs").into()) } else { Ok(()) }
}
