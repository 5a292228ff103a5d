//! Moments at which cases are compared: each check between their steps, then the end.

use indexmap::IndexMap;

use super::AtStep;
use crate::report::schema::steps::Step;
use crate::report::schema::{Case, Check, Dns, Helm, Node, Probe};

/// What is known of a case at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    /// The case.
    pub case: &'a Case,
    /// What each node's agent decides.
    pub nodes: &'a IndexMap<String, Node>,
    /// What was sent.
    pub probes: &'a [Probe],
    /// What is asserted.
    pub checks: &'a [Check],
    /// CoreDNS.
    pub dns: Option<&'a Dns>,
    /// What Helm said; told at the end only.
    pub helm: Option<&'a Helm>,
    /// Whether what is measured are counts and times, which differ from run to run.
    pub counts: bool,
}

impl<'a> Moment<'a> {
    fn end(case: &'a Case) -> Self {
        Self {
            case,
            nodes: &case.nodes,
            probes: &case.probes,
            checks: &case.checks,
            dns: case.dns.as_ref(),
            helm: case.helm.as_ref(),
            counts: false,
        }
    }

    fn at(case: &'a Case, step: &'a Step) -> Self {
        Self {
            case,
            // Only checks look at agents.
            nodes: &step.nodes,
            probes: &step.probes,
            checks: &step.checks,
            dns: step.dns.as_ref(),
            helm: None,
            counts: !step.streams.is_empty(),
        }
    }

    /// The probe of that id.
    pub fn probe(&self, id: &str) -> Option<&'a Probe> {
        self.probes.iter().find(|probe| probe.id == id)
    }
}

/// The same moment in two cases.
pub(super) struct Common<'a> {
    /// The step it follows; none at the end.
    pub step: Option<AtStep>,
    /// Before.
    pub before: Moment<'a>,
    /// After.
    pub after: Moment<'a>,
}

/// The moments that both cases have, in their order. A step is the same where it stands at the same place in the same
/// words.
pub(super) fn common<'a>(before: &'a Case, after: &'a Case) -> Vec<Common<'a>> {
    let steps = before.steps.iter().zip(&after.steps).zip(1..);
    let told = |step: &Step| !step.checks.is_empty() || !step.probes.is_empty();
    let steps = steps.filter(|((was, is), _)| was.step == is.step && (told(was) || told(is)));
    let mut moments: Vec<_> = steps
        .map(|((was, is), number)| Common {
            step: Some(AtStep { number, step: was.step.clone() }),
            before: Moment::at(before, was),
            after: Moment::at(after, is),
        })
        .collect();
    moments.push(Common { step: None, before: Moment::end(before), after: Moment::end(after) });
    moments
}
