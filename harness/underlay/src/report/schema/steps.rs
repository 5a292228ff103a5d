//! What happened before the probes, step by step.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Check, Dns, Node, Probe, microseconds};
use crate::case::{Case as Subject, NodeFact};
use crate::observed::Agent;
use crate::timeline::{StepSeen, StreamSeen, Timeline};
use crate::verdict::{self, StepResult, Verdict};

/// A step and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// In words: `upgrade devices=enp0s6,tailscale0 --reuse-values`, `check healthy`.
    pub step: String,
    /// Its line in the scenario's file.
    pub line: u32,
    /// Whether it happened during a stream: the last step before it that didn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inner: bool,
    /// When it began, from the beginning of the first, in microseconds.
    pub at_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Why it was not taken, if it wasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_taken: Option<String>,
    /// What is to be told of it: that Helm refused the values, what was seen last of what was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// What agents decide after it that they didn't before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
    /// What was asserted of this moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What was sent for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// What each node's agent decides at this moment, of a check.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub nodes: IndexMap<String, Node>,
    /// CoreDNS at this moment, of a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// What became of probes that were sent over and over meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Stream>,
    /// The worst of its checks; null where nothing was asserted.
    pub verdict: Option<Verdict>,
}

/// A decision that a step changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The node.
    pub node: String,
    /// Which decision, by its key in a scenario: `devices`.
    pub what: String,
    /// What it was; null where there was no agent to decide.
    pub before: Value,
    /// What it is.
    pub after: Value,
}

/// A probe sent over and over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its name in the scenario.
    pub probe: String,
    /// From one to the next, in microseconds.
    pub every_us: u64,
    /// From the first to the last, in microseconds.
    pub lasted_us: u64,
    /// How many were sent.
    pub sent: u64,
    /// How many were not answered.
    pub lost: u64,
    /// The longest time without an answer, from the sending of the last one answered to that of the next one, in
    /// microseconds; 0 where none was lost.
    pub gap_us: u64,
    /// Each time without answers, in order.
    pub outages: Vec<Outage>,
}

/// A time without answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// When the last one answered was sent, from the stream's beginning, in microseconds.
    pub from_us: u64,
    /// When the next one answered was sent; where there is none, the last one.
    pub to_us: u64,
    /// Whether an answer came again.
    pub over: bool,
    /// How many were lost.
    pub lost: u64,
    /// What the first of them came to.
    pub first: String,
}

impl From<&StreamSeen> for Stream {
    fn from(seen: &StreamSeen) -> Self {
        let outages = seen.outages.iter().map(|outage| Outage {
            from_us: microseconds(outage.from),
            to_us: microseconds(outage.to),
            over: outage.over,
            lost: outage.lost,
            first: outage.first.clone(),
        });
        Self {
            probe: seen.stream.probe.clone(),
            every_us: microseconds(seen.stream.every),
            lasted_us: microseconds(seen.lasted),
            sent: seen.sent,
            lost: seen.lost,
            gap_us: microseconds(seen.gap),
            outages: outages.collect(),
        }
    }
}

/// Every step of a time line, with what it came to.
pub fn steps(case: &Subject, timeline: &Timeline, results: &[StepResult]) -> Vec<Step> {
    let mut before = &timeline.start;
    let mut steps = Vec::new();
    for (seen, result) in timeline.steps.iter().zip(results) {
        steps.push(step(case, before, seen, result));
        // What a stream spans is told by the steps within it, which come behind it.
        if seen.streams.is_empty() {
            before = &seen.agents;
        }
    }
    steps
}

fn step(case: &Subject, before: &[(String, Agent)], seen: &StepSeen, result: &StepResult) -> Step {
    let checks: Vec<_> = result.checks.iter().map(Check::from).collect();
    let found = seen.found.as_deref();
    let waited = seen
        .waited
        .as_ref()
        .filter(|waited| waited.held != Some(true))
        .map(|waited| format!("last seen: {}", waited.saw));
    let mut probes = found.map(|found| super::probes(case, found, &checks)).unwrap_or_default();
    probes.retain(|probe| probe.outcome.is_some());
    Step {
        step: seen.step.action.to_string(),
        line: seen.step.line,
        inner: seen.inner,
        at_us: microseconds(seen.began),
        took_us: microseconds(seen.took),
        not_taken: seen.not_taken.clone(),
        remark: seen.remark.clone().or(waited),
        changed: if seen.streams.is_empty() { changed(before, &seen.agents) } else { Vec::new() },
        verdict: checks.iter().map(|check| check.verdict).max(),
        checks,
        probes,
        nodes: found.map(super::nodes).unwrap_or_default(),
        dns: found.map(Dns::from),
        streams: seen.streams.iter().map(Stream::from).collect(),
    }
}

fn changed(before: &[(String, Agent)], after: &[(String, Agent)]) -> Vec<Changed> {
    let mut changed = Vec::new();
    for (node, now) in after {
        let then = before.iter().find(|(name, _)| name == node).map(|(_, agent)| agent);
        for fact in NodeFact::ALL {
            let of = |agent: Option<&Agent>| match (agent, fact) {
                (Some(Agent::Running(decisions)), _) => verdict::measured(fact, decisions),
                (Some(other), NodeFact::Agent) => Value::from(other.to_string()),
                _ => Value::Null,
            };
            let (before, after) = (of(then), of(Some(now)));
            if before != after {
                changed.push(Changed { node: node.clone(), what: fact.name().to_owned(), before, after });
            }
        }
    }
    changed
}
