//! Whatever is given, the answer is cases or an error that points into the text; soon, and without a panic.
//!
//! `tests/scenario_files_corpus` holds input that once was of interest; it is always run. Add to it what a longer run
//! finds: `PROPTEST_CASES=100000 cargo test -p underlay --release --test scenario_files_fuzz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use topology::source::Source;
use underlay::scenario::{self, Overrides};

/// No input may take longer. Far above what any takes, so that a busy machine doesn't fail the test.
const LONGEST: Duration = Duration::from_secs(20);

fn check(bytes: &[u8]) {
    // In a folder of the depth the shipped ones are in, so that their topology is found.
    let file = "../../scenarios/fuzz/t\u{1b}\u{9b}.yaml";
    let Ok(source) = Source::from_bytes(file, bytes).map_err(|error| error.to_string()) else { return };
    let begun = Instant::now();
    let read = scenario::parse(&source, &Overrides::default());
    assert!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
    let diagnostics = match read {
        Ok(cases) => {
            assert!((1..=scenario::MAX_CASES).contains(&cases.len()), "{} cases", cases.len());
            return;
        }
        Err(diagnostics) => diagnostics,
    };
    let lines = source.text().split(['\n', '\r']).count() as u32;
    for diagnostic in &diagnostics {
        if let Some(at) = diagnostic.position.filter(|_| diagnostic.file == file) {
            assert!(at.line >= 1 && at.line <= lines + 1, "line {} of {lines}: {diagnostic}", at.line);
            assert!(at.column >= 1, "{diagnostic}");
        }
        assert!(!diagnostic.message.is_empty() && !diagnostic.message.contains('\n'), "{diagnostic:?}");
        let printed = diagnostic.to_string();
        let control = printed.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "a terminal would obey it: {printed:?}");
    }
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.is_file()).map(|path| fs::read(path).expect("readable")).collect()
}

fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(read_seeds)
}

fn read_seeds() -> Vec<Vec<u8>> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let shipped = scenario::discover(&[shipped]).expect("scenarios are shipped");
    let mut seeds: Vec<Vec<u8>> = shipped.iter().map(|path| fs::read(path).expect("readable")).collect();
    seeds.extend(folder("tests/scenario_files_bad"));
    seeds.extend(folder("tests/scenario_files_corpus"));
    seeds
}

#[test]
fn corpus() {
    for seed in seeds() {
        check(seed);
        // Cut off at many places, as an interrupted download is.
        for end in (0..seed.len().min(4000)).step_by(61) {
            check(&seed[..end]);
        }
    }
}

#[test]
fn the_largest_expansions_end_soon() {
    let head = "topology: ../../topologies/split-vcn.yaml\ncilium: 1.18.2\n";
    let axis = |prefix: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("{prefix}{index}: {{}}")).collect();
        format!("- {{{}}}\n", names.join(", "))
    };
    let ping = "probes: {ping: {icmp: worker/pod, from: master/pod}}\n";
    let variants = format!("variants:\n{}{}{}", axis("a", 8), axis("b", 8), axis("c", 8));
    let blocks = "- {in: [\"*a*/*b*/*c*\"], probes: {ping: works}, nodes: {\"*\": {pod-mtu: 1230}}}\n".repeat(2000);
    check(format!("{head}{variants}{ping}expect:\n{blocks}").as_bytes());
    let patterns = vec!["\"*a*b*c*d*e*\""; 20_000].join(", ");
    check(format!("{head}{variants}{ping}expect:\n- {{in: [{patterns}], probes: {{ping: works}}}}\n").as_bytes());
    let probes: String = (0..20_000).map(|index| format!("  p{index}: {{icmp: nowhere, from: nobody}}\n")).collect();
    check(format!("{head}probes:\n{probes}").as_bytes());
    let one_axis = axis("a", 50_000);
    check(format!("{head}variants:\n{one_axis}{ping}").as_bytes());
    let many_axes = "- {}\n".repeat(50_000);
    check(format!("{head}variants:\n{many_axes}{ping}").as_bytes());
    let long_glob = "*a".repeat(100_000);
    check(format!("{head}{variants}{ping}expect:\n- {{in: [\"{long_glob}\"], probes: {{ping: works}}}}\n").as_bytes());
    let noise = vec![b'['; 10 << 20];
    assert!(Source::from_bytes("noise.yaml", noise).is_err(), "10 MB of noise is not read");
}

/// Bits of YAML, and of scenarios, that there are special ways for.
const BITS: [&str; 30] = [
    "\n",
    "  ",
    "\t",
    ": ",
    "- ",
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
    "---\n",
    "\"",
    "'",
    "#",
    "\u{feff}",
    "*",
    "/",
    "null",
    "{}",
    "[]",
    "in: ",
    "\u{1b}",
    "18446744073709551616",
    "-1",
    ".inf",
];

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_text_in_each_place(
        text in "\\PC{0,40}",
        control in "[\\x00-\\x20\u{80}-\u{9f}a-z/*.:]{0,20}",
        place in 0..9_usize,
    ) {
        let quoted = serde_json::to_string(&format!("{text}{control}")).expect("a string");
        let mut fields = [
            ("TOPOLOGY", "../../topologies/split-vcn.yaml"), ("VERSION", "1.18.2"), ("NODEIP", "overlay"),
            ("VARIANT", "a"), ("PROBE", "ping"), ("TO", "worker/pod"), ("FROM", "master/pod"), ("IN", "a"),
            ("EXPECTED", "ping"),
        ];
        fields[place].1 = &quoted;
        let mut file = String::from(
            "topology: TOPOLOGY\ncilium: VERSION\nkubelet: {node-ip: NODEIP}\nvariants: {VARIANT: {}}\n\
             probes: {PROBE: {icmp: TO, from: FROM}}\nexpect: [{in: [IN], probes: {EXPECTED: works}}]\n",
        );
        for (field, value) in fields {
            file = file.replacen(field, value, 1);
        }
        check(file.as_bytes());
    }

    #[test]
    fn mutated_files(
        seed in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), 0_u8..5, any::<u8>(), 0..BITS.len()),
            1..8,
        ),
    ) {
        let mut bytes = seed.get(seeds()).clone();
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
