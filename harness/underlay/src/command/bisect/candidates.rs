//! What a bisection searches, and what decides of each.

use std::path::PathBuf;
use std::sync::Arc;

use cilium::{Rules, Version, version};
use serde_json::Value;

use super::{Args, Stop};
use crate::case::{Case, Check, Expected, ExpectedOutcome, ExpectedProbe, NodeFact, Subject};
use crate::compare::Label;
use crate::compare::side::{Files, Side, is_same};

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
        if case.expectations.is_empty() {
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
    Ok(case)
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
