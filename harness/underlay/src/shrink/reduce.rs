//! Delta debugging over a tree of parts: level by level, from large pieces to single parts, until nothing more can go.
//!
//! Zeller and Hildebrandt's ddmin in its complement form (“Simplifying and Isolating Failure-Inducing Input”, 2002), over
//! the levels of a tree as Misherghi and Su have it (“HDD: Hierarchical Delta Debugging”, 2006). Several candidates are
//! put to the question at once; which of them is taken doesn't depend on how many run at a time, so the result is the
//! same each time as long as the answers are.

use std::collections::BTreeSet;

use super::document::{Document, PartId};

/// Candidates that are asked for at once.
const WIDTH: usize = 8;

/// Parts that are left out.
pub type Removed = BTreeSet<PartId>;

/// Knows whether what is left still shows what is looked for.
pub trait Judge {
    /// What ends the search before its time.
    type Stop;

    /// Of each candidate what is really left out where it does (a part may take others along, which make no sense
    /// without it), else none.
    ///
    /// # Errors
    /// There is nothing more to be found out.
    fn judge(&mut self, candidates: Vec<Removed>) -> Result<Vec<Option<Removed>>, Self::Stop>;

    /// Whether a part is never left out by itself.
    fn is_kept(&self, document: &Document, part: PartId) -> bool;
}

/// Leaves out what can be left out, beside what is left out already. `best` is always something that was judged to do.
///
/// # Errors
/// The judge's; what was found until then stands in `best`.
pub fn reduce<J: Judge>(document: &Document, judge: &mut J, best: &mut Removed) -> Result<(), J::Stop> {
    loop {
        let before = best.len();
        for depth in 0..document.depth() {
            level(document, depth, judge, best)?;
        }
        if best.len() == before {
            return Ok(());
        }
    }
}

fn level<J: Judge>(document: &Document, depth: usize, judge: &mut J, best: &mut Removed) -> Result<(), J::Stop> {
    let present = |judge: &J, best: &Removed| -> Vec<PartId> {
        let is_there = |part: &PartId| !document.is_gone(*part, best) && !judge.is_kept(document, *part);
        document.at_depth(depth).filter(is_there).collect()
    };
    let mut size = present(judge, best).len();
    while size > 0 {
        let mut next = 0;
        loop {
            let parts = present(judge, best);
            let Some(rest) = parts.get(next..).filter(|rest| !rest.is_empty()) else { break };
            let chunks: Vec<_> = rest.chunks(size).take(WIDTH).collect();
            let with = |best: &Removed, chunk: &[PartId]| -> Removed { best.iter().chain(chunk).copied().collect() };
            let judged = judge.judge(chunks.iter().map(|chunk| with(best, chunk)).collect())?;
            let held: Vec<_> = chunks.iter().zip(judged).filter_map(|(chunk, held)| Some((chunk, held?))).collect();
            let Some((first, removed)) = held.first() else {
                next += chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
                continue;
            };
            let passed = first[0];
            // What is found is found, whatever ends the next question.
            best.clone_from(removed);
            if held.len() > 1 {
                // What can go one by one can mostly go together.
                let union = held.iter().flat_map(|(_, removed)| removed).copied().collect();
                if let Some(Some(removed)) = judge.judge(vec![union])?.into_iter().next() {
                    *best = removed;
                    next = (next + chunks.iter().map(|chunk| chunk.len()).sum::<usize>()).min(parts.len());
                    let tried = parts.get(next).copied();
                    next = tried.map_or(usize::MAX, |tried| present(judge, best).partition_point(|part| *part < tried));
                    continue;
                }
            }
            next = present(judge, best).partition_point(|part| *part < passed);
        }
        size /= 2;
    }
    Ok(())
}
