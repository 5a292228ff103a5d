//! How far the model was held against real components: the page of the book, from recordings.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::Compared;
use super::facts::{Cell, Facts, Kind, UNCLEAR};
use super::known::Known;
use super::recording::Recording;

/// What stands before the tables.
const HEAD: &str = "\
# How far the model was checked

<!-- Written by a test from recordings: BLESS=1 cargo test -p underlay --test fidelity -->

A *cell* is what can be said of a case in a word: what became of a probe, the source that its far end saw, the device it
left its node by, where and why it ended; each decision of each agent, each entry of its NAT table. Recordings hold what
the real cilium-agent made of the cells below, in the same lab, with the same probes, without Kubernetes (`agent`) or with
all of it (`kind`); `cargo test` holds the model against each of them (`harness/underlay/testdata/truth/`). With Cilium at
hand, `underlay test --engine netns,agent` or `netns,kind` does it live.

A cell that was recorded once and agrees says that the model is right there, on that kernel; it says nothing of what
isn't recorded. Hops are not compared: eBPF's redirects pass by taps. Nor are sources, devices and ends that only one of
the two could tell.
";

/// The page.
pub fn render(recordings: &[Recording], known: &Known) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## What was recorded\n\n");
    if recordings.is_empty() {
        out.push_str("Nothing yet.\n");
        return out;
    }
    let mut components: IndexMap<[&str; 4], Vec<&Recording>> = IndexMap::new();
    for recording in recordings {
        let Recording { component, kernel, arch, date, .. } = recording;
        components.entry([component, kernel, arch, date]).or_default().push(recording);
    }
    out.push_str("| component | kernel | date | scenarios | cases | cells |\n|---|---|---|---|---|---|\n");
    for ([component, kernel, arch, date], recordings) in &components {
        let facts: Vec<_> = recordings.iter().flat_map(|recording| recording.cases.values()).collect();
        let cells: usize = facts.iter().map(|facts| told(facts).count()).sum();
        let (scenarios, cases) = (recordings.len(), facts.len());
        let _ = writeln!(out, "| {component} | {kernel} {arch} | {date} | {scenarios} | {cases} | {cells} |");
    }
    out.push_str("\n## How the model does\n\n");
    kinds(&mut out, recordings, known);
    out.push_str("\n## By scenario\n\n");
    out.push_str("| scenario | engine | version | cases | cells | known to differ |\n|---|---|---|---|---|---|\n");
    for recording in recordings {
        let cells: usize = recording.cases.values().map(|facts| told(facts).count()).sum();
        let differing: usize = each(recording, known).map(|(_, _, because)| usize::from(because.is_some())).sum();
        let Recording { scenario, engine, version, cases, .. } = recording;
        let _ = writeln!(out, "| {scenario} | {engine} | {version} | {} | {cells} | {differing} |", cases.len());
    }
    out.push_str("\n## Known differences\n\n");
    let mut reasons: IndexMap<&str, Vec<String>> = known.reasons().map(|because| (because, Vec::new())).collect();
    for recording in recordings {
        for (id, cell, because) in each(recording, known) {
            if let Some(cells) = because.and_then(|because| reasons.get_mut(because)) {
                cells.push(format!("`{id}` {}", cell.name));
            }
        }
    }
    if reasons.is_empty() {
        out.push_str("None.\n");
    }
    for (because, cells) in reasons {
        let _ = writeln!(out, "- {because} ({})", shown(&cells));
    }
    out
}

/// A case's cells, those left out of which the evidence was doubtful.
fn told(facts: &Facts) -> impl Iterator<Item = Cell> {
    facts.cells().into_iter().filter(|cell| cell.value != UNCLEAR)
}

/// Each cell of a recording: its case, itself, and why it is known to differ.
fn each<'a>(recording: &'a Recording, known: &'a Known) -> impl Iterator<Item = (String, Cell, Option<&'a str>)> {
    let cells = move |(variant, facts): (&'a String, &'a Facts)| {
        let id = format!("{}::{variant}", recording.scenario);
        told(facts).map(move |cell| {
            let because = known.because(&id, &recording.version, &cell.name);
            (id.clone(), cell, because)
        })
    };
    recording.cases.iter().flat_map(cells)
}

fn kinds(out: &mut String, recordings: &[Recording], known: &Known) {
    let mut counts: IndexMap<Kind, [usize; 2]> = Kind::ALL.into_iter().map(|kind| (kind, [0, 0])).collect();
    for recording in recordings {
        for (_, cell, because) in each(recording, known) {
            let count = counts.entry(cell.kind).or_default();
            count[0] += 1;
            count[1] += usize::from(because.is_some());
        }
    }
    out.push_str("| cells | recorded | the model agrees | known to differ |\n|---|---|---|---|\n");
    for (kind, [all, differing]) in counts {
        let _ = writeln!(out, "| {} | {all} | {} | {differing} |", kind.name(), all - differing);
    }
}

fn shown(cells: &[String]) -> String {
    const MOST: usize = 6;
    let mut text = cells.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if cells.len() > MOST {
        let _ = write!(text, " and {} more", cells.len() - MOST);
    }
    if text.is_empty() { "in no recorded cell".to_owned() } else { text }
}

/// What a case of a recording came to against the model: the same comparison as a live one.
pub fn against(recording: &Recording, variant: &str, model: &Facts, known: &Known) -> Option<Compared> {
    let recorded = recording.cases.get(variant)?;
    let id = format!("{}::{variant}", recording.scenario);
    Some(super::compare(&id, &recording.version, model, recorded, known))
}
