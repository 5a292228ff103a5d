//! Cilium versions the model knows.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The minor lines the model knows, oldest first.
pub const KNOWN: [Minor; 7] =
    [Minor::V1_14, Minor::V1_15, Minor::V1_16, Minor::V1_17, Minor::V1_18, Minor::V1_19, Minor::V1_20];

/// A minor line of Cilium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Minor {
    /// 1.14, July 2023.
    V1_14,
    /// 1.15, January 2024.
    V1_15,
    /// 1.16, July 2024.
    V1_16,
    /// 1.17, February 2025.
    V1_17,
    /// 1.18, July 2025.
    V1_18,
    /// 1.19, early 2026.
    V1_19,
    /// 1.20, mid 2026.
    V1_20,
}

impl Minor {
    /// The number behind `1.`.
    pub fn number(self) -> u32 {
        14 + self as u32
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.number())
    }
}

/// A Cilium version the model knows. Shown as the user wrote it; compared by minor line, then patch release: a line
/// without one is its latest, and a pre-release comes before its release.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    minor: Minor,
    patch: Option<u32>,
}

/// Why a text is no version the model can decide for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not `1.18` or `1.18.2`.
    #[error("`{0}` is not a Cilium version: write 1.18.2, v1.18.2 or 1.18")]
    Malformed(String),
    /// A version whose rules the model does not have.
    #[error("Cilium {0} is too new: 1.14 to 1.20 are known here, on every engine")]
    Newer(String),
    /// A version from before the model's first.
    #[error("Cilium {0} is too old: 1.14 to 1.20 are known here, on every engine")]
    Older(String),
}

/// How far the model of a version can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// The model's decisions were held against a measured agent of this line.
    Measured,
    /// Written from the source only.
    Unverified,
}

impl Version {
    /// Reads `1.18.2`, `v1.18.2` or `1.18`; a pre-release suffix (`-rc.1`) is allowed and ignored for the rules.
    ///
    /// # Errors
    /// The text is malformed, or names a version outside [`KNOWN`].
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let malformed = || VersionError::Malformed(text.to_owned());
        let bare = text.trim().strip_prefix('v').unwrap_or(text.trim());
        let release = bare.split(['-', '+']).next().unwrap_or(bare);
        // Versions are parts of paths and of images' tags.
        if !bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte)) {
            return Err(malformed());
        }
        let mut numbers = Vec::new();
        for part in release.split('.') {
            if part.is_empty() || part.len() > 4 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed());
            }
            numbers.push(part.parse::<u32>().map_err(|_| malformed())?);
        }
        let (major, minor, patch) = match numbers[..] {
            [major, minor] => (major, minor, None),
            [major, minor, patch] => (major, minor, Some(patch)),
            _ => return Err(malformed()),
        };
        match (major.cmp(&1), KNOWN.iter().find(|known| known.number() == minor)) {
            (Ordering::Equal, Some(known)) => Ok(Self { text: text.trim().to_owned(), minor: *known, patch }),
            (Ordering::Equal, None) if minor > KNOWN[KNOWN.len() - 1].number() => {
                Err(VersionError::Newer(text.trim().to_owned()))
            }
            (Ordering::Greater, _) => Err(VersionError::Newer(text.trim().to_owned())),
            _ => Err(VersionError::Older(text.trim().to_owned())),
        }
    }

    /// The minor line.
    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// The patch release, where one was written.
    pub fn patch(&self) -> Option<u32> {
        self.patch
    }

    /// The text as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the model was held against a measured agent: 1.18.2 (its outputs are in `testdata/recorded`) and the
    /// 1.19 branch point were measured. Other patch releases of these lines share the rules.
    pub fn checked(&self) -> Checked {
        match self.minor {
            Minor::V1_18 | Minor::V1_19 => Checked::Measured,
            _ => Checked::Unverified,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A part of a pre-release's name, in the order of semantic versions: numbers by their value, and before words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(u64),
    Word(&'a str),
}

impl<'a> Part<'a> {
    fn of(text: &'a str) -> Self {
        text.parse::<u64>().map_or(Self::Word(text), Self::Number)
    }
}

impl Version {
    /// What versions are compared by.
    fn rank(&self) -> (Minor, u32, bool, Vec<Part<'_>>) {
        // What is built from a release's source is that release.
        let text = self.text.split_once('+').map_or(self.text.as_str(), |(text, _)| text);
        let before = text.split_once('-').map(|(_, before)| before);
        let parts: Vec<_> = before.map(|before| before.split('.').map(Part::of).collect()).unwrap_or_default();
        // As the rules have it, `1.17` is the line's latest; what comes before the line comes before all of it.
        let patch = self.patch.unwrap_or(if before.is_some() { 0 } else { u32::MAX });
        (self.minor, patch, before.is_none(), parts)
    }
}
