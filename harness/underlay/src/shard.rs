//! A share of the cases, for running them on several machines side by side.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Shards there may be.
const MOST: u32 = 10_000;

/// One of several shares.
///
/// Which share a case is in depends on its name and their number alone, so a case stays where it is whatever others come
/// or go: the first eight bytes of the SHA-256 of `guide/table::enp0s6`, as a big-endian number, modulo the number of
/// shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

impl Shard {
    /// Whether the case of that name is in this share.
    pub fn holds(self, case: &str) -> bool {
        let digest = Sha256::digest(case.as_bytes());
        let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number % u64::from(self.of) + 1 == u64::from(self.index)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if 1 <= index && index <= of && of <= MOST => Ok(Self { index, of }),
            _ => Err(format!("which of how many, from 1, and at most {MOST}: 3/8")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written() {
        for (text, shard) in [("1/1", (1, 1)), ("3/8", (3, 8)), ("8/8", (8, 8))] {
            assert_eq!(text.parse(), Ok(Shard { index: shard.0, of: shard.1 }));
        }
        for bad in ["", "3", "0/8", "9/8", "-1/8", "1/0", "1/10001", "1/8/2", "a/b", "1 / 8"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_case_stays_where_it_is() {
        // Whoever changes this sends every case to another machine, in the middle of somebody's comparison.
        for (case, index) in [("guide/table::enp0s6", 4), ("guide/table::unset", 3), ("", 5)] {
            let found = (1..=8).find(|index| Shard { index: *index, of: 8 }.holds(case));
            assert_eq!(found, Some(index), "{case}");
        }
    }

    proptest! {
        #[test]
        fn every_case_is_in_one_share(case in ".{0,40}", of in 1_u32..200) {
            let holders = (1..=of).filter(|index| Shard { index: *index, of }.holds(&case)).count();
            prop_assert_eq!(holders, 1);
        }
    }

    #[test]
    fn shares_are_about_as_large() {
        let cases: Vec<_> =
            (0..8000).map(|number| format!("generated/matrix::{}/{}", number % 20, number / 20)).collect();
        for index in 1..=8 {
            let held = cases.iter().filter(|case| Shard { index, of: 8 }.holds(case)).count();
            assert!((850..=1150).contains(&held), "{held} of 8000 cases are in share {index} of 8");
        }
    }
}
