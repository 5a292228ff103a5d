//! What a step came to: its checks, what it waited for, what streams lost.

use serde_json::json;

use super::{CheckResult, Provenance, Verdict, check, decided};
use crate::case::{Case, Subject};
use crate::step::words::time;
use crate::step::{Action, Stream};
use crate::timeline::{StepSeen, StreamSeen, Timeline, Waited};

/// What a step came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepResult {
    /// What must be so at that moment, and whether it is.
    pub checks: Vec<CheckResult>,
}

/// Judges each step of a time line. `doubts` are why the evidence can't be trusted, if it can't.
pub fn judge_steps(case: &Case, timeline: &Timeline, doubts: &[String], provenance: Provenance) -> Vec<StepResult> {
    timeline.steps.iter().map(|seen| judge(case, seen, doubts, provenance)).collect()
}

fn judge(case: &Case, seen: &StepSeen, doubts: &[String], provenance: Provenance) -> StepResult {
    let mut checks = Vec::new();
    if let Some(reason) = &seen.not_taken {
        if let Action::Check { expectations, .. } = &seen.step.action {
            checks.extend(expectations.iter().map(|expected| CheckResult {
                subject: expected.subject.clone(),
                line: expected.line,
                expected: expected.expected.to_value(),
                measured: json!(null),
                verdict: Verdict::Inconclusive,
                message: reason.clone(),
            }));
        }
        return StepResult { checks };
    }
    if let (Action::Check { expectations, .. }, Some(found)) = (&seen.step.action, &seen.found) {
        checks.extend(check(case, found, expectations, provenance));
    }
    if let (Action::WaitFor { within, .. }, Some(waited)) = (&seen.step.action, &seen.waited) {
        checks.push(awaited(seen, waited, &time(*within), provenance));
    }
    for stream in &seen.streams {
        checks.extend(bounds(stream, provenance));
    }
    for check in checks.iter_mut().filter(|check| seen.found.is_none() && check.verdict == Verdict::Fail) {
        // What a busy machine was too late to read is lost to nobody else.
        if !doubts.is_empty() {
            check.verdict = Verdict::Inconclusive;
            check.message = format!("{}; but the evidence is doubtful: {}", check.message, doubts.join("; "));
        }
    }
    StepResult { checks }
}

fn awaited(seen: &StepSeen, waited: &Waited, within: &str, provenance: Provenance) -> CheckResult {
    CheckResult {
        subject: Subject::Step(seen.step.action.to_string()),
        line: seen.step.line,
        expected: json!(format!("within {within}")),
        measured: json!(if waited.held { "so in time".to_owned() } else { format!("not within {within}") }),
        verdict: decided(Some(waited.held), provenance),
        message: if waited.held { String::new() } else { format!("last seen: {}", waited.saw) },
    }
}

fn bounds(seen: &StreamSeen, provenance: Provenance) -> Vec<CheckResult> {
    let Stream { probe, lost, gap, line, .. } = &seen.stream;
    let why = || match seen.outages.iter().max_by_key(|outage| outage.to.saturating_sub(outage.from)) {
        Some(outage) => format!("{} of {} lost; the first of the longest gap: {}", seen.lost, seen.sent, outage.first),
        None => String::new(),
    };
    let check = |what: &str, expected: String, measured: String, holds: bool| CheckResult {
        subject: Subject::Step(format!("{what} of {probe}")),
        line: *line,
        expected: json!(expected),
        measured: json!(measured),
        verdict: decided(Some(holds), provenance),
        message: if holds { String::new() } else { why() },
    };
    let mut checks = Vec::new();
    if let Some(max) = lost {
        let measured = format!("{} of {}", seen.lost, seen.sent);
        checks.push(check("lost", format!("at most {max}"), measured, seen.lost <= *max));
    }
    if let Some(max) = gap {
        let measured = format!("{} ms", seen.gap.as_millis());
        checks.push(check("gap", format!("at most {}", time(*max)), measured, seen.gap <= *max));
    }
    checks
}
