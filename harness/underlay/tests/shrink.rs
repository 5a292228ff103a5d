//! Leaving parts of a text out, and finding out which can go: the pure half of `underlay shrink`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use topology::source::Source;
use underlay::scenario;
use underlay::shrink::document::{Document, PartId};
use underlay::shrink::only_case;
use underlay::shrink::reduce::{Judge, Removed, reduce};
use underlay::shrink::selfcontained::alone;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files() -> Vec<(String, String)> {
    let folders = ["scenarios", "topologies"].map(|folder| root().join(folder));
    let found = scenario::discover(&folders).expect("files are shipped");
    found.iter().map(|file| (file.display().to_string(), fs::read_to_string(file).expect("readable"))).collect()
}

fn value(name: &str, text: &str) -> Value {
    let source = Source::from_bytes(name, text).expect("text");
    source.parse().unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// The same on values: what the text should mean then.
fn without(document: &Document, value: &mut Value, parts: &[PartId], removed: &BTreeSet<PartId>) {
    let below = |value: &mut Value, part: PartId| without(document, value, document.parts_of(part), removed);
    match value {
        Value::Object(map) => {
            for part in parts {
                match removed.contains(part) {
                    true => drop(map.shift_remove(document.name(*part))),
                    false => below(map.get_mut(document.name(*part)).expect("as the text has it"), *part),
                }
            }
        }
        Value::Array(list) => {
            let items = std::mem::take(list).into_iter().zip(parts).filter(|(_, part)| !removed.contains(part));
            for (mut item, part) in items {
                below(&mut item, *part);
                list.push(item);
            }
        }
        _ => {}
    }
}

/// Every part, and the whole's.
fn parts(document: &Document) -> (Vec<PartId>, Vec<PartId>) {
    let all = (0..document.depth()).flat_map(|depth| document.at_depth(depth)).collect();
    (all, document.at_depth(0).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_without_parts_means_what_its_value_without_them_does(file in 0_usize..1000, dice in any::<u64>()) {
        let files = files();
        let (name, text) = &files[file % files.len()];
        let document = Document::parse(text).expect("shipped files are maps");
        let (all, top) = parts(&document);
        let mut state = dice;
        let removed: BTreeSet<_> = all.into_iter().filter(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 61 == 0
        }).collect();
        prop_assume!(top.iter().any(|part| !removed.contains(part)));
        let mut expected = value(name, text);
        without(&document, &mut expected, &top, &removed);
        let rendered = document.without(&removed).text;
        prop_assert_eq!(value(name, &rendered), expected, "{} without {:?}:\n{}", name, removed, rendered);
    }
}

#[test]
fn a_text_without_nothing_is_itself() {
    for (name, text) in files() {
        let document = Document::parse(&text).expect("shipped files are maps");
        assert_eq!(document.without(&BTreeSet::new()).text, text, "{name}");
    }
}

#[test]
fn comments_go_with_what_they_stand_above() {
    let text = "\
# The file's own.
a: 1

# About b.
# More of it.
b: # what b is
  # About c.
  c: 2
  d: {e: 3, f: [4, 5]} # at its end
- not: yaml
";
    assert!(Document::parse(text).is_none(), "what isn't YAML has no parts");
    let text = text.replace("- not: yaml\n", "g:\n  - h: 6\n    # About i.\n    i: 7\n  - j\n");
    let document = Document::parse(&text).expect("a map");
    let gone = |paths: &[&[&str]]| {
        document.without(&paths.iter().map(|path| document.find(path).expect("it is there")).collect()).text
    };
    assert_eq!(
        gone(&[&["b", "c"], &["b", "d", "e"], &["g", "[1]"]]),
        "\
# The file's own.
a: 1

# About b.
# More of it.
b: # what b is
  d: {f: [4, 5]} # at its end
g:
  - h: 6
    # About i.
    i: 7
"
    );
    assert_eq!(
        gone(&[&["a"], &["b"], &["g", "[0]", "h"]]),
        "# The file's own.\ng:\n  - i: 7\n  - j\n",
        "the file's own comment stays; what follows the dash takes its place"
    );
    assert_eq!(
        gone(&[&["b", "c"], &["b", "d"], &["g", "[0]"], &["g", "[1]"]]),
        "# The file's own.\na: 1\n\n# About b.\n# More of it.\nb: {}\ng: []\n",
        "an empty map is not the same as none"
    );
}

/// Shows it as long as all of these are there; a part needs what `needs` says.
struct Wants<'a> {
    document: &'a Document,
    wanted: Vec<PartId>,
    needs: Vec<(PartId, PartId)>,
    asked: usize,
}

impl Judge for Wants<'_> {
    type Stop = Infallible;

    fn judge(&mut self, candidates: Vec<Removed>) -> Result<Vec<Option<Removed>>, Infallible> {
        self.asked += candidates.len();
        let judged = candidates.into_iter().map(|mut removed| {
            for (part, other) in &self.needs {
                if self.document.is_gone(*other, &removed) {
                    removed.insert(*part);
                }
            }
            let held = self.wanted.iter().all(|part| !self.document.is_gone(*part, &removed));
            held.then_some(removed)
        });
        Ok(judged.collect())
    }

    fn is_kept(&self, _: &Document, _: PartId) -> bool {
        false
    }
}

#[test]
fn what_is_left_is_what_is_needed() {
    let entries = (0..40).map(|entry| format!("k{entry}: {{a: 1, b: {{c: 2, d: [3, 4, 5]}}}}\n"));
    let text: String = entries.collect();
    let document = Document::parse(&text).expect("a map");
    let find = |path: &[&str]| document.find(path).expect("it is there");
    let wanted = vec![find(&["k7", "b", "d", "[1]"]), find(&["k33", "a"])];
    let needs = vec![(find(&["k12"]), find(&["k5"]))];
    let mut judge = Wants { document: &document, wanted, needs, asked: 0 };
    let mut best = Removed::new();
    let Ok(()) = reduce(&document, &mut judge, &mut best);
    assert_eq!(document.without(&best).text, "k7: {b: {d: [4]}}\nk33: {a: 1}\n");
    assert!(judge.asked < 200, "{} questions for 240 parts", judge.asked);
}

#[test]
fn a_case_stands_alone() {
    let mut cases = 0;
    for file in scenario::discover(&[root().join("scenarios")]).expect("shipped") {
        let all = scenario::load(&file, &scenario::Overrides::default()).expect("right");
        let source = Source::read(&file).expect("readable");
        for case in all {
            let text = alone(&source, &case.variant).unwrap_or_else(|wrong| panic!("{wrong}"));
            let elsewhere = format!("/nowhere/scenarios/{}.yaml", case.scenario);
            let mut only = only_case(&elsewhere, &text).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", case.id()));
            let subjects = |case: &underlay::case::Case| -> Vec<_> {
                case.expectations.iter().map(|check| (check.subject.clone(), check.expected.clone())).collect()
            };
            assert_eq!(only.id(), case.id());
            assert_eq!(subjects(&only), subjects(&case), "{}", case.id());
            std::sync::Arc::make_mut(&mut only.network).name.clone_from(&case.network.name);
            assert_eq!(underlay::shrink::keep::run(&only), underlay::shrink::keep::run(&case), "{}", case.id());
            cases += 1;
        }
    }
    assert!(cases > 50, "only {cases} cases");
}
