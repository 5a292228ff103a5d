//! A run's events, gathered into one report.

use std::sync::Arc;

use super::schema::{Case, Host, Report, SCHEMA, Unfinished, milliseconds};
use crate::case;
use crate::runner::{Event, RunFinished};

/// Gathers what has finished, in the order of the scenario files whatever finished first.
#[derive(Debug)]
pub struct Collector {
    host: Host,
    /// Each case, and what it came to once it has.
    cases: Vec<(Arc<case::Case>, Option<Case>)>,
}

impl Collector {
    /// Nothing yet.
    pub fn new(host: Host) -> Self {
        Self { host, cases: Vec::new() }
    }

    /// Takes note of an event; the last one gives the report.
    pub fn event(&mut self, event: &Event) -> Option<Report> {
        match event {
            Event::RunStarted { cases, .. } => {
                self.cases = cases.iter().map(|case| (Arc::clone(case), None)).collect();
            }
            Event::CaseStarted { .. } | Event::CasePutOff { .. } => {}
            Event::CaseFinished { index, result } => self.cases[*index].1 = Some(Case::from(Arc::as_ref(result))),
            Event::RunFinished(end) => return Some(self.report(end)),
        }
        None
    }

    fn report(&mut self, end: &RunFinished) -> Report {
        let kubernetes = end.kubernetes.as_deref().map(|version| version.trim_start_matches('v').to_owned());
        let (mut cases, mut unfinished) = (Vec::new(), Vec::new());
        for (case, result) in std::mem::take(&mut self.cases) {
            match result {
                Some(result) => cases.push(Case { kubernetes: kubernetes.clone(), ..result }),
                None => unfinished.push(Unfinished::of(&case, end.engine, kubernetes.clone())),
            }
        }
        Report {
            schema: SCHEMA.to_owned(),
            host: self.host.clone(),
            cases,
            summary: end.summary,
            interrupted: end.interrupted.map(|signal| signal.name().to_owned()),
            unfinished,
            duration_ms: milliseconds(end.duration),
            merge: None,
        }
    }
}
