//! The report for a person at a terminal: the table first, then what was refuted, what failed and why, and the sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use indexmap::IndexMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::collect::Collector;
use super::paint::Paint;
use super::schema::{Case, Claim, Host, Report};
pub use super::table::shown;
use super::table::{self, Look, RUNNING, about, about_in, groups, shown_whole, subjects};
use super::timeline;
use crate::runner::{Event, Reporter};
use crate::verdict::Verdict;

/// Of a case that ran [`again`](super::schema::Case::again).
pub(super) const RAN_TWICE: &str = "ran twice: this machine was too busy for a verdict the first time";

/// Widest cell before its text is wrapped, in characters.
const CELL: usize = 18;

/// Writes the report to a stream when the run is over.
#[derive(Debug)]
pub struct Human<W> {
    out: W,
    paint: Paint,
    width: usize,
    collector: Collector,
}

impl<W: Write> Human<W> {
    /// Tables are kept within `width` characters where that can be.
    pub fn new(out: W, paint: Paint, width: usize, host: Host) -> Self {
        Self { out, paint, width, collector: Collector::new(host) }
    }
}

impl<W: Write> Reporter for Human<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(report) = self.collector.event(event) else { return Ok(()) };
        self.out.write_all(render(&report, self.paint, self.width).as_bytes())?;
        self.out.flush()
    }
}

/// The whole report.
pub fn render(report: &Report, paint: Paint, width: usize) -> String {
    let tame = tame(report);
    let report = tame.as_ref().unwrap_or(report);
    let mut out = String::new();
    let groups = groups(&report.cases);
    for group in &groups {
        out.push_str(&table(group, paint, width));
        out.push('\n');
    }
    out.push_str(&legend(&report.cases));
    out.push_str(&last_words(&report.cases, paint, width));
    out.push_str(&notes(&report.cases, paint));
    for case in report.cases.iter().filter(|case| timeline::tells(case)) {
        out.push_str(&timeline::text(case, paint));
        out.push('\n');
    }
    out.push_str(&claims(&report.cases, paint, width));
    for case in report.cases.iter().filter(|case| !matches!(case.verdict, Verdict::Pass | Verdict::Skip)) {
        out.push_str(&failure(case, paint));
        out.push('\n');
    }
    out.push_str(&skipped(&report.cases, paint, width));
    out.push_str(&summary(report, paint));
    out
}

/// The same with spaces for control characters, if there are any: names and answers are not to move a terminal's
/// cursor, or to begin a line.
pub(crate) fn tame<T: Serialize + DeserializeOwned>(whole: &T) -> Option<T> {
    let text = serde_json::to_string(whole).ok()?;
    // JSON writes a control character as an escape; DEL and the second set, which begins at U+0080, as they are.
    let second = |letter: char| ('\u{7f}'..='\u{9f}').contains(&letter);
    if !text.contains('\\') && !text.contains(second) {
        return None;
    }
    let mut value: Value = serde_json::from_str(&text).ok()?;
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) if text.contains(char::is_control) => *text = tame_text(text),
            Value::Array(list) => list.iter_mut().for_each(walk),
            Value::Object(map) => {
                if map.keys().any(|key| key.contains(char::is_control)) {
                    *map = std::mem::take(map).into_iter().map(|(key, value)| (tame_text(&key), value)).collect();
                }
                map.values_mut().for_each(walk);
            }
            _ => {}
        }
    }
    walk(&mut value);
    serde_json::from_value(value).ok()
}

/// The same of a text.
pub(crate) fn tame_text(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// `guide/table — model: guide · Cilium 1.18.2 · engine netns (model)`
fn title(case: &Case, paint: Paint) -> String {
    format!("{} — {}\n", paint.strong(&case.scenario), table::conditions(case))
}

/// A column: what is measured, by its key in the scenario file.
struct Column {
    name: String,
    header: Vec<String>,
    cells: Vec<TableCell>,
}

/// A cell before it is drawn.
#[derive(Clone, Default, PartialEq, Eq)]
struct TableCell {
    lines: Vec<String>,
    look: Look,
}

impl TableCell {
    fn plain(lines: Vec<String>) -> Self {
        Self { lines, look: Look::Plain }
    }
}

impl Column {
    /// Whether it says the same of every variant, and nothing that needs attention.
    fn is_uniform(&self) -> bool {
        let first = &self.cells[0];
        matches!(first.look, Look::Plain | Look::Good) && self.cells.iter().all(|cell| cell == first)
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().flat_map(|cell| &cell.lines);
        self.header.iter().chain(cells).map(|line| line.chars().count()).max().unwrap_or(0)
    }
}

/// Spaces between columns: one of padding, one in the separator's place.
const PADDING: usize = 2;

/// Before what belongs to the line above.
const INDENT: usize = 4;

/// The last column's padding.
const EDGE: usize = 1;

fn table(group: &[&Case], paint: Paint, width: usize) -> String {
    let mut out = title(group[0], paint);
    if group.iter().all(|case| case.verdict == Verdict::Skip) {
        let _ = writeln!(out, "{}, for the reason below", paint.doubtful(&format!("{} skipped", cases(group.len()))));
        return out;
    }
    let variants = Column {
        name: "variant".to_owned(),
        header: vec!["variant".to_owned()],
        cells: group.iter().map(|case| TableCell::plain(wrap(&case.variant, 24, &[',', '/', ' ']))).collect(),
    };
    let verdicts = Column {
        name: "verdict".to_owned(),
        header: vec!["verdict".to_owned()],
        cells: group.iter().map(|case| verdict_cell(case.verdict)).collect(),
    };
    let mut columns = vec![verdicts];
    columns.extend(subjects(group).iter().map(|id| column(group, id)));
    let total = |columns: &[Column]| {
        EDGE + variants.width() + columns.iter().map(|column| PADDING + column.width()).sum::<usize>()
    };
    // Where there isn't room for all, what is the same everywhere is said in a line of its own.
    let mut uniform = Vec::new();
    if group.len() > 1 && total(&columns) > width {
        (uniform, columns) = columns.into_iter().partition(|column| column.name != "verdict" && column.is_uniform());
    }
    // What is still too wide is drawn in bands, each with the variants in front.
    let mut bands: Vec<Vec<Column>> = vec![Vec::new()];
    let mut used = EDGE + variants.width();
    for column in columns {
        let needed = PADDING + column.width();
        if used + needed > width && bands.last().is_some_and(|band| !band.is_empty()) {
            bands.push(Vec::new());
            used = EDGE + variants.width();
        }
        used += needed;
        if let Some(band) = bands.last_mut() {
            band.push(column);
        }
    }
    let drawn: Vec<_> = bands.iter().map(|band| draw(&variants, band, paint)).collect();
    out.push_str(&drawn.join("\n"));
    if !uniform.is_empty() {
        let all = uniform.iter().map(|column| format!("{} {}", column.name, column.cells[0].lines.join(" ")));
        let all = format!("in every variant: {}", all.collect::<Vec<_>>().join(" · "));
        for line in wrap(&all, width, &['·']) {
            let _ = writeln!(out, "{}", paint.faint(line.trim_start()));
        }
    }
    out
}

/// `1 case`, `4 cases`
fn cases(count: usize) -> String {
    format!("{count} {}", if count == 1 { "case" } else { "cases" })
}

fn draw(variants: &Column, band: &[Column], paint: Paint) -> String {
    let mut table = Table::new();
    let style = presets::NOTHING;
    let rule = comfy_table::LineStyle::none().fill('─').junction('─');
    table.load_style(style.header_separator(rule)).set_content_arrangement(ContentArrangement::Disabled);
    if paint.0 {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let all = || std::iter::once(variants).chain(band);
    table.set_header(all().map(|column| Cell::new(column.header.join("\n")).add_attribute(Attribute::Bold)));
    for row in 0..variants.cells.len() {
        table.add_row(all().map(|column| {
            let cell = &column.cells[row];
            let drawn = Cell::new(cell.lines.join("\n"));
            match cell.look {
                Look::Plain => drawn,
                Look::Faint => drawn.add_attribute(Attribute::Dim),
                Look::Good => drawn.fg(Color::DarkGreen),
                Look::Bad => drawn.fg(Color::DarkRed).add_attribute(Attribute::Bold),
                Look::Doubtful => drawn.fg(Color::DarkYellow).add_attribute(Attribute::Bold),
                Look::Refuted => drawn.fg(Color::DarkMagenta),
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, PADDING as u16 - 1));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn verdict_cell(verdict: Verdict) -> TableCell {
    let (text, look) = match verdict {
        Verdict::Pass => ("pass", Look::Good),
        Verdict::Fail => ("FAIL", Look::Bad),
        Verdict::Error => ("ERROR", Look::Bad),
        Verdict::Skip => ("skip", Look::Doubtful),
        Verdict::Inconclusive => ("inconclusive", Look::Doubtful),
    };
    TableCell { lines: vec![text.to_owned()], look }
}

fn column(group: &[&Case], id: &str) -> Column {
    let cells: Vec<_> = group.iter().map(|case| cell(case, id)).collect();
    let widest = cells.iter().flat_map(|cell| &cell.lines).map(|line| line.chars().count()).max().unwrap_or(0);
    Column { name: id.to_owned(), header: wrap(id, widest.max(8), &['-']), cells }
}

fn cell(case: &Case, id: &str) -> TableCell {
    let cell = table::cell(case, id);
    let mark = match cell.look {
        Look::Bad => "!! ",
        Look::Doubtful => "?? ",
        _ => "",
    };
    let text = if cell.look == Look::Faint && !cell.text.is_empty() { format!("({})", cell.text) } else { cell.text };
    let refuted = if cell.refuted { " ⊘" } else { "" };
    TableCell { lines: wrap(&format!("{mark}{text}{refuted}"), CELL, &[' ']), look: cell.look }
}

/// Breaks text after any of `breaks`, at most `width` characters a line where that can be.
pub(crate) fn wrap(text: &str, width: usize, breaks: &[char]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for piece in text.split_inclusive(breaks) {
        let fits = |line: &String| line.chars().count() + piece.trim_end().chars().count() <= width;
        match lines.last_mut().filter(|line| line.is_empty() || fits(line)) {
            Some(line) => line.push_str(piece),
            None => lines.push(piece.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

fn legend(cases: &[Case]) -> String {
    let any = |verdict: Verdict| cases.iter().flat_map(|case| &case.checks).any(|check| check.verdict == verdict);
    let mut legend = Vec::new();
    if any(Verdict::Fail) {
        legend.push("!! not as asserted");
    }
    if any(Verdict::Inconclusive) {
        legend.push("?? no proof either way");
    }
    let unasserted = |case: &Case| {
        let told = |id: &str| case.checks.iter().any(|c| c.id == id) || case.claims.iter().any(|c| c.id == id);
        case.probes.iter().any(|probe| probe.outcome.is_some() && !told(&probe.id))
    };
    if cases.iter().any(unasserted) {
        legend.push("( ) not asserted here");
    }
    if cases.iter().flat_map(|case| &case.claims).any(|claim| claim.held == Some(false)) {
        legend.push("⊘ a claim about it is refuted");
    }
    if legend.is_empty() { String::new() } else { format!("{}\n\n", legend.join("   ")) }
}

/// What agents died of, each error once.
fn last_words(cases: &[Case], paint: Paint, width: usize) -> String {
    let mut errors: IndexMap<&str, Vec<String>> = IndexMap::new();
    for case in cases {
        for (node, agent) in case.nodes.iter().filter(|(_, agent)| agent.agent != RUNNING) {
            errors.entry(&agent.agent).or_default().push(format!("{node} in {}", case.id()));
        }
    }
    let mut out = String::new();
    for (error, agents) in &errors {
        let _ = writeln!(out, "{} {error}", paint.strong("agents died of:"));
        for line in wrap(&agents.join(", "), width - INDENT, &[' ']) {
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// What Helm values meant nothing, each once with the cases it is about.
fn notes(cases: &[Case], paint: Paint) -> String {
    let mut unknown: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut not_modelled: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in cases {
        let Some(helm) = &case.helm else { continue };
        for value in &helm.unknown {
            *unknown.entry((&case.scenario, value)).or_default() += 1;
        }
        let values = not_modelled.entry(&case.scenario).or_default();
        for value in &helm.not_modelled {
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
    }
    let mut out = String::new();
    for (scenario, value) in unknown.keys() {
        let _ = writeln!(out, "{} {scenario}: not in the chart: {value}", paint.doubtful("warning:"));
    }
    for (scenario, values) in not_modelled.iter().filter(|(_, values)| !values.is_empty()) {
        let values = values.join(", ");
        let _ = writeln!(out, "{} {scenario}: values without a meaning to this engine: {values}", paint.faint("note:"));
    }
    for case in cases.iter().filter(|case| case.again) {
        let _ = writeln!(out, "{} {}: {RAN_TWICE}", paint.faint("note:"), case.id());
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// The claims that don't hold, and those of which nothing can be said; the same one of several cases once.
fn claims(cases: &[Case], paint: Paint, width: usize) -> String {
    let mut told: IndexMap<String, (&Claim, Vec<String>)> = IndexMap::new();
    for case in cases {
        for claim in case.claims.iter().filter(|claim| claim.held != Some(true)) {
            let (sign, word) = match claim.held {
                Some(_) => (paint.refuted("⊘"), paint.refuted("refuted")),
                None => (paint.doubtful("?"), paint.doubtful("undecided")),
            };
            let about = about(&claim.id, claim.node.as_deref());
            let (said, measured) = (shown_whole(&claim.said), shown_whole(&claim.measured));
            let line = format!("{sign} {} said {about} {said}; measured {measured} — {word}", claim.by);
            told.entry(line).or_insert_with(|| (claim, Vec::new())).1.push(case.id());
        }
    }
    let mut out = String::new();
    for (line, (claim, ids)) in &told {
        let _ = writeln!(out, "{line}");
        for line in wrap(&format!("in {}", ids.join(", ")), width - INDENT, &[' ']) {
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
        for line in wrap(&claim.message, width - INDENT, &[' ']).iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "{:INDENT$}{}", "", paint.faint(line));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// What is wrong with a case, and why: its checks that didn't pass, with the evidence.
pub fn failure(case: &Case, paint: Paint) -> String {
    let word = case.verdict.name().to_uppercase();
    let word = if case.verdict == Verdict::Inconclusive { paint.doubtful(&word) } else { paint.bad(&word) };
    let mut out = format!("{word} {} ({})\n", paint.strong(&case.id()), case.file);
    if let Some(reason) = &case.reason {
        let _ = writeln!(out, "  {reason}");
    }
    for (step, check) in case.unmet() {
        let about = about_in(step, check);
        let place = paint.faint(&format!("{}:{}", case.file, check.line));
        let _ = writeln!(out, "  {}  {place}", paint.strong(&about));
        let _ = writeln!(out, "    expected  {}", shown_whole(&check.expected));
        let measured = match check.verdict {
            Verdict::Inconclusive => format!("{}, inconclusive", shown_whole(&check.measured)),
            _ => shown_whole(&check.measured),
        };
        let _ = writeln!(out, "    measured  {measured}");
        let probe = case.probe_of(step, check);
        if let Some(probe) = probe {
            let _ = writeln!(out, "    probe     {} {} → {}", probe.kind, probe.from, probe.to);
        }
        if let Some(walk) = probe.and_then(|probe| probe.walk.as_ref()) {
            if !check.message.is_empty() {
                let _ = writeln!(out, "    because   {}", check.message);
            }
            for line in super::walk::text(walk, paint).lines() {
                let _ = writeln!(out, "    {line}");
            }
            continue;
        }
        match probe.and_then(|probe| probe.death.as_ref()) {
            Some(death) => {
                let interface = death.interface.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
                let _ = writeln!(out, "    died at   {}{interface}: {}", death.at, death.cause);
                let _ = writeln!(out, "              {}", death.detail);
            }
            None if !check.message.is_empty() => {
                let _ = writeln!(out, "    because   {}", check.message);
            }
            None => {}
        }
    }
    for drops in &case.drops {
        let word = if drops.packets == 1 { "packet" } else { "packets" };
        let _ = writeln!(out, "  dropped in {} by {}: {} {word}", drops.namespace, drops.rule, drops.packets);
    }
    out
}

/// Cases that were not tried, those of one reason together.
fn skipped(all: &[Case], paint: Paint, width: usize) -> String {
    let mut reasons: IndexMap<&str, IndexMap<&str, usize>> = IndexMap::new();
    for case in all.iter().filter(|case| case.verdict == Verdict::Skip) {
        let scenarios = reasons.entry(case.reason.as_deref().unwrap_or("no reason given")).or_default();
        *scenarios.entry(&case.scenario).or_default() += 1;
    }
    let mut out = String::new();
    for (reason, scenarios) in &reasons {
        let count = cases(scenarios.values().sum());
        let list: Vec<_> = scenarios.iter().map(|(scenario, count)| format!("{scenario} ({count})")).collect();
        let _ = writeln!(out, "{} {count}: {}", paint.doubtful("SKIP"), list.join(", "));
        for line in wrap(reason, width - INDENT, &[' ']) {
            let _ = writeln!(out, "{:INDENT$}{line}", "");
        }
        out.push('\n');
    }
    out
}

/// `8 cases: 8 pass · claims: 9 held, 3 refuted · 0.81 s`
fn summary(report: &Report, paint: Paint) -> String {
    let summary = &report.summary;
    let counts = [
        (summary.pass, Verdict::Pass),
        (summary.fail, Verdict::Fail),
        (summary.error, Verdict::Error),
        (summary.skip, Verdict::Skip),
        (summary.inconclusive, Verdict::Inconclusive),
    ];
    let counts: Vec<_> = counts
        .iter()
        .filter(|(count, verdict)| *count > 0 || *verdict == Verdict::Pass)
        .map(|(count, verdict)| {
            let text = format!("{count} {verdict}");
            match verdict {
                Verdict::Pass => paint.good(&text),
                Verdict::Fail | Verdict::Error => paint.bad(&text),
                Verdict::Skip | Verdict::Inconclusive => paint.doubtful(&text),
            }
        })
        .collect();
    let mut out = format!("{}: {}", cases(summary.cases()), counts.join(", "));
    if summary.claims_held + summary.claims_refuted > 0 {
        let _ = write!(out, " · claims: {} held, {} refuted", summary.claims_held, summary.claims_refuted);
    }
    let _ = write!(out, " · {:.2} s", report.duration_ms as f64 / 1000.0);
    if let Some(signal) = &report.interrupted {
        let _ = write!(out, " · {}", paint.bad(&format!("interrupted by {signal}")));
    }
    out.push('\n');
    out
}
