//! `kill -9` of a lab's supervisor takes everything with it: what was started in the lab, namespaces, mounts; and its
//! files go when the next command looks.

mod apart;
mod elsewhere;
mod upkeep;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use elsewhere::Elsewhere;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{sleep, timeout};
use upkeep::Folder;

/// The kernel kills what is in a pid namespace at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    elsewhere::second_life();
    let arguments = Arguments::from_args();
    let apart = apart::apart();
    let barred = apart.err().map(|error| format!("no user namespace: {error}")).or_else(apart::lacking);
    if let (Some(reason), false) = (&barred, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    let test = || tokio::runtime::Runtime::new()?.block_on(killed());
    let trials = vec![Trial::test("a_killed_lab_leaves_nothing", test).with_ignored_flag(barred.is_some())];
    libtest_mimic::run(&arguments, trials).exit_code()
}

async fn killed() -> Result<(), Failed> {
    let folder = Folder::new(Elsewhere::Same)?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").map(|text| text.lines().map(str::to_owned).collect());
    let before: BTreeSet<String> = mounts()?;
    for victim in ["supervisor", "first process"] {
        folder.up("victim")?;
        // A command that waits, one in the background of its own session that nobody waits for, a shell, a capture.
        let ready = "setsid sleep 1000 >/dev/null 2>&1 & trap '' TERM HUP; echo ready; sleep 1000";
        let mut command = folder.command(&["exec", "master/pod", "--", "sh", "-c", ready])?;
        let mut inside = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(inside.stdout.take().expect("it is piped")).read_line(&mut line)?;
        let mut command = folder.command(&["capture", "--write", "/dev/null"])?;
        let mut capture = command.stderr(Stdio::piped()).spawn()?;
        BufReader::new(capture.stderr.take().expect("it is piped")).read_line(&mut line)?;

        let supervisor = folder.labs()?[0]["supervisor"].as_i64().ok_or("it has a pid")?;
        let pid = match victim {
            "supervisor" => i32::try_from(supervisor)?,
            _ => first_process()?,
        };
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;

        let codes = (inside.wait()?.code(), capture.wait()?.code());
        if codes != (Some(137), Some(0)) {
            return Err(format!("the command was killed and the capture ended: {codes:?}").into());
        }
        let gone = apart::no_strays(PATIENCE).await;
        gone.map_err(|left| format!("{victim} killed: {left:?}"))?;
        // The last thread of a killed process takes its files with it, and the first is gone before.
        let forgotten = async {
            while !folder.labs()?.is_empty() {
                sleep(apart::PAUSE).await;
            }
            Ok::<_, Failed>(())
        };
        timeout(PATIENCE, forgotten).await.map_err(|_| format!("{victim} killed: the lab is still listed"))??;
        if victim == "supervisor" {
            folder.is_empty()?;
        }
    }
    if mounts()? != before {
        return Err(format!("mounts: before {before:?}, after {:?}", mounts()?).into());
    }
    drop(folder);
    apart::none_left().await
}

/// The pid, here, of the process that is the first in its pid namespace.
fn first_process() -> Result<i32, Failed> {
    for process in apart::strays()? {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let mut pids = pids.split_whitespace();
        if let (Some(outside), Some("1"), None) = (pids.next(), pids.next(), pids.next()) {
            return Ok(outside.parse()?);
        }
    }
    Err("the lab has a first process".into())
}
