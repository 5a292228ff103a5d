//! Output that nobody reads to its end: files are written all the same.

use std::io::pipe;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use underlay::exit;

/// `underlay test --report reports 2>&1 | head -1`, as if `head` were gone at once.
#[test]
fn reports_are_written_though_nobody_reads_progress() {
    let folder = TempDir::new().expect("a folder");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_underlay"))
        .args(["test", "scenarios/guide/table.yaml::enp0s6", "--report"])
        .arg(folder.path())
        .env_remove("GITHUB_ACTIONS")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdout(writer.try_clone().expect("it can be shared"))
        .stderr(writer)
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(i32::from(exit::UNREAD)), "the report for people is read by nobody");
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("the report is there");
    assert!(report.contains("\"cases\""), "{report}");
}
