//! The command line as a user sees it: `cli/*.trycmd`. `TRYCMD=overwrite cargo test -p underlay --test cli` writes what
//! it says now.

use std::path::Path;
use std::process::Command;

#[test]
fn transcripts() {
    // Where a shell's settings would show.
    let cases = trycmd::TestCases::new();
    cases.env("COLUMNS", "80").env("NO_COLOR", "1").case("tests/cli/*.trycmd");
}

fn schema(kind: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_underlay")).args(["schema", kind]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("JSON is text")
}

#[test]
fn schemas_in_the_book_are_current() {
    for kind in ["scenario", "topology"] {
        let file = format!("docs/schema/{kind}.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
        let printed = schema(kind);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &printed).expect("the book can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == printed, "{file} is old: write it with `underlay schema {kind} > {file}`");
    }
}
