//! What is compared with what: versions, models, Helm values, saved reports; and what each makes of a case.
//!
//! A version, a model and values take the scenario's place, not a variant's: a variant that names a version of its own
//! keeps it, and its values lie over those of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cilium::version::VersionError;
use cilium::{Model, Values, Version};
use serde_json::{Map, Value};
use topology::source::{Diagnostics, Source};

use super::{Incomplete, Label};
use crate::case::Case;
use crate::report::human::tame_text;
use crate::report::schema::{self, Report};
use crate::scenario::file::{OverrideFile, ScenarioFile};

/// The largest report that is read, in bytes. A thousand cases are some 20 MB.
const MAX_REPORT: u64 = 256 << 20;

/// Something results can come from.
#[derive(Debug, Clone)]
pub enum Side {
    /// Cilium of this version.
    Version(Version),
    /// Decisions by these rules.
    Model(Model),
    /// Helm values of a file, laid over the scenario's.
    Values {
        /// The file.
        file: PathBuf,
        /// What is in it.
        values: Map<String, Value>,
    },
    /// Results of a run that is over.
    Report {
        /// The file.
        file: PathBuf,
        /// What is in it.
        report: Box<Report>,
    },
}

/// A text that names no [`Side`].
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// It looks like a version, and is none the model knows.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// `model:` and something that is no model.
    #[error(transparent)]
    Model(#[from] cilium::model::UnknownModel),
    /// Nothing of that name.
    #[error("`{0}` is no version, no model, and no file that is here")]
    Unknown(String),
    /// A file of a kind that isn't read.
    #[error("{}: the file's name ends neither in .yaml (Helm values) nor in .json (a report)", .0.display())]
    Kind(PathBuf),
    /// A values file is wrong.
    #[error(transparent)]
    Values(#[from] Diagnostics),
    /// A report can't be read.
    #[error("{}: the report can't be read: {reason}", .file.display())]
    Report {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl std::str::FromStr for Side {
    type Err = SideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(model) = text.strip_prefix("model:") {
            return Ok(Self::Model(model.parse()?));
        }
        let path = Path::new(text);
        // Files first: what a version may end with, `1.18.2-main`, may have `.json` behind it.
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("yaml" | "yml" | "json") if !path.is_file() => return Err(SideError::Unknown(text.to_owned())),
            Some("yaml" | "yml") => return Self::values(path).map_err(SideError::Values),
            Some("json") => return Self::report(path),
            _ => {}
        }
        match Version::parse(text) {
            Ok(version) => Ok(Self::Version(version)),
            Err(VersionError::Malformed(_)) if path.is_file() => Err(SideError::Kind(path.to_owned())),
            Err(VersionError::Malformed(_)) => Err(SideError::Unknown(text.to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

impl Side {
    /// Helm values from a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn values(file: &Path) -> Result<Self, Diagnostics> {
        let source = Source::read(file)?;
        let nothing = source.text().lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'));
        // The chart's defaults are a file without a word too.
        let values = if nothing { Map::new() } else { source.values()? };
        Ok(Self::Values { file: file.to_owned(), values })
    }

    fn report(file: &Path) -> Result<Self, SideError> {
        // What is wrong is told with words of the file's.
        let wrong = |reason: String| SideError::Report { file: file.to_owned(), reason: tame_text(&reason) };
        let opened = File::open(file).map_err(|error| wrong(error.to_string()))?;
        let mut text = Vec::new();
        opened.take(MAX_REPORT + 1).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > MAX_REPORT {
            return Err(wrong(format!("it is larger than {} MiB", MAX_REPORT >> 20)));
        }
        // First the schema: what follows may mean something else in another.
        #[derive(serde::Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if head.schema != schema::SCHEMA {
            return Err(wrong(format!("its schema is {:?}, not {}", head.schema, schema::SCHEMA)));
        }
        let report = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Report { file: file.to_owned(), report: Box::new(report) })
    }

    /// Whether its cases are still to be run.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Report { .. })
    }

    /// What is missing in it, if it is the report of a run, or of shares of one, that didn't come to its end.
    pub fn incomplete(&self) -> Option<Incomplete> {
        let Self::Report { report, .. } = self else { return None };
        let mut why = Vec::new();
        if let Some(signal) = &report.interrupted {
            why.push(format!("its run was interrupted by {signal}"));
        } else if !report.unfinished.is_empty() {
            why.push("its run didn't come to its end".to_owned());
        }
        let missing: Vec<_> = report.merge.iter().flat_map(|merge| &merge.missing).map(ToString::to_string).collect();
        if !missing.is_empty() {
            why.push(format!("nobody brought share {}", missing.join(", ")));
        }
        let cases = report.unfinished.iter().map(|case| format!("{}::{}", case.scenario, case.variant)).collect();
        (!why.is_empty()).then(|| Incomplete { report: self.label().name, why: why.join("; "), cases })
    }

    /// What it is called.
    pub fn label(&self) -> Label {
        let name = |file: &Path| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        match self {
            Self::Version(version) => Label { name: format!("Cilium {version}"), short: version.to_string() },
            Self::Model(model) => Label { name: format!("model {model}"), short: model.to_string() },
            Self::Values { file, .. } => Label { name: format!("values {}", file.display()), short: name(file) },
            Self::Report { file, .. } => Label { name: format!("report {}", file.display()), short: name(file) },
        }
    }

    /// What it makes of a case.
    pub fn put(&self, case: &Case, written: &Written) -> Case {
        let mut case = case.clone();
        case.version = written.version.clone().unwrap_or(case.version);
        match self {
            Self::Version(version) if written.version.is_none() => case.version = version.clone(),
            Self::Model(model) if !written.names_model => case.model = *model,
            Self::Values { values, .. } => {
                let mut all = Values::from(written.scenario_values.clone());
                all.merge(&Values::from(values.clone()));
                written.variant_values.iter().for_each(|layer| all.merge(&Values::from(layer.clone())));
                case.values = all.as_map().clone();
            }
            Self::Version(_) | Self::Model(_) | Self::Report { .. } => {}
        }
        case
    }

    /// Why a variant is the same as without it, where the variant's own words are why.
    pub fn kept_out(&self, written: &Written) -> Option<String> {
        match self {
            Self::Version(_) => written.version.as_ref().map(|version| format!("the variant names Cilium {version}")),
            Self::Model(_) => written.names_model.then(|| "the variant names a model".to_owned()),
            Self::Values { values, .. } => {
                let hidden = |key: &&String| written.variant_values.iter().any(|layer| layer.contains_key(*key));
                let key = values.keys().find(hidden)?;
                Some(format!("the variant sets `{key}` itself"))
            }
            Self::Report { .. } => None,
        }
    }
}

/// Whether two cases differ in nothing that decides.
pub fn is_same(a: &Case, b: &Case) -> bool {
    (&a.version, a.model, &a.values, &a.set) == (&b.version, b.model, &b.values, &b.set)
}

/// What a scenario's file says of a variant, layer by layer.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The version that the variant names itself.
    pub version: Option<Version>,
    names_model: bool,
    scenario_values: Map<String, Value>,
    variant_values: Vec<Map<String, Value>>,
}

/// Scenario files, each read once.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<PathBuf, ScenarioFile>);

impl Files {
    /// What a case's file says of its variant.
    ///
    /// # Errors
    /// The file isn't what it was when the case was read from it.
    pub fn written(&mut self, case: &Case) -> Result<Written, Diagnostics> {
        if !self.0.contains_key(&case.file) {
            self.0.insert(case.file.clone(), Source::read(&case.file)?.parse()?);
        }
        let file = &self.0[&case.file];
        let layers = layers(file, &case.variant);
        let version = layers.iter().rev().find_map(|layer| layer.cilium.as_ref());
        Ok(Written {
            version: version.and_then(|version| Version::parse(version).ok()),
            names_model: layers.iter().any(|layer| layer.model.is_some()),
            scenario_values: file.values.clone(),
            variant_values: layers.iter().map(|layer| layer.values.clone()).collect(),
        })
    }
}

/// What a variant changes, axis after axis.
fn layers<'a>(file: &'a ScenarioFile, variant: &str) -> Vec<&'a OverrideFile> {
    let axes = file.variants.iter().flat_map(|axes| &axes.value.0);
    axes.zip(variant.split('/'))
        .filter_map(|(axis, part)| axis.0.iter().find(|(name, _)| name.value == part)?.1.as_ref())
        .collect()
}
