//! The report for a person at a terminal: the table first, then what was refuted, what failed and why, and the sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use super::collect::Collector;
use super::paint::Paint;
use super::schema::{Case, Check, Claim, Host, Report};
use crate::runner::{Event, Reporter};
use crate::verdict::{Provenance, Verdict};

/// Widest cell before its text is wrapped, in characters.
const CELL: usize = 16;

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
    let mut out = String::new();
    let groups = groups(&report.cases);
    for group in &groups {
        out.push_str(&table(group, paint, width));
        out.push('\n');
    }
    out.push_str(&legend(&report.cases));
    out.push_str(&notes(&report.cases, paint));
    out.push_str(&claims(&report.cases, paint));
    for case in report.cases.iter().filter(|case| !matches!(case.verdict, Verdict::Pass | Verdict::Skip)) {
        out.push_str(&failure(case, paint));
        out.push('\n');
    }
    out.push_str(&skipped(&report.cases, paint));
    out.push_str(&summary(report, paint));
    out
}

/// Cases that share a table: the same scenario, engine, model and version.
fn groups(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases {
        let same = |group: &&mut Vec<&Case>| {
            let first = group[0];
            (&first.scenario, &first.engine, &first.model, &first.cilium)
                == (&case.scenario, &case.engine, &case.model, &case.cilium)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups
}

/// `guide/table — model: guide · Cilium 1.18.2 · engine netns (model)`
fn title(case: &Case, paint: Paint) -> String {
    let decisions = match case.decisions {
        Provenance::Model => "model",
        Provenance::Real => "real",
        Provenance::Stub => "stub",
    };
    let unverified = if case.cilium_verified { "" } else { " (unverified)" };
    let about =
        format!("model: {} · Cilium {}{unverified} · engine {} ({decisions})", case.model, case.cilium, case.engine);
    format!("{} — {about}\n", paint.strong(&case.scenario))
}

/// A column: what is measured, by its key in the scenario file.
struct Column {
    header: Vec<String>,
    cells: Vec<TableCell>,
}

/// A cell before it is drawn.
#[derive(Clone, Default)]
struct TableCell {
    lines: Vec<String>,
    look: Look,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Look {
    #[default]
    Plain,
    Good,
    Bad,
    Doubtful,
    Refuted,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().flat_map(|cell| &cell.lines);
        self.header.iter().chain(cells).map(|line| line.chars().count()).max().unwrap_or(0)
    }
}

/// Two spaces between columns.
const PADDING: usize = 2;

fn table(group: &[&Case], paint: Paint, width: usize) -> String {
    let mut out = title(group[0], paint);
    let variants = Column {
        header: vec!["variant".to_owned()],
        cells: group
            .iter()
            .map(|case| TableCell { lines: wrap(&case.variant, 24, &[',', '/', ' ']), look: Look::Plain })
            .collect(),
    };
    let mut columns: Vec<Column> = subjects(group).iter().map(|id| column(group, id)).collect();
    columns.push(Column {
        header: vec!["verdict".to_owned()],
        cells: group.iter().map(|case| verdict_cell(case.verdict)).collect(),
    });
    // A table that is too wide is drawn in bands, each with the variants in front.
    let mut bands: Vec<Vec<Column>> = vec![Vec::new()];
    let mut used = variants.width() + PADDING;
    for column in columns {
        let needed = column.width() + PADDING;
        if used + needed > width && bands.last().is_some_and(|band| !band.is_empty()) {
            bands.push(Vec::new());
            used = variants.width() + PADDING;
        }
        used += needed;
        if let Some(band) = bands.last_mut() {
            band.push(column);
        }
    }
    for (number, band) in bands.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        out.push_str(&draw(&variants, band, paint));
    }
    out
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
                Look::Good => drawn.fg(Color::DarkGreen),
                Look::Bad => drawn.fg(Color::DarkRed).add_attribute(Attribute::Bold),
                Look::Doubtful => drawn.fg(Color::DarkYellow).add_attribute(Attribute::Bold),
                Look::Refuted => drawn.fg(Color::DarkMagenta),
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, PADDING as u16));
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

/// What the table shows, probes first, each once, in the order of the first variant that has it.
fn subjects(group: &[&Case]) -> Vec<String> {
    let mut probes: Vec<String> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for case in group {
        let checked = case.checks.iter().map(|check| &check.id);
        for id in checked.chain(case.claims.iter().map(|claim| &claim.id)) {
            let list = if case.probe(id).is_some() { &mut probes } else { &mut others };
            if !list.contains(id) {
                list.push(id.clone());
            }
        }
    }
    probes.append(&mut others);
    probes
}

fn column(group: &[&Case], id: &str) -> Column {
    let cells: Vec<_> = group.iter().map(|case| cell(case, id)).collect();
    let widest = cells.iter().flat_map(|cell| &cell.lines).map(|line| line.chars().count()).max().unwrap_or(0);
    Column { header: wrap(id, widest.max(9), &['-']), cells }
}

fn cell(case: &Case, id: &str) -> TableCell {
    let checks: Vec<_> = case.checks.iter().filter(|check| check.id == id).collect();
    let claims: Vec<_> = case.claims.iter().filter(|claim| claim.id == id).collect();
    if checks.is_empty() && claims.is_empty() {
        return TableCell::default();
    }
    let verdict = checks.iter().map(|check| check.verdict).max();
    let mut text = match case.probe(id) {
        Some(probe) => match (probe.outcome_text.as_deref(), verdict) {
            (None, _) => "– not sent".to_owned(),
            (Some("works"), Some(Verdict::Fail)) => format!("✓ {}", worst(&checks)),
            (Some("works"), _) => "✓ works".to_owned(),
            (Some(other), _) => format!("✗ {other}"),
        },
        // Of several nodes the first one speaks for all, unless another is to blame.
        None => match (checks.iter().find(|check| Some(check.verdict) == verdict), claims.first()) {
            (Some(check), _) if check.verdict == Verdict::Pass => shown(&check.measured),
            (Some(Check { node: Some(node), measured, .. }), _) if !measured.is_null() => {
                format!("{} ({node})", shown(measured))
            }
            (Some(check), _) => shown(&check.measured),
            (None, Some(claim)) => shown(&claim.measured),
            (None, None) => String::new(),
        },
    };
    let refuted = claims.iter().any(|claim| claim.held == Some(false));
    let look = match verdict {
        Some(Verdict::Fail | Verdict::Error) => Look::Bad,
        Some(Verdict::Inconclusive | Verdict::Skip) => Look::Doubtful,
        _ if refuted => Look::Refuted,
        Some(Verdict::Pass) if text.starts_with('✓') => Look::Good,
        _ => Look::Plain,
    };
    match look {
        Look::Bad => text = format!("!! {text}"),
        Look::Doubtful => text = format!("?? {text}"),
        _ => {}
    }
    if refuted {
        text.push_str(" ⊘");
    }
    TableCell { lines: wrap(&text, CELL, &[' ']), look }
}

fn worst(checks: &[&Check]) -> String {
    let worst = checks.iter().max_by_key(|check| check.verdict);
    worst.map(|check| shown(&check.measured)).unwrap_or_default()
}

/// A value as people write it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
    }
}

/// The same with a map's values, where there is room.
fn shown_whole(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}: {}", shown(value))).collect::<Vec<_>>().join("; ")
        }
        other => shown(other),
    }
}

/// Breaks text after any of `breaks`, at most `width` characters a line where that can be.
fn wrap(text: &str, width: usize, breaks: &[char]) -> Vec<String> {
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
    if cases.iter().flat_map(|case| &case.claims).any(|claim| claim.held == Some(false)) {
        legend.push("⊘ a claim about it is refuted");
    }
    if legend.is_empty() { String::new() } else { format!("{}\n\n", legend.join("   ")) }
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
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// The claims that don't hold, and those of which nothing can be said.
fn claims(cases: &[Case], paint: Paint) -> String {
    let about = |claim: &Claim| match &claim.node {
        Some(node) => format!("{} of {node}", claim.id),
        None => claim.id.clone(),
    };
    let mut out = String::new();
    for case in cases {
        for claim in case.claims.iter().filter(|claim| claim.held != Some(true)) {
            let (sign, word) = match claim.held {
                Some(_) => (paint.refuted("⊘"), paint.refuted("refuted")),
                None => (paint.doubtful("?"), paint.doubtful("undecided")),
            };
            let _ = writeln!(
                out,
                "{sign} {}: {} said {} {}; measured {} — {word}",
                case.id(),
                claim.by,
                about(claim),
                shown_whole(&claim.said),
                shown_whole(&claim.measured),
            );
            if !claim.message.is_empty() {
                let _ = writeln!(out, "  {}", paint.faint(&claim.message));
            }
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
    for check in case.checks.iter().filter(|check| check.verdict != Verdict::Pass) {
        let about = match &check.node {
            Some(node) => format!("{} of {node}", check.id),
            None => check.id.clone(),
        };
        let place = paint.faint(&format!("{}:{}", case.file, check.line));
        let _ = writeln!(out, "  {}  {place}", paint.strong(&about));
        let _ = writeln!(out, "    expected  {}", shown_whole(&check.expected));
        let measured = match check.verdict {
            Verdict::Inconclusive => format!("{}, inconclusive", shown_whole(&check.measured)),
            _ => shown_whole(&check.measured),
        };
        let _ = writeln!(out, "    measured  {measured}");
        let probe = case.probe(&check.id).filter(|_| check.node.is_none());
        if let Some(probe) = probe {
            let _ = writeln!(out, "    probe     {} {} → {}", probe.kind, probe.from, probe.to);
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
        let _ = writeln!(out, "  {} packets dropped in {} by {}", drops.packets, drops.namespace, drops.rule);
    }
    out
}

/// Cases that were not tried, those of one reason together.
fn skipped(cases: &[Case], paint: Paint) -> String {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.verdict == Verdict::Skip) {
        reasons.entry(case.reason.as_deref().unwrap_or("no reason given")).or_default().push(case.id());
    }
    let mut out = String::new();
    for (reason, ids) in reasons {
        let _ = writeln!(out, "{} {}: {reason}\n", paint.doubtful("SKIP"), ids.join(", "));
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
    let cases = summary.cases();
    let mut out = format!("{cases} {}: {}", if cases == 1 { "case" } else { "cases" }, counts.join(", "));
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
