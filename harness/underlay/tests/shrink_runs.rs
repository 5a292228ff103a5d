//! `underlay shrink` on real labs: what it leaves still fails as the whole did.

mod program;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::{ended, json, underlay};
use tempfile::TempDir;
use underlay::exit;

fn main() -> ExitCode {
    program::run(&[
        ("what_is_left_fails_at_the_same_place", same_end),
        ("what_does_not_fail_is_refused", refused),
        ("without_time_the_best_so_far_is_written", no_time),
        ("interrupted_it_ends_as_promised", interrupted),
    ])
}

/// The guide's network with a wrong expectation: with `tailscale0` alone nobody reaches the internet.
const SCENARIO: &str = "\
description: Wrong on purpose.
topology: ROOT/topologies/split-vcn.yaml
cilium: 1.18.2
deadline: 1s
kubelet: {node-ip: overlay}
values:
  # Without it there are no NodePorts.
  kubeProxyReplacement: true
  bpf: {masquerade: true}
variants:
  both: {values: {devices: [enp0s6, tailscale0]}}
  overlay: {values: {devices: tailscale0}}
probes:
  pod-to-pod: {icmp: worker/pod, from: master/pod}
  back: {icmp: master/pod, from: worker/pod}
  # The one that fails.
  internet: {icmp: 8.8.8.8, from: master/pod}
expect:
  - in: [both]
    nodes: {master: {devices: [enp0s6, tailscale0]}}
  - probes: {pod-to-pod: works, back: works, internet: works}
    dns: {restarts: 0}
";

fn scenario(folder: &TempDir) -> Result<String, Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, SCENARIO.replace("ROOT", &root.display().to_string()))?;
    Ok(file.display().to_string())
}

fn same_end() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let file = scenario(&folder)?;
    let left = folder.path().join("left.yaml").display().to_string();
    let case = format!("{file}::overlay");
    ended(&underlay(&["shrink", &case, "--output", &left])?, exit::OK)?;

    let text = std::fs::read_to_string(&left)?;
    for (needle, is_there) in [
        ("# The one that fails.\n  internet:", true),
        ("overlay-no-peer", true),
        ("worker:", false),
        ("pod-to-pod", false),
        ("dns:", false),
        ("both:", false),
    ] {
        if text.contains(needle) != is_there {
            return Err(format!("{needle:?} should {}be there:\n{text}", if is_there { "" } else { "not " }).into());
        }
    }
    let report = json(&["test", &left], exit::FAILED)?;
    let probe = &report["cases"][0]["probes"][0];
    let end = &probe["walk"]["end"];
    if (end["at"].as_str(), end["reason"].as_str()) != (Some("master/tailscale0"), Some("overlay-no-peer")) {
        return Err(format!("it should die in the overlay: {probe:#}").into());
    }
    let again = underlay(&["shrink", &case])?;
    ended(&again, exit::OK)?;
    if again.stdout != text.as_bytes() {
        return Err(format!("not the same twice:\n{}\n{text}", String::from_utf8_lossy(&again.stdout)).into());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let file = scenario(&folder)?;
    for (arguments, words) in [
        (vec!["shrink", &format!("{file}::both")], "wrong::both passes: there is no failure to keep"),
        (vec!["shrink", &format!("{file}::overlay"), "--cell", "back"], "`back` doesn't fail in wrong::overlay"),
        (vec!["shrink", &file], "2 cases are named"),
    ] {
        let output = underlay(&arguments)?;
        ended(&output, exit::USAGE)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !said.contains(words) || !output.stdout.is_empty() {
            return Err(format!("should say {words:?}: {said}").into());
        }
    }
    Ok(())
}

fn no_time() -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let file = scenario(&folder)?;
    let output = underlay(&["shrink", &format!("{file}::overlay"), "--runs", "3"])?;
    ended(&output, exit::OK)?;
    let (left, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !said.contains("when the runs were used up") || !left.contains("internet: works") {
        return Err(format!("what was found should be written:\n{left}\n{said}").into());
    }
    Ok(())
}

/// Whichever run it is that is interrupted: here the first.
fn interrupted() -> Result<(), Failed> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let folder = TempDir::new()?;
    let file = scenario(&folder)?;
    for (signal, code) in [(Signal::SIGINT, exit::INTERRUPTED), (Signal::SIGTERM, exit::TERMINATED)] {
        let mut shrink = Command::new(env!("CARGO_BIN_EXE_underlay"));
        shrink.args(["shrink", &format!("{file}::overlay")]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shrink.spawn()?;
        let began = Instant::now();
        while !catches(child.id(), signal)? {
            if began.elapsed() > PATIENCE {
                child.kill()?;
                return Err(format!("it never catches {signal}").into());
            }
            std::thread::yield_now();
        }
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        ended(&child.wait_with_output()?, code)?;
    }
    Ok(())
}

/// Whether a process catches a signal (proc_pid_status(5)).
fn catches(process: u32, signal: Signal) -> Result<bool, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).ok_or("no signals in its status")?;
    Ok(u64::from_str_radix(caught.trim(), 16)? & (1 << (signal as u32 - 1)) != 0)
}
