//! One engine held against another, cell by cell: the model against real Cilium, now or as recorded. Pure.
//!
//! A cell is what can be said of a case in a word: what became of a probe, the source its far end saw, the device it left
//! its node by, where and why it ended; each decision of each agent, each entry of its NAT table; CoreDNS's readiness;
//! whether Helm takes the values. Times, ports and hops are none: they differ between runs, and eBPF's redirects pass by
//! taps. [`facts`] takes them from results, [`recording`] keeps them, [`known`] says which are known to differ and why.

pub mod facts;
pub mod fidelity;
pub mod human;
pub mod known;
pub mod recording;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::report::schema::Case;
use crate::verdict::Verdict;
use facts::{Cell, Facts, Kind};
use known::Known;

/// The schema's name and version.
pub const SCHEMA: &str = "underlay.truth/1";

/// What came of holding one engine against another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// [`SCHEMA`].
    pub schema: String,
    /// What each of the two is, `netns (model)`.
    pub engines: [String; 2],
    /// Each case that both had something to say of.
    pub cases: Vec<Compared>,
    /// Cases of which one had nothing to say, and why.
    pub not_compared: Vec<(String, String)>,
}

/// A case, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name, `guide/table::enp0s6`.
    pub id: String,
    /// The Cilium version.
    pub version: String,
    /// How many cells could be compared.
    pub cells: usize,
    /// Those that differ.
    pub differences: Vec<Difference>,
    /// Cells that are known to differ, and don't.
    pub outdated: Vec<Outdated>,
}

/// A cell that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name, `pod-to-pod source`.
    pub cell: String,
    /// What it is about.
    pub kind: Kind,
    /// What each of the two says.
    pub values: [String; 2],
    /// Why, where it is known.
    pub because: Option<String>,
}

/// A cell that is known to differ, and doesn't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outdated {
    /// Its name.
    pub cell: String,
    /// What both say.
    pub value: String,
    /// Why it was said to differ.
    pub because: String,
}

/// What stands where one of two has no such cell.
pub const NOTHING: &str = "–";

/// Holds the facts of a case against those that another engine found.
pub fn compare(id: &str, version: &str, first: &Facts, second: &Facts, known: &Known) -> Compared {
    let table = |facts: &Facts| -> IndexMap<String, Cell> {
        facts.cells().into_iter().map(|cell| (cell.name.clone(), cell)).collect()
    };
    let (first, second) = (table(first), table(second));
    let mut compared =
        Compared { id: id.to_owned(), version: version.to_owned(), cells: 0, differences: vec![], outdated: vec![] };
    let names = first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)));
    for name in names {
        let cells = [first.get(name), second.get(name)];
        let Some(kind) = cells.into_iter().flatten().map(|cell| cell.kind).next() else { continue };
        // What one of them can't tell is no difference.
        let is_unclear = cells.into_iter().flatten().any(|cell| cell.value == facts::UNCLEAR);
        if is_unclear || (cells.contains(&None) && !kind.is_always_told()) {
            continue;
        }
        compared.cells += 1;
        let values = cells.map(|cell| cell.map_or(NOTHING, |cell| cell.value.as_str()).to_owned());
        let because = known.because(id, version, name).map(str::to_owned);
        match because {
            because if values[0] != values[1] => {
                compared.differences.push(Difference { cell: name.clone(), kind, values, because });
            }
            Some(because) => {
                let [value, _] = values;
                compared.outdated.push(Outdated { cell: name.clone(), value, because });
            }
            None => {}
        }
    }
    compared
}

impl Truth {
    /// From the results of the same cases on two engines.
    pub fn of(engines: [String; 2], first: &[Case], second: &[Case], known: &Known) -> Self {
        let mut truth = Self { schema: SCHEMA.to_owned(), engines, cases: Vec::new(), not_compared: Vec::new() };
        for first in first {
            let Some(second) = second.iter().find(|case| case.id() == first.id()) else { continue };
            let silent = [first, second].into_iter().find_map(|case| Some((case, nothing(case)?)));
            match silent {
                Some((case, why)) => truth.not_compared.push((case.id(), format!("{}: {why}", case.engine))),
                None => {
                    let facts = [first, second].map(Facts::of);
                    truth.cases.push(compare(&first.id(), &first.cilium, &facts[0], &facts[1], known));
                }
            }
        }
        truth
    }

    /// How many cells were compared.
    pub fn cells(&self) -> usize {
        self.cases.iter().map(|case| case.cells).sum()
    }

    /// Cells that differ: those of which nobody knows why, and those that are known to.
    pub fn differences(&self) -> (usize, usize) {
        let all = || self.cases.iter().flat_map(|case| &case.differences);
        let known = all().filter(|difference| difference.because.is_some()).count();
        (all().count() - known, known)
    }

    /// Cells that are known to differ, and don't.
    pub fn outdated(&self) -> usize {
        self.cases.iter().map(|case| case.outdated.len()).sum()
    }

    /// Whether the one engine is as good as the other, as far as is known.
    pub fn holds(&self) -> bool {
        self.differences().0 == 0 && self.outdated() == 0
    }
}

/// Why there is nothing to be compared, if there isn't.
fn nothing(case: &Case) -> Option<String> {
    let reason = || case.reason.clone().unwrap_or_else(|| "nothing was observed".to_owned());
    match case.verdict {
        Verdict::Skip | Verdict::Error => Some(reason()),
        _ if case.helm.is_none() && case.nodes.is_empty() => Some(reason()),
        _ => None,
    }
}
