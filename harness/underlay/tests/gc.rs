//! `underlay gc` takes away what its own runs left, and leaves what may be somebody else's. With programs in place of
//! docker and kind, which say what there is and write down what is taken away.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use underlay::engine::kind::pool::Owner;
use underlay::live::folder::Folder;

const DOCKER: &str = r#"#!/bin/sh
case "$1 $2" in
"network ls") cat "$STUB/networks" ;;
"ps --all") cat "$STUB/containers" ;;
"network rm") echo "$3" >> "$STUB/removed" ;;
*) exit 1 ;;
esac
"#;

const KIND: &str = "#!/bin/sh\ntest \"$1 $2 $3\" = \"delete cluster --name\"\n";

/// A host with such programs, and a user's runtime folder.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a folder for temporary files"));
        for folder in ["bin", "runtime"] {
            DirBuilder::new().mode(0o700).create(host.path(folder)).expect("it can be made");
        }
        for (program, text) in [("bin/docker", DOCKER), ("bin/kind", KIND)] {
            fs::write(host.path(program), text).expect("it can be written");
            fs::set_permissions(host.path(program), fs::Permissions::from_mode(0o700)).expect("it is ours");
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where this user's runs put their claims.
    fn claims(&self) -> Folder {
        let labs = Folder::at(self.path("runtime/underlay")).expect("it is ours");
        Folder::at(labs.path().join("clusters")).expect("it is ours")
    }

    /// What `gc` says.
    fn gc(&self, arguments: &[&str]) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(env!("CARGO_BIN_EXE_underlay"))
            .arg("gc")
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("STUB", self.0.path())
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .output()
            .expect("it starts");
        assert!(output.status.success(), "gc {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// What was removed until now.
    fn removed(&self) -> String {
        fs::read_to_string(self.path("removed")).unwrap_or_default()
    }
}

/// What one cluster's line is to say.
fn says(said: &str, name: &str, words: &str) {
    let line = said.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
    assert!(line.contains(words), "{name}: {words}?\n{said}");
}

#[test]
fn what_may_be_somebody_elses_stays() {
    let host = Host::new();
    let claims = host.claims();
    let own = Owner::of(&claims).expect("it is there");
    let label: Value = serde_json::from_str(&own.label()).expect("JSON");
    let changed = |key: &str, value: Value| {
        let mut label = label.clone();
        label[key] = value;
        label.to_string()
    };
    let elsewhere = Folder::at(host.path("elsewhere")).expect("it is ours");
    let elsewhere = Owner::of(&elsewhere).expect("it is there").label();
    let own = own.label();
    let networks = [
        ("underlay-own", "", own.clone()),
        ("underlay-moved", "", changed("folder", json!("/another/name/of/the/same"))),
        ("underlay-kept", "true", own.clone()),
        ("underlay-used", "", own),
        // `sudo underlay` and a root shell; a container with a folder of the same path; another start of the machine.
        ("underlay-user", "", elsewhere),
        ("underlay-container", "", changed("inode", json!(1))),
        ("underlay-boot", "", changed("boot", json!("0-0-0-0"))),
        // Of before there was such a label, and of nobody who is known.
        ("underlay-old", "", String::new()),
        ("underlay-odd", "", "the tests of kind".to_owned()),
    ];
    let lines = networks.map(|(name, keep, owner)| format!("{name}\t{keep}\t{owner}\n"));
    fs::write(host.path("networks"), lines.concat()).expect("it can be written");
    fs::write(host.path("containers"), "underlay-nodes\tunderlay-nodes-worker\n").expect("it can be written");
    let _claim = claims.claim(&"underlay-used".parse().expect("a name")).expect("nobody has it");

    let said = host.gc(&["--dry-run"]);
    says(&said, "underlay-own", "would be removed");
    assert_eq!(host.removed(), "", "that was a dry run");

    let said = host.gc(&[]);
    assert_eq!(host.removed(), "underlay-moved\nunderlay-own\n", "in order of their names:\n{said}");
    says(&said, "underlay-used", &format!("stays: process {} uses it", std::process::id()));
    says(&said, "underlay-kept", "it was to be kept; `underlay gc underlay-kept` removes it");
    says(&said, "underlay-user", "somebody else made it and may be using it, whose claims are in ");
    says(&said, "underlay-user", "/elsewhere; `underlay gc underlay-user` removes it");
    says(&said, "underlay-container", &format!("whose claims are in another {}", claims.path().display()));
    says(&said, "underlay-boot", "before this machine's last start");
    for name in ["underlay-old", "underlay-nodes"] {
        says(&said, name, "stays: nothing says who made it");
    }
    says(&said, "underlay-odd", "stays: somebody else made it");

    // One that is named goes, unless it is seen to be in use.
    let said = host.gc(&["underlay-user", "underlay-old", "underlay-used"]);
    says(&said, "underlay-used", "stays: process");
    assert_eq!(host.removed(), "underlay-moved\nunderlay-own\nunderlay-old\nunderlay-user\n", "{said}");
}
