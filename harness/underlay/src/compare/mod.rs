//! What differs between two sets of results: the cells that changed, and the decisions that changed behind them. Pure.
//!
//! A cell is what a scenario measures in one variant: what became of a probe, CoreDNS's readiness, what Helm said, and
//! each decision that the scenario asserts; at the end, and at each check between steps. Times and counters are no cells:
//! they differ between any two runs.

pub mod alike;
mod cells;
mod decisions;
pub mod html;
pub mod human;
pub mod markdown;
mod moment;
mod pairs;
pub mod progress;
mod rules;
pub mod side;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

pub use decisions::{RUNNING, decided};
pub use pairs::{Ambiguous, pair};
pub use rules::{RuleChange, differing as differing_rules};

use crate::report::merge::identity;
use crate::report::schema::Case;
use crate::report::table::conditions;
use crate::verdict::{Provenance, Verdict};

/// The schema's name and version.
pub const SCHEMA: &str = "underlay.compare/1";

/// One of the two things that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it is, `Cilium 1.18.2`, `values new.yaml`.
    pub name: String,
    /// The same where room is scarce, `1.18.2`.
    pub short: String,
}

/// What differs between two sets of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was compared.
    pub before: Label,
    /// With what.
    pub after: Label,
    /// Cases in which anything changed, in the order of the results before.
    pub changed: Vec<CaseChange>,
    /// Cases that only the results before have, `guide/table::enp0s6`.
    pub only_before: Vec<String>,
    /// Cases that only the results after have.
    pub only_after: Vec<String>,
    /// Reports in which cases are missing that their runs were to have.
    pub incomplete: Vec<Incomplete>,
    /// Cases that were not compared, and why.
    pub not_compared: Vec<NotCompared>,
    /// Cases that were not run, since every agent decides the same in both, in everything that is carried out.
    pub decided_alike: Vec<String>,
    /// Rules of Cilium that differ between the versions, as far as the model knows them.
    pub rules: Vec<RuleChange>,
    /// How much changed.
    pub summary: Summary,
}

/// A report in which cases are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// Which one, `report main.json`.
    pub report: String,
    /// Why: `its run was interrupted by SIGTERM`.
    pub why: String,
    /// Those that are known to be missing.
    pub cases: Vec<String>,
}

/// A case that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCompared {
    /// Its name, `devices/cilium-1.19::1.19/unset`.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What changed in a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseChange {
    /// The scenario, `guide/table`.
    pub scenario: String,
    /// The variant, `enp0s6`.
    pub variant: String,
    /// Where the results before came from.
    pub before: Origin,
    /// Where the results after came from.
    pub after: Origin,
    /// The cells that changed.
    pub cells: Vec<CellChange>,
    /// The decisions that changed, whether a cell shows it or not.
    pub decisions: Vec<DecisionChange>,
}

/// Where a case's results came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The engine, `netns`.
    pub engine: String,
    /// Where Cilium's decisions came from.
    pub decisions: Provenance,
    /// Whose rules the model followed.
    pub model: String,
    /// The Cilium version.
    pub cilium: String,
    /// Whether the model of this version was checked against a real one's behaviour.
    pub cilium_verified: bool,
    /// The version of Kubernetes, where it is a real one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// Whether the kernel carried the overlay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_overlay: bool,
    /// What the case came to.
    pub verdict: Verdict,
}

impl Origin {
    fn of(case: &Case) -> Self {
        Self {
            engine: case.engine.clone(),
            decisions: case.decisions,
            model: case.model.clone(),
            cilium: case.cilium.clone(),
            cilium_verified: case.cilium_verified,
            kubernetes: case.kubernetes.clone(),
            kernel_overlay: case.kernel_overlay,
            verdict: case.verdict,
        }
    }
}

/// A step that a moment follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtStep {
    /// Its number, from 1, among the steps of the case before; of one that only the case after has, among its.
    pub number: usize,
    /// In words: `check broken`.
    pub step: String,
}

/// A cell that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellChange {
    /// The step after which it is so; null at the end.
    pub step: Option<AtStep>,
    /// What it is about: a probe's id, `dns-ready`, `pod-mtu`; a step, where only one of the cases has it; `case` where a
    /// whole case came to nothing, or to something else though no cell tells why.
    pub subject: String,
    /// Whether that is a probe.
    pub is_probe: bool,
    /// The nodes it is about, of a node's decision; empty where it is about all of them, or about none in particular.
    pub nodes: Vec<String>,
    /// What it was; null where the results before don't have it.
    pub before: Option<String>,
    /// What it is; null where the results after don't have it.
    pub after: Option<String>,
    /// What the assertions about it came to, where both have some.
    pub asserted: Option<Asserted>,
    /// Whether that got better or worse.
    pub trend: Trend,
    /// The decisions, of those that changed, that bear on it: by the nodes it has to do with and by what changed.
    pub behind: Vec<String>,
}

/// What assertions came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asserted {
    /// Before.
    pub before: Verdict,
    /// After.
    pub after: Verdict,
}

/// Which way something asserted went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trend {
    /// It passed and doesn't any more.
    Worse,
    /// It passes now and didn't.
    Better,
    /// Neither, or nothing is asserted.
    #[default]
    Neither,
}

impl Trend {
    fn of(asserted: Option<Asserted>) -> Self {
        // What was not tried is no worse for that, nor was it.
        let tried = asserted.filter(|verdicts| ![verdicts.before, verdicts.after].contains(&Verdict::Skip));
        match tried.map(|Asserted { before, after }| (before == Verdict::Pass, after == Verdict::Pass)) {
            Some((true, false)) => Self::Worse,
            Some((false, true)) => Self::Better,
            _ => Self::Neither,
        }
    }
}

/// A decision that changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DecisionChange {
    /// Which one, `skip-fib`.
    pub decision: String,
    /// The nodes whose agents decide so now.
    pub nodes: Vec<String>,
    /// What was decided.
    pub before: Decided,
    /// What is decided.
    pub after: Decided,
}

/// What an agent decided, and the rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decided {
    /// The outcome.
    pub value: String,
    /// The outcome and its reason in a sentence; null where the results give none.
    pub says: Option<String>,
    /// Where the rule stands: Cilium's file and version, or the guide's section.
    pub source: Option<String>,
}

/// How much changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Cases that both have.
    pub compared: usize,
    /// Those in which a cell changed.
    pub changed_cases: usize,
    /// Cells that changed.
    pub changed_cells: usize,
    /// Of those: asserted, and worse.
    pub worse: usize,
    /// Of those: asserted, and better.
    pub better: usize,
}

/// Compares two sets of results, [pair] by pair.
///
/// # Errors
/// Which cases are each other's can't be told.
pub fn compare(
    before: (Label, &[Case]),
    after: (Label, &[Case]),
    not_compared: Vec<NotCompared>,
) -> Result<Comparison, Ambiguous> {
    let identities = |cases: &[Case]| cases.iter().map(identity).collect::<Vec<_>>();
    let pairs = pair(&identities(before.1), &identities(after.1))?;
    let (first, second): (HashSet<usize>, HashSet<usize>) = pairs.iter().copied().unzip();
    let names = Names::of([before.1, after.1]);
    let missing = |cases: &[Case], paired: &HashSet<usize>| -> Vec<String> {
        let left = cases.iter().enumerate().filter(|(place, _)| !paired.contains(place));
        left.map(|(_, case)| names.name(case)).collect()
    };
    let (only_before, only_after) = (missing(before.1, &first), missing(after.1, &second));
    let mut summary = Summary::default();
    let mut changed = Vec::new();
    let mut rules: Vec<RuleChange> = Vec::new();
    for (was, is) in pairs {
        let (before, after) = (&before.1[was], &after.1[is]);
        summary.compared += 1;
        if rules.is_empty() && before.cilium != after.cilium {
            rules = rules::differing_texts(&before.cilium, &after.cilium);
        }
        let (mut cells, mut decisions) = (Vec::new(), Vec::new());
        let unobserved = cells::unobserved(before, after);
        let (moments, alone) = moment::common(before, after);
        for moment in moments {
            let differing = decisions::changed(moment.before, moment.after);
            if unobserved.is_none() {
                cells.extend(cells::changed(&moment, &differing));
            }
            decisions::join(&mut decisions, differing);
        }
        match unobserved {
            Some(whole) => cells.extend(whole),
            None => {
                cells.extend(alone.into_iter().map(cells::alone));
                cells.extend(cells::untold(before, after, &cells));
            }
        }
        summary.changed_cases += usize::from(!cells.is_empty());
        summary.changed_cells += cells.len();
        summary.worse += cells.iter().filter(|cell| cell.trend == Trend::Worse).count();
        summary.better += cells.iter().filter(|cell| cell.trend == Trend::Better).count();
        if !cells.is_empty() || !decisions.is_empty() {
            changed.push(CaseChange {
                scenario: before.scenario.clone(),
                variant: before.variant.clone(),
                before: Origin::of(before),
                after: Origin::of(after),
                cells,
                decisions,
            });
        }
    }
    Ok(Comparison {
        schema: SCHEMA.to_owned(),
        before: before.0,
        after: after.0,
        changed,
        only_before,
        only_after,
        incomplete: Vec::new(),
        not_compared,
        decided_alike: Vec::new(),
        rules,
        summary,
    })
}

/// How often each name is there, on the side that has it more often.
struct Names(HashMap<String, usize>);

impl Names {
    fn of(sides: [&[Case]; 2]) -> Self {
        let mut most: HashMap<String, usize> = HashMap::new();
        for cases in sides {
            let mut counts: HashMap<String, usize> = HashMap::new();
            cases.iter().for_each(|case| *counts.entry(case.id()).or_default() += 1);
            for (name, count) in counts {
                let known = most.entry(name).or_default();
                *known = count.max(*known);
            }
        }
        Self(most)
    }

    /// A case's name, with the conditions it ran under where others have the same.
    fn name(&self, case: &Case) -> String {
        match self.0.get(&case.id()) {
            Some(2..) => format!("{} ({})", case.id(), conditions(case)),
            _ => case.id(),
        }
    }
}
