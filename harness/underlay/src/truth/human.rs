//! A comparison of engines for people.

use std::fmt::Write as _;

use super::{Compared, Difference, Truth};
use crate::report::human::{tame, wrap};
use crate::report::paint::Paint;

/// Before what belongs to the line above.
const INDENT: usize = 4;

/// The whole, in lines of `width` characters where that can be.
pub fn render(truth: &Truth, paint: Paint, width: usize) -> String {
    let tame = tame(truth);
    let truth = tame.as_ref().unwrap_or(truth);
    let [first, second] = &truth.engines;
    let mut out = format!("{}\n", paint.strong(&format!("{first} against {second}")));
    let case = |out: &mut String, compared: &Compared| {
        let _ = writeln!(out, "\n{} · Cilium {}", paint.strong(&compared.id), compared.version);
    };
    for compared in &truth.cases {
        let unknown: Vec<_> = compared.differences.iter().filter(|cell| cell.because.is_none()).collect();
        if unknown.is_empty() && compared.outdated.is_empty() {
            continue;
        }
        case(&mut out, compared);
        for difference in unknown {
            out.push_str(&cell(difference, "!!", paint.bad("!!"), truth));
        }
        for outdated in &compared.outdated {
            let _ = writeln!(out, "{} {}: both {}", paint.bad("!!"), outdated.cell, outdated.value);
            let text = format!("no longer a known difference ({})", outdated.because);
            push(&mut out, &text, width);
        }
    }
    let known = || truth.cases.iter().filter(|case| case.differences.iter().any(|cell| cell.because.is_some()));
    if known().next().is_some() {
        let _ = writeln!(out, "\n{}", paint.strong("known differences"));
    }
    for compared in known() {
        case(&mut out, compared);
        for difference in &compared.differences {
            let Some(because) = &difference.because else { continue };
            out.push_str(&cell(difference, "··", "··".to_owned(), truth));
            push(&mut out, because, width);
        }
    }
    if !truth.not_compared.is_empty() {
        let _ = writeln!(out, "\n{}", paint.strong("not compared"));
    }
    for (id, why) in &truth.not_compared {
        let _ = writeln!(out, "{id}");
        push(&mut out, why, width);
    }
    let _ = writeln!(out, "\n{}", summary(truth));
    out
}

/// `412 cells in 28 cases: 405 agree, 2 differ, 5 are known to`
pub fn summary(truth: &Truth) -> String {
    let (unknown, known) = truth.differences();
    let cells = truth.cells();
    let mut text = format!(
        "{cells} cells in {} cases: {} agree, {unknown} differ, {known} are known to",
        truth.cases.len(),
        cells - unknown - known,
    );
    if truth.outdated() > 0 {
        let _ = write!(text, ", {} are known to and don't", truth.outdated());
    }
    if !truth.not_compared.is_empty() {
        let _ = write!(text, " · {} cases not compared", truth.not_compared.len());
    }
    text
}

fn cell(difference: &Difference, sign: &str, painted: String, truth: &Truth) -> String {
    let short = |engine: &str| engine.split(' ').next().unwrap_or(engine).to_owned();
    let [first, second] = [0, 1].map(|side| (short(&truth.engines[side]), &difference.values[side]));
    let indent = " ".repeat(sign.chars().count() + 1);
    let widest = first.0.chars().count().max(second.0.chars().count());
    let mut out = format!("{painted} {}\n", difference.cell);
    for (engine, value) in [first, second] {
        let _ = writeln!(out, "{indent}  {engine:widest$}  {value}");
    }
    out
}

fn push(out: &mut String, text: &str, width: usize) {
    for line in wrap(text, width.saturating_sub(INDENT).max(20), &[' ']) {
        let _ = writeln!(out, "{:INDENT$}{line}", "");
    }
}
