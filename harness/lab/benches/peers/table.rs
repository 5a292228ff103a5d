//! The table of who took how long.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Row;

/// Markdown: medians of building, each with its ratio to the floor of the same run, and of letting the largest go.
pub fn of(rows: &[Row], sizes: &[usize]) -> String {
    let mut table = String::from("|");
    for nodes in sizes {
        let _ = write!(table, " | star of {nodes} | × floor");
    }
    let _ = writeln!(table, " | letting go of {} |", sizes.last().copied().unwrap_or_default());
    let _ = writeln!(table, "|---{}|---|", "|--:|--:".repeat(sizes.len()));
    for row in rows {
        let _ = write!(table, "| {}", row.tool.name);
        for &nodes in sizes {
            match (row.build(nodes), rows.first().and_then(|floor| floor.build(nodes))) {
                (Some(build), Some(floor)) => {
                    let ratio = build.as_secs_f64() / floor.as_secs_f64();
                    let _ = write!(table, " | {} | {ratio:.1}", time(build));
                }
                _ => table.push_str(" | | "),
            }
        }
        let largest = sizes.last().and_then(|&nodes| row.close(nodes));
        let _ = writeln!(table, " | {} |", largest.map(time).unwrap_or_default());
    }
    for row in rows {
        if let Some(reason) = &row.ended {
            let _ = write!(table, "\nNot measured: {} ({reason}).\n", row.tool.name);
        }
    }
    table
}

impl Row {
    /// The median of what building a star of so many nodes took.
    pub fn build(&self, nodes: usize) -> Option<Duration> {
        let cell = self.cells.iter().find(|cell| cell.nodes == nodes)?;
        median(cell.times.iter().map(|times| times.build).collect())
    }

    fn close(&self, nodes: usize) -> Option<Duration> {
        let cell = self.cells.iter().find(|cell| cell.nodes == nodes)?;
        median(cell.times.iter().filter_map(|times| times.close).collect())
    }
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.0} s", ms / 1000.0),
    }
}
