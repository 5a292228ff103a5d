//! The report as one JSON document, [`super::schema`], when the run is over.

use std::io::{self, Write};

use super::collect::Collector;
use super::schema::Host;
use crate::runner::{Event, Reporter};

/// Writes the document to a stream.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    collector: Collector,
}

impl<W: Write> Json<W> {
    /// Nothing is written before the run's end.
    pub fn new(out: W, host: Host) -> Self {
        Self { out, collector: Collector::new(host) }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(report) = self.collector.event(event) else { return Ok(()) };
        serde_json::to_writer_pretty(&mut self.out, &report)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
