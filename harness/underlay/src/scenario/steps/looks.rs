//! Steps that look: checks, waiting, streams.

use std::time::Duration;

use topology::source::{Position, Spanned, choices, shown};

use super::file::{DuringFile, StepFile, StreamFile, WaitFile};
use super::world::World;
use super::{Context, read_in};
use crate::case::ExpectedOutcome;
use crate::scenario::expect::{self, Block};
use crate::scenario::file::ExpectFile;
use crate::scenario::report::Report;
use crate::scenario::resolve::expected_of;
use crate::scenario::terse::OneOrMany;
use crate::scenario::text;
use crate::step::{Action, Condition, Link, Stream};

/// How long something is waited for where nobody says.
const PATIENCE: Duration = Duration::from_secs(30);

/// From one packet of a stream to the next where nobody says.
const EVERY: Duration = Duration::from_millis(20);

/// What a stream's interval may be.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(10);

pub(super) fn check(name: &Spanned<String>, context: &Context<'_>, report: &mut Report<'_>) -> Option<Action> {
    let Some(blocks) = context.checks.get(name.as_str()) else {
        let known = context.checks.keys().copied();
        let diagnostic = report.add(name.at, format!("there is no set of expectations `{}`", shown(name)));
        match context.checks.is_empty() {
            true => diagnostic.help("name some under `checks`, or write them here: `expect: {probes: {…}}`"),
            false => diagnostic.help(choices(name, "in `checks`", known)),
        };
        return None;
    };
    Some(Action::Check { name: Some(name.value.clone()), expectations: expected_of(context.index, blocks) })
}

pub(super) fn expect(
    blocks: &Spanned<OneOrMany<ExpectFile>>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Action {
    let mut held = Vec::new();
    for block in blocks.value.0.iter().map(Block::from) {
        let mut selected = vec![false; context.index];
        selected.push(context.selects(&block, report));
        held.push((selected, block.read(context.probes, context.network, report)));
    }
    Action::Check { name: None, expectations: expected_of(context.index, &held) }
}

fn probe(name: &Spanned<String>, context: &Context<'_>, report: &mut Report<'_>) -> Option<()> {
    if !context.probes.contains_key(name.as_str()) {
        let help = choices(name, "probes", context.probes.keys().copied().filter(|known| text::printable(known)));
        report.add(name.at, format!("there is no probe `{}`", shown(name))).help(help);
        return None;
    }
    Some(())
}

pub(super) fn wait_for(
    file: &WaitFile,
    at: Position,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Action> {
    let within = match &file.within {
        Some(within) => text::deadline(within, report)?,
        None => PATIENCE,
    };
    let mut conditions = Vec::new();
    if let Some(name) = &file.probe {
        let known = probe(name, context, report);
        let kind = context.probes.get(name.as_str()).and_then(Option::as_ref).map(|spec| &spec.kind);
        let outcome = match &file.outcome {
            Some(outcome) => expect::outcome(outcome, kind, report),
            None => Some(ExpectedOutcome::Works),
        };
        conditions.push(known.and(outcome).map(|outcome| Condition::Probe { probe: name.value.clone(), outcome }));
    } else if let Some(outcome) = &file.outcome {
        report.add(outcome.at, "an outcome of which probe?").help("`outcome` goes with `probe`");
        return None;
    }
    if let Some(agents) = &file.agents {
        if agents.value != "running" {
            report
                .add(agents.at, format!("`{}` is nothing that agents are waited for", shown(agents)))
                .help("`agents: running`");
        }
        conditions.push(Some(Condition::Agents));
    }
    if let Some(ready) = file.dns_ready {
        conditions.push(Some(Condition::DnsReady(ready.value)));
    }
    for (written, selected) in [(&file.selected, true), (&file.not_selected, false)] {
        let Some(written) = written else { continue };
        let link = device(written, context, report);
        let condition = if selected { Condition::Selected } else { Condition::NotSelected };
        conditions.push(link.map(condition));
    }
    if let Some(pair) = &file.overlay {
        conditions.push(overlay_pair(pair, context, report));
    }
    match conditions.len() {
        1 => Some(Action::WaitFor { condition: conditions.pop()??, within }),
        0 => {
            report
                .add(at, "nothing is waited for")
                .help("one of `probe`, `agents`, `dns-ready`, `selected`, `not-selected`, `overlay`");
            None
        }
        _ => {
            report.add(at, "two things are waited for at once").help("make two steps of it");
            None
        }
    }
}

/// A device on a node of the cluster.
fn device(written: &Spanned<String>, context: &Context<'_>, report: &mut Report<'_>) -> Option<Link> {
    let link = super::network::link(written, context.network, report)?;
    let name = Spanned { value: link.node.clone(), at: written.at };
    super::cluster_node(&name, context.network, report)?;
    Some(link)
}

fn overlay_pair(
    pair: &Spanned<Vec<Spanned<String>>>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Condition> {
    let [from, to] = pair.value.as_slice() else {
        report.add(pair.at, "a session is between two nodes").help("`overlay: [master, worker]`");
        return None;
    };
    for name in [from, to] {
        super::network::member(name, context.network, report)?;
    }
    if from.value == to.value {
        report.add(to.at, "a session is between two nodes, not one").help("`overlay: [master, worker]`");
        return None;
    }
    Some(Condition::Peer { from: from.value.clone(), to: to.value.clone() })
}

pub(super) fn during(
    file: &DuringFile,
    at: Position,
    context: &Context<'_>,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> Option<Action> {
    if file.probes.is_empty() || file.steps.value.is_empty() {
        let missing = if file.probes.is_empty() { "no probe runs" } else { "no step happens" };
        report.add(at, format!("{missing} here")).help("`during: {probes: {ping: {}}, steps: [{restart: agents}]}`");
    }
    if let Some(inner) = file.steps.value.iter().find(|step| matches!(step.value, StepFile::During(_))) {
        report.add(inner.at, "a stream within a stream").help("name all probes in the outer one");
        return None;
    }
    let mut streams = Vec::new();
    for (name, asserted) in &file.probes {
        probe(name, context, report);
        streams.extend(stream(name, asserted.as_ref().unwrap_or(&StreamFile::default()), report));
    }
    let steps = read_in(&file.steps.value, context, world, report);
    Some(Action::During { streams, steps })
}

fn stream(name: &Spanned<String>, file: &StreamFile, report: &mut Report<'_>) -> Option<Stream> {
    let every = match &file.every {
        None => EVERY,
        Some(written) => match text::duration(written.trim()) {
            Some(every) if INTERVALS.contains(&every) => every,
            _ => {
                report
                    .add(written.at, format!("`{}` can't be the time from one packet to the next", shown(written)))
                    .help("from 5ms to 10s");
                return None;
            }
        },
    };
    let gap = match &file.gap {
        Some(gap) => Some(text::deadline(&gap.value.max, report)?),
        None => None,
    };
    let asserted = file.lost.as_ref().map(|lost| lost.at).or(file.gap.as_ref().map(|gap| gap.at));
    let line = asserted.unwrap_or(name.at).line;
    Some(Stream { probe: name.value.clone(), every, lost: file.lost.map(|lost| lost.value.max), gap, line })
}
