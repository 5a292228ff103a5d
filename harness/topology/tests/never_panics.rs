//! Whatever is given, the answer is a network or an error that points into the text.
//!
//! `tests/corpus` holds input that once was of interest; it is always run. Add to it what a longer run finds:
//! `PROPTEST_CASES=100000 cargo test -p topology --release --test never_panics`.

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use topology::source::Source;

fn check(bytes: &[u8]) {
    let Ok(source) = Source::from_bytes("t\u{1b}\u{9b}.yaml", bytes).map_err(|error| error.to_string()) else { return };
    let Err(diagnostics) = topology::parse(&source) else { return };
    let lines = source.text().split(['\n', '\r']).count() as u32;
    for diagnostic in &diagnostics {
        if let Some(at) = diagnostic.position {
            assert!(at.line >= 1 && at.line <= lines + 1, "line {} of {lines}: {diagnostic}", at.line);
            assert!(at.column >= 1, "{diagnostic}");
        }
        assert!(!diagnostic.message.is_empty() && !diagnostic.message.contains('\n'), "{diagnostic:?}");
        let printed = diagnostic.to_string();
        let control = printed.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "a terminal would obey it: {printed:?}");
        let _ = diagnostic.render(true);
    }
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.is_file()).map(|path| fs::read(path).expect("readable")).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = folder("../../topologies");
    seeds.extend(folder("tests/bad"));
    seeds.extend(folder("tests/corpus"));
    seeds
}

#[test]
fn corpus() {
    for seed in seeds() {
        check(&seed);
        // Cut off at every place, as an interrupted download is.
        for end in (0..seed.len().min(4000)).step_by(7) {
            check(&seed[..end]);
        }
    }
}

/// Bits of YAML that a parser has special ways for.
const BITS: [&str; 24] = [
    "\n",
    "  ",
    "\t",
    ": ",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "\"",
    "'",
    "#",
    "%YAML 1.2\n",
    "\u{feff}",
];

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_text(text in "\\PC{0,200}") {
        check(text.as_bytes());
    }

    #[test]
    fn yaml_like_text(bits in proptest::collection::vec((0..BITS.len(), "[a-z0-9./]{0,4}"), 0..60)) {
        let text: String = bits.iter().map(|(bit, word)| format!("{}{word}", BITS[*bit])).collect();
        check(text.as_bytes());
    }

    #[test]
    fn mutated_files(
        seed in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..5, any::<u8>(), 0..BITS.len()), 1..8),
    ) {
        let seeds = seeds();
        let mut bytes = seed.get(&seeds).clone();
        for (place, change, byte, bit) in changes {
            if bytes.is_empty() {
                bytes.push(byte);
            }
            let place = place.index(bytes.len());
            match change {
                0 => bytes[place] = byte,
                1 => drop(bytes.remove(place)),
                2 => drop(bytes.splice(place..place, BITS[bit].bytes())),
                3 => bytes.truncate(place),
                _ => {
                    let copy = bytes[place..bytes.len().min(place + usize::from(byte))].to_vec();
                    bytes.extend(copy);
                }
            }
        }
        check(&bytes);
    }
}
