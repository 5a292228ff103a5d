//! From evidence to verdicts. Pure: the same case and the same evidence always come to the same.
//!
//! A check whose evidence is missing or doubtful is inconclusive, never passed and never failed. Silence in particular
//! needs an observer without gaps: where frames were lost, only an answer that came proves anything.

mod steps;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use probe::Evidence;
use probe::evidence::{Outcome, OutcomeKind};
use probe::walk::{Walk, place};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use cilium::Decisions;
use cilium::decisions::HostRouting;

use crate::case::{Case, Check, Expected, ExpectedOutcome, ExpectedProbe, NodeFact, ProbeKind, Subject};
use crate::observed::{Agent, EngineError, Observed, Trace};
use crate::scenario::glob;

pub use steps::{StepResult, judge_steps};

/// What a check, a probe or a whole case comes to. The worst of its parts is the whole's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is as it must be.
    Pass,
    /// It was not tried: the host lacks what it needs, or the engine can't.
    Skip,
    /// The evidence is missing, doubtful or contradicts itself.
    Inconclusive,
    /// It is not as it must be.
    Fail,
    /// The harness failed.
    Error,
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

/// Where what an engine says comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// Cilium's decisions are a model's; the kernel that carries them out is real.
    #[default]
    Model,
    /// Cilium itself.
    Real,
    /// Nobody: a stand-in for tests. It yields no pass.
    Stub,
}

/// What a case came to.
#[derive(Debug)]
pub struct CaseResult {
    /// The case.
    pub case: Arc<Case>,
    /// The engine that ran it.
    pub engine: &'static str,
    /// Where Cilium's decisions came from.
    pub provenance: Provenance,
    /// The worst of its checks, or what kept it from being checked.
    pub verdict: Verdict,
    /// Why it was skipped, erred or is inconclusive as a whole.
    pub reason: Option<String>,
    /// What the host lacks, where that is why.
    pub missing: Option<lab::Missing>,
    /// From nothing to nothing.
    pub duration: Duration,
    /// Each expectation, in the file's order. Empty where nothing was observed.
    pub checks: Vec<CheckResult>,
    /// Each claim, in the file's order.
    pub claims: Vec<ClaimResult>,
    /// What each step came to, in the order of the evidence's.
    pub steps: Vec<StepResult>,
    /// The evidence.
    pub observed: Option<Observed>,
}

/// What an expectation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// What it is about.
    pub subject: Subject,
    /// Its line in the scenario's file.
    pub line: u32,
    /// What must be: a phrase for a probe, else a value.
    pub expected: Value,
    /// What is, in the same terms; null where the evidence is missing.
    pub measured: Value,
    /// Whether they agree.
    pub verdict: Verdict,
    /// Why they don't, or why that can't be said: the evidence in words. Empty for a pass.
    pub message: String,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimResult {
    /// Who said it.
    pub by: String,
    /// What it is about.
    pub subject: Subject,
    /// Its line in the scenario's file.
    pub line: u32,
    /// What was said.
    pub said: Value,
    /// What is.
    pub measured: Value,
    /// Whether it holds; `None` where the evidence is missing or doubtful.
    pub held: Option<bool>,
    /// The evidence in words, where it doesn't hold.
    pub message: String,
}

/// How many cases came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Cases in which all asserted holds.
    pub pass: usize,
    /// Cases in which something asserted doesn't hold.
    pub fail: usize,
    /// Cases in which the harness failed.
    pub error: usize,
    /// Cases that were not tried.
    pub skip: usize,
    /// Cases without proof either way.
    pub inconclusive: usize,
    /// Claims that hold.
    pub claims_held: usize,
    /// Claims that don't.
    pub claims_refuted: usize,
}

impl Summary {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict, held: impl IntoIterator<Item = Option<bool>>) {
        *match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail => &mut self.fail,
            Verdict::Error => &mut self.error,
            Verdict::Skip => &mut self.skip,
            Verdict::Inconclusive => &mut self.inconclusive,
        } += 1;
        for held in held {
            self.claims_held += usize::from(held == Some(true));
            self.claims_refuted += usize::from(held == Some(false));
        }
    }

    /// All cases.
    pub fn cases(&self) -> usize {
        self.pass + self.fail + self.error + self.skip + self.inconclusive
    }
}

/// Judges what an engine brought to light about a case.
pub fn judge(
    case: Arc<Case>,
    engine: &'static str,
    provenance: Provenance,
    duration: Duration,
    outcome: Result<Observed, EngineError>,
) -> CaseResult {
    let not_run = |case, verdict, reason: String, missing| CaseResult {
        case,
        engine,
        provenance,
        verdict,
        reason: Some(reason),
        missing,
        duration,
        checks: Vec::new(),
        claims: Vec::new(),
        steps: Vec::new(),
        observed: None,
    };
    let observed = match outcome {
        Ok(observed) => observed,
        Err(EngineError::Missing(missing)) => {
            return not_run(case, Verdict::Skip, missing.to_string(), Some(missing));
        }
        Err(error @ EngineError::Unsupported { .. }) => return not_run(case, Verdict::Skip, error.to_string(), None),
        Err(error @ EngineError::Failed { .. }) => return not_run(case, Verdict::Error, error.to_string(), None),
    };
    let checks = check(&case, &observed, &case.expectations, provenance);
    let steps = judge_steps(&case, &observed.timeline, &observed.doubts, provenance);
    let claims = case
        .claims
        .iter()
        .map(|claim| {
            let finding = compare(&case, &observed, &claim.subject, &claim.said);
            ClaimResult {
                by: claim.by.clone(),
                subject: claim.subject.clone(),
                line: claim.line,
                said: claim.said.to_value(),
                measured: finding.measured,
                held: finding.holds,
                message: finding.message,
            }
        })
        .collect();
    let all = checks.iter().chain(steps.iter().flat_map(|step| &step.checks));
    let verdict = all.map(|check| check.verdict).max().unwrap_or(Verdict::Pass);
    let reason = (!observed.doubts.is_empty()).then(|| observed.doubts.join("; "));
    CaseResult {
        case,
        engine,
        provenance,
        verdict,
        reason,
        missing: None,
        duration,
        checks,
        claims,
        steps,
        observed: Some(observed),
    }
}

/// Holds what was seen against what must be.
fn check(case: &Case, observed: &Observed, expectations: &[Check], provenance: Provenance) -> Vec<CheckResult> {
    let one = |check: &Check| {
        let finding = compare(case, observed, &check.subject, &check.expected);
        CheckResult {
            subject: check.subject.clone(),
            line: check.line,
            expected: check.expected.to_value(),
            measured: finding.measured,
            verdict: decided(finding.holds, provenance),
            message: finding.message,
        }
    };
    expectations.iter().map(one).collect()
}

/// The verdict on something that holds, doesn't, or can't be told.
fn decided(holds: Option<bool>, provenance: Provenance) -> Verdict {
    match (holds, provenance) {
        (Some(true), Provenance::Stub) | (None, _) => Verdict::Inconclusive,
        (Some(true), _) => Verdict::Pass,
        (Some(false), _) => Verdict::Fail,
    }
}

/// What comparing one subject with what was expected of it came to.
struct Finding {
    measured: Value,
    holds: Option<bool>,
    message: String,
}

impl Finding {
    fn missing(message: impl Into<String>) -> Self {
        Self { measured: Value::Null, holds: None, message: message.into() }
    }

    fn of(measured: Value, holds: bool, message: impl FnOnce() -> String) -> Self {
        let message = if holds { String::new() } else { message() };
        Self { measured, holds: Some(holds), message }
    }
}

fn compare(case: &Case, observed: &Observed, subject: &Subject, expected: &Expected) -> Finding {
    match (subject, expected) {
        (Subject::Probe(id), Expected::Probe(expected)) => compare_probe(case, observed, id, expected),
        (Subject::Node { node, fact }, Expected::Value(expected)) => compare_node(observed, node, *fact, expected),
        (Subject::Nat { node }, Expected::Value(expected)) => compare_nat(observed, node, expected),
        (Subject::Helm, Expected::Value(expected)) => {
            let (word, reason) = match &observed.helm {
                Ok(()) => ("accepted", String::new()),
                Err(reason) => ("refused", reason.clone()),
            };
            // What Helm said may be asked for too, by a part of its words.
            let asked = expected.as_str().unwrap_or_default();
            let holds = asked == word || (!asked.is_empty() && reason.contains(asked));
            Finding::of(json!(word), holds, || match reason.is_empty() {
                true => "Helm takes the values".to_owned(),
                false => format!("Helm refuses the values: {reason}"),
            })
        }
        (Subject::DnsReady | Subject::DnsRestarts, Expected::Value(expected)) => {
            if let Err(reason) = &observed.helm {
                return Finding::missing(not_installed(reason));
            }
            if let Some(died) = died(observed).filter(|_| observed.dns.replicas == 0) {
                return Finding::missing(died);
            }
            let dns = &observed.dns;
            let measured = if *subject == Subject::DnsReady { dns.ready } else { dns.restarts };
            Finding::of(json!(measured), loosely_equal(&json!(measured), expected), || {
                let reasons: Vec<_> = dns.not_ready.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                match reasons.is_empty() {
                    true => format!("{} of {} replicas ready, {} restarts", dns.ready, dns.replicas, dns.restarts),
                    false => reasons.join("; "),
                }
            })
        }
        // The scenario's reader gives a probe a probe's expectation and everything else a value.
        (Subject::Probe(_) | Subject::Step(_), Expected::Value(_)) | (_, Expected::Probe(_)) => {
            Finding::missing("the expectation doesn't fit what it is about")
        }
    }
}

/// Without every agent there is no cluster to probe, unless they ended after it was there.
fn died(observed: &Observed) -> Option<String> {
    observed.nodes.iter().find_map(|(node, agent)| match agent {
        Agent::Fatal(error) => Some(format!("the agent of {node} died: {error}")),
        Agent::Running(_) | Agent::Absent => None,
    })
}

fn not_installed(reason: &str) -> String {
    format!("nothing was installed: Helm refuses the values: {reason}")
}

/// How a probe's outcome is called where expectations are: [`ExpectedOutcome`]'s words, and the evidence's own for what
/// has none.
pub fn outcome_word(evidence: &Evidence) -> String {
    match (&evidence.outcome, evidence.status) {
        (Outcome::Reply, Some(status)) if status >= 400 => format!("HTTP {status}"),
        (Outcome::Reply, _) => "works".to_owned(),
        (Outcome::DnsFailure(failure), _) => failure.to_string(),
        (outcome, _) => outcome.kind().name().to_owned(),
    }
}

/// Whether a probe came to this.
pub fn comes_to(evidence: &Evidence, expected: ExpectedOutcome) -> bool {
    let answered = || outcome_word(evidence) == "works";
    let is = |kind| evidence.outcome.kind() == kind;
    match expected {
        ExpectedOutcome::Works => answered(),
        ExpectedOutcome::Fails => !answered(),
        ExpectedOutcome::Silence => is(OutcomeKind::Silence),
        ExpectedOutcome::Refused => is(OutcomeKind::Refused),
        ExpectedOutcome::Unreachable => is(OutcomeKind::Unreachable),
        ExpectedOutcome::TooBig => is(OutcomeKind::TooBig),
    }
}

fn compare_probe(case: &Case, observed: &Observed, id: &str, expected: &ExpectedProbe) -> Finding {
    let Some((_, evidence)) = observed.probes.iter().find(|(probe, _)| probe == id) else {
        return Finding::missing(match &observed.helm {
            Err(reason) => not_installed(reason),
            Ok(()) => match died(observed) {
                Some(died) => format!("{id} was not sent: {died}"),
                None => format!("{id} was not sent"),
            },
        });
    };
    let word = outcome_word(evidence);
    if evidence.outcome.kind() == OutcomeKind::NotPossible {
        return Finding {
            measured: json!(word),
            holds: None,
            message: format!("{id} could not be sent: {}", evidence.detail),
        };
    }
    let answered = word == "works";
    let outcome_holds = comes_to(evidence, expected.outcome);
    let mut measured = word;
    let mut holds = Some(outcome_holds);
    let mut untold = None;
    let mut add = |name: &str, value: Option<String>, agrees: bool| match value {
        Some(value) => {
            measured.push_str(&format!(", {name} {value}"));
            holds = holds.map(|holds| holds && agrees);
        }
        // What wasn't told can't be judged, unless the outcome has decided already.
        None if outcome_holds => untold = Some(format!("the evidence doesn't tell the {name}")),
        None => {}
    };
    let trace = observed.trace(id);
    if let Some(source) = expected.source {
        let at_the_end = || match trace?.walk.hops.last()?.src.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let seen = evidence.source_seen.or_else(at_the_end);
        add("source", seen.map(|seen| seen.to_string()), seen == Some(source));
    }
    if let Some(wanted) = &expected.answer {
        let is_dns = case.probes.iter().any(|probe| probe.id == id && matches!(probe.kind, ProbeKind::Dns { .. }));
        let agrees = evidence.answer.as_ref().is_some_and(|answer| match is_dns {
            true => answer.split(", ").any(|address| address == wanted),
            false => answer.contains(wanted.as_str()),
        });
        add("answer", evidence.answer.as_deref().map(excerpt), agrees);
    }
    if let Some(wanted) = expected.mtu {
        let mtu = match evidence.outcome {
            Outcome::TooBig { mtu, .. } => Some(mtu),
            _ => None,
        };
        add("mtu", mtu.map(|mtu| mtu.to_string()), mtu == Some(wanted));
    }
    let mut way = WayFinding::of(expected, trace);
    if outcome_holds {
        measured.push_str(&way.measured);
        holds = holds.map(|holds| holds && way.holds);
        untold = untold.or(way.untold.take());
    }
    let measured = Value::String(measured);
    let told = || match &evidence.silence {
        Some(silence) if evidence.detail.is_empty() => silence.to_string(),
        _ => evidence.detail.clone(),
    };
    if let Some(untold) = untold {
        return Finding { measured, holds: None, message: untold };
    }
    if !answered && !observed.doubts.is_empty() {
        let message = format!("no answer came, but the evidence is doubtful: {}", observed.doubts.join("; "));
        return Finding { measured, holds: None, message };
    }
    match holds {
        Some(holds) if way.message.is_empty() || !outcome_holds => Finding::of(measured, holds, told),
        Some(holds) => Finding::of(measured, holds, || way.message),
        None => Finding::missing("no verdict"),
    }
}

/// What comparing a packet's way with what was expected of it came to.
#[derive(Default)]
struct WayFinding {
    /// `, dies at master/enp0s6`, of what was asked for alone.
    measured: String,
    holds: bool,
    /// What the evidence doesn't tell.
    untold: Option<String>,
    message: String,
}

impl WayFinding {
    fn of(expected: &ExpectedProbe, trace: Option<&Trace>) -> Self {
        let mut finding = Self { holds: true, ..Self::default() };
        let ExpectedProbe { via, dies_at, reason, silent_on, .. } = expected;
        if via.is_empty() && dies_at.is_none() && reason.is_none() && silent_on.is_empty() {
            return finding;
        }
        let Some(Trace { walk, places, gaps, .. }) = trace else {
            finding.untold = Some("the evidence doesn't tell the packet's way".to_owned());
            return finding;
        };
        let end = walk.last_end();
        let mut wrong = Vec::new();
        if let Some(at) = dies_at {
            finding.measured.push_str(&format!(", dies at {}", end.at));
            if !place::is_at(&end.at, at) {
                wrong.push(format!("it ended at {}", end.at));
            }
        }
        if let Some(reason) = reason {
            finding.measured.push_str(&format!(", reason {}", end.reason));
            if end.reason != *reason && walk.end.reason != *reason {
                wrong.push(format!("it ended for another reason: {}", end.reason.words()));
            }
        }
        if !via.is_empty() {
            let mut hops = walk.all_hops();
            let missing = via.iter().find(|place| !hops.any(|hop| place::is_at(&hop.at, place)));
            match missing {
                None => finding.measured.push_str(&format!(", via {}", via.join(" → "))),
                Some(missing) => {
                    finding.measured.push_str(&format!(", not via {missing}"));
                    wrong.push(format!("it came by {}", way_in_words(walk)));
                }
            }
        }
        if !silent_on.is_empty() {
            let loud: Vec<_> =
                silent_on.iter().filter(|named| places.iter().any(|seen| place::is_at(seen, named))).collect();
            match loud.first() {
                None => finding.measured.push_str(&format!(", silent on {}", silent_on.join(", "))),
                Some(loud) => {
                    finding.measured.push_str(&format!(", seen on {loud}"));
                    wrong.push(format!("it was seen on {loud}"));
                }
            }
            if loud.is_empty() && *gaps {
                finding.untold = Some("packets went unseen, so that silence proves nothing".to_owned());
            }
        }
        finding.holds = wrong.is_empty();
        if !wrong.is_empty() {
            if !end.detail.is_empty() {
                wrong.push(end.detail.clone());
            }
            finding.message = wrong.join("; ");
        }
        finding
    }
}

/// A walk's places in order, each once for as long as the packet stayed there.
fn way_in_words(walk: &Walk) -> String {
    let mut places: Vec<&str> = walk.all_hops().map(|hop| hop.at.as_str()).collect();
    places.dedup();
    if places.is_empty() { "no place at all".to_owned() } else { places.join(" → ") }
}

fn compare_nat(observed: &Observed, node: &str, expected: &Value) -> Finding {
    let Some((_, entries)) = observed.nat.iter().find(|(name, _)| name == node) else {
        return Finding::missing(match (&observed.helm, died(observed)) {
            (Err(reason), _) => not_installed(reason),
            (Ok(()), Some(died)) => died,
            (Ok(()), None) => format!("the NAT table of {node} wasn't read"),
        });
    };
    let lines: Vec<_> = entries.iter().map(ToString::to_string).collect();
    let patterns: Vec<_> = expected.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wrong: Vec<_> = patterns
        .iter()
        .filter_map(|pattern| match pattern.strip_prefix('!') {
            Some(none) => lines.iter().find(|line| glob(none.trim(), line)).map(|line| format!("there is `{line}`")),
            None if lines.iter().any(|line| glob(pattern, line)) => None,
            None => {
                // `ICMP OUT`: what begins alike is what somebody wants to compare.
                let alike: String = pattern.split_inclusive(' ').take(2).collect();
                let near: Vec<_> = lines.iter().filter(|line| line.starts_with(&alike)).take(4).cloned().collect();
                let near = if near.is_empty() { String::new() } else { format!(", but `{}`", near.join("`, `")) };
                Some(format!("there is no `{pattern}`{near}"))
            }
        })
        .collect();
    // The table itself is too long for a cell, and how many entries it has differs from run to run.
    let held = match wrong.len() {
        0 => "holds".to_owned(),
        missed => format!("{} of {} hold", patterns.len() - missed, patterns.len()),
    };
    Finding::of(json!(held), wrong.is_empty(), || wrong.join("; "))
}

/// The first line of an answer, shortened: bodies can be long.
fn excerpt(answer: &str) -> String {
    const SHOWN: usize = 60;
    let line = answer.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn compare_node(observed: &Observed, node: &str, fact: NodeFact, expected: &Value) -> Finding {
    let agent = observed.nodes.iter().find(|(name, _)| name == node).map(|(_, agent)| agent);
    let decisions = match (agent, &observed.helm) {
        (Some(Agent::Running(decisions)), _) => decisions,
        (Some(Agent::Fatal(error)), _) if fact == NodeFact::Agent => {
            let holds = expected.as_str().is_some_and(|asked| asked == "fatal" || error.contains(asked));
            return Finding::of(json!(error), holds, || format!("the agent of {node} died: {error}"));
        }
        (Some(Agent::Fatal(error)), _) => {
            return Finding::missing(format!("the agent of {node} died: {error}"));
        }
        (Some(Agent::Absent), _) if fact == NodeFact::Agent => {
            let holds = expected.as_str() == Some("absent");
            return Finding::of(json!("absent"), holds, || format!("there is no agent on {node}"));
        }
        (Some(Agent::Absent), _) => return Finding::missing(format!("there is no agent on {node}")),
        (None, Err(reason)) => return Finding::missing(not_installed(reason)),
        (None, Ok(())) => return Finding::missing(format!("no agent was seen on {node}")),
    };
    if let Some(reason) = decisions.unread.get(fact.name()) {
        return Finding::missing(format!("the agent of {node} doesn't tell: {reason}"));
    }
    let measured = measured_for(fact, decisions, expected);
    let holds = match fact {
        NodeFact::NotSelected => contains_reasons(&measured, expected),
        _ => loosely_equal(&measured, expected),
    };
    let because = || {
        let about = |rule: &&cilium::decisions::Because| rule.decision == fact.name();
        match decisions.because.iter().find(about) {
            Some(rule) => format!("{} ({})", rule.says, rule.source),
            None => String::new(),
        }
    };
    Finding::of(measured, holds, because)
}

/// A decision as reports give it.
pub fn measured(fact: NodeFact, decisions: &Decisions) -> Value {
    match fact {
        NodeFact::Agent => json!("running"),
        NodeFact::NodeIp => json!(decisions.node_ip),
        NodeFact::Devices => decisions.devices.iter().map(|device| device.name.as_str()).collect(),
        NodeFact::NotSelected => {
            let reasons = decisions.not_selected.iter().map(|device| (device.name.clone(), json!(device.reason)));
            Value::Object(reasons.collect())
        }
        NodeFact::DirectRoutingDevice => json!(decisions.direct_routing_device),
        NodeFact::SkipFib => json!(decisions.skip_fib.is_some()),
        NodeFact::HostRouting => match decisions.host_routing {
            HostRouting::Bpf => json!("bpf"),
            HostRouting::Legacy => json!("legacy"),
        },
        NodeFact::Masquerade => json!(decisions.masquerading()),
        NodeFact::PodMtu => json!(decisions.pod_mtu),
        NodeFact::NodePortAddresses => decisions
            .devices
            .iter()
            .flat_map(|device| &device.nodeport_addresses)
            .map(|address| json!(address))
            .collect(),
    }
}

/// The same in the shape that was asked for, where there are two.
fn measured_for(fact: NodeFact, decisions: &Decisions, expected: &Value) -> Value {
    match (fact, expected) {
        (NodeFact::SkipFib, Value::String(_)) => json!(decisions.skip_fib),
        (NodeFact::NodePortAddresses, Value::Object(_)) => nodeport_by_device(decisions),
        _ => measured(fact, decisions),
    }
}

/// Addresses on which NodePort services answer, by device.
pub fn nodeport_by_device(decisions: &Decisions) -> Value {
    let devices = decisions.devices.iter();
    Value::Object(devices.map(|device| (device.name.clone(), json!(device.nodeport_addresses))).collect())
}

/// Equal, or a lone value where a list of one is: `devices: enp0s6`.
fn loosely_equal(measured: &Value, expected: &Value) -> bool {
    match (measured, expected) {
        (Value::Array(list), Value::String(_)) => matches!(list.as_slice(), [only] if only == expected),
        (Value::Null, Value::String(word)) => word == "none",
        _ => measured == expected,
    }
}

fn contains_reasons(measured: &Value, expected: &Value) -> bool {
    let none = Map::new();
    let measured = measured.as_object().unwrap_or(&none);
    match expected {
        Value::Object(expected) => expected.iter().all(|(device, part)| {
            let reason = measured.get(device).and_then(Value::as_str);
            reason.is_some_and(|reason| reason.contains(part.as_str().unwrap_or_default()))
        }),
        // Only the names.
        Value::Array(names) => names.iter().all(|name| name.as_str().is_some_and(|name| measured.contains_key(name))),
        _ => false,
    }
}
