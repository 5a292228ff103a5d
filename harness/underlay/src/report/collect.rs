//! A run's events, gathered into one report.

use std::sync::Arc;

use super::schema::{Case, Host, Report, SCHEMA, milliseconds};
use crate::runner::{Event, RunFinished};

/// Gathers what has finished, in the order of the scenario files whatever finished first.
#[derive(Debug)]
pub struct Collector {
    host: Host,
    cases: Vec<Option<Case>>,
}

impl Collector {
    /// Nothing yet.
    pub fn new(host: Host) -> Self {
        Self { host, cases: Vec::new() }
    }

    /// Takes note of an event; the last one gives the report.
    pub fn event(&mut self, event: &Event) -> Option<Report> {
        match event {
            Event::RunStarted { cases, .. } => self.cases = vec![None; cases.len()],
            Event::CaseStarted { .. } | Event::CasePutOff { .. } => {}
            Event::CaseFinished { index, result } => self.cases[*index] = Some(Case::from(Arc::as_ref(result))),
            Event::RunFinished(end) => return Some(self.report(end)),
        }
        None
    }

    fn report(&mut self, end: &RunFinished) -> Report {
        let kubernetes = end.kubernetes.as_deref().map(|version| version.trim_start_matches('v').to_owned());
        let cases = std::mem::take(&mut self.cases).into_iter().flatten();
        Report {
            schema: SCHEMA.to_owned(),
            host: self.host.clone(),
            cases: cases.map(|case| Case { kubernetes: kubernetes.clone(), ..case }).collect(),
            summary: end.summary,
            interrupted: end.interrupted.map(|signal| signal.name().to_owned()),
            duration_ms: milliseconds(end.duration),
            merge: None,
        }
    }
}
