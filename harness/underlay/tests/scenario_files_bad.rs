//! Scenario files with mistakes, `tests/scenario_files_bad/*.yaml`, and what is said about each: the `.txt` beside it.
//!
//! `BLESS=1 cargo test -p underlay --test scenario_files_bad` writes what is said now; look at the difference before
//! committing it.

use std::{fs, path::Path};

use topology::source::Source;
use underlay::scenario::{self, Overrides};

#[test]
fn each_mistake_is_told_with_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenario_files_bad");
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        files += 1;
        // By its bare name, so that its topology's path is relative to this package, where tests are run.
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        let source = Source::from_bytes(&name, fs::read(&path).expect("readable"));
        let said = match source.and_then(|source| scenario::parse(&source, &Overrides::default())) {
            Ok(cases) => {
                wrong.push(format!("{name}: nothing was found wrong with it: {} cases", cases.len()));
                continue;
            }
            Err(diagnostics) => format!("{diagnostics}\n"),
        };
        let expected = path.with_extension("txt");
        if bless {
            fs::write(&expected, said).expect("writable");
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{name}: {} doesn't say what is said now:\n{said}", expected.display()));
        }
    }
    assert!(files > 60, "only {files} files found in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
