//! What has to stay while everything else goes.

use crate::case::{Case, Subject};
use crate::report::schema::{self, Probe};
use crate::verdict::Verdict;

/// What has to stay.
pub trait Keep {
    /// Whether a case can show it at all: what it is about is asked for. Decided without running it.
    fn is_asked(&self, case: &Case) -> bool;

    /// What of a case bears on it, so that two cases with the same text need not both be run.
    fn meaning(&self, case: &Case) -> String;

    /// Whether a result shows it.
    fn holds(&self, result: &crate::verdict::CaseResult) -> bool;

    /// It in words.
    fn words(&self) -> String;
}

/// A cell of a report: a probe, a decision of a node, CoreDNS's readiness …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// `pod-to-pod`, `pod-mtu`, `dns-ready`.
    pub id: String,
    /// The node, of a node's decision.
    pub node: Option<String>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.node {
            Some(node) => write!(formatter, "{} of {node}", self.id),
            None => formatter.write_str(&self.id),
        }
    }
}

impl Cell {
    /// Whether a name of the command line means it: its own, or `NODE/pod-mtu`.
    pub fn is_named(&self, name: &str) -> bool {
        let full = self.node.as_ref().map(|node| format!("{node}/{}", self.id));
        self.id == name || full.is_some_and(|full| full == name)
    }

    fn is(&self, subject: &Subject) -> bool {
        subject.id() == self.id && subject.node() == self.node.as_deref()
    }
}

/// An expectation that doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of what.
    pub cell: Cell,
    /// What it is instead; none where any failure of the cell will do.
    pub measured: Option<Measured>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The outcome, `silence`; of a decision what was decided.
    pub what: String,
    /// Where the packet ended. None where that depends on the CoreDNS replica that was met.
    pub place: Option<String>,
    /// Why it ended there.
    pub reason: Option<String>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(formatter, " at {place}")?;
        }
        match &self.reason {
            Some(reason) => write!(formatter, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// Every expectation of a result that doesn't hold, in the file's order.
    pub fn all(result: &schema::Case) -> Vec<Self> {
        let failed = result.checks.iter().filter(|check| check.verdict == Verdict::Fail);
        failed
            .map(|check| {
                let cell = Cell { id: check.id.clone(), node: check.node.clone() };
                let probe = result.probe(&check.id).filter(|_| check.node.is_none());
                let measured = probe.map_or_else(
                    || Measured { what: check.measured.to_string(), place: None, reason: None },
                    Measured::of,
                );
                Self { cell, measured: Some(measured) }
            })
            .collect()
    }
}

impl Failure {
    /// Whether it is about a probe.
    pub fn is_probe(&self) -> bool {
        self.measured.as_ref().is_some_and(|measured| measured.reason.is_some())
    }
}

impl Measured {
    fn of(probe: &Probe) -> Self {
        let what = probe.outcome_text.clone().unwrap_or_else(|| "not sent".to_owned());
        let end = probe.walk.as_ref().map(schema::walk::Walk::last_end);
        // Names are resolved by either replica of CoreDNS: chance decides which, and with it where.
        let anywhere = matches!(probe.kind.as_str(), "dns" | "http" | "https");
        Self {
            what,
            place: end.filter(|_| !anywhere).map(|end| end.at.clone()),
            reason: end.map(|end| end.reason.clone()),
        }
    }
}

impl Keep for Failure {
    fn is_asked(&self, case: &Case) -> bool {
        case.expectations.iter().any(|check| self.cell.is(&check.subject))
    }

    fn meaning(&self, case: &Case) -> String {
        let expected = case.expectations.iter().filter(|check| self.cell.is(&check.subject));
        format!("{} {:?}", run(case), expected.map(|check| &check.expected).collect::<Vec<_>>())
    }

    fn holds(&self, result: &crate::verdict::CaseResult) -> bool {
        let all = Self::all(&schema::Case::from(result));
        all.iter()
            .any(|failure| failure.cell == self.cell && (self.measured.is_none() || self.measured == failure.measured))
    }

    fn words(&self) -> String {
        match &self.measured {
            Some(measured) => format!("{}: {measured}", self.cell),
            None => format!("{} fails", self.cell),
        }
    }
}

/// A whole case's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// What it comes to.
    pub verdict: Verdict,
    /// Of an error, what was being done.
    pub step: Option<String>,
}

impl Whole {
    /// Of a result.
    pub fn of(verdict: Verdict, reason: Option<&str>) -> Self {
        let step = reason.filter(|_| verdict == Verdict::Error).and_then(|reason| reason.split(':').next());
        Self { verdict, step: step.map(str::to_owned) }
    }
}

impl Keep for Whole {
    fn is_asked(&self, case: &Case) -> bool {
        self.verdict == Verdict::Error || !case.expectations.is_empty()
    }

    fn meaning(&self, case: &Case) -> String {
        let expected: Vec<_> = case.expectations.iter().map(|check| (&check.subject, &check.expected)).collect();
        format!("{} {expected:?}", run(case))
    }

    fn holds(&self, result: &crate::verdict::CaseResult) -> bool {
        *self == Self::of(result.verdict, result.reason.as_deref())
    }

    fn words(&self) -> String {
        match &self.step {
            Some(step) => format!("the case is an {}: {step}", self.verdict),
            None => format!("the case is a {}", self.verdict),
        }
    }
}

/// Everything of a case that decides what happens when it is run.
pub fn run(case: &Case) -> String {
    let Case { network, model, version, cluster, values, set, steps, probes, deadline, .. } = case;
    let steps: Vec<_> = steps.iter().map(|step| &step.action).collect();
    let steps = without_lines(&format!("{steps:?}"));
    format!("{network:?} {model} {version} {cluster:?} {values:?} {set:?} {steps} {probes:?} {deadline:?}")
}

/// Where in its file something stands decides nothing.
fn without_lines(steps: &str) -> String {
    const LINE: &str = "line: ";
    let mut parts = steps.split(LINE);
    let head = parts.next().unwrap_or_default().to_owned();
    parts.fold(head, |text, part| text + LINE + part.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}
