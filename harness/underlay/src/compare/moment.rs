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

/// A step in which something is asserted in one of two cases only.
pub(super) struct Alone<'a> {
    /// Where.
    pub at: AtStep,
    /// The step.
    pub step: &'a Step,
    /// Whether it is the case before that has it.
    pub is_before: bool,
}

/// The moments that both cases have, in the order of the case before; and steps that only one has, with checks. A step is
/// the same in the same words; of several the first is the first, the second the second.
pub(super) fn common<'a>(before: &'a Case, after: &'a Case) -> (Vec<Common<'a>>, Vec<Alone<'a>>) {
    let (first, second) = (numbered(before), numbered(after));
    let told = |step: &Step| !step.checks.is_empty() || !step.probes.is_empty();
    let at = |number: usize, step: &Step| AtStep { number, step: step.step.clone() };
    let (mut moments, mut alone) = (Vec::new(), Vec::new());
    for (name, (number, was)) in &first {
        match second.get(name) {
            Some((_, is)) if told(was) || told(is) => moments.push(Common {
                step: Some(at(*number, was)),
                before: Moment::at(before, was),
                after: Moment::at(after, is),
            }),
            Some(_) => {}
            None => alone.push(Alone { at: at(*number, was), step: was, is_before: true }),
        }
    }
    let new = second.iter().filter(|(name, _)| !first.contains_key(*name));
    alone.extend(new.map(|(_, (number, is))| Alone { at: at(*number, is), step: is, is_before: false }));
    alone.retain(|alone| !alone.step.checks.is_empty());
    moments.push(Common { step: None, before: Moment::end(before), after: Moment::end(after) });
    (moments, alone)
}

/// Each step with its number, by its words and how often they were there before.
fn numbered(case: &Case) -> IndexMap<(&str, usize), (usize, &Step)> {
    let mut times: IndexMap<&str, usize> = IndexMap::new();
    let mut all = IndexMap::new();
    for (step, number) in case.steps.iter().zip(1..) {
        let time = times.entry(&step.step).or_default();
        all.insert((step.step.as_str(), *time), (number, step));
        *time += 1;
    }
    all
}
