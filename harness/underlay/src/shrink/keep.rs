//! What has to stay while everything else goes.

use crate::case::{Case, Subject};
use crate::report::human::shown;
use crate::report::schema::steps::Step;
use crate::report::schema::{self, Check};
use crate::step::{self, Action};
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

/// A cell of a report: a probe, a decision of a node, CoreDNS's readiness …, at the end or in a step; or what a step
/// itself has to come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// `pod-to-pod`, `pod-mtu`, `dns-ready`; `wait-for pod-to-pod: works`, `lost of pod-to-pod`.
    pub id: String,
    /// The node, of a node's decision.
    pub node: Option<String>,
    /// The step that looks at it, `check healthy`; none at the end, and where it is what a step itself comes to.
    pub step: Option<String>,
}

/// `pod-to-pod`, `pod-mtu of master`, `check healthy: pod-to-pod`.
impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(step) = &self.step {
            write!(formatter, "{step}: ")?;
        }
        match &self.node {
            Some(node) => write!(formatter, "{} of {node}", self.id),
            None => formatter.write_str(&self.id),
        }
    }
}

impl Cell {
    /// That of a check in a report: of a step's, or of the end's.
    pub fn of_check(step: Option<&Step>, check: &Check) -> Self {
        let step = step.filter(|step| !is_its_own(step, check)).map(|step| step.step.clone());
        Self { id: check.id.clone(), node: check.node.clone(), step }
    }

    fn of_subject(subject: &Subject, step: Option<String>) -> Self {
        Self { id: subject.id().to_owned(), node: subject.node().map(str::to_owned), step }
    }

    fn of_step(id: String) -> Self {
        Self { id, node: None, step: None }
    }

    /// Everything that a case asks for: of the end, then of its steps.
    fn asked(case: &Case) -> Vec<Self> {
        let mut all: Vec<_> = case.expectations.iter().map(|check| Self::of_subject(&check.subject, None)).collect();
        for step in step::flat(&case.steps) {
            match &step.action {
                Action::Check { expectations, .. } => {
                    let words = step.action.to_string();
                    all.extend(expectations.iter().map(|check| Self::of_subject(&check.subject, Some(words.clone()))));
                }
                Action::WaitFor { .. } => all.push(Self::of_step(step.action.to_string())),
                Action::During { streams, .. } => {
                    for stream in streams {
                        all.extend(stream.bounds().map(|bound| Self::of_step(bound.of(&stream.probe))));
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// Whether a name of the command line means it: its own, `NODE/pod-mtu`, or all of it, as it is told.
    pub fn is_named(&self, name: &str) -> bool {
        let full = self.node.as_ref().map(|node| format!("{node}/{}", self.id));
        self.id == name || full.is_some_and(|full| full == name) || self.to_string() == name
    }
}

/// Whether a step's check is of the step itself: of what it waited for, or of what a stream lost.
fn is_its_own(step: &Step, check: &Check) -> bool {
    check.id == step.step || !step.streams.is_empty()
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
    /// The outcome, and what else isn't as it was asked for: `silence`, `too-big, mtu 1280`; of a decision what was
    /// decided.
    pub what: String,
    /// Where the packet ended. None where that depends on the CoreDNS replica that was met.
    pub place: Option<String>,
    /// Why it ended there.
    pub reason: Option<String>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what)?;
        // Where that was asked for it is told already.
        if let Some(place) = self.place.as_ref().filter(|_| !self.what.contains(", dies at ")) {
            write!(formatter, " at {place}")?;
        }
        match self.reason.as_ref().filter(|_| !self.what.contains(", reason ")) {
            Some(reason) => write!(formatter, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// Every expectation of a result that doesn't hold: the end's in the file's order, then each step's.
    pub fn all(result: &schema::Case) -> Vec<Self> {
        let end = result.checks.iter().map(|check| (None, check));
        let steps = result.steps.iter().flat_map(|step| step.checks.iter().map(move |check| (Some(step), check)));
        let failed = end.chain(steps).filter(|(_, check)| check.verdict == Verdict::Fail);
        failed
            .map(|(step, check)| Self {
                cell: Cell::of_check(step, check),
                measured: Some(Measured::of(result, step, check)),
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
    fn of(result: &schema::Case, step: Option<&Step>, check: &Check) -> Self {
        let nowhere = |what| Self { what, place: None, reason: None };
        if step.is_some_and(|step| is_its_own(step, check)) {
            // How many a stream loses is chance; that they are too many isn't.
            return nowhere(format!("not {}", shown(&check.expected)));
        }
        let Some(probe) = result.probe_of(step, check) else { return nowhere(check.measured.to_string()) };
        let end = probe.walk.as_ref().map(schema::walk::Walk::last_end);
        // Names are resolved by either replica of CoreDNS: chance decides which, and with it where.
        let anywhere = matches!(probe.kind.as_str(), "dns" | "http" | "https");
        Self {
            what: unmet(check),
            place: end.filter(|_| !anywhere).map(|end| end.at.clone()),
            reason: end.map(|end| end.reason.clone()),
        }
    }
}

/// Of what a probe came to the outcome, and what else isn't as it was asked for. What is may be asked for no more.
fn unmet(check: &Check) -> String {
    const BETWEEN: &str = ", ";
    let (Some(measured), Some(expected)) = (check.measured.as_str(), check.expected.as_str()) else {
        return check.measured.to_string();
    };
    let met: Vec<_> = expected.split(BETWEEN).collect();
    let mut parts = measured.split(BETWEEN);
    let outcome = parts.next().unwrap_or_default().to_owned();
    parts.filter(|part| !met.contains(part)).fold(outcome, |what, part| what + BETWEEN + part)
}

impl Keep for Failure {
    fn is_asked(&self, case: &Case) -> bool {
        Cell::asked(case).contains(&self.cell)
    }

    fn meaning(&self, case: &Case) -> String {
        // What steps ask for is among what is run.
        let expected = case.expectations.iter().filter(|check| Cell::of_subject(&check.subject, None) == self.cell);
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
        self.verdict == Verdict::Error || !Cell::asked(case).is_empty()
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
