//! Names of labs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use topology::source::shown;
use topology::validate::label_problem;

use crate::case::Case;

/// Bytes a name may have at most: a socket's path has no room for more.
const LONGEST: usize = 40;

/// A lab's name: a DNS label, as nodes' names are, so that it can be a file's name and stand in a prompt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// What a case's lab is called where nobody says: `table-enp0s6` of `guide/table::enp0s6`.
    pub fn of(case: &Case) -> Self {
        let scenario = case.scenario.rsplit('/').next().unwrap_or_default();
        let mut name = String::new();
        for letter in format!("{scenario}-{}", case.variant).chars() {
            match letter.to_ascii_lowercase() {
                letter @ ('a'..='z' | '0'..='9') => name.push(letter),
                _ if name.is_empty() || name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        name.truncate(LONGEST);
        let name = name.trim_end_matches('-');
        Self(if name.is_empty() { "lab".to_owned() } else { name.to_owned() })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let problem = match text.len() {
            0..=LONGEST => label_problem(text),
            length => Some(format!("it has {length} characters")),
        };
        match problem {
            None => Ok(Self(text.to_owned())),
            Some(problem) => Err(format!(
                "`{}` can't be a lab's name: {problem}; 1 to {LONGEST} lower-case letters, digits and hyphens, with no \
                 hyphen at either end",
                shown(text)
            )),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "table-enp0s6", "0", &"x".repeat(LONGEST)] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", ".", "..", "../x", "a/b", "a b", "-a", "a-", "A", "ä", "a\n", "a\0", "$(id)", "--all", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} would be a file's name, an option, or worse");
        }
    }
}
