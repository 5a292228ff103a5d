//! Labs that are up, in a folder of the test's own.
#![allow(dead_code)] // Each test target uses its own part.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use crate::elsewhere::{Elsewhere, ended};

/// The scenario of most labs here: both ends of the mesh reach each other in it.
pub const SCENARIO: &str = "scenarios/guide/table.yaml::tailscale0";

/// Where labs are kept, by a user. All that are still up go down with it.
pub struct Folder {
    elsewhere: Elsewhere,
    runtime: TempDir,
}

impl Folder {
    /// An empty one.
    pub fn new(elsewhere: Elsewhere) -> io::Result<Self> {
        Ok(Self { elsewhere, runtime: elsewhere.runtime_folder()? })
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.runtime.path().join("underlay")
    }

    /// `underlay` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> io::Result<Command> {
        let mut command = self.elsewhere.command(arguments)?;
        command.env("XDG_RUNTIME_DIR", self.runtime.path()).env("NO_COLOR", "1").env_remove("UNDERLAY_LAB");
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> io::Result<Output> {
        self.command(arguments)?.output()
    }

    /// Runs it, with this to read.
    pub fn told(&self, arguments: &[&str], input: &str) -> io::Result<Output> {
        let mut command = self.command(arguments)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().expect("it is piped").write_all(input.as_bytes())?;
        child.wait_with_output()
    }

    /// Runs it; gives what it prints. It must end well.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.run(arguments)?;
        ended(&output, 0, &format!("`underlay {}` is nothing special", arguments.join(" ")))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Brings a lab up in the background.
    pub fn up(&self, name: &str) -> Result<(), Failed> {
        self.ask(&["up", "--detach", "--name", name, SCENARIO]).map(drop)
    }

    /// What `ps` says of the labs.
    pub fn labs(&self) -> Result<Vec<Value>, Failed> {
        let document: Value = serde_json::from_str(&self.ask(&["ps", "--output", "json"])?)?;
        Ok(document["labs"].as_array().ok_or("ps lists labs")?.clone())
    }

    /// Checks that nothing of a lab is in the folder.
    pub fn is_empty(&self) -> Result<(), Failed> {
        let names = fs::read_dir(self.path())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<_> =
            names.filter(|name| !matches!(name, Ok(name) if name == ".door")).collect::<io::Result<_>>()?;
        if names.is_empty() { Ok(()) } else { Err(format!("files are left: {names:?}").into()) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed has said so already.
        let _ = self.run(&["down", "--all"]);
    }
}

/// Checks what a command said on standard error, and its code.
pub fn refused(output: &Output, code: u8, words: &[&str]) -> Result<(), Failed> {
    ended(output, code, "it can't be")?;
    let said = String::from_utf8_lossy(&output.stderr);
    match words.iter().find(|word| !said.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("it should say `{word}`, not:\n{said}").into()),
    }
}
