//! A packet's way in lines of text: a hop a line, what was done to it beside it, and the break marked.

use std::fmt::Write as _;

use super::paint::Paint;
use super::schema::walk::{End, Hop, Walk};

/// A packet's way without colours, lines ending in newlines.
pub fn walk_text(walk: &Walk) -> String {
    text(walk, Paint(false))
}

/// A packet's way, with colours where they are wanted.
pub fn text(walk: &Walk, paint: Paint) -> String {
    let parts: Vec<_> = std::iter::once(walk).chain(walk.answer.as_deref()).collect();
    let rows: Vec<Vec<Row>> = parts.iter().map(|part| part.hops.iter().map(Row::of).collect()).collect();
    let width =
        |column: fn(&Row) -> &str| rows.iter().flatten().map(|row| column(row).chars().count()).max().unwrap_or(0);
    let (places, packets) = (width(|row| &row.at).max(12), width(|row| &row.packet));
    let mut out = String::new();
    for (index, (part, rows)) in parts.iter().zip(&rows).enumerate() {
        if index > 0 {
            let _ = writeln!(out, "{}", paint.faint("and back"));
        }
        for row in rows {
            let place = pad(&row.at, places);
            let line = format!("  {place}  {:<3}  {}  {}", row.direction, pad(&row.packet, packets), row.changes);
            let line = line.trim_end();
            let _ = writeln!(out, "{}", if row.inferred { paint.faint(line) } else { line.to_owned() });
        }
        out.push_str(&end(&part.end, places, paint));
    }
    if !walk.complete {
        let _ = writeln!(out, "{}", paint.doubtful("  this walk may have gaps"));
    }
    out
}

/// A hop's columns.
struct Row {
    at: String,
    direction: String,
    packet: String,
    changes: String,
    inferred: bool,
}

impl Row {
    fn of(hop: &Hop) -> Self {
        let carried = format!("{} → {}", hop.src, hop.dst);
        let packet = match &hop.outer {
            Some(outer) if hop.inferred => format!("{} → {} [encrypted]", outer.src, outer.dst),
            Some(outer) => format!("{} → {} [{carried}]", outer.src, outer.dst),
            None => carried,
        };
        let mut changes: Vec<_> = hop.changed.iter().map(super::schema::walk::Change::words).collect();
        if hop.inferred && hop.changed.iter().any(|change| change.kind() == "encrypted") {
            changes.push("inferred".to_owned());
        }
        Self {
            at: hop.at.clone(),
            direction: hop.direction.clone(),
            packet,
            changes: changes.join(", "),
            inferred: hop.inferred,
        }
    }
}

fn end(end: &End, places: usize, paint: Paint) -> String {
    let (mark, words) = match end.reason.as_str() {
        super::schema::walk::DELIVERED => (paint.good("✓"), "delivered".to_owned()),
        reason => {
            let words =
                reason.parse().map_or(reason.to_owned(), |known: probe::walk::EndReason| known.words().to_owned());
            (paint.bad("✗"), paint.bad(&words))
        }
    };
    let detail = if end.detail.is_empty() { String::new() } else { format!(": {}", end.detail) };
    format!("{mark} {}  {words}{detail}\n", pad(&end.at, places))
}

/// Padded by characters, not bytes.
fn pad(text: &str, width: usize) -> String {
    let length = text.chars().count();
    format!("{text}{}", " ".repeat(width.saturating_sub(length)))
}
