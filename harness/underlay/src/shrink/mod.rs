//! The smallest scenario file that still shows what a larger one does.
//!
//! [`selfcontained`] makes a file of one case, [`document`] leaves parts of a text out, [`reduce`] finds out which can go,
//! and [`keep`] says what has to stay. A candidate is read and validated before it is run; a part that others refer to
//! takes them along: where validation complains about a place, what stands there goes too.

pub mod document;
pub mod keep;
pub mod reduce;
pub mod selfcontained;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::source::Source;

use self::document::{Document, PartId, Rendered};
use self::keep::Keep;
use self::reduce::{Judge, Removed};
use crate::case::Case;
use crate::scenario::{self, Overrides};
use crate::verdict::CaseResult;

/// Keys at the top of a scenario that stay: without them there is none; or they say how long it is waited, and what for.
const KEPT: [&str; 4] = ["topology", "cilium", "deadline", "description"];

/// How often what a part takes along may itself take something along.
const MAX_ROUNDS: usize = 16;

/// Runs cases, several at a time; their results are in the cases' order.
pub trait Runner {
    /// What ends it before its time.
    type Error;

    /// Runs them.
    ///
    /// # Errors
    /// There are no results to be had: interrupted, or the host can't.
    fn run(&mut self, cases: Vec<Arc<Case>>) -> Result<Vec<Arc<CaseResult>>, Self::Error>;
}

/// When to be content with what was found.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After that time.
    pub time: Duration,
    /// After so many runs.
    pub runs: usize,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing more can be left out.
    Smallest,
    /// There was no more time.
    Time,
    /// There were no more runs.
    Runs,
}

/// What was found.
#[derive(Debug)]
pub struct Shrunk<E> {
    /// The smallest text that does.
    pub text: String,
    /// Candidates that were run.
    pub runs: usize,
    /// Candidates that were none: no scenario is left, or nobody asks for what is looked for.
    pub invalid: usize,
    /// Candidates that mean what one did that had been run.
    pub known: usize,
    /// How it ended; or what ended it.
    pub end: Result<End, E>,
}

/// Leaves out of a scenario's text, of one case, all that what has to stay doesn't need. `file` is what errors call it.
/// None where it is no scenario of one case.
pub fn shrink<R: Runner>(
    text: &str,
    file: &str,
    keep: &dyn Keep,
    runner: &mut R,
    limits: Limits,
) -> Option<Shrunk<R::Error>> {
    only_case(file, text).ok()?;
    let document = Document::parse(text)?;
    let mut search = Search {
        document: &document,
        file,
        keep,
        runner,
        limits,
        began: Instant::now(),
        known: HashMap::new(),
        counts: [0; 3],
    };
    let mut best = Removed::new();
    let end = match reduce::reduce(&document, &mut search, &mut best) {
        Ok(()) => Ok(End::Smallest),
        Err(Stop::Limit(end)) => Ok(end),
        Err(Stop::Runner(error)) => Err(error),
    };
    let [runs, invalid, known] = search.counts;
    Some(Shrunk { text: document.without(&best).text, runs, invalid, known, end })
}

/// The case of a text that holds one.
///
/// # Errors
/// What is wrong with it; nothing where there are several.
pub fn only_case(file: &str, text: &str) -> Result<Case, Option<topology::source::Diagnostics>> {
    let source = Source::from_bytes(file, text).map_err(Some)?;
    let cases = scenario::parse(&source, &Overrides::default()).map_err(Some)?;
    <[Case; 1]>::try_from(cases).map(|[case]| case).map_err(|_| None)
}

enum Stop<E> {
    Limit(End),
    Runner(E),
}

struct Search<'a, R> {
    document: &'a Document,
    file: &'a str,
    keep: &'a dyn Keep,
    runner: &'a mut R,
    limits: Limits,
    began: Instant,
    /// What cases came to, by what they mean.
    known: HashMap<String, bool>,
    /// Candidates: run, invalid, known.
    counts: [usize; 3],
}

impl<R> Search<'_, R> {
    /// What is left when those parts go, and whatever makes no sense without them. None where that is no scenario.
    fn consequences(&self, mut removed: Removed) -> Option<(Removed, Case)> {
        for _ in 0..MAX_ROUNDS {
            let rendered = self.document.without(&removed);
            let wrong = match only_case(self.file, &rendered.text) {
                Ok(case) => return Some((removed, case)),
                Err(wrong) => wrong?,
            };
            let before = removed.len();
            for diagnostic in wrong.iter() {
                let part = self.place(&rendered, diagnostic.line()?, diagnostic.column()?)?;
                if self.is_kept(self.document, part) {
                    return None;
                }
                removed.insert(part);
            }
            if removed.len() == before {
                return None;
            }
        }
        None
    }

    fn place(&self, rendered: &Rendered, line: u32, column: u32) -> Option<PartId> {
        self.document.part_at(rendered, line, column)
    }

    fn is_kept(&self, document: &Document, part: PartId) -> bool {
        match document.path(part).as_slice() {
            [key] => KEPT.contains(key),
            // Half an expectation of a decision is another one: `devices: []`.
            ["expect" | "claims" | "checks" | "steps", below @ ..] => {
                below.iter().position(|key| *key == "nodes").is_some_and(|nodes| below.len() > nodes + 3)
            }
            _ => false,
        }
    }
}

impl<R: Runner> Judge for Search<'_, R> {
    type Stop = Stop<R::Error>;

    fn is_kept(&self, document: &Document, part: PartId) -> bool {
        Search::is_kept(self, document, part)
    }

    fn judge(&mut self, candidates: Vec<Removed>) -> Result<Vec<Option<Removed>>, Self::Stop> {
        let mut asked: Vec<Option<(Removed, String)>> = Vec::new();
        let mut to_run: Vec<(String, Arc<Case>)> = Vec::new();
        for candidate in candidates {
            let Some((removed, case)) = self.consequences(candidate).filter(|(_, case)| self.keep.is_asked(case))
            else {
                self.counts[1] += 1;
                asked.push(None);
                continue;
            };
            let meaning = self.keep.meaning(&case);
            if self.known.contains_key(&meaning) || to_run.iter().any(|(other, _)| *other == meaning) {
                self.counts[2] += 1;
            } else {
                to_run.push((meaning.clone(), Arc::new(case)));
            }
            asked.push(Some((removed, meaning)));
        }
        if !to_run.is_empty() {
            if self.began.elapsed() >= self.limits.time {
                return Err(Stop::Limit(End::Time));
            }
            if self.counts[0] + to_run.len() > self.limits.runs {
                return Err(Stop::Limit(End::Runs));
            }
            self.counts[0] += to_run.len();
            let cases = to_run.iter().map(|(_, case)| Arc::clone(case)).collect();
            let results = self.runner.run(cases).map_err(Stop::Runner)?;
            for ((meaning, _), result) in to_run.into_iter().zip(results) {
                self.known.insert(meaning, self.keep.holds(&result));
            }
        }
        let holds = |meaning: &String| self.known.get(meaning) == Some(&true);
        Ok(asked.into_iter().map(|asked| Some(asked.filter(|(_, meaning)| holds(meaning))?.0)).collect())
    }
}
