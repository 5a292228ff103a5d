//! How far a comparison's runs are, on standard error: a bar on a terminal, else one line. What cases come to is not
//! told: that something fails on one of the sides is what a comparison is for.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::runner::{Event, Reporter};

/// Shows how many cases are done.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        Self(io::stderr().is_terminal().then(ProgressBar::new_spinner))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter for Progress {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match (event, &self.0) {
            (Event::RunStarted { cases, jobs }, None) => {
                writeln!(io::stderr(), "running {} cases, {jobs} at a time", cases.len())?;
            }
            (Event::RunStarted { cases, .. }, Some(bar)) => {
                let style = ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_length(cases.len() as u64);
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            (Event::CaseFinished { .. }, Some(bar)) => bar.inc(1),
            (Event::RunFinished(_), Some(bar)) => bar.finish_and_clear(),
            _ => {}
        }
        Ok(())
    }
}
