//! Killed at any moment, a run with agents leaves nothing: no process, no cgroup; mounts and namespaces end with them.
//!
//! The agents are a stand-in: this program, which does nothing but start another process and wait. `UNDERLAY_KILLS` says
//! how many runs are killed (10), `UNDERLAY_SEED` repeats their moments; with `UNDERLAY_CILIUM_ROOT` the agents of that
//! directory are used, and etcd from PATH.

mod seeded;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seeded::Random;
use tempfile::TempDir;

const KILLS: usize = 10;
/// Says what a process is to stand in for.
const ROLE: &str = "UNDERLAY_TEST_STANDS_IN_FOR";
const SCENARIO: &str = "scenarios/devices/node-ip-overlay.yaml::unset";
/// Moments of death are within this time: long enough for agents to be there.
const LIFE: u64 = 900;
/// The same with real agents, which compile for some ten seconds.
const REAL_LIFE: u64 = 20_000;
/// How long the kernel and the keeper may take, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("etcd") => return stand_in_for_etcd(),
        Ok("agent") => return stand_in_for_an_agent(),
        Ok(_) => return wait(),
        Err(_) => {}
    }
    let arguments = Arguments::from_args();
    // Before the first thread: a view of cgroups that nobody else sees.
    let hierarchy = TempDir::new().map_err(|error| error.to_string()).and_then(|folder| {
        look_at_cgroups(folder.path()).map_err(|error| format!("cgroup2 can't be mounted: {error}"))?;
        Ok(folder)
    });
    if let (Err(reason), false) = (&hierarchy, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    let ignored = hierarchy.is_err();
    let trial = Trial::test("killed_at_any_moment_agents_leave_nothing", move || match &hierarchy {
        Ok(folder) => killed(folder.path()),
        Err(reason) => Err(reason.clone().into()),
    });
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(ignored)]).exit_code()
}

fn look_at_cgroups(at: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("cgroup2"), at, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// Listens where etcd would.
fn stand_in_for_etcd() -> ExitCode {
    let _socket = UnixListener::bind("store:0");
    wait()
}

/// Starts a process, as an agent does to compile.
fn stand_in_for_an_agent() -> ExitCode {
    let itself = std::env::current_exe().and_then(|own| {
        // Its argument is what it is found by.
        Command::new(own).args(std::env::args().skip(1)).env(ROLE, "compiler").spawn()
    });
    let _ = itself;
    wait()
}

fn wait() -> ExitCode {
    sleep(Duration::from_secs(1000));
    ExitCode::SUCCESS
}

/// A Cilium and an etcd that are this program.
fn stand_ins(folder: &Path) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let script = |path: PathBuf, role: &str| {
        fs::write(&path, format!("#!/bin/sh\n{ROLE}={role} exec {} \"$0\"\n", own.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
    };
    for part in ["usr/bin", "usr/local/bin", "var/lib/cilium/bpf"] {
        fs::create_dir_all(folder.join(part))?;
    }
    for program in ["usr/bin/cilium-agent", "usr/bin/cilium-dbg", "usr/local/bin/clang", "usr/local/bin/iptables"] {
        script(folder.join(program), "agent")?;
    }
    let etcd = folder.join("etcd");
    script(etcd.clone(), "etcd")?;
    Ok(etcd)
}

fn killed(hierarchy: &Path) -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let stand_ins = stand_ins(folder.path())?;
    let (cilium, etcd, life) = match std::env::var_os("UNDERLAY_CILIUM_ROOT") {
        Some(real) => (PathBuf::from(real), None, REAL_LIFE),
        None => (folder.path().to_owned(), Some(stand_ins), LIFE),
    };
    let count = std::env::var("UNDERLAY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed = seeded::seeds(1)[0];
    let mut random = Random::new(seed);
    let mut with_agents = 0;
    for _ in 0..count {
        let moment = Duration::from_millis(random.below(life));
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCENARIO);
        let mut run = Command::new(env!("CARGO_BIN_EXE_underlay"))
            .args(["test", "--engine", "agent", "--cilium-root"])
            .arg(&cilium)
            .args(etcd.iter().flat_map(|etcd| [OsStr::new("--etcd"), etcd.as_os_str()]))
            .arg(scenario)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        sleep(moment);
        with_agents += usize::from(!ours(hierarchy, run.id())?.is_empty());
        run.kill()?;
        run.wait()?;
        let began = Instant::now();
        loop {
            let (groups, processes) = (ours(hierarchy, run.id())?, processes(&cilium)?);
            if groups.is_empty() && processes.is_empty() {
                break;
            }
            if began.elapsed() > PATIENCE {
                let after = format!("killed after {moment:?}, seed {seed}");
                return Err(format!("{after}: cgroups {groups:?}, processes {processes:?} are still there").into());
            }
            sleep(PAUSE);
        }
    }
    if count >= KILLS && with_agents == 0 {
        return Err("no run was killed late enough to have a cgroup: nothing was tested".into());
    }
    Ok(())
}

/// The cgroups of the run with this pid.
fn ours(hierarchy: &Path, pid: u32) -> io::Result<Vec<String>> {
    lab::cgroup::of_process(hierarchy, pid)
}

/// Processes that run something from this folder, by their command lines.
fn processes(folder: &Path) -> io::Result<Vec<String>> {
    let folder = folder.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // It may be gone by the time it is looked at.
        let Ok(line) = fs::read(entry?.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder) {
            found.push(line);
        }
    }
    Ok(found)
}
