//! How far a comparison's runs are, on standard error: a bar on a terminal, else a line now and then. What cases come to is
//! not told: that something fails on one of the sides is what a comparison is for.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::progress::say;
use crate::runner::{Event, Reporter};

/// From one line to the next, where there is no bar: real agents take their time, and whoever waits wants to know.
const EVERY: Duration = Duration::from_secs(30);

/// Shows how many cases are done.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    done: usize,
    of: usize,
    told: Instant,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self { bar, done: 0, of: 0, told: Instant::now() }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter for Progress {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match (event, &self.bar) {
            (Event::RunStarted { cases, jobs }, None) => {
                (self.of, self.told) = (cases.len(), Instant::now());
                say(&format!("running {} cases, {jobs} at a time", cases.len()));
            }
            (Event::RunStarted { cases, .. }, Some(bar)) => {
                let style = ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_length(cases.len() as u64);
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            (Event::CaseFinished { .. }, Some(bar)) => bar.inc(1),
            (Event::CaseFinished { .. }, None) => {
                self.done += 1;
                if self.told.elapsed() >= EVERY {
                    self.told = Instant::now();
                    say(&format!("{} of {} cases done", self.done, self.of));
                }
            }
            (Event::RunFinished(_), Some(bar)) => bar.finish_and_clear(),
            _ => {}
        }
        Ok(())
    }
}
