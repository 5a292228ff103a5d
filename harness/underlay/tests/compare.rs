//! What differs between two sets of results, from results put together by hand; and what `underlay compare` refuses.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use cilium::{Model, Version};
use probe::Evidence;
use probe::deathwatch::{Cause, Death};
use probe::evidence::{Outcome, Silence};
use serde_json::json;
use support::{case, death, expect, expect_fact, observed, outcome, ping, reply, reports};
use underlay::case::{Case, ExpectedOutcome, NodeFact, Place, ProbeKind, ProbeSpec};
use underlay::compare::alike::decide_alike;
use underlay::compare::side::Side;
use underlay::compare::{
    self, CellChange, Comparison, Label, NotCompared, Trend, differing_rules, html, human, markdown,
};
use underlay::exit;
use underlay::observed::{EngineError, Observed};
use underlay::report::paint::Paint;
use underlay::report::schema::{self, Report};
use underlay::step::{Action, Chart, Link, Step};
use underlay::timeline::{StepSeen, Timeline};
use underlay::verdict::{Provenance, Verdict, judge};

const PING: &str = "pod-to-pod";

/// A case by Cilium's rules, with one ping that must work.
fn cilium(variant: &str, version: &str) -> Case {
    let mut case = case(variant);
    case.model = Model::Cilium;
    case.version = Version::parse(version).unwrap();
    case.probes.push(ping(PING));
    case.expectations.push(expect(PING, ExpectedOutcome::Works, 7));
    case
}

fn result(case: Case, probes: &[(&str, Evidence)]) -> schema::Case {
    let observed = observed(&case, probes);
    let took = Duration::from_millis(800);
    schema::Case::from(&judge(Arc::new(case), "fake", Provenance::Model, took, Ok(observed)))
}

fn failed(case: Case, error: EngineError) -> schema::Case {
    schema::Case::from(&judge(Arc::new(case), "fake", Provenance::Model, Duration::ZERO, Err(error)))
}

fn label(name: &str) -> Label {
    Label { name: format!("Cilium {name}"), short: name.to_owned() }
}

fn compared(before: &[schema::Case], after: &[schema::Case]) -> Comparison {
    compare::compare((label("A"), before), (label("B"), after), Vec::new()).expect("each case is one other's")
}

#[test]
fn what_is_decided_alike_need_not_be_run() {
    let alike = |variant, before, after| decide_alike(&cilium(variant, before), &cilium(variant, after));
    assert!(alike("unset", "1.18.2", "1.19"), "with two devices there is no skip-FIB in either");
    assert!(!alike("tailscale0", "1.18.2", "1.19"), "1.19 has no skip-FIB");
    assert!(!alike("enp0s6", "1.16", "1.17"), "what detection and MTU come to differs");
    assert!(!alike("enp0s6", "1.18.1", "1.18.2"), "own addresses that a lookup finds are no decision, and carried out");
    assert!(!alike("unset", "1.15", "1.16"), "what marks VXLAN's packets is no decision, and is carried out");
    let after = |variant, version, action: &Action| {
        let mut case = cilium(variant, version);
        case.steps.push(Step { action: action.clone(), line: 1 });
        case
    };
    let both =
        |variant, action: &Action| decide_alike(&after(variant, "1.18.2", action), &after(variant, "1.19", action));
    assert!(both("unset", &Action::RestartAgents), "they decide what they did before");
    let tailscale = serde_json::json!({"devices": "tailscale0"});
    let values = Chart { values: tailscale.as_object().cloned().unwrap_or_default(), ..Chart::default() };
    assert!(!both("unset", &Action::Install(values)), "what is decided then differs");
    let link = Link { node: "master".to_owned(), interface: "enp0s6".to_owned() };
    assert!(!both("unset", &Action::LinkDown(link)), "what links come to is only known then");
}

/// Found and named, the same devices are selected; why others are left out is worded otherwise.
#[test]
fn reasons_count_where_a_check_between_steps_asks_for_them() {
    let with = |variant, steps: &[Step]| {
        let mut case = cilium(variant, "1.18.2");
        case.steps = steps.to_vec();
        case
    };
    let alike = |steps: &[Step]| decide_alike(&with("unset", steps), &with("enp0s6,tailscale0", steps));
    let step = |action| Step { action, line: 9 };
    let check = |fact, value| step(Action::Check { name: None, expectations: vec![expect_fact(fact, value, 9)] });
    assert!(alike(&[]));
    assert!(alike(&[check(NodeFact::PodMtu, json!(1230))]), "who asks for something else");
    let reasons = check(NodeFact::NotSelected, json!({"lo": "excluded flag set"}));
    assert!(!alike(std::slice::from_ref(&reasons)));
    let inner = step(Action::During { streams: Vec::new(), steps: vec![reasons] });
    assert!(!alike(&[inner]), "during a stream too");
}

#[test]
fn a_page_says_what_changed_and_runs_nothing() {
    let one = |version| result(cilium("tailscale0", version), &[(PING, reply())]);
    let mut comparison = compared(&[one("1.18.2")], &[one("1.19")]);
    comparison.after.name = "<script>alert(1)</script>".to_owned();
    comparison.decided_alike = vec!["guide/table::unset".to_owned()];
    let page = html::render(&comparison);
    let source = comparison.changed[0].decisions[0].after.source.clone().expect("each decision's rule has its source");
    for words in ["skip-fib", "1 case more", &source, "default-src 'none'", "&lt;script&gt;"] {
        assert!(page.contains(words), "{words:?} should be in {page}");
    }
    assert!(!page.contains("<script"), "nothing runs: {page}");
}

#[test]
fn the_same_results_are_no_change() {
    let one = || result(cilium("enp0s6", "1.18.2"), &[(PING, reply())]);
    let comparison = compared(&[one()], &[one()]);
    assert!(comparison.changed.is_empty(), "{comparison:#?}");
    assert_eq!(comparison.summary.compared, 1);
}

#[test]
fn times_and_words_are_no_change() {
    let slow = Evidence { rtt: Some(Duration::from_millis(90)), detail: "reply, ttl 61".to_owned(), ..reply() };
    let other = Death { detail: "asked 4 times".to_owned(), ..witnessed(Cause::NoNeighbour([10, 0, 0, 24].into())) };
    for (before, after) in [(reply(), slow), (death(), dying(other))] {
        let one = |evidence| result(cilium("enp0s6", "1.18.2"), &[(PING, evidence)]);
        let comparison = compared(&[one(before)], &[one(after)]);
        assert!(comparison.changed.is_empty(), "{comparison:#?}");
    }
}

fn witnessed(cause: Cause) -> Death {
    match death().silence {
        Some(Silence::Death(death)) => Death { cause, detail: String::new(), ..death },
        other => panic!("a death was made, not {other:?}"),
    }
}

fn dying(death: Death) -> Evidence {
    Evidence { silence: Some(Silence::Death(death)), ..outcome(Outcome::Silence, "") }
}

#[test]
fn cells_of_a_probe() {
    let elsewhere = dying(witnessed(Cause::NoNeighbour([10, 0, 0, 99].into())));
    let unseen = Evidence { silence: Some(Silence::Deadline(Duration::from_secs(2))), ..outcome(Outcome::Silence, "") };
    let sourced = Evidence { source_seen: Some([168, 107, 2, 60].into()), ..reply() };
    let refused = || outcome(Outcome::Refused, "refused");
    let here = "silence at master enp0s6: nobody answers for 10.0.0.24 on the link";
    let there = "silence at master enp0s6: nobody answers for 10.0.0.99 on the link";
    for (before, after, was, is, trend) in [
        (reply(), death(), "works", here, Trend::Worse),
        (death(), reply(), here, "works", Trend::Better),
        (death(), elsewhere, here, there, Trend::Neither),
        (death(), unseen, here, "silence, death not witnessed", Trend::Neither),
        (death(), refused(), here, "refused", Trend::Neither),
        (reply(), refused(), "works", "refused", Trend::Worse),
        (reply(), sourced, "works, source 100.64.0.1", "works, source 168.107.2.60", Trend::Neither),
    ] {
        let one = |evidence| result(cilium("enp0s6", "1.18.2"), &[(PING, evidence)]);
        let comparison = compared(&[one(before)], &[one(after)]);
        let [changed] = comparison.changed.as_slice() else { panic!("{was} → {is}: {comparison:#?}") };
        let [cell] = changed.cells.as_slice() else { panic!("{was} → {is}: {changed:#?}") };
        assert_eq!((cell.before.as_deref(), cell.after.as_deref()), (Some(was), Some(is)));
        assert_eq!((cell.subject.as_str(), cell.trend), (PING, trend), "{was} → {is}");
        assert!(cell.behind.is_empty(), "no decision changed: {cell:?}");
        let sum = comparison.summary;
        assert_eq!((sum.worse, sum.better), ((trend == Trend::Worse) as usize, (trend == Trend::Better) as usize));
    }
}

#[test]
fn what_is_not_asserted_never_gets_worse() {
    let one = |evidence| {
        let mut case = cilium("enp0s6", "1.18.2");
        case.expectations.clear();
        result(case, &[(PING, evidence)])
    };
    let comparison = compared(&[one(reply())], &[one(death())]);
    assert_eq!((comparison.summary.changed_cells, comparison.summary.worse), (1, 0));
}

#[test]
fn which_replica_a_query_met_is_no_change() {
    let one = |node: &str| {
        let mut case = cilium("tailscale0", "1.18.2");
        let kind = ProbeKind::Dns { name: "google.com".to_owned(), server: Place::Address([10, 96, 0, 10].into()) };
        case.probes = vec![ProbeSpec { kind, ..ping("dns") }];
        case.expectations.clear();
        let cause = Cause::NoNeighbour([10, 0, 0, 24].into());
        result(case, &[("dns", dying(Death { namespace: node.to_owned(), ..witnessed(cause) }))])
    };
    assert!(compared(&[one("master")], &[one("worker")]).changed.is_empty(), "chance is no change");
}

#[test]
fn the_decision_behind_a_cell_and_its_sources() {
    let before = result(cilium("tailscale0", "1.18.2"), &[(PING, reply())]);
    let after = result(cilium("tailscale0", "1.19"), &[(PING, death())]);
    let comparison = compared(&[before], &[after]);
    let changed = &comparison.changed[0];
    assert_eq!(changed.cells[0].behind, ["skip-fib"]);
    let [skip_fib] = changed.decisions.as_slice() else { panic!("one decision changed: {changed:#?}") };
    assert_eq!(
        (skip_fib.decision.as_str(), skip_fib.nodes.as_slice()),
        ("skip-fib", &["master".to_owned(), "worker".to_owned()][..])
    );
    assert_eq!((skip_fib.before.value.as_str(), skip_fib.after.value.as_str()), ("all to tailscale0", "off"));
    let source = |decided: &compare::Decided| decided.source.clone().unwrap_or_default();
    assert!(source(&skip_fib.before).contains("ENABLE_SKIP_FIB"), "{skip_fib:?}");
    assert!(source(&skip_fib.after).contains("#43277"), "{skip_fib:?}");
    assert!(comparison.rules.iter().any(|rule| rule.rule == "skip-fib"), "{:?}", comparison.rules);
}

/// A case whose probe worked at the end, and came to `then` at a check before.
fn checked(version: &str, then: Evidence) -> schema::Case {
    let mut case = cilium("tailscale0", version);
    let expectations = case.expectations.clone();
    case.steps.push(Step { action: Action::Check { name: Some("broken".to_owned()), expectations }, line: 9 });
    let seen = StepSeen {
        took: Duration::from_millis(20),
        found: Some(Box::new(observed(&case, &[(PING, then)]))),
        ..StepSeen::of(&case.steps[0], false)
    };
    let timeline = Timeline { steps: vec![seen], ..Timeline::default() };
    let observed = Observed { timeline, ..observed(&case, &[(PING, reply())]) };
    schema::Case::from(&judge(Arc::new(case), "fake", Provenance::Model, Duration::from_secs(1), Ok(observed)))
}

#[test]
fn a_check_between_steps_has_cells_of_its_own() {
    let comparison = compared(&[checked("1.18.2", reply())], &[checked("1.19", death())]);
    let [cell] = comparison.changed[0].cells.as_slice() else { panic!("one cell changed: {comparison:#?}") };
    let step = cell.step.as_ref().map(|at| (at.number, at.step.as_str()));
    assert_eq!((step, cell.subject.as_str(), cell.trend), (Some((1, "check broken")), PING, Trend::Worse));
    assert_eq!(cell.behind, ["skip-fib"], "the decision that differs at that moment");
    let skip_fib: Vec<_> = comparison.changed[0].decisions.iter().map(|change| change.decision.as_str()).collect();
    assert_eq!(skip_fib, ["skip-fib"], "what differs at two moments is told once");
    let text = human::render(&comparison, Paint(false), 120);
    assert!(text.contains("step 1,"), "{text}");
    assert_eq!(comparison.summary.worse, 1);

    let same = compared(&[checked("1.18.2", death())], &[checked("1.18.2", death())]);
    assert!(same.changed.is_empty(), "{same:#?}");
}

#[test]
fn a_step_is_the_same_in_the_same_words_wherever_it_stands() {
    let before = checked("1.18.2", reply());
    let mut after = checked("1.19", death());
    let mut restart = after.steps[0].clone();
    restart.step = "restart agents".to_owned();
    restart.checks.clear();
    restart.probes.clear();
    restart.nodes.clear();
    after.steps.insert(0, restart);
    let comparison = compared(&[before], &[after]);
    let [cell] = comparison.changed[0].cells.as_slice() else { panic!("one cell changed: {comparison:#?}") };
    let step = cell.step.as_ref().map(|at| (at.number, at.step.as_str()));
    assert_eq!((step, cell.trend), (Some((1, "check broken")), Trend::Worse));

    // Of two in the same words the second is the second.
    let twice = |then| {
        let mut case = checked("1.18.2", reply());
        case.steps.extend(checked("1.18.2", then).steps);
        case
    };
    let comparison = compared(&[twice(reply())], &[twice(death())]);
    let numbers: Vec<_> =
        comparison.changed[0].cells.iter().map(|cell| cell.step.as_ref().map(|at| at.number)).collect();
    assert_eq!(numbers[0], Some(2), "{comparison:#?}");
}

#[test]
fn a_check_that_only_one_has_is_told_and_what_the_case_came_to() {
    let before = checked("1.18.2", reply());
    let mut after = checked("1.18.2", death());
    after.steps[0].step = "check mended".to_owned();
    let comparison = compared(&[before], &[after]);
    let cells: Vec<_> = comparison.changed[0].cells.iter().map(cell_text).collect();
    assert_eq!(
        cells,
        [
            ("check broken", Some("pass"), None, Trend::Neither),
            ("check mended", None, Some("fail"), Trend::Neither),
            ("case", Some("pass"), Some("fail"), Trend::Worse),
        ]
    );
    let text = human::render(&comparison, Paint(false), 120);
    assert!(text.contains("step 1, check") && text.contains("not there"), "{text}");
}

fn cell_text(cell: &CellChange) -> (&str, Option<&str>, Option<&str>, Trend) {
    (&cell.subject, cell.before.as_deref(), cell.after.as_deref(), cell.trend)
}

#[test]
fn a_verdict_that_no_cell_explains_is_a_cell() {
    let one = |verdict: Verdict| {
        let mut case = result(cilium("enp0s6", "1.18.2"), &[(PING, reply())]);
        (case.verdict, case.reason) = (verdict, (verdict != Verdict::Pass).then(|| "packets were lost".to_owned()));
        case
    };
    let comparison = compared(&[one(Verdict::Pass)], &[one(Verdict::Inconclusive)]);
    let cells: Vec<_> = comparison.changed[0].cells.iter().map(cell_text).collect();
    assert_eq!(cells, [("case", Some("pass"), Some("inconclusive: packets were lost"), Trend::Worse)]);
}

#[test]
fn a_decision_that_no_cell_shows_is_told() {
    let one = |version| result(cilium("enp0s6", version), &[(PING, reply())]);
    let comparison = compared(&[one("1.16")], &[one("1.17")]);
    let decisions: Vec<_> = comparison.changed[0].decisions.iter().map(|change| change.decision.as_str()).collect();
    assert!(comparison.changed[0].cells.is_empty(), "{comparison:#?}");
    assert!(decisions.contains(&"pod-mtu"), "{decisions:?}");
    assert_eq!(comparison.summary.changed_cases, 0, "a case changed only where a cell did");
}

#[test]
fn of_what_is_too_big_only_the_mtu_is_behind() {
    let too_big = || outcome(Outcome::TooBig { mtu: 1230, by: None }, "too big");
    let before = result(cilium("tailscale0", "1.16"), &[(PING, too_big())]);
    let mut after = result(cilium("enp0s6", "1.19"), &[(PING, reply())]);
    after.variant = "tailscale0".to_owned();
    let comparison = compared(&[before], &[after]);
    assert_eq!(comparison.changed[0].cells[0].behind, ["pod-mtu"]);
    assert!(comparison.changed[0].decisions.len() > 2, "others changed too: {comparison:#?}");
}

#[test]
fn an_agent_that_dies_is_behind_all_that_isnt_sent() {
    let before = result(cilium("enp0s6", "1.18.2"), &[(PING, reply())]);
    let mut after = result(cilium("enp0s6", "1.18.2"), &[]);
    after.nodes["worker"] = schema::Node { agent: "unable to determine".to_owned(), ..schema::Node::default() };
    let comparison = compared(&[before], &[after]);
    let cell = &comparison.changed[0].cells[0];
    assert_eq!((cell.after.as_deref(), cell.behind.as_slice()), (Some("not sent"), &["agent".to_owned()][..]));
    assert_eq!(cell.trend, Trend::Worse);
    let [agent] = comparison.changed[0].decisions.as_slice() else { panic!("{comparison:#?}") };
    assert_eq!((agent.decision.as_str(), agent.nodes.as_slice()), ("agent", &["worker".to_owned()][..]));
}

#[test]
fn a_case_that_came_to_nothing_is_one_cell() {
    let fault = || EngineError::Failed { step: "build the lab".to_owned(), reason: "no".to_owned() };
    let good = || result(cilium("enp0s6", "1.18.2"), &[(PING, reply())]);
    let bad = || failed(cilium("enp0s6", "1.18.2"), fault());
    for (before, after, trend) in [(good(), bad(), Trend::Worse), (bad(), good(), Trend::Better)] {
        let comparison = compared(&[before], &[after]);
        let [cell] = comparison.changed[0].cells.as_slice() else { panic!("{comparison:#?}") };
        assert_eq!((cell.subject.as_str(), cell.trend), ("case", trend));
    }
    assert!(compared(&[bad()], &[bad()]).changed.is_empty());
    // What a host can't try is neither worse nor better for that.
    let skipped = || schema::Case { verdict: Verdict::Skip, ..bad() };
    for (before, after) in [(good(), skipped()), (skipped(), good())] {
        let comparison = compared(&[before], &[after]);
        assert_eq!(comparison.changed[0].cells[0].trend, Trend::Neither, "{comparison:#?}");
        assert_eq!((comparison.summary.worse, comparison.summary.better), (0, 0));
    }
}

/// The same case on that engine.
fn on(engine: &str, evidence: Evidence) -> schema::Case {
    schema::Case { engine: engine.to_owned(), ..result(cilium("enp0s6", "1.18.2"), &[(PING, evidence)]) }
}

#[test]
fn cases_of_several_engines_are_each_compared_with_their_own() {
    let before = [on("netns", reply()), on("agent", reply())];
    let comparison = compared(&before, &[on("agent", death()), on("netns", reply())]);
    assert_eq!((comparison.summary.compared, comparison.changed.len()), (2, 1));
    let changed = &comparison.changed[0];
    assert_eq!((changed.before.engine.as_str(), changed.after.engine.as_str()), ("agent", "agent"));

    let comparison = compared(&before, &[on("agent", death()), on("netns", death())]);
    let text = human::render(&comparison, Paint(false), 120);
    assert!(text.contains("(netns,") && text.contains("(agent,"), "each says which it is:\n{text}");

    let comparison = compared(&before, &[on("netns", reply())]);
    let [only] = comparison.only_before.as_slice() else { panic!("{comparison:#?}") };
    assert!(only.starts_with("by/hand::enp0s6 (") && only.contains("engine agent"), "{only}");
}

#[test]
fn cases_that_could_be_each_others_are_not_compared() {
    let of = |version| result(cilium("enp0s6", version), &[(PING, reply())]);
    let joined = [of("1.18.2"), of("1.19")];
    let pair = |before: &[schema::Case], after: &[schema::Case]| {
        compare::compare((label("A"), before), (label("B"), after), Vec::new()).map(|all| all.summary.compared)
    };
    assert_eq!(pair(&joined, &[of("1.19")]), Ok(1), "the same version's is there");
    assert_eq!(pair(&[of("1.18.2")], &[of("1.20")]), Ok(1), "there is but one of the name");
    for (before, after) in [(&joined[..], &[of("1.20")][..]), (&joined, &[of("1.19"), of("1.20")])] {
        let unclear = pair(before, after).expect_err("any could be meant").to_string();
        assert!(unclear.contains("by/hand::enp0s6"), "{unclear}");
    }
}

#[test]
fn what_only_one_has_is_said() {
    let one = |variant: &str| result(cilium(variant, "1.18.2"), &[(PING, reply())]);
    let comparison = compared(&[one("enp0s6"), one("unset")], &[one("enp0s6"), one("tailscale0")]);
    assert_eq!(
        (comparison.only_before, comparison.only_after),
        (vec!["by/hand::unset".to_owned()], vec!["by/hand::tailscale0".to_owned()])
    );
    assert_eq!(comparison.summary.compared, 1);

    let mut more = cilium("enp0s6", "1.18.2");
    more.probes.push(ping("new"));
    let comparison = compared(&[one("enp0s6")], &[result(more, &[(PING, reply()), ("new", reply())])]);
    let cell = &comparison.changed[0].cells[0];
    assert_eq!((cell.subject.as_str(), cell.before.as_deref(), cell.after.as_deref()), ("new", None, Some("works")));
}

#[test]
fn rules_that_differ_between_versions() {
    let rules = |a: &str, b: &str| {
        let all = differing_rules(&Version::parse(a).unwrap(), &Version::parse(b).unwrap());
        all.into_iter().map(|rule| rule.rule).collect::<Vec<_>>()
    };
    assert!(rules("1.15", "1.16").contains(&"mark-carries-identity".to_owned()));
    assert!(rules("1.18.2", "1.19").contains(&"skip-fib".to_owned()));
    assert_eq!(rules("1.18.2", "1.18.5"), Vec::<String>::new());
}

#[test]
fn lines_fit_and_markdown_is_escaped() {
    let before = result(cilium("tailscale0", "1.18.2"), &[(PING, reply())]);
    let mut after = result(cilium("tailscale0", "1.19"), &[(PING, death())]);
    after.probes[0].death.as_mut().unwrap().cause = "a | b <i> `c`".to_owned();
    let comparison = compared(&[before], &[after]);
    let text = human::render(&comparison, Paint(false), 80);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line:?}");
    }
    for told in ["pod-to-pod", "!! ✗ silence", "skip-fib", "cilium #43277", "1 got worse"] {
        assert!(text.contains(told), "no {told:?} in\n{text}");
    }
    let text = markdown::render(&comparison);
    assert!(text.contains(r"a \| b &lt;i&gt; \`c\`"), "{text}");
    let columns = |line: &str| line.replace(r"\|", "").matches('|').count();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(columns(line), 6, "{line}");
    }
}

fn underlay(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_underlay")).args(arguments).current_dir(root).output().expect("it runs")
}

/// Such a name is a version's, with what may stand behind one.
#[test]
fn a_file_whose_name_begins_with_a_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("1.18.2-main.json"), "{}").unwrap();
    std::fs::write(folder.path().join("1.18-values.yaml"), "- devices").unwrap();
    for (file, told) in [
        ("1.18.2-main.json", "1.18.2-main.json: the report can't be read"),
        ("1.18-values.yaml", "1.18-values.yaml"),
        ("1.18.2-gone.json", "`1.18.2-gone.json` is no version, no model, and no file that is here"),
    ] {
        let program = Path::new(env!("CARGO_BIN_EXE_underlay"));
        let output = Command::new(program).args(["compare", "1.18.2", file]).current_dir(folder.path()).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(i32::from(exit::USAGE)), "{file}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told), "{file} should tell of {told:?}:\n{error}");
    }
}

#[test]
fn a_file_of_values_is_read_as_helm_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, "bpf: {masquerade: yes}\ndevices: \"no\"").unwrap();
    let Ok(Side::Values { values, .. }) = Side::values(&file) else { panic!("they are values") };
    assert_eq!(serde_json::Value::Object(values), json!({"bpf": {"masquerade": true}, "devices": "no"}));
}

/// The program with two reports: what it ended with, said and complained of.
fn of_reports(before: &Report, after: &Report, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, report: &Report| {
        let path = folder.path().join(name);
        std::fs::write(&path, serde_json::to_string(report).unwrap()).unwrap();
        path.display().to_string()
    };
    let (before, after) = (file("before.json", before), file("after.json", after));
    let output = underlay(&[&["compare", &before, &after], more].concat());
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn places_name_cases_of_reports() {
    let whole = reports::mixed();
    for place in ["scenarios", "./scenarios/by", "scenarios/by/hand.yaml::unset"] {
        let (code, out, err) = of_reports(&whole, &whole, &[place]);
        assert_eq!(code, Some(i32::from(exit::OK)), "{place}: {out}{err}");
    }
    for places in [&["scenarios/by/hadn.yaml"][..], &["scenarios", "scenarios/by/hand.yaml::nowhere"]] {
        let (code, out, err) = of_reports(&whole, &whole, places);
        assert_eq!((code, out.as_str()), (Some(i32::from(exit::USAGE)), ""), "{places:?}: {err}");
        assert!(err.contains("no case of scenarios/by/"), "{err}");
    }
}

#[test]
fn reports_without_a_common_case_are_refused() {
    let (mut before, mut after) = (reports::mixed(), reports::mixed());
    before.cases.truncate(1);
    after.cases.remove(0);
    let (code, out, err) = of_reports(&before, &after, &[]);
    assert_eq!((code, out.as_str()), (Some(i32::from(exit::USAGE)), ""), "{err}");
    for told in ["no case in common", "by/hand::unset", "and 2 more"] {
        assert!(err.contains(told), "{told:?} should be in {err}");
    }
    let mut twice = reports::mixed();
    let others: Vec<_> =
        twice.cases.iter().map(|case| schema::Case { cilium: "1.19".to_owned(), ..case.clone() }).collect();
    twice.cases.extend(others);
    let mut third = reports::mixed();
    third.cases.iter_mut().for_each(|case| case.cilium = "1.20".to_owned());
    let (code, _, err) = of_reports(&twice, &third, &[]);
    assert_eq!(code, Some(i32::from(exit::USAGE)), "{err}");
    assert!(err.contains("can't be told: by/hand::unset"), "{err}");
}

#[test]
fn a_report_that_is_not_whole_is_told_and_no_success() {
    let whole = reports::mixed();
    let mut cut = whole.clone();
    let last = cut.cases.pop().expect("there are some");
    let schema::Case { scenario, variant, engine, model, cilium, kubernetes, kernel_overlay, .. } = last;
    cut.unfinished = vec![schema::Unfinished { scenario, variant, engine, model, cilium, kubernetes, kernel_overlay }];
    cut.interrupted = Some("SIGTERM".to_owned());
    for (before, after) in [(&whole, &cut), (&cut, &whole), (&cut, &cut)] {
        for format in ["human", "markdown", "html", "json"] {
            let (code, out, err) = of_reports(before, after, &["--format", format]);
            assert_eq!(code, Some(i32::from(exit::FAILED)), "{format}: {out}{err}");
            assert!(out.contains("interrupted by SIGTERM"), "{format}: {out}");
            assert!(out.contains("by/hand::tailscale0"), "what is missing is named, {format}: {out}");
        }
    }
}

#[test]
fn nothing_of_a_report_moves_the_terminal() {
    let mut before = reports::hostile(&reports::mixed()).cases;
    let nodes = |case: &mut schema::Case, change: fn(&mut schema::Node)| case.nodes.values_mut().for_each(change);
    before.iter_mut().for_each(|case| nodes(case, |node| node.agent = "running".to_owned()));
    let mut after = before.clone();
    for case in &mut after {
        case.checks.clear();
        case.probes.iter_mut().for_each(|probe| probe.outcome_text = Some("answered \u{9b}2J".to_owned()));
        nodes(case, |node| node.direct_routing_device = Some("\u{1b}]0;title\u{7}".to_owned()));
    }
    let mut comparison = compared(&before, &after);
    assert!(comparison.summary.changed_cells > 0 && !comparison.changed[0].decisions.is_empty());
    comparison.not_compared = vec![NotCompared { id: "\u{1b}[31m".to_owned(), why: "\u{1b}[32m".to_owned() }];
    let (human, markdown, html) =
        (human::render(&comparison, Paint(false), 80), markdown::render(&comparison), html::render(&comparison));
    for (form, text) in [("human", human), ("markdown", markdown), ("html", html)] {
        let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(control, None, "a control character came through, {form}");
    }
}

#[test]
fn misuse_is_told_and_nothing_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let other_schema = file("other.json", r#"{"schema":"underlay.report/9"}"#);
    let no_report = file("no-report.json", "{}");
    let no_values = file("list.yaml", "- devices");
    let text = file("notes.txt", "");
    let pinned = "scenarios/devices/cilium-1.19.yaml::1.19/unset";
    for (arguments, told) in [
        (&["1.18.2"][..], "<B>"),
        (&["1.18.2", "1.29"], "Cilium 1.29 is too new"),
        (&["1.18.2", "nonsense"], "`nonsense` is no version"),
        (&["1.18.2", "model:mine"], "`mine` is not a model"),
        (&["1.18.2", &text], "neither in .yaml"),
        (&["1.18.2", &other_schema], "underlay.report/9"),
        (&["1.18.2", &no_report], "schema"),
        (&["1.18.2", &no_values], "list.yaml"),
        (&["1.18.2", "1.18.2"], "A and B are the same"),
        (&["1.18.2", "1.19", pinned], "the variant names Cilium 1.19"),
        (&["1.18.2", "1.19", "scenarios/no-such-file.yaml"], "no-such-file.yaml"),
    ] {
        let output = underlay(&[&["compare"], arguments].concat());
        assert_eq!(output.status.code(), Some(i32::from(exit::USAGE)), "{arguments:?}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told), "{arguments:?} should tell of {told:?}:\n{error}");
    }
}
