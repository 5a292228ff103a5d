//! Known differences: cells in which the model is known not to be like real Cilium, each with its reason.

use std::path::Path;

use serde::Deserialize;
use topology::source::{Diagnostics, Source};

use crate::scenario::glob;

/// The model's own, as they are shipped.
const SHIPPED: &str = include_str!("../../testdata/truth/known-differences.yaml");
/// What the shipped file is called in messages.
pub const SHIPPED_FILE: &str = "harness/underlay/testdata/truth/known-differences.yaml";

/// Known differences.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    #[serde(default)]
    differences: Vec<Entry>,
}

/// Cells that are known to differ. Each one that is named must: one that doesn't is out of date.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Cases, `devices/*::enp0s6`.
    cases: String,
    /// Cells, `pod-to-pod end`, `nat of *`.
    cells: Vec<String>,
    /// Versions, `1.18*`; all where it isn't said.
    #[serde(default)]
    versions: Option<String>,
    /// Why they differ.
    because: String,
}

impl Known {
    /// Those that come with the program.
    ///
    /// # Errors
    /// The shipped file is wrong.
    pub fn shipped() -> Result<Self, Diagnostics> {
        Self::parse(&Source::from_bytes(SHIPPED_FILE, SHIPPED)?)
    }

    /// Those of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(file: &Path) -> Result<Self, Diagnostics> {
        Self::parse(&Source::read(file)?)
    }

    fn parse(source: &Source) -> Result<Self, Diagnostics> {
        source.parse()
    }

    /// Why a cell is known to differ, if it is.
    pub fn because(&self, case: &str, version: &str, cell: &str) -> Option<&str> {
        let is = |pattern: &str, text: &str| pattern == text || glob(pattern, text);
        let entry = self.differences.iter().find(|entry| {
            is(&entry.cases, case)
                && entry.cells.iter().any(|pattern| is(pattern, cell))
                && entry.versions.as_ref().is_none_or(|pattern| is(pattern, version))
        });
        entry.map(|entry| entry.because.as_str())
    }

    /// Each reason, in the file's order.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.differences.iter().map(|entry| entry.because.as_str())
    }
}
