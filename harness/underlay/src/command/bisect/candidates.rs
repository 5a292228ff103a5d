//! What a bisection searches, and what decides of each.

use std::path::PathBuf;
use std::sync::Arc;

use cilium::{Rules, Version, version};
use serde_json::Value;

use super::{Args, Stop};
use crate::case::{Case, Check, Expected, ExpectedOutcome, ExpectedProbe, NodeFact, Subject};
use crate::compare::Label;
use crate::compare::side::{Files, Side, is_same};
use crate::step::{self, Action, Step};

/// Something to try.
pub(super) struct Candidate {
    pub(super) label: Label,
    pub(super) case: Arc<Case>,
}

/// What is searched, in order, each judged as asked.
pub(super) fn candidates(args: &Args, case: &Case) -> Result<Vec<Candidate>, Stop> {
    let written = Files::default().written(case).map_err(|wrong| Stop::Files(vec![wrong]))?;
    let sides: Vec<Side> = match (&args.good, &args.bad) {
        (Some(good), Some(bad)) => versions(good, bad)?.into_iter().map(Side::Version).collect(),
        _ => {
            let read = |file: &PathBuf| Side::values(file).map_err(|wrong| Stop::Files(vec![wrong]));
            args.values.iter().map(read).collect::<Result<_, _>>()?
        }
    };
    let judged = judged(args, case)?;
    let put = |side: &Side| Candidate { label: side.label(), case: Arc::new(side.put(&judged, &written)) };
    let candidates: Vec<_> = sides.iter().map(put).collect();
    if candidates.windows(2).all(|pair| is_same(&pair[0].case, &pair[1].case)) {
        let why = sides.iter().find_map(|side| side.kept_out(&written));
        let why = why.unwrap_or_else(|| "all of them say the same".to_owned());
        return Err(Stop::usage(
            format!("{}: nothing changes from one to the next: {why}", case.id()),
            "bisect a variant that leaves it to the scenario",
        ));
    }
    Ok(candidates)
}

/// Versions from `good` to `bad` that differ for the model: the minor versions between, and within a minor version the
/// first patch release where the model knows it to differ from later ones.
fn versions(good: &Version, bad: &Version) -> Result<Vec<Version>, Stop> {
    if good >= bad {
        return Err(Stop::usage(
            format!("the good version, {good}, is not older than the bad one, {bad}"),
            "to find where something was mended, swap them and ask for what was wrong: --subject NAME --expect fails",
        ));
    }
    let (low, high) = (good.minor(), bad.minor());
    if low == high && Rules::of(good) == Rules::of(bad) {
        return Err(Stop::usage(
            format!("the model knows no difference between {good} and {bad}: it knows hardly any patch release"),
            "name versions of different minor lines",
        ));
    }
    let known = |text: String| Version::parse(&text).expect("the model knows its own versions");
    let differ = |a: &Version, b: &Version| Rules::of(a) != Rules::of(b);
    let mut all = vec![good.clone()];
    for minor in version::KNOWN.into_iter().filter(|minor| low < high && (low..=high).contains(minor)) {
        let (first, line) = (known(format!("{minor}.0")), known(minor.to_string()));
        if minor == low {
            all.extend(differ(good, &line).then_some(line));
        } else if minor == high {
            all.extend(differ(&first, bad).then_some(first));
        } else {
            all.extend(differ(&first, &line).then_some(first));
            all.push(line);
        }
    }
    all.push(bad.clone());
    Ok(all)
}

/// The case with the expectations that decide.
fn judged(args: &Args, case: &Case) -> Result<Case, Stop> {
    let mut case = case.clone();
    let Some(subject) = &args.subject else {
        if case.expectations.is_empty() && !asserts(&case.steps) {
            return Err(Stop::usage(
                format!("{} expects nothing, so it is always good", case.id()),
                "say what decides: --subject NAME --expect works",
            ));
        }
        return Ok(case);
    };
    let subjects = subjects(&case, subject)?;
    case.expectations = match &args.expect {
        None => case.expectations.into_iter().filter(|check| subjects.contains(&check.subject)).collect(),
        Some(expect) => subjects
            .into_iter()
            .map(|subject| Ok(Check { expected: expected(&subject, expect)?, subject, line: 0 }))
            .collect::<Result<_, Stop>>()?,
    };
    if case.expectations.is_empty() {
        let message = format!("{}::{} expects nothing of `{subject}`", case.file.display(), case.variant);
        return Err(Stop::usage(message, "say what is good: --expect works"));
    }
    // Nothing but the subject decides.
    silence(&mut case.steps);
    Ok(case)
}

/// Whether steps can make a case bad.
fn asserts(steps: &[Step]) -> bool {
    step::flat(steps).into_iter().any(|step| match &step.action {
        Action::Check { expectations, .. } => !expectations.is_empty(),
        Action::WaitFor { .. } => true,
        Action::During { streams, .. } => streams.iter().any(|stream| stream.lost.is_some() || stream.gap.is_some()),
        _ => false,
    })
}

/// Takes away what is asserted between steps. What is waited for stays: it orders what happens.
fn silence(steps: &mut [Step]) {
    for step in steps {
        match &mut step.action {
            Action::Check { expectations, .. } => expectations.clear(),
            Action::During { streams, steps } => {
                for stream in streams {
                    (stream.lost, stream.gap) = (None, None);
                }
                silence(steps);
            }
            _ => {}
        }
    }
}

/// What a name means: a probe; a decision, of every node.
fn subjects(case: &Case, name: &str) -> Result<Vec<Subject>, Stop> {
    if case.probes.iter().any(|probe| probe.id == name) {
        return Ok(vec![Subject::Probe(name.to_owned())]);
    }
    if let Some(fact) = NodeFact::ALL.into_iter().find(|fact| fact.name() == name) {
        let nodes = case.network.cluster_nodes();
        return Ok(nodes.map(|node| Subject::Node { node: node.name.clone(), fact }).collect());
    }
    let others = [Subject::DnsReady, Subject::DnsRestarts, Subject::Helm];
    if let Some(subject) = others.iter().find(|subject| subject.id() == name) {
        return Ok(vec![subject.clone()]);
    }
    let known = case.probes.iter().map(|probe| probe.id.as_str());
    let known = known.chain(NodeFact::ALL.iter().map(|fact| fact.name())).chain(others.iter().map(Subject::id));
    let help = topology::source::choices(name, "known", known);
    Err(Stop::usage(format!("{} measures no `{name}`", case.id()), help))
}

fn expected(subject: &Subject, text: &str) -> Result<Expected, Stop> {
    if let Subject::Probe(id) = subject {
        use ExpectedOutcome::{Fails, Refused, Silence, TooBig, Unreachable, Works};
        let all = [Works, Fails, Silence, Refused, Unreachable, TooBig];
        let Some(outcome) = all.into_iter().find(|outcome| outcome.to_string() == text) else {
            let all = all.map(|outcome| outcome.to_string());
            return Err(Stop::usage(
                format!("the probe `{id}` can't come to `{text}`"),
                topology::source::choices(text, "outcomes", all.iter().map(String::as_str)),
            ));
        };
        return Ok(Expected::Probe(ExpectedProbe::of(outcome)));
    }
    let word = || Value::String(text.to_owned());
    let list = matches!(subject, Subject::Node { fact: NodeFact::Devices | NodeFact::NodePortAddresses, .. });
    Ok(Expected::Value(match text {
        _ if list => text.split(',').map(|part| part.trim().to_owned()).collect(),
        "on" => Value::Bool(true),
        "off" => Value::Bool(false),
        _ => serde_json::from_str(text).unwrap_or_else(|_| word()),
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::scenario::{self, Overrides};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// What decides of a case whose scenario is the guide's network with one probe and `rest`.
    fn judged_of(rest: &str, more: &[&str]) -> Result<Case, Stop> {
        let text = format!(
            "topology: ../topologies/split-vcn.yaml\ncilium: 1.18.2\n\
             probes: {{ping: {{icmp: worker/pod, from: master/pod}}}}\n{rest}"
        );
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/test.yaml").display().to_string();
        let source = topology::source::Source::from_bytes(file, text).expect("text");
        let cases = scenario::parse(&source, &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"));
        let line = ["bisect", "test.yaml", "--good", "1.17", "--bad", "1.18"].iter().chain(more).copied();
        judged(&Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).args, &cases[0])
    }

    const CHECK: &str = "{expect: {probes: {ping: works}}}";
    const BOUND: &str = "{during: {probes: {ping: {lost: {max: 0}, gap: {max: 1s}}}, steps: [{restart: agents}]}}";

    #[test]
    fn what_is_asserted_in_steps_only_decides_too() {
        for step in [CHECK, BOUND, "{wait-for: {probe: ping}}"] {
            assert!(judged_of(&format!("steps: [{step}]"), &[]).is_ok(), "{step} can fail");
        }
        for rest in ["", "steps: [{restart: agents}]"] {
            let Err(Stop::Usage { message, .. }) = judged_of(rest, &[]) else { panic!("{rest:?} expects nothing") };
            assert!(message.contains("expects nothing"), "{message}");
        }
    }

    #[test]
    fn with_a_subject_nothing_in_steps_decides() {
        let inner = format!("{{during: {{probes: {{ping: {{}}}}, steps: [{CHECK}]}}}}");
        let rest = format!("steps: [{CHECK}, {BOUND}, {inner}]\nexpect: [{{probes: {{ping: works}}}}]");
        let whole = judged_of(&rest, &[]).unwrap_or_else(|stop| panic!("{stop}"));
        assert!(asserts(&whole.steps));
        for more in [&["--subject", "ping"][..], &["--subject", "ping", "--expect", "fails"]] {
            let case = judged_of(&rest, more).unwrap_or_else(|stop| panic!("{stop}"));
            assert!(!asserts(&case.steps), "{:?}", case.steps);
            assert_eq!((case.expectations.len(), case.steps.len()), (1, 3), "the steps are taken all the same");
        }
    }
}
