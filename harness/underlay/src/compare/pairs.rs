//! Which case of one set of results is which of another.

use indexmap::IndexMap;

use crate::report::schema::Unfinished;

/// Cases that could be one another's: the results of a run of several engines or versions, joined, have a scenario's
/// variant more than once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("which of them to compare can't be told: {}", .0.join(", "))]
pub struct Ambiguous(pub Vec<String>);

/// Pairs of places in `before` and in `after`, in the order of the former. A case is first what has the same engine,
/// model and versions; else what has its name, if no other has it on either side.
///
/// # Errors
/// On both sides something is left of the same name, and more than one thing has it.
pub fn pair(before: &[Unfinished], after: &[Unfinished]) -> Result<Vec<(usize, usize)>, Ambiguous> {
    let (first, second) = (places(before, Unfinished::clone), places(after, Unfinished::clone));
    let same = first.iter().filter_map(|(case, at)| match (at.as_slice(), second.get(case)?.as_slice()) {
        ([was], [is]) => Some((*was, *is)),
        _ => None,
    });
    let mut pairs: Vec<_> = same.collect();
    let (was, is): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
    let (first, second) = (places(before, name), places(after, name));
    let mut unclear = Vec::new();
    for (id, at) in &first {
        let Some(there) = second.get(id) else { continue };
        match (at.as_slice(), there.as_slice()) {
            ([one], [other]) if !was.contains(one) => pairs.push((*one, *other)),
            (at, there) => {
                let left = |all: &[usize], known: &[usize]| all.iter().any(|place| !known.contains(place));
                if left(at, &was) && left(there, &is) {
                    unclear.push(id.clone());
                }
            }
        }
    }
    pairs.sort_unstable();
    if unclear.is_empty() { Ok(pairs) } else { Err(Ambiguous(unclear)) }
}

/// A case's name, `guide/table::enp0s6`.
fn name(case: &Unfinished) -> String {
    format!("{}::{}", case.scenario, case.variant)
}

/// The places of each, by what is asked of it.
fn places<K: std::hash::Hash + Eq>(cases: &[Unfinished], key: impl Fn(&Unfinished) -> K) -> IndexMap<K, Vec<usize>> {
    let mut all: IndexMap<K, Vec<usize>> = IndexMap::new();
    for (place, case) in cases.iter().enumerate() {
        all.entry(key(case)).or_default().push(place);
    }
    all
}
