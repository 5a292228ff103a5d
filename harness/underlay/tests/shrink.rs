//! Leaving parts of a text out, and finding out which can go: the pure half of `underlay shrink`.

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use probe::Evidence;
use probe::evidence::Outcome;
use proptest::prelude::*;
use serde_json::Value;
use support::{death, observed, on_probe, outcome, reply};
use topology::source::Source;
use underlay::case::{Case, ExpectedOutcome, ExpectedProbe};
use underlay::observed::Observed;
use underlay::report::schema;
use underlay::scenario;
use underlay::shrink::document::{Document, PartId};
use underlay::shrink::keep::{Failure, Keep, Whole};
use underlay::shrink::reduce::{Judge, Removed, reduce};
use underlay::shrink::selfcontained::alone;
use underlay::shrink::{End, Limits, Runner, only_case, shrink};
use underlay::step::{Action, Step};
use underlay::timeline::{StepSeen, StreamSeen, Timeline, Waited};
use underlay::verdict::{CaseResult, Provenance, Verdict, judge};

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

/// An outcome that was expected may go with an MTU, a source or an answer that wasn't.
#[test]
fn a_failure_is_what_is_not_as_it_was_asked_for() {
    let too_big = |mtu| {
        let expected = ExpectedProbe { mtu: Some(1230), ..ExpectedProbe::of(ExpectedOutcome::TooBig) };
        on_probe(expected, outcome(Outcome::TooBig { by: None, mtu }, ""))
    };
    let [failure] = <[Failure; 1]>::try_from(Failure::all(&schema::Case::from(&too_big(1280)))).expect("one fails");
    assert_eq!(failure.words(), "p: too-big, mtu 1280");
    assert!(failure.holds(&too_big(1280)));
    assert!(!failure.holds(&too_big(1450)), "another MTU is another failure");

    let answered = |answer: Option<&str>| {
        let expected = ExpectedProbe {
            source: Some(Ipv4Addr::new(192, 0, 2, 1)),
            answer: answer.map(str::to_owned),
            ..ExpectedProbe::of(ExpectedOutcome::Works)
        };
        on_probe(expected, Evidence { answer: Some("hello".to_owned()), ..reply() })
    };
    let [failure] =
        <[Failure; 1]>::try_from(Failure::all(&schema::Case::from(&answered(Some("hello"))))).expect("one fails");
    assert_eq!(failure.words(), "p: works, source 100.64.0.1");
    assert!(failure.holds(&answered(None)), "what is as it should be need not be asked for");
}

/// Asks for things in steps alone.
const IN_STEPS: &str = "\
topology:
  vcns:
    a: {cidr: 10.0.0.0/24, nat: endpoint-dependent, public-address: 203.0.113.1}
  overlay: {}
  nodes:
    master:
      role: control-plane
      interfaces: {enp0s6: {vcn: a, address: 10.0.0.10/24, default-route: true}}
      overlay-address: 100.64.0.1
    worker:
      interfaces: {enp0s6: {vcn: a, address: 10.0.0.11/24, default-route: true}}
      overlay-address: 100.64.0.2
cilium: 1.18.2
values: {devices: enp0s6}
probes:
  there: {icmp: worker/pod, from: master/pod}
  back: {icmp: master/pod, from: worker/pod}
steps:
  - restart: kubelet
  - check: healthy
  - wait-for: {probe: back, within: 1s}
  - during:
      probes: {there: {lost: {max: 0}}}
      steps: [{restart: coredns}]
checks:
  healthy: {probes: {there: works, back: works}}
";

/// Nothing is ever answered.
struct Silent;

impl Silent {
    fn steps(case: &Case, steps: &[Step], inner: bool) -> Vec<StepSeen> {
        let seen = |step: &Step| {
            let mut seen = StepSeen::of(step, inner);
            let mut below = Vec::new();
            match &step.action {
                Action::Check { .. } => seen.found = Some(Box::new(Self::all(case))),
                Action::WaitFor { .. } => seen.waited = Some(Waited { held: Some(false), saw: "silence".to_owned() }),
                Action::During { streams, steps } => {
                    seen.streams = streams.iter().cloned().map(Self::stream).collect();
                    below = Self::steps(case, steps, true);
                }
                _ => {}
            }
            std::iter::once(seen).chain(below)
        };
        steps.iter().flat_map(seen).collect()
    }

    fn stream(stream: underlay::step::Stream) -> StreamSeen {
        let (gap, lasted) = (Duration::from_millis(100), Duration::from_millis(100));
        StreamSeen { stream, sent: 6, lost: 6, gap, lasted, outages: Vec::new(), late: Duration::ZERO }
    }

    fn all(case: &Case) -> Observed {
        let probes: Vec<_> = case.probes.iter().map(|probe| (probe.id.as_str(), death())).collect();
        observed(case, &probes)
    }

    fn result(case: Arc<Case>) -> CaseResult {
        let steps = Self::steps(&case, &case.steps, false);
        let observed = Observed { timeline: Timeline { start: Vec::new(), steps }, ..Self::all(&case) };
        judge(case, "silent", Provenance::Model, Duration::ZERO, Ok(observed))
    }
}

impl Runner for Silent {
    type Error = Infallible;

    fn run(&mut self, cases: Vec<Arc<Case>>) -> Result<Vec<Arc<CaseResult>>, Infallible> {
        Ok(cases.into_iter().map(|case| Arc::new(Self::result(case))).collect())
    }
}

/// What is left of it.
fn smallest(text: &str, keep: &dyn Keep) -> String {
    let limits = Limits { time: Duration::from_secs(600), runs: 10_000 };
    let shrunk = shrink(text, "steps.yaml", keep, &mut Silent, limits).expect("it is a scenario");
    assert_eq!(shrunk.end, Ok(End::Smallest));
    shrunk.text
}

#[test]
fn what_fails_in_a_step_is_kept_there() {
    let case = only_case("steps.yaml", IN_STEPS).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let result = Silent::result(Arc::new(case));
    assert_eq!(result.verdict, Verdict::Fail);
    let failures = Failure::all(&schema::Case::from(&result));
    let words: Vec<_> = failures.iter().map(Keep::words).collect();
    assert_eq!(
        words,
        [
            "check healthy: there: silence",
            "check healthy: back: silence",
            "wait-for back: works: not within 1s",
            "lost of there: not at most 0",
        ]
    );
    let parts = ["check: healthy", "there: works", "back: works", "wait-for", "during"];
    for (failure, left) in failures.iter().zip([
        &["check: healthy", "there: works"][..],
        &["check: healthy", "back: works"],
        &["wait-for"],
        &["during"],
    ]) {
        assert!(failure.cell.is_named(&failure.cell.to_string()));
        let text = smallest(IN_STEPS, failure);
        for part in parts {
            assert_eq!(text.contains(part), left.contains(&part), "{part:?} of {}:\n{text}", failure.words());
        }
        assert!(!text.contains("restart: kubelet"), "{text}");
    }
}

/// A case that asks for things in its steps alone can fail as well.
#[test]
fn a_verdict_that_steps_make_is_kept_by_one_of_them() {
    let text = smallest(IN_STEPS, &Whole { verdict: Verdict::Fail, step: None });
    let asked = ["check: healthy", "wait-for", "during"].iter().filter(|part| text.contains(**part)).count();
    assert_eq!(asked, 1, "{text}");
    assert!(text.lines().count() < IN_STEPS.lines().count(), "{text}");
}

#[test]
fn half_an_expectation_of_a_decision_is_none_wherever_it_stands() {
    let at_the_end = "expect:\n  - nodes: {master: {devices: [enp0s6, tailscale0]}}\n";
    let in_a_check = "checks:\n  selected: {nodes: {master: {devices: [enp0s6, tailscale0]}}}\n";
    let in_a_step = "  - expect: {nodes: {master: {devices: [enp0s6, tailscale0]}}}\n";
    let bare = IN_STEPS.split("checks:").next().unwrap_or_default().replace("  - check: healthy\n", "");
    for text in [
        format!("{bare}{at_the_end}"),
        format!("{}{in_a_check}", bare.replace("steps:\n", "steps:\n  - check: selected\n")),
        bare.replace("steps:\n", &format!("steps:\n{in_a_step}")),
    ] {
        let case = only_case("steps.yaml", &text).unwrap_or_else(|wrong| panic!("{wrong:?}\n{text}"));
        let failures = Failure::all(&schema::Case::from(&Silent::result(Arc::new(case))));
        let devices = failures.iter().find(|failure| failure.cell.id == "devices").expect("it selects enp0s6 alone");
        let left = smallest(&text, devices);
        assert!(left.contains("devices: [enp0s6, tailscale0]"), "{left}");
    }
}
