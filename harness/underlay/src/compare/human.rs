//! A comparison for a person at a terminal: per scenario the cells that changed, then the decisions behind them.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, LineStyle, Table, presets};
use indexmap::{IndexMap, IndexSet};

use super::{CaseChange, CellChange, Comparison, Decided, DecisionChange, Incomplete, Origin, Trend};
use crate::case::NodeFact;
use crate::report::human::{tame, wrap};
use crate::report::paint::Paint;
use crate::verdict::{Provenance, Verdict};

/// Spaces between columns.
const PADDING: usize = 2;

/// Widest columns but those of what was and what is, in characters.
const NARROW: usize = 17;

/// The least what was and what is are wrapped to.
const LEAST: usize = 12;

/// What is behind a cell of a case in which everything is decided as before.
const NO_DECISION: &str = "no decision";

/// Before what belongs to the line above.
const INDENT: usize = 4;

/// The whole comparison, in lines of `width` characters where that can be.
pub fn render(comparison: &Comparison, paint: Paint, width: usize) -> String {
    let tame = tame(comparison);
    let comparison = tame.as_ref().unwrap_or(comparison);
    let mut out = title(comparison, paint, width);
    let mut scenarios: IndexMap<&str, Vec<&CaseChange>> = IndexMap::new();
    for case in comparison.changed.iter().filter(|case| !case.cells.is_empty()) {
        scenarios.entry(&case.scenario).or_default().push(case);
    }
    for (scenario, cases) in &scenarios {
        let _ = writeln!(out, "\n{}", paint.strong(scenario));
        out.push_str(&table(comparison, cases, paint, width));
    }
    out.push_str(&decisions(comparison, paint, width));
    out.push('\n');
    out.push_str(&legend(comparison, width));
    out.push_str(&unexplained(comparison, width));
    out.push_str(&left_out(comparison, paint, width));
    out.push_str(&alike(comparison, width));
    out.push_str(&summary(comparison, paint));
    out
}

/// `Cilium 1.18.2 → Cilium 1.19 · engine netns (model)`
fn title(comparison: &Comparison, paint: Paint, width: usize) -> String {
    let name = format!("{} → {}", comparison.before.name, comparison.after.name);
    let origins = || comparison.changed.iter().flat_map(|case| [&case.before, &case.after]);
    let engine = |origin: &Origin| {
        let decisions = match origin.decisions {
            Provenance::Model => "model",
            Provenance::Real => "real",
            Provenance::Stub => "stub",
        };
        format!("{} ({decisions})", origin.engine)
    };
    let engines: IndexSet<_> = origins().map(engine).collect();
    let unverified: IndexSet<_> =
        origins().filter(|origin| !origin.cilium_verified).map(|origin| origin.cilium.as_str()).collect();
    let mut rest = String::new();
    if !engines.is_empty() {
        let _ = write!(rest, " · engine {}", engines.into_iter().collect::<Vec<_>>().join(", "));
    }
    if !unverified.is_empty() {
        let versions = unverified.into_iter().collect::<Vec<_>>().join(", ");
        let _ = write!(rest, " · unverified: the model of {versions}");
    }
    let lines = wrap(&format!("{name}{rest}"), width, &[' ']).join("\n");
    format!("{}\n", lines.replacen(&name, &paint.strong(&name), 1))
}

fn table(comparison: &Comparison, cases: &[&CaseChange], paint: Paint, width: usize) -> String {
    let rows: Vec<_> = cases.iter().flat_map(|case| case.cells.iter().map(move |cell| (*case, cell))).collect();
    let variants: Vec<_> =
        rows.iter().map(|(case, _)| wrap(&variant(comparison, case), NARROW, &[',', '/', ' '])).collect();
    let subjects: Vec<_> = rows.iter().map(|(_, cell)| wrap(&subject(cell), NARROW, &['-', ' '])).collect();
    let behind: Vec<_> = rows.iter().map(|(case, cell)| wrap(&reasons(case, cell), NARROW, &[' ', '-'])).collect();
    let widest = |columns: &[Vec<String>], header: &str| {
        let lines = columns.iter().flatten().map(|line| line.chars().count());
        lines.max().unwrap_or(0).max(header.chars().count())
    };
    let fixed = widest(&variants, "variant") + widest(&subjects, "what") + widest(&behind, "behind it") + 5 * PADDING;
    let room = (width.saturating_sub(fixed) / 2).max(LEAST);

    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Disabled);
    if paint.0 {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let (before, after) =
        (wrap(&comparison.before.short, room, &['-', '.', '_']), wrap(&comparison.after.short, room, &['-', '.', '_']));
    let header = ["variant", "what", &before.join("\n"), &after.join("\n"), "behind it"];
    table.set_header(header.map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    for (row, (case, cell)) in rows.iter().enumerate() {
        let first = row == 0 || !std::ptr::eq(rows[row - 1].0, *case);
        let variant = if first { variants[row].join("\n") } else { String::new() };
        let was = wrap(&value(cell, cell.before.as_deref()), room, &[' ']).join("\n");
        let is = format!("{}{}", sign(cell), value(cell, cell.after.as_deref()));
        let is = Cell::new(wrap(&is, room, &[' ']).join("\n"));
        let is = match cell.trend {
            Trend::Worse => is.fg(Color::DarkRed).add_attribute(Attribute::Bold),
            Trend::Better => is.fg(Color::DarkGreen),
            Trend::Neither => is,
        };
        table.add_row([
            Cell::new(variant),
            Cell::new(subjects[row].join("\n")),
            Cell::new(was),
            is,
            Cell::new(behind[row].join("\n")),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, PADDING as u16 - 1));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A case's variant; where others of the same changed too, with what it ran on.
pub(super) fn variant(comparison: &Comparison, case: &CaseChange) -> String {
    let same = |other: &&CaseChange| (&other.scenario, &other.variant) == (&case.scenario, &case.variant);
    if comparison.changed.iter().filter(same).count() < 2 {
        return case.variant.clone();
    }
    let Origin { engine, model, cilium, kubernetes, kernel_overlay, .. } = &case.before;
    let kubernetes = kubernetes.as_ref().map(|version| format!(", Kubernetes {version}")).unwrap_or_default();
    let overlay = if *kernel_overlay { ", overlay by the kernel" } else { "" };
    format!("{} ({engine}, {model}, {cilium}{kubernetes}{overlay})", case.variant)
}

/// `pod-mtu of master`, `step 3, check broken: internet`
pub(super) fn subject(cell: &CellChange) -> String {
    let what = match cell.nodes.as_slice() {
        [] => cell.subject.clone(),
        nodes => format!("{} of {}", cell.subject, nodes.join(", ")),
    };
    match &cell.step {
        // What a step itself came to has its words already.
        Some(at) if cell.subject == at.step => format!("step {}, {what}", at.number),
        Some(at) => format!("step {}, {}: {what}", at.number, at.step),
        None => what,
    }
}

/// The decisions behind a cell.
pub(super) fn reasons(case: &CaseChange, cell: &CellChange) -> String {
    match cell.behind.is_empty() {
        true if case.decisions.is_empty() && cell.before.is_some() && cell.after.is_some() => NO_DECISION.to_owned(),
        true => "–".to_owned(),
        false => cell.behind.join(", "),
    }
}

/// What a cell says, with a tick or a cross where it is about packets.
pub(super) fn value(cell: &CellChange, text: Option<&str>) -> String {
    let Some(text) = text else { return "not there".to_owned() };
    // Last words are too many for a cell; they are told below.
    if cell.subject == NodeFact::Agent.name() && text != "running" {
        return "dies".to_owned();
    }
    match (cell.is_probe, text == "works" || text.starts_with("works,")) {
        (true, true) => format!("✓ {text}"),
        (true, false) => format!("✗ {text}"),
        (false, _) => text.to_owned(),
    }
}

/// What is put before a cell that nobody shall overlook.
pub(super) fn sign(cell: &CellChange) -> &'static str {
    match (cell.trend, cell.asserted) {
        (Trend::Worse, Some(asserted)) if asserted.after == Verdict::Inconclusive => "?? ",
        (Trend::Worse, _) => "!! ",
        _ => "",
    }
}

/// A decision that changed in one and the same way, whatever the case.
pub(super) struct Group<'a> {
    pub(super) change: &'a DecisionChange,
    nodes: IndexSet<&'a str>,
    variants: IndexMap<&'a str, IndexSet<&'a str>>,
}

/// The changed decisions, those of one kind together.
pub(super) fn grouped(comparison: &Comparison) -> Vec<Group<'_>> {
    let mut groups: IndexMap<(&str, &Decided, &Decided), Group<'_>> = IndexMap::new();
    for case in &comparison.changed {
        for change in &case.decisions {
            let group = groups.entry((&change.decision, &change.before, &change.after)).or_insert_with(|| Group {
                change,
                nodes: IndexSet::new(),
                variants: IndexMap::new(),
            });
            group.nodes.extend(change.nodes.iter().map(String::as_str));
            group.variants.entry(&case.scenario).or_default().insert(&case.variant);
        }
    }
    groups.into_values().collect()
}

impl Group<'_> {
    /// `on master, worker in devices/forms (comma-space; no-such-device), guide/table (enp0s6)`
    pub(super) fn whereabouts(&self) -> String {
        let list = |names: &IndexSet<&str>, between: &str| names.iter().copied().collect::<Vec<_>>().join(between);
        let scenarios: Vec<_> =
            self.variants.iter().map(|(scenario, variants)| format!("{scenario} ({})", list(variants, "; "))).collect();
        format!("on {} in {}", list(&self.nodes, ", "), scenarios.join(", "))
    }
}

fn decisions(comparison: &Comparison, paint: Paint, width: usize) -> String {
    let groups = grouped(comparison);
    if groups.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", paint.strong("decisions that changed"));
    for group in groups {
        let change = group.change;
        let head = format!("{}: {} → {}", change.decision, change.before.value, change.after.value);
        let lines = wrap(&head, width - INDENT, &[' ']).join(&format!("\n{:INDENT$}", ""));
        let _ = writeln!(out, "  {}", lines.replacen(&change.decision, &paint.strong(&change.decision), 1));
        for line in wrap(&group.whereabouts(), width - INDENT, &[' ']) {
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
        let sides = [(&comparison.before.short, &change.before), (&comparison.after.short, &change.after)];
        for (label, decided) in sides {
            out.push_str(&rule(label, decided, paint, width));
        }
    }
    out
}

/// What was decided by which rule, and where that stands.
fn rule(label: &str, decided: &Decided, paint: Paint, width: usize) -> String {
    let Some(says) = &decided.says else { return String::new() };
    let mut out = String::new();
    let deeper = INDENT + 2;
    for (index, line) in wrap(&format!("{label}: {says}"), width - deeper, &[' ']).iter().enumerate() {
        let indent = if index == 0 { INDENT } else { deeper };
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
    for line in decided.source.iter().flat_map(|source| wrap(&format!("[{source}]"), width - deeper, &[' ', '/'])) {
        let _ = writeln!(out, "{:deeper$}{}", "", paint.faint(&line));
    }
    out
}

fn legend(comparison: &Comparison, width: usize) -> String {
    let cells = || comparison.changed.iter().flat_map(|case| &case.cells);
    let mut parts = Vec::new();
    if cells().any(|cell| sign(cell) == "!! ") {
        parts.push("!! asserted, held before, and doesn't now");
    }
    if cells().any(|cell| sign(cell) == "?? ") {
        parts.push("?? asserted, held before, no proof now");
    }
    if cells().any(|cell| !cell.behind.is_empty()) {
        parts.push("behind it: the decisions that changed on the nodes it has to do with");
    }
    let undecided = |case: &CaseChange| case.cells.iter().any(|cell| reasons(case, cell) == NO_DECISION);
    if comparison.changed.iter().any(undecided) {
        parts.push("no decision: none changed in that case; something else did, or chance decides");
    }
    if parts.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = parts.iter().flat_map(|part| wrap(part, width, &[' '])).collect();
    format!("{}\n\n", lines.join("\n"))
}

/// The versions' rules, where no decision explains a cell.
fn unexplained(comparison: &Comparison, width: usize) -> String {
    let undecided = |case: &CaseChange| case.cells.iter().any(|cell| reasons(case, cell) == NO_DECISION);
    let any = comparison.changed.iter().any(undecided);
    // How errors are worded decides nothing.
    let counts = comparison.rules.iter().filter(|rule| !rule.rule.ends_with("-prefix"));
    let rules: Vec<_> = counts.map(|rule| format!("{} {} → {}", rule.rule, rule.before, rule.after)).collect();
    if !any || rules.is_empty() {
        return String::new();
    }
    let text = format!("rules that differ between the versions: {}", rules.join("; "));
    format!("{}\n\n", wrap(&text, width, &[' ']).join("\n"))
}

fn left_out(comparison: &Comparison, paint: Paint, width: usize) -> String {
    let mut out = String::new();
    let mut tell = |head: String, ids: &[&str]| {
        let head = if ids.is_empty() { head.trim_end_matches(':') } else { head.as_str() };
        let _ = writeln!(out, "{}", paint.doubtful(head));
        for line in wrap(&ids.join(", "), width - INDENT, &[' ']).iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
    };
    for Incomplete { report, why, cases } in &comparison.incomplete {
        tell(format!("{report} is not whole, {why}:"), &cases.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut reasons: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for case in &comparison.not_compared {
        reasons.entry(&case.why).or_default().push(&case.id);
    }
    for (why, ids) in &reasons {
        tell(format!("left as {}, {why}:", if ids.len() == 1 { "it is" } else { "they are" }), ids);
    }
    for (label, ids) in [(&comparison.before, &comparison.only_before), (&comparison.after, &comparison.only_after)] {
        if !ids.is_empty() {
            tell(format!("only in {}:", label.name), &ids.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Cases in which nothing can differ.
fn alike(comparison: &Comparison, width: usize) -> String {
    let text = alike_text(comparison);
    let lines = if text.is_empty() { Vec::new() } else { wrap(&text, width, &[' ']) };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The same in a sentence; empty where there are none.
pub(super) fn alike_text(comparison: &Comparison) -> String {
    match comparison.decided_alike.len() {
        0 => String::new(),
        1 => "1 case more, in which every agent decides the same in everything, was not run (--all)".to_owned(),
        many => {
            format!("{many} cases more, in which every agent decides the same in everything, were not run (--all)")
        }
    }
}

/// `24 cases compared: 3 changed, in 9 cells · asserted: 4 got worse, 1 better`
fn summary(comparison: &Comparison, paint: Paint) -> String {
    let sum = &comparison.summary;
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let worse = format!("{} got worse", sum.worse);
    let worse = if sum.worse > 0 { paint.bad(&worse) } else { paint.good(&worse) };
    let changed = format!("{} changed, in {}", sum.changed_cases, count(sum.changed_cells, "cell"));
    format!("{} compared: {changed} · asserted: {worse}, {} better\n", count(sum.compared, "case"), sum.better)
}
