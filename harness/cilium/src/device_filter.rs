//! Lists of device names with wildcards: `devices` and `direct-routing-device`.

use std::fmt;

use serde::Serialize;

use crate::rules::{ListSyntax, Rules};

/// Names and prefixes devices are matched against (pkg/datapath/tables/device.go, `DeviceFilter`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DeviceFilter(pub Vec<String>);

/// What a filter makes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// An entry names it.
    Wanted,
    /// An entry with `!` names it (1.19 and later).
    Excluded,
    /// No entry names it.
    None,
}

impl DeviceFilter {
    /// Splits an option's text. Empty text gives no entries, which means auto-detection.
    pub fn parse(syntax: ListSyntax, text: &str) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let entries = match syntax {
            ListSyntax::WhiteSpace => words(text),
            ListSyntax::CommaElseWhiteSpace if text.contains(',') => text.split(',').map(str::to_owned).collect(),
            ListSyntax::CommaElseWhiteSpace => words(text),
        };
        Self(entries)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry is a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.iter().any(|entry| entry.ends_with('+'))
    }

    /// Matches a name; the first entry that names it decides.
    pub fn matches(&self, rules: &Rules, name: &str) -> Match {
        for entry in &self.0 {
            let (entry, hit) = match entry.strip_prefix('!') {
                Some(rest) if rules.negation => (rest, Match::Excluded),
                _ => (entry.as_str(), Match::Wanted),
            };
            // All trailing plus signs go, not one.
            let named =
                if entry.ends_with('+') { name.starts_with(entry.trim_end_matches('+')) } else { name == entry };
            if named {
                return hit;
            }
        }
        Match::None
    }
}

/// As Go prints a list of strings, and so as Cilium prints it.
impl fmt::Display for DeviceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(" "))
    }
}
