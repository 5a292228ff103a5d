//! What is going on, on standard error: a bar on a terminal, else a line for each case.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::paint::Paint;
use crate::case::Case;
use crate::runner::{Event, Reporter};
use crate::verdict::{CaseResult, Verdict};

/// Shows progress.
#[derive(Debug)]
pub struct Progress {
    paint: Paint,
    bar: Option<ProgressBar>,
    cases: Vec<Arc<Case>>,
    running: Vec<usize>,
}

impl Progress {
    /// On standard error, in colour or not.
    pub fn new(paint: Paint) -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self { paint, bar, cases: Vec::new(), running: Vec::new() }
    }

    fn show_running(&self) {
        let Some(bar) = &self.bar else { return };
        let names: Vec<_> = self.running.iter().map(|index| self.cases[*index].id()).collect();
        bar.set_message(names.join(", "));
    }

    /// `    PASS [   0.812s] guide/table::enp0s6`
    fn line(&self, result: &CaseResult) -> String {
        let word = format!("{:>12}", result.verdict.name().to_uppercase());
        let word = match result.verdict {
            Verdict::Pass => self.paint.good(&word),
            Verdict::Fail | Verdict::Error => self.paint.bad(&word),
            Verdict::Skip | Verdict::Inconclusive => self.paint.doubtful(&word),
        };
        format!("{word} [{:>8.3}s] {}", result.duration.as_secs_f64(), result.case.id())
    }
}

/// A line for whoever watches. Where nobody does any more (`2>&1 | head`), the run goes on: it has reports to write.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl Reporter for Progress {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { cases, jobs } => {
                self.cases.clone_from(cases);
                match &self.bar {
                    Some(bar) => {
                        let style = ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed} {wide_msg}")
                            .unwrap_or_else(|_| ProgressStyle::default_bar());
                        bar.set_style(style);
                        bar.set_length(cases.len() as u64);
                        bar.enable_steady_tick(Duration::from_millis(100));
                    }
                    None => say(&format!("running {} cases, {jobs} at a time", cases.len())),
                }
            }
            Event::CaseStarted { index } => {
                self.running.push(*index);
                self.show_running();
            }
            Event::CasePutOff { index, result } => {
                self.running.retain(|running| running != index);
                let line = format!("{}: this machine was too busy, it runs again at the end", self.line(result));
                match &self.bar {
                    Some(bar) => bar.println(line),
                    None => say(&line),
                }
                self.show_running();
            }
            Event::CaseFinished { index, result } => {
                self.running.retain(|running| running != index);
                match &self.bar {
                    // The table shows the others.
                    Some(bar) if result.verdict != Verdict::Pass => bar.println(self.line(result)),
                    Some(_) => {}
                    None => say(&self.line(result)),
                }
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                self.show_running();
            }
            Event::RunFinished(_) => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
        }
        Ok(())
    }
}
