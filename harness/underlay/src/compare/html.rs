//! A comparison as a page for a browser: the cells that changed, and below them the decisions behind, with their sources.

use indexmap::IndexMap;
use maud::{Markup, html};

use super::human::{alike_text, grouped, reasons, sign, subject, value, variant};
use super::{CaseChange, Comparison, Decided, Trend};
use crate::report::human::tame;
use crate::report::page::page;

/// The whole page.
pub fn render(comparison: &Comparison) -> String {
    let tame = tame(comparison);
    let comparison = tame.as_ref().unwrap_or(comparison);
    let title = format!("{} → {}", comparison.before.name, comparison.after.name);
    let mut scenarios: IndexMap<&str, Vec<&CaseChange>> = IndexMap::new();
    for case in comparison.changed.iter().filter(|case| !case.cells.is_empty()) {
        scenarios.entry(&case.scenario).or_default().push(case);
    }
    let body = html! {
        header {
            h1 { (title) }
            (summary(comparison))
        }
        main {
            @for (scenario, cases) in &scenarios {
                section {
                    h2 { (scenario) }
                    (table(comparison, cases))
                }
            }
            @if scenarios.is_empty() { p { "No cell changed." } }
            (decisions(comparison))
            (left_out(comparison))
        }
        footer { p class="dim" { "underlay " (env!("CARGO_PKG_VERSION")) } }
    };
    page(&format!("underlay: {title}"), "", &body)
}

fn summary(comparison: &Comparison) -> Markup {
    let sum = &comparison.summary;
    html! {
        ul class="sum" aria-label="Summary" {
            li { span class=(if sum.worse > 0 { "b fail" } else { "b pass" }) { (sum.worse) " got worse" } }
            li { span class="b" { (sum.better) " got better" } }
            li { span class="b" { (sum.changed_cells) " cells changed in " (sum.changed_cases) " of " (sum.compared) " cases" } }
        }
        @let alike = alike_text(comparison);
        @if !alike.is_empty() { p class="dim" { (alike) } }
    }
}

fn table(comparison: &Comparison, cases: &[&CaseChange]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "variant" }
                        th scope="col" { "what" }
                        th scope="col" { (comparison.before.short) }
                        th scope="col" { (comparison.after.short) }
                        th scope="col" { "behind it" }
                    }
                }
                tbody {
                    @for case in cases {
                        @for (index, cell) in case.cells.iter().enumerate() {
                            tr {
                                @if index == 0 {
                                    th scope="rowgroup" rowspan=(case.cells.len()) { (variant(comparison, case)) }
                                }
                                td { (subject(cell)) }
                                td { (value(cell, cell.before.as_deref())) }
                                td class=(class(cell.trend)) { (sign(cell)) (value(cell, cell.after.as_deref())) }
                                td { (reasons(case, cell)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class(trend: Trend) -> &'static str {
    match trend {
        Trend::Worse => "bad",
        Trend::Better => "good",
        Trend::Neither => "",
    }
}

fn decisions(comparison: &Comparison) -> Markup {
    let groups = grouped(comparison);
    html! {
        @if !groups.is_empty() {
            section {
                h2 { "Decisions that changed" }
                @for group in &groups {
                    @let change = group.change;
                    h3 { (change.decision) ": " (change.before.value) " → " (change.after.value) }
                    p class="dim" { (group.whereabouts()) }
                    dl {
                        (rule(&comparison.before.short, &change.before))
                        (rule(&comparison.after.short, &change.after))
                    }
                }
            }
        }
    }
}

/// What was decided by which rule, and where that stands.
fn rule(label: &str, decided: &Decided) -> Markup {
    html! {
        @if let Some(says) = &decided.says {
            dt { (label) }
            dd {
                (says)
                @if let Some(source) = &decided.source { " " span class="dim m" { (source) } }
            }
        }
    }
}

fn left_out(comparison: &Comparison) -> Markup {
    let mut reasons: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for case in &comparison.not_compared {
        reasons.entry(&case.why).or_default().push(&case.id);
    }
    let only = [(&comparison.before, &comparison.only_before), (&comparison.after, &comparison.only_after)];
    html! {
        @let incomplete = &comparison.incomplete;
        @if !incomplete.is_empty() || !reasons.is_empty() || only.iter().any(|(_, ids)| !ids.is_empty()) {
            section {
                h2 { "Left out" }
                ul class="plain" {
                    @for part in incomplete {
                        li {
                            (part.report) " is not whole, " (part.why)
                            @if !part.cases.is_empty() { ": " (part.cases.join(", ")) }
                        }
                    }
                    @for (why, ids) in &reasons { li { (why) ": " (ids.join(", ")) } }
                    @for (label, ids) in only {
                        @if !ids.is_empty() { li { "only in " (label.name) ": " (ids.join(", ")) } }
                    }
                }
            }
        }
    }
}
