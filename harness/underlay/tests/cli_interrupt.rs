//! Ctrl-C and SIGTERM: the run ends soon, says what had finished, and with the promised code.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// However far a run is, it ends within this time.
const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_underlay"))
        .args(["test", "scenarios/guide", "--format", "json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs")
}

/// Sends `signal` once cases run and `after` is over. None where this host runs none.
fn interrupted(signal: Signal, after: Duration) -> Option<(Option<i32>, String)> {
    let mut child = start();
    let mut stderr = child.stderr.take().expect("it is piped");
    // The first line of progress comes when signals are caught already.
    let mut first = [0; 1];
    stderr.read_exact(&mut first).expect("it says that it begins");
    sleep(after);
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it is ours");
    let began = Instant::now();
    let mut out = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut out).expect("JSON is text");
    let status = child.wait().expect("it is ours");
    assert!(began.elapsed() < PATIENCE, "{signal} was obeyed after {:?}", began.elapsed());
    (status.code() != Some(i32::from(underlay::exit::HOST))).then_some((status.code(), out))
}

#[test]
fn says_what_had_finished() {
    for (signal, name, code) in [
        (Signal::SIGINT, "SIGINT", underlay::exit::INTERRUPTED),
        (Signal::SIGTERM, "SIGTERM", underlay::exit::TERMINATED),
    ] {
        for after in [0, 30, 100] {
            let Some((ended, out)) = interrupted(signal, Duration::from_millis(after)) else { return };
            assert_eq!(ended, Some(i32::from(code)), "{signal} after {after} ms: {out}");
            let report: serde_json::Value = serde_json::from_str(&out).expect("the report is whole");
            assert_eq!(report["interrupted"], name);
        }
    }
}
