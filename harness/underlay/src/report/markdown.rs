//! The report as Markdown, for GitHub's step summaries: tables, refuted claims, failures with the packet's walk.
//!
//! Names and texts come from scenario files and from the wire. Outside of code blocks every character that means
//! something to Markdown or HTML is written as an entity; a code block's fence is longer than any in it.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::human;
use super::paint::Paint;
use super::schema::{Case, Report};
use super::table::{self, Look, about, conditions, groups, shown_whole, subjects};
use super::timeline;
use crate::verdict::Verdict;

/// What GitHub takes for a step, in bytes.
pub const LIMIT: usize = 1 << 20;

/// Said in place of what had no room; room for it is always kept.
const CUT: &str = "\n_More was left out for want of room: see the other reports._\n";

/// The report in at most `limit` bytes. What has no room is left out from the end, in whole parts.
pub fn render(report: &Report, limit: usize) -> String {
    let mut parts = vec![headline(report)];
    parts.extend(report.merge.as_ref().map(|merge| fenced(&merge.text(Paint(false)))));
    parts.extend(groups(&report.cases).iter().map(|group| table(group)));
    parts.extend(report.cases.iter().filter(|case| timeline::tells(case)).map(timeline));
    parts.push(claims(&report.cases));
    parts.push(skipped(&report.cases));
    parts.push(again(&report.cases));
    let wrong = |case: &&Case| !matches!(case.verdict, Verdict::Pass | Verdict::Skip);
    parts.extend(report.cases.iter().filter(wrong).map(failure));
    let mut out = String::new();
    for part in parts {
        if out.len() + part.len() + CUT.len() > limit {
            if out.len() + CUT.len() <= limit {
                out.push_str(CUT);
            }
            break;
        }
        out.push_str(&part);
    }
    out
}

fn headline(report: &Report) -> String {
    let summary = &report.summary;
    let counts = [
        (summary.pass, Verdict::Pass),
        (summary.fail, Verdict::Fail),
        (summary.error, Verdict::Error),
        (summary.inconclusive, Verdict::Inconclusive),
        (summary.skip, Verdict::Skip),
    ];
    let told = counts.into_iter().filter(|(count, verdict)| *count > 0 || *verdict == Verdict::Pass);
    let told: Vec<_> = told.map(|(count, verdict)| format!("{} {count} {verdict}", sign(verdict))).collect();
    let mut out = format!("## underlay: {}\n\n", told.join(", "));
    if summary.claims_held + summary.claims_refuted > 0 {
        let _ = writeln!(out, "Claims: {} held, {} refuted.\n", summary.claims_held, summary.claims_refuted);
    }
    if let Some(signal) = &report.interrupted {
        let _ = writeln!(out, "**Interrupted by {}: cases are missing.**\n", plain(signal));
    }
    out
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Error => "💥",
        Verdict::Inconclusive => "❔",
        Verdict::Skip => "⏭️",
    }
}

fn table(group: &[&Case]) -> String {
    let first = group[0];
    let columns = subjects(group);
    let mut out = format!("### {}\n\n{}\n\n", plain(&first.scenario), plain(&conditions(first)));
    let names = columns.iter().map(|column| plain(column));
    let _ = writeln!(out, "| variant | verdict | {} |", names.collect::<Vec<_>>().join(" | "));
    let _ = writeln!(out, "|---|---|{}", "---|".repeat(columns.len()));
    for case in group {
        let cells = columns.iter().map(|id| {
            let cell = table::cell(case, id);
            let text = plain(&cell.text);
            let text = match cell.look {
                Look::Bad => format!("❌ **{text}**"),
                Look::Doubtful => format!("❔ {text}"),
                Look::Faint if !text.is_empty() => format!("({text})"),
                _ => text,
            };
            if cell.refuted { format!("{text} ⊘") } else { text }
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(out, "| {} | {} {} | {cells} |", plain(&case.variant), sign(case.verdict), case.verdict);
    }
    out.push('\n');
    out
}

/// The claims that don't hold; the same one of several cases once.
fn claims(cases: &[Case]) -> String {
    let mut told: IndexMap<String, Vec<String>> = IndexMap::new();
    for case in cases {
        for claim in case.claims.iter().filter(|claim| claim.held == Some(false)) {
            let about = about(&claim.id, claim.node.as_deref());
            let (said, measured) = (shown_whole(&claim.said), shown_whole(&claim.measured));
            let line = format!("{} said {about} {said}; measured {measured}", claim.by);
            told.entry(line).or_default().push(case.id());
        }
    }
    if told.is_empty() {
        return String::new();
    }
    let mut out = "### ⊘ Refuted claims\n\n".to_owned();
    for (line, ids) in &told {
        let _ = writeln!(out, "- {} <sub>in {}</sub>", plain(line), plain(&ids.join(", ")));
    }
    out.push('\n');
    out
}

/// A case's steps, folded away unless something is wrong.
fn timeline(case: &Case) -> String {
    let open = if matches!(case.verdict, Verdict::Pass | Verdict::Skip) { "" } else { " open" };
    let mut out = format!(
        "<details{open}><summary>time line of {}</summary>\n\n\
         | when | took | step | what changed, what was found |\n|---|---|---|---|\n",
        plain(&case.id())
    );
    for step in &case.steps {
        let mut told: Vec<String> = timeline::changes(step).iter().map(|line| plain(line)).collect();
        told.extend(timeline::found(step).iter().map(|found| match found.verdict {
            Verdict::Pass => plain(&found.text),
            Verdict::Fail | Verdict::Error => format!("❌ **{}**", plain(&found.text)),
            Verdict::Skip | Verdict::Inconclusive => format!("❔ {}", plain(&found.text)),
        }));
        told.extend(step.streams.iter().map(|stream| plain(&timeline::stream(stream))));
        told.extend(step.remark.iter().chain(&step.not_taken).map(|line| plain(line)));
        let sign = step.verdict.map_or_else(String::new, |verdict| format!("{} ", sign(verdict)));
        let inner = if step.inner { "↳ " } else { "" };
        let (at, took) = (timeline::time(step.at_us), timeline::time(step.took_us));
        let _ = writeln!(out, "| {at} | {took} | {inner}{sign}{} | {} |", plain(&step.step), told.join("<br>"));
    }
    out.push_str("\n</details>\n\n");
    out
}

fn again(cases: &[Case]) -> String {
    let notes =
        cases.iter().filter(|case| case.again).map(|case| format!("{}: {}", plain(&case.id()), human::RAN_TWICE));
    notes.map(|note| note + "\n\n").collect()
}

fn skipped(cases: &[Case]) -> String {
    let mut reasons: IndexMap<&str, usize> = IndexMap::new();
    for case in cases.iter().filter(|case| case.verdict == Verdict::Skip) {
        *reasons.entry(case.reason.as_deref().unwrap_or("no reason given")).or_default() += 1;
    }
    let mut out = String::new();
    for (reason, count) in &reasons {
        let _ = writeln!(out, "{} {count} skipped: {}\n", sign(Verdict::Skip), plain(reason));
    }
    out
}

fn failure(case: &Case) -> String {
    let text = fenced(&human::failure(case, Paint(false)));
    let title = format!("{} {} {}", sign(case.verdict), case.verdict, plain(&case.id()));
    format!("<details open><summary>{title}</summary>\n\n{text}</details>\n\n")
}

/// Text in a block of its own, whatever is in it.
fn fenced(text: &str) -> String {
    let fence = "`".repeat(longest_run(text, '`').max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n\n", text.trim_end())
}

fn longest_run(text: &str, letter: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for one in text.chars() {
        run = if one == letter { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// Text that means nothing to Markdown, HTML or a table.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // These begin nothing in the middle of a line, and at its beginning no text of ours stands.
            ' ' | ',' | '.' | ';' | '/' | '-' | '=' | '(' | ')' | '?' | '%' => out.push(letter),
            letter if letter.is_control() => out.push(' '),
            letter if letter.is_ascii_punctuation() => {
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out
}
