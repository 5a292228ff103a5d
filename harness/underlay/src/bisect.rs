//! Finding the first bad one of an ordered list, of which the first is good and the last is bad. Pure: who calls it does
//! the trying.

use serde::{Deserialize, Serialize};

/// What trying one came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Its runs prove neither.
    Unclear,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unclear => "unclear",
        })
    }
}

/// The most runs of a step.
pub const MAX_RUNS: usize = 100;

/// How many runs a step takes, and how many of them settle it. In a text `2-of-5`, or `5` for more than half of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Runs of a step.
    pub runs: usize,
    /// So many bad ones make it bad.
    pub confirm: usize,
}

impl Votes {
    /// `None` where `confirm` is 0, or more than there are runs, or those more than [`MAX_RUNS`]. Left out, `confirm` is
    /// more than half of them.
    pub fn new(runs: usize, confirm: Option<usize>) -> Option<Self> {
        let confirm = confirm.unwrap_or(runs / 2 + 1);
        ((1..=runs).contains(&confirm) && runs <= MAX_RUNS).then_some(Self { runs, confirm })
    }

    /// What runs come to together: bad with enough bad ones, good if even the unclear ones could not make it bad.
    pub fn count(self, marks: &[Mark]) -> Mark {
        let of = |mark: Mark| marks.iter().filter(|other| **other == mark).count();
        if of(Mark::Bad) >= self.confirm {
            Mark::Bad
        } else if marks.len() >= self.runs && of(Mark::Bad) + of(Mark::Unclear) < self.confirm {
            Mark::Good
        } else {
            Mark::Unclear
        }
    }
}

impl std::str::FromStr for Votes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = match text.split_once("-of-") {
            Some((confirm, runs)) => runs.parse().ok().zip(confirm.parse().ok().map(Some)),
            None => text.parse().ok().map(|runs| (runs, None)),
        };
        read.and_then(|(runs, confirm)| Self::new(runs, confirm)).ok_or_else(|| {
            format!(
                "write how many bad runs of how many make a step bad, 2-of-5, from 1-of-1 to {MAX_RUNS}-of-{MAX_RUNS}"
            )
        })
    }
}

/// A search among `count` candidates, the first known to be good, the last known to be bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    marks: Vec<Option<Mark>>,
}

impl Search {
    /// `None` where there are fewer than two.
    pub fn new(count: usize) -> Option<Self> {
        let mut marks = vec![None; count];
        let [first, .., last] = marks.as_mut_slice() else { return None };
        (*first, *last) = (Some(Mark::Good), Some(Mark::Bad));
        Some(Self { marks })
    }

    /// The last good one, and the first bad one behind it, as far as is known.
    pub fn bounds(&self) -> (usize, usize) {
        let bad = self.marks.iter().position(|mark| *mark == Some(Mark::Bad)).unwrap_or(self.marks.len() - 1);
        let good = self.marks[..bad].iter().rposition(|mark| *mark == Some(Mark::Good)).unwrap_or(0);
        (good, bad)
    }

    /// Which to try next: of those between the bounds not tried yet, the one nearest to the middle. `None` at the end.
    pub fn next(&self) -> Option<usize> {
        let (good, bad) = self.bounds();
        let untried = (good + 1..bad).filter(|index| self.marks[*index].is_none());
        untried.min_by_key(|index| (2 * index).abs_diff(good + bad))
    }

    /// Notes what trying one came to.
    ///
    /// # Panics
    /// There is no such candidate.
    pub fn note(&mut self, index: usize, mark: Mark) {
        self.marks[index] = Some(mark);
    }

    /// The candidates of which any may be the first bad one: one, unless some between the bounds were unclear.
    pub fn suspects(&self) -> std::ops::RangeInclusive<usize> {
        let (good, bad) = self.bounds();
        good + 1..=bad
    }
}
