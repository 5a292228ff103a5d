//! docs/fidelity.md says what the recordings do. `BLESS=1 cargo test -p underlay --test fidelity` writes it anew.

use std::fs;
use std::path::Path;

use underlay::truth::known::Known;
use underlay::truth::{fidelity, recording};

#[test]
fn the_page_in_the_book_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recordings = recording::read_all(&here.join("testdata/truth")).unwrap_or_else(|error| panic!("{error}"));
    let known = Known::shipped().unwrap_or_else(|wrong| panic!("{wrong}"));
    let page = fidelity::render(&recordings, &known);
    let path = here.join("../../docs/fidelity.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).expect("the book can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/fidelity.md is old: BLESS=1 cargo test -p underlay --test fidelity");
}
