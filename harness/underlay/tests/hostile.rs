//! A scenario of somebody who means harm writes nothing outside of the report's folder, starts no program, and sends
//! nothing into a network that isn't the lab's.

mod outside;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use lab::{Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use outside::{FAR, NEAR, open_up, packets, proof};
use underlay::exit;

/// What a shell would make of texts: `MARK` is a file that must not appear.
const COMMANDS: &str = "$(touch MARK) `touch MARK`; touch MARK #";
/// Programs that somebody might think of starting; those in this place leave a mark.
const PROGRAMS: [&str; 16] = [
    "bash",
    "cilium-agent",
    "curl",
    "docker",
    "etcd",
    "git",
    "helm",
    "ip",
    "iptables",
    "kind",
    "kubectl",
    "nft",
    "sh",
    "tailscaled",
    "touch",
    "wg",
];
/// Names that lead elsewhere, or are commands.
const NAMES: [&str; 4] = ["../../../up", "/etc/underlay-absolute", "; touch MARK", "$(touch MARK)"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = lab::sandbox::enter().err().map(|missing| missing.to_string()).or_else(|| {
        let doctor = Command::new(env!("CARGO_BIN_EXE_underlay")).arg("doctor").output();
        let unable = doctor.is_ok_and(|doctor| doctor.status.code() == Some(i32::from(exit::HOST)));
        unable.then(|| "underlay doctor says why".to_owned())
    });
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let trial =
        |name: &str, test: fn() -> Result<(), Failed>| Trial::test(name, test).with_ignored_flag(missing.is_some());
    let trials = vec![
        trial("what_runs_stays_in_its_lab_and_its_folder", runs),
        trial("names_that_lead_elsewhere_are_refused", refused),
        trial("a_topology_that_is_something_else_is_refused", something_else),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A host's folder with the scenario, programs that tell when they are started, and room for the reports; and its network.
struct Place {
    folder: tempfile::TempDir,
    host: Namespace,
    _beyond: Namespace,
    seen: OwnedFd,
}

impl Place {
    fn new() -> Result<Self, Failed> {
        let (host, beyond) = (Namespace::create("host", &Sysctls::HOST)?, Namespace::create("beyond", &Sysctls::HOST)?);
        let seen = open_up(&host, &beyond)?;
        let place = Self { folder: tempfile::tempdir()?, host, _beyond: beyond, seen };
        for folder in ["bin", "home", "tmp", "a/b/scenarios"] {
            fs::create_dir_all(place.path(folder))?;
        }
        for program in PROGRAMS {
            let program = place.path("bin").join(program);
            fs::write(&program, format!("#!/bin/sh\n: >{}\n", place.mark().display()))?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
        // Whether one that is started would be noticed.
        Command::new(place.path("bin").join(PROGRAMS[0])).status()?;
        fs::remove_file(place.mark())?;
        let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/one-vcn.yaml");
        fs::copy(topology, place.path("a/b/net.yaml"))?;
        Ok(place)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn mark(&self) -> PathBuf {
        self.path("started")
    }

    /// Runs the scenario, reports into a/b/c/report; checks what it may not do and gives what it did.
    fn run(&self, scenario: &str) -> Result<Output, Failed> {
        let mark = self.mark().display().to_string();
        fs::write(self.path("a/b/scenarios/hostile.yaml"), scenario.replace("MARK", &mark))?;
        let before = tree(self.folder.path())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
        command.args(["test", "scenarios", "--report", "c/report", "--jobs", "1"]).current_dir(self.path("a/b"));
        command
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"));
        let child = self.host.enter(|| command.output())??;

        let sent = packets(&self.seen);
        if !sent.is_empty() {
            return Err(format!("it sent packets into the host's network: {sent:02x?}").into());
        }
        proof(&self.host, &self.seen)?;
        let report = self.path("a/b/c");
        let mut after = tree(self.folder.path())?;
        after.retain(|path, _| !path.starts_with(&report));
        if NAMES.iter().any(|name| name.starts_with('/') && Path::new(name).exists()) {
            return Err("it wrote where an absolute name leads".into());
        }
        if after != before {
            let changed = after.iter().filter(|(path, text)| before.get(*path) != Some(text));
            let changed: Vec<_> = changed.map(|(path, _)| path).collect();
            return Err(format!("outside of the report's folder it changed {changed:?}").into());
        }
        Ok(child)
    }
}

/// All files and folders, with what is in them.
fn tree(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            found.extend(tree(&path)?);
            found.insert(path, None);
        } else {
            let text = fs::read(&path)?;
            found.insert(path, Some(text));
        }
    }
    Ok(found)
}

fn runs() -> Result<(), Failed> {
    let place = Place::new()?;
    let output = place.run(&format!(
        r#"
description: "{COMMANDS}"
topology: ../net.yaml
cilium: 1.18.2
cluster: {{upstream-dns: {FAR}}}
values:
  "../../x": "{COMMANDS}"
  clusterName: "{COMMANDS}"
  kubeProxyReplacement: true
  bpf: {{masquerade: true}}
set: ["cluster.name=$(touch MARK)", "b=`touch MARK`"]
variants: {{"..": {{}}, "-rf": {{}}, "!touch": {{values: {{devices: "$(touch MARK)"}}}}}}
probes:
  far: {{icmp: {FAR}, from: master/pod}}
  near: {{icmp: {NEAR}, from: master}}
  datagram: {{udp: "{FAR}:53", from: master}}
  connection: {{tcp: "{NEAR}:80", from: master/pod}}
  name: {{dns: example.com, from: master/pod}}
  page: {{http: "http://{FAR}:8080/$(touch${{IFS}}MARK)", from: master}}
  local: {{tcp: "127.0.0.1:22", from: master}}
deadline: 200ms
steps: [{{route-add: {{on: master, to: 203.0.113.0/24, via: 10.0.0.1, dev: enp0s6}}}}]
"#
    ))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() != Some(i32::from(exit::OK)) || !said.contains("3 cases") {
        return Err(format!("nothing is asserted in its three cases: {}\n{said}", output.status).into());
    }
    // What was to be looked at has been there; the agents of the third die of their devices.
    let pcap = fs::read_dir(place.path("a/b/c/report/pcap"))?.count();
    if pcap == 2 { Ok(()) } else { Err(format!("the packets of {pcap} cases are in the report, not of two").into()) }
}

fn refused() -> Result<(), Failed> {
    let place = Place::new()?;
    for name in NAMES {
        let name = name.replace("MARK", "mark");
        let output = place.run(&format!("topology: ../net.yaml\ncilium: 1.18.2\nvariants: {{\"{name}\": {{}}}}\n"))?;
        wrong(&output, "can't be a variant's name")?;
    }
    Ok(())
}

/// What has no end, or is no file.
fn something_else() -> Result<(), Failed> {
    let place = Place::new()?;
    for file in ["/dev/zero", "../../../bin", ".", "/dev/stdin"] {
        wrong(&place.run(&format!("topology: {file}\ncilium: 1.18.2\n"))?, "hostile.yaml")?;
    }
    Ok(())
}

fn wrong(output: &Output, told: &str) -> Result<(), Failed> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(i32::from(exit::USAGE)) && said.contains(told) {
        return Ok(());
    }
    Err(format!("it should be refused with {told:?}: {}\n{said}", output.status).into())
}
