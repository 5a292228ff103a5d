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

fn printed(kind: &str, format: &str) -> String {
    let arguments = ["schema", kind, "--format", format];
    let output = Command::new(env!("CARGO_BIN_EXE_underlay")).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn schemas_and_reference_in_the_book_are_current() {
    for (format, folder, ending) in [("json", "schema", "json"), ("markdown", "reference", "md")] {
        for kind in ["scenario", "topology"] {
            let file = format!("docs/{folder}/{kind}.{ending}");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&file);
            let printed = printed(kind, format);
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &printed).expect("the book can be written");
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == printed,
                "{file} is old: write it with `underlay schema {kind} --format {format} > {file}`"
            );
        }
    }
}
