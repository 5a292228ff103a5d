//! The program itself, run on real labs.
#![allow(dead_code)] // Each test target uses its own part.

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use lab::Capability;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// A test by name.
pub type Test = (&'static str, fn() -> Result<(), Failed>);

/// Runs a target's tests, or ignores them with the reason where the host lacks something.
pub fn run(tests: &[Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    let lacking = lacking();
    if let (Some(reason), false) = (&lacking, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    let trials = tests.iter().map(|(name, test)| Trial::test(*name, *test).with_ignored_flag(lacking.is_some()));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// What the host lacks for the scenarios, as the program itself says.
fn lacking() -> Option<String> {
    let output = underlay(&["doctor", "--color", "never"]).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let needed = [Capability::Namespaces, Capability::Tun, Capability::Vxlan, Capability::Nftables];
    let lacks = |capability: &&Capability| text.contains(&format!("✗ {}", capability.name()));
    needed.iter().find(lacks).map(|need| format!("this host has no {need}"))
}

/// Runs it in the repository's folder.
pub fn underlay(arguments: &[&str]) -> std::io::Result<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_underlay")).args(arguments).env("COLUMNS", "80").current_dir(root).output()
}

/// It must have ended with that code.
pub fn ended(output: &Output, code: u8) -> Result<(), Failed> {
    if output.status.code() == Some(i32::from(code)) {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("ended with {:?}, not {code}:\n{out}\n{err}", output.status.code()).into())
}

/// Runs it with `--format json`: what it wrote.
pub fn json(arguments: &[&str], code: u8) -> Result<Value, Failed> {
    let output = underlay(&[arguments, &["--format", "json"]].concat())?;
    ended(&output, code)?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
