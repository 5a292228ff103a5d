//! A host that lets nobody make namespaces: nothing asserted ran, and the remedy is told.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use serde_json::Value;
use underlay::exit;

fn main() -> ExitCode {
    // In a user namespace of its own, this process may set the limit for itself. Before the first thread.
    let barred = bar().is_ok();
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(name, test).with_ignored_flag(!barred);
    let trials = vec![trial("every_case_is_skipped", skipped), trial("doctor_tells", doctor)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn bar() -> std::io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    fs::write("/proc/sys/user/max_net_namespaces", "0")
}

fn underlay(arguments: &[&str]) -> std::io::Result<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_underlay")).args(arguments).current_dir(root).output()
}

fn ended(output: &Output, code: u8) -> Result<(), Failed> {
    if output.status.code() == Some(i32::from(code)) { Ok(()) } else { Err(format!("not {code}: {output:?}").into()) }
}

fn skipped() -> Result<(), Failed> {
    let output = underlay(&["test", "scenarios/guide", "--format", "json"])?;
    ended(&output, exit::HOST)?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let cases = report["cases"].as_array().ok_or("no cases")?;
    for case in cases {
        if case["verdict"] != "skip" || !case["missing"]["remedy"].is_string() {
            return Err(format!("a case that wasn't skipped with a remedy: {case:#}").into());
        }
    }
    Ok(())
}

fn doctor() -> Result<(), Failed> {
    let output = underlay(&["doctor"])?;
    ended(&output, exit::HOST)?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("✗ network namespaces") && text.contains("remedy") { Ok(()) } else { Err(text.into()) }
}
