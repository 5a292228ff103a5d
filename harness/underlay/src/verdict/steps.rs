//! What a step came to: its checks, what it waited for, what streams lost.

use serde_json::json;

use super::{CheckResult, Provenance, Verdict, but, check, decided, in_doubt};
use crate::case::{Case, Check, ExpectedOutcome, Subject};
use crate::step::words::time;
use crate::step::{Action, Bound, Condition, Step, Stream};
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
        return StepResult { checks: untold(&seen.step, reason) };
    }
    if let (Action::Check { expectations, .. }, Some(found)) = (&seen.step.action, &seen.found) {
        checks.extend(check(case, found, expectations, provenance));
    }
    if let (Action::WaitFor { within, .. }, Some(waited)) = (&seen.step.action, &seen.waited) {
        checks.push(awaited(seen, waited, &time(*within), provenance));
    }
    for stream in &seen.streams {
        let late = stream.late_for(case);
        checks.extend(bounds(stream, provenance).into_iter().map(|check| {
            match late && check.verdict == Verdict::Fail {
                true => {
                    doubtful(check, &format!("this machine was too busy: it sent {} ms late", stream.late.as_millis()))
                }
                false => check,
            }
        }));
    }
    // What a busy machine was too late to read is lost to nobody else; who waits for no answer has it then.
    let by_silence = |check: &CheckResult| match &seen.step.action {
        Action::WaitFor { condition: Condition::Probe { outcome, .. }, .. } if *outcome != ExpectedOutcome::Works => {
            check.verdict == Verdict::Pass
        }
        _ => check.verdict == Verdict::Fail,
    };
    if seen.found.is_none() && !doubts.is_empty() {
        let doubts = in_doubt(doubts);
        let judged = |check| if by_silence(&check) { doubtful(check, &doubts) } else { check };
        checks = checks.into_iter().map(judged).collect();
    }
    StepResult { checks }
}

fn doubtful(check: CheckResult, doubt: &str) -> CheckResult {
    CheckResult { verdict: Verdict::Inconclusive, message: but(&check.message, doubt), ..check }
}

/// What was to be checked by a step that was not taken.
fn untold(step: &Step, reason: &str) -> Vec<CheckResult> {
    let untold = |subject, line, expected| CheckResult {
        subject,
        line,
        expected,
        measured: json!(null),
        verdict: Verdict::Inconclusive,
        message: reason.to_owned(),
    };
    match &step.action {
        Action::Check { expectations, .. } => {
            let one = |check: &Check| untold(check.subject.clone(), check.line, check.expected.to_value());
            expectations.iter().map(one).collect()
        }
        Action::WaitFor { within, .. } => {
            vec![untold(Subject::Step(step.action.to_string()), step.line, json!(format!("within {}", time(*within))))]
        }
        Action::During { streams, .. } => {
            let bounds = streams.iter().flat_map(|stream| stream.bounds().map(move |bound| (stream, bound)));
            let one = |(stream, bound): (&Stream, Bound)| {
                untold(Subject::Step(bound.of(&stream.probe)), stream.line, json!(bound.to_string()))
            };
            bounds.map(one).collect()
        }
        _ => Vec::new(),
    }
}

fn awaited(seen: &StepSeen, waited: &Waited, within: &str, provenance: Provenance) -> CheckResult {
    CheckResult {
        subject: Subject::Step(seen.step.action.to_string()),
        line: seen.step.line,
        expected: json!(format!("within {within}")),
        measured: match waited.held {
            Some(true) => json!("so in time"),
            Some(false) => json!(format!("not within {within}")),
            None => json!(null),
        },
        verdict: decided(waited.held, provenance),
        message: if waited.held == Some(true) { String::new() } else { format!("last seen: {}", waited.saw) },
    }
}

fn bounds(seen: &StreamSeen, provenance: Provenance) -> Vec<CheckResult> {
    let stream = &seen.stream;
    let why = || match seen.outages.iter().max_by_key(|outage| outage.to.saturating_sub(outage.from)) {
        Some(outage) => format!("{} of {} lost; the first of the longest gap: {}", seen.lost, seen.sent, outage.first),
        None => String::new(),
    };
    let check = |bound: Bound| {
        let (measured, holds) = match bound {
            Bound::Lost(max) => (format!("{} of {}", seen.lost, seen.sent), seen.lost <= max),
            Bound::Gap(max) => (format!("{} ms", seen.gap.as_millis()), seen.gap <= max),
        };
        CheckResult {
            subject: Subject::Step(bound.of(&stream.probe)),
            line: stream.line,
            expected: json!(bound.to_string()),
            measured: json!(measured),
            verdict: decided(Some(holds), provenance),
            message: if holds { String::new() } else { why() },
        }
    };
    stream.bounds().map(check).collect()
}
