//! Networks nobody thought of: drawn by chance, run, and held against what has to be so everywhere.
//!
//! [`draw`] makes a scenario of a seed, [`invariants`] says what has to hold, and [`Broken`] is what
//! [`shrink`](crate::shrink) keeps while it leaves out all else.

pub mod draw;
pub mod invariants;
pub mod random;

use std::collections::BTreeMap;

use self::invariants::{Finding, Invariant, findings};
use crate::case::Case;
use crate::shrink::keep::{self, Keep};
use crate::verdict::{CaseResult, Verdict};

/// What came of an invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Cases that put it to the test.
    pub cases: usize,
    /// How often, all cases together.
    pub times: usize,
    /// Cases in which it doesn't hold.
    pub broken: usize,
}

/// What came of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally(BTreeMap<Invariant, Count>);

impl Tally {
    /// Adds what one case came to. Returns what doesn't hold, each invariant once.
    pub fn add(&mut self, findings: &[Finding]) -> Vec<(Invariant, String)> {
        let mut broken = Vec::new();
        for invariant in Invariant::ALL {
            let own: Vec<_> = findings.iter().filter(|finding| finding.invariant == invariant).collect();
            let count = self.0.entry(invariant).or_default();
            count.cases += usize::from(!own.is_empty());
            count.times += own.len();
            if let Some(violation) = own.iter().find_map(|finding| finding.violation.clone()) {
                count.broken += 1;
                broken.push((invariant, violation));
            }
        }
        broken
    }

    /// What came of one.
    pub fn of(&self, invariant: Invariant) -> Count {
        self.0.get(&invariant).copied().unwrap_or_default()
    }

    /// Those that nothing put to the test.
    pub fn untried(&self) -> Vec<Invariant> {
        Invariant::ALL.into_iter().filter(|invariant| self.of(*invariant).cases == 0).collect()
    }
}

/// An invariant that doesn't hold: what stays when a case is shrunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken(pub Invariant);

impl Broken {
    /// What is wrong in a result; none where it holds there, or wasn't put to the test.
    pub fn violation(self, result: &CaseResult) -> Option<String> {
        let mut own = findings(result).into_iter().filter(|finding| finding.invariant == self.0);
        own.find_map(|finding| finding.violation)
    }

    /// Why a result doesn't show it, though another run of the same case did; of one that does, nothing.
    pub fn missed(self, result: &CaseResult) -> Option<String> {
        let reason = result.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let mut own = findings(result);
        own.retain(|finding| finding.invariant == self.0);
        match result.verdict {
            Verdict::Error => Some(format!("the harness erred{reason}")),
            Verdict::Skip => Some(format!("it was skipped{reason}")),
            _ if own.is_empty() => Some(format!("nothing was learnt of that{reason}")),
            _ if own.iter().all(|finding| finding.violation.is_none()) => {
                Some("it holds, so that depends on chance".to_owned())
            }
            _ => None,
        }
    }
}

impl Keep for Broken {
    fn is_asked(&self, case: &Case) -> bool {
        self.0 == Invariant::Foretold || !case.probes.is_empty()
    }

    fn meaning(&self, case: &Case) -> String {
        keep::run(case)
    }

    fn holds(&self, result: &CaseResult) -> bool {
        self.violation(result).is_some()
    }

    fn words(&self) -> String {
        format!("it does not hold that {}", self.0.says())
    }
}
