//! Whether a probe came to what is expected: its outcome, its source, its way and its end.

use std::net::IpAddr;

use probe::Evidence;
use probe::evidence::{Outcome, OutcomeKind};
use probe::walk::{Walk, place};
use serde_json::{Value, json};

use super::{Finding, died, doubtful, not_installed};
use crate::case::{Case, ExpectedOutcome, ExpectedProbe, ProbeKind};
use crate::observed::{Observed, Trace};

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

pub(super) fn compare(case: &Case, observed: &Observed, id: &str, expected: &ExpectedProbe) -> Finding {
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
    // Where it was last seen of a ping, whose far end doesn't tell.
    let source_by_capture =
        case.probes.iter().any(|probe| probe.id == id && matches!(probe.kind, ProbeKind::Icmp { .. }))
            || evidence.source_seen.is_none();
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
    if outcome_holds && expected.source.is_some() && source_by_capture && trace.is_some_and(|trace| trace.gaps) {
        untold = Some("packets went unseen, so that the source where it was last seen proves nothing".to_owned());
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
    let astray = trace.is_some_and(|trace| trace.astray.is_some());
    if (!answered || astray) && !observed.doubts.is_empty() {
        return doubtful(observed, measured, if answered { "an answer came" } else { "no answer came" });
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
                Some(missing) if *gaps => {
                    finding.measured.push_str(&format!(", not seen at {missing}"));
                    finding.untold =
                        Some("packets went unseen, so that not having been seen proves nothing".to_owned());
                }
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

/// The first line of an answer, shortened: bodies can be long.
fn excerpt(answer: &str) -> String {
    const SHOWN: usize = 60;
    let line = answer.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
