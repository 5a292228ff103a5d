//! A comparison as GitHub-flavoured Markdown, for a pull request or a job's summary.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::human::{alike_text, grouped, reasons, sign, subject, value, variant};
use super::{CaseChange, Comparison, Trend};
use crate::report::human::tame;

/// The whole comparison.
pub fn render(comparison: &Comparison) -> String {
    let tame = tame(comparison);
    let comparison = tame.as_ref().unwrap_or(comparison);
    let sum = &comparison.summary;
    let mut out = format!("## {} → {}\n\n", text(&comparison.before.name), text(&comparison.after.name));
    let _ = writeln!(
        out,
        "{} cases compared, {} changed in {} cells; of what is asserted **{} got worse**, {} better.",
        sum.compared, sum.changed_cases, sum.changed_cells, sum.worse, sum.better
    );
    let alike = alike_text(comparison);
    if !alike.is_empty() {
        let _ = writeln!(out, "{}.", text(&alike));
    }
    let mut scenarios: IndexMap<&str, Vec<&CaseChange>> = IndexMap::new();
    for case in comparison.changed.iter().filter(|case| !case.cells.is_empty()) {
        scenarios.entry(&case.scenario).or_default().push(case);
    }
    for (scenario, cases) in &scenarios {
        let _ = writeln!(out, "\n### {}\n", text(scenario));
        table(comparison, cases, &mut out);
    }
    decisions(comparison, &mut out);
    let list = |ids: &[&str]| ids.iter().map(|id| text(id)).collect::<Vec<_>>().join(", ");
    for missing in &comparison.incomplete {
        let cases: Vec<_> = missing.cases.iter().map(String::as_str).collect();
        let cases = if cases.is_empty() { String::new() } else { format!(": {}", list(&cases)) };
        let _ = writeln!(out, "\n**{} is not whole**, {}{cases}", text(&missing.report), text(&missing.why));
    }
    let mut left: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for case in &comparison.not_compared {
        left.entry(&case.why).or_default().push(&case.id);
    }
    for (why, ids) in &left {
        let _ = writeln!(out, "\nLeft as it is, {}: {}", text(why), list(ids));
    }
    for (label, ids) in [(&comparison.before, &comparison.only_before), (&comparison.after, &comparison.only_after)] {
        if !ids.is_empty() {
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let _ = writeln!(out, "\nOnly in {}: {}", text(&label.name), list(&ids));
        }
    }
    out
}

fn table(comparison: &Comparison, cases: &[&CaseChange], out: &mut String) {
    let (before, after) = (text(&comparison.before.short), text(&comparison.after.short));
    let _ = writeln!(out, "| variant | what | {before} | {after} | behind it |\n|---|---|---|---|---|");
    for (case, cell) in cases.iter().flat_map(|case| case.cells.iter().map(move |cell| (case, cell))) {
        let is = format!("{}{}", sign(cell), value(cell, cell.after.as_deref()));
        let is = if cell.trend == Trend::Worse { format!("**{}**", text(&is)) } else { text(&is) };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {is} | {} |",
            text(&variant(comparison, case)),
            text(&subject(cell)),
            text(&value(cell, cell.before.as_deref())),
            text(&reasons(case, cell)),
        );
    }
}

fn decisions(comparison: &Comparison, out: &mut String) {
    let groups = grouped(comparison);
    if groups.is_empty() {
        return;
    }
    out.push_str("\n### Decisions that changed\n\n");
    for group in groups {
        let change = group.change;
        let (before, after) = (text(&change.before.value), text(&change.after.value));
        let _ = writeln!(out, "- **{}**: {before} → {after}, {}", text(&change.decision), text(&group.whereabouts()));
        let sides = [(&comparison.before.short, &change.before), (&comparison.after.short, &change.after)];
        for (label, decided) in sides {
            let Some(says) = &decided.says else { continue };
            let source = decided.source.as_ref().map(|source| format!(" — {}", text(source))).unwrap_or_default();
            let _ = writeln!(out, "  - {}: {}{source}", text(label), text(says));
        }
    }
}

/// Text in which nothing is Markdown or HTML.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // `!` opens an image only before `[`, which is escaped.
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '@' => {
                out.push('\\');
                out.push(char);
            }
            other => out.push(other),
        }
    }
    out
}
