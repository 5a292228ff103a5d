//! From evidence to verdicts. Pure: the same case and the same evidence always come to the same.
//!
//! A check whose evidence is missing or doubtful is inconclusive, never passed and never failed. Silence in particular
//! needs an observer without gaps: where frames were lost, only an answer that came proves anything.

mod node;
mod outcome;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::case::{Case, Check, Expected, Subject};
use crate::observed::{Agent, EngineError, Observed};
use crate::scenario::glob;

pub use node::{measured, nodeport_by_device};
pub use outcome::{comes_to, outcome_word};
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
    /// Whether it ran a second time, since this machine was too busy for a verdict the first time.
    pub again: bool,
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

impl CaseResult {
    /// Whether another run may tell more: this machine was too busy for a verdict.
    pub fn is_worth_another_run(&self) -> bool {
        self.verdict == Verdict::Inconclusive && self.observed.as_ref().is_some_and(|observed| observed.late)
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
        again: false,
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
        Err(error @ EngineError::Unread { .. }) => {
            return not_run(case, Verdict::Inconclusive, error.to_string(), None);
        }
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
        again: false,
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
        (Subject::Probe(id), Expected::Probe(expected)) => outcome::compare(case, observed, id, expected),
        (Subject::Node { node, fact }, Expected::Value(expected)) => node::compare(observed, node, *fact, expected),
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
            let told = || {
                let reasons: Vec<_> = dns.not_ready.iter().map(|(name, why)| format!("{name}: {why}")).collect();
                match reasons.is_empty() {
                    true => format!("{} of {} replicas ready, {} restarts", dns.ready, dns.replicas, dns.restarts),
                    false => reasons.join("; "),
                }
            };
            // Who isn't ready, or was restarted, didn't get an answer in time.
            let by_silence = dns.ready < dns.replicas || dns.restarts > 0;
            if by_silence && !observed.doubts.is_empty() {
                return doubtful(observed, json!(measured), &told());
            }
            Finding::of(json!(measured), node::loosely_equal(&json!(measured), expected), told)
        }
        // The scenario's reader gives a probe a probe's expectation and everything else a value.
        (Subject::Probe(_) | Subject::Step(_), Expected::Value(_)) | (_, Expected::Probe(_)) => {
            Finding::missing("the expectation doesn't fit what it is about")
        }
    }
}

/// What can't be told since the evidence, which is that something didn't come, is doubtful.
fn doubtful(observed: &Observed, measured: Value, told: &str) -> Finding {
    Finding { measured, holds: None, message: but(told, &in_doubt(&observed.doubts)) }
}

/// Why evidence is doubtful, in words.
fn in_doubt(doubts: &[String]) -> String {
    format!("the evidence is doubtful: {}", doubts.join("; "))
}

/// What was told, if anything was, and what speaks against it.
fn but(told: &str, doubt: &str) -> String {
    if told.is_empty() { doubt.to_owned() } else { format!("{told}; but {doubt}") }
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
    // What isn't there may have been late.
    let by_absence = !wrong.is_empty() || patterns.iter().any(|pattern| pattern.starts_with('!'));
    if by_absence && !observed.doubts.is_empty() {
        return doubtful(observed, json!(held), &wrong.join("; "));
    }
    Finding::of(json!(held), wrong.is_empty(), || wrong.join("; "))
}
