//! The time line of a case: what each step did, when, how long it took, what agents decided after it, what was found.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::Value;

use super::paint::Paint;
use super::schema::Case;
use super::schema::steps::{Step, Stream};
use super::table::{shown, signed};
use crate::case::NodeFact;
use crate::verdict::Verdict;

/// A thing that was found at a check, in words, and whether it is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `internet ✗ silence`, `devices enp0s6 (master)`.
    pub text: String,
    /// Whether it is as it must be.
    pub verdict: Verdict,
}

/// Whether there is more to tell than that there were steps.
pub fn tells(case: &Case) -> bool {
    case.steps.iter().any(|step| step.verdict.is_some() || !step.streams.is_empty() || step.remark.is_some())
}

/// What agents decide now that they didn't before, alike on several nodes once.
pub fn changes(step: &Step) -> Vec<String> {
    let mut same: IndexMap<String, Vec<&str>> = IndexMap::new();
    // What was left out follows from what was selected.
    for changed in step.changed.iter().filter(|changed| changed.what != NodeFact::NotSelected.name()) {
        let text = format!("{} {} → {}", changed.what, shown(&changed.before), shown(&changed.after));
        same.entry(text).or_default().push(&changed.node);
    }
    same.into_iter().map(|(text, nodes)| format!("{text} ({})", nodes.join(", "))).collect()
}

/// What was found at a check, alike on several nodes once.
pub fn found(step: &Step) -> Vec<Found> {
    let mut same: IndexMap<(String, Verdict), Vec<&str>> = IndexMap::new();
    for check in &step.checks {
        let probe = step.probes.iter().find(|probe| probe.id == check.id);
        let text = match (probe, &check.measured) {
            // What a wait came to is told by its step.
            _ if check.id == step.step => shown(&check.measured),
            (Some(probe), _) => format!("{} {}", check.id, signed(probe.outcome_text.as_deref().unwrap_or("not sent"))),
            (None, Value::Null) => format!("{} not looked at", check.id),
            (None, measured) => format!("{} {}", check.id, shown(measured)),
        };
        same.entry((text, check.verdict)).or_default().extend(check.node.as_deref());
    }
    same.into_iter()
        .map(|((text, verdict), nodes)| {
            let text = if nodes.is_empty() { text } else { format!("{text} ({})", nodes.join(", ")) };
            Found { text, verdict }
        })
        .collect()
}

/// `pod-to-pod every 20 ms: 102 of 112 lost, 2222 ms without an answer, from 61 to 2283 ms`
pub fn stream(stream: &Stream) -> String {
    let ms = |us: u64| us / 1000;
    let mut out = format!("{} every {} ms: {} of {} lost", stream.probe, ms(stream.every_us), stream.lost, stream.sent);
    if let Some(outage) = stream.outages.iter().max_by_key(|outage| outage.to_us - outage.from_us.min(outage.to_us)) {
        let _ = write!(out, ", {} ms without an answer", ms(stream.gap_us));
        let _ = match outage.over {
            true => write!(out, ", from {} to {} ms", ms(outage.from_us), ms(outage.to_us)),
            false => write!(out, ", from {} ms to the end", ms(outage.from_us)),
        };
        let _ = write!(out, "; first {}", outage.first);
    }
    out
}

/// `72 ms`, `2.18 s`
pub fn time(us: u64) -> String {
    if us < 1_000_000 { format!("{} ms", us / 1000) } else { format!("{:.2} s", us as f64 / 1e6) }
}

/// The time line as text, a line a step and what belongs to it below.
pub fn text(case: &Case, paint: Paint) -> String {
    let mut out = format!("{} time line\n", paint.strong(&case.id()));
    for step in &case.steps {
        let sign = match step.verdict {
            Some(Verdict::Pass) => paint.good("✓"),
            Some(Verdict::Fail | Verdict::Error) => paint.bad("✗"),
            Some(_) => paint.doubtful("?"),
            None => " ".to_owned(),
        };
        let indent = if step.inner { "  " } else { "" };
        let took = if step.not_taken.is_some() { "–".to_owned() } else { time(step.took_us) };
        let _ = writeln!(out, "  {:>8} {:>8}  {sign} {indent}{}", time(step.at_us), took, step.step);
        let mut below = |line: &str| {
            let _ = writeln!(out, "{:24}{indent}{line}", "");
        };
        let changes = changes(step);
        changes.iter().for_each(|line| below(line));
        let cells: Vec<_> = found(step)
            .into_iter()
            .map(|found| match found.verdict {
                Verdict::Pass => found.text,
                Verdict::Fail | Verdict::Error => paint.bad(&format!("!! {}", found.text)),
                Verdict::Skip | Verdict::Inconclusive => paint.doubtful(&format!("?? {}", found.text)),
            })
            .collect();
        cells.chunks(4).for_each(|cells| below(&cells.join(" · ")));
        step.streams.iter().for_each(|of| below(&stream(of)));
        step.remark.iter().chain(&step.not_taken).for_each(|line| below(&paint.faint(line)));
    }
    out
}
