//! One case of a scenario file as a file of its own: its topology in it, and nothing that speaks of other variants.

use std::collections::BTreeSet;
use std::path::Path;

use topology::source::{Diagnostics, Source};

use super::document::Document;
use crate::scenario::file::ScenarioFile;
use crate::scenario::{is_named, terse::Terse};

/// Where editors find the schema: true only where the file stands.
const MODELINE: &str = "# yaml-language-server:";

/// The text of a file with that case alone. `variant` is the case's name, of a matrix with `/`.
///
/// # Errors
/// The file, or its topology's, is not what it was when the case was read from it.
pub fn alone(source: &Source, variant: &str) -> Result<String, Diagnostics> {
    let file: ScenarioFile = source.parse()?;
    let text = match Document::parse(source.text()) {
        Some(document) => of_variant(&document, &file, variant),
        None => source.text().to_owned(),
    };
    let text = match &file.topology.value {
        Terse::Short(path) => inlined(&text, Path::new(source.file()), path)?,
        Terse::Full(_) => text,
    };
    Ok(text.split_inclusive('\n').filter(|line| !line.starts_with(MODELINE)).collect())
}

/// Without other variants, and without expectations and claims that are about those.
fn of_variant(document: &Document, file: &ScenarioFile, variant: &str) -> String {
    let names: Vec<&str> = variant.split('/').collect();
    let mut removed = BTreeSet::new();
    if let Some(variants) = document.find(&["variants"]) {
        let axes = document.parts_of(variants);
        let is_matrix = axes.first().is_some_and(|axis| document.name(*axis).starts_with('['));
        let axes: Vec<&[usize]> =
            if is_matrix { axes.iter().map(|axis| document.parts_of(*axis)).collect() } else { vec![axes] };
        for (axis, chosen) in axes.into_iter().zip(&names) {
            removed.extend(axis.iter().filter(|part| document.name(**part) != *chosen));
        }
    }
    let expect = file.expect.iter().map(|block| block.variants.as_ref());
    let claims = file.claims.iter().map(|block| block.variants.as_ref());
    let blocks: [(&str, Vec<_>); 2] = [("expect", expect.collect()), ("claims", claims.collect())];
    for (key, patterns) in blocks {
        let Some(list) = document.find(&[key]) else { continue };
        for (part, patterns) in document.parts_of(list).iter().zip(patterns) {
            let Some(patterns) = patterns else { continue };
            if patterns.value.iter().any(|pattern| is_named(&names, pattern)) {
                let entries = document.parts_of(*part).iter();
                removed.extend(entries.filter(|entry| document.name(**entry) == "in"));
            } else {
                removed.insert(*part);
            }
        }
    }
    document.without(&removed).text
}

/// With the topology's text in place of its path.
fn inlined(text: &str, file: &Path, path: &str) -> Result<String, Diagnostics> {
    let path = file.parent().unwrap_or(Path::new("")).join(path);
    let topology = Source::read(&path)?;
    let Some((document, part)) = Document::parse(text).and_then(|document| {
        let part = document.find(&["topology"])?;
        Some((document, part))
    }) else {
        return Ok(text.to_owned());
    };
    let mut inner = String::new();
    for line in topology.text().lines().filter(|line| !line.starts_with(MODELINE) && *line != "---") {
        if !line.trim().is_empty() {
            inner.push_str("  ");
            inner.push_str(line);
        }
        inner.push('\n');
    }
    let range = document.value_range(part);
    Ok(format!("{}\n{}\n{}", &text[..range.start], inner.trim_end().trim_start_matches('\n'), &text[range.end..]))
}
