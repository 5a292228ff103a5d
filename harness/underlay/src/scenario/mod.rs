//! Scenario files: what a person writes, turned into cases in which everything resolves.
//!
//! [`file`] is what is written, [`Case`] what the rest of the program reads; going from the one to the other is
//! validation, which finds all that is wrong at once. Nothing here touches the kernel or knows what Cilium decides.

mod cluster;
mod discover;
mod expect;
pub mod file;
mod matrix;
mod place;
mod probes;
mod report;
mod resolve;
mod steps;
pub mod terse;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cilium::{Model, Version};
use serde_json::Value;
use topology::Network;
use topology::source::{Diagnostic, Diagnostics, Source, Spanned};

pub use discover::{FOLDER, discover, scenario_id};
pub use matrix::{MAX_CASES, ONLY};
pub(crate) use matrix::{glob, is_named};
pub use probes::MAX_PROBES;
pub use resolve::{DEADLINE, MAX_CHECKS};
pub(crate) use text::duration;

use self::steps::file::StepFile;
use crate::case::{Case, ProbeSpec};
use crate::step::Step;

/// What the command line puts in place of what the files say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Whose rules decide.
    pub model: Option<Model>,
    /// The Cilium version.
    pub version: Option<Version>,
    /// The scenarios' deadline; a probe's own stays.
    pub deadline: Option<Duration>,
}

/// Reads a scenario file, and the topology it names: a case for each variant, in the file's order.
///
/// # Errors
/// All that is wrong with it; if it isn't YAML or not of a scenario's shape, the first thing. If its topology is
/// wrong, what is wrong with that.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Vec<Case>, Diagnostics> {
    parse(&Source::read(path)?, overrides)
}

/// [`load`], from text that was read already. The topology's path is relative to the folder of the source's name.
///
/// # Errors
/// As [`load`].
pub fn parse(source: &Source, overrides: &Overrides) -> Result<Vec<Case>, Diagnostics> {
    resolve::resolve(&source.parse()?, source, overrides)
}

/// Every case that paths stand for, as [`discover`] finds their files.
///
/// # Errors
/// What is wrong, file by file; two files of one name are wrong too, since their cases could not be told apart.
pub fn load_all(paths: &[PathBuf], overrides: &Overrides) -> Result<Vec<Case>, Vec<Diagnostics>> {
    let mut cases = Vec::new();
    let mut wrong = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in discover(paths).map_err(|wrong| vec![wrong])? {
        let name = scenario_id(&path);
        if let Some(other) = names.get(&name) {
            wrong.push(same_name(&name, &path, other));
        }
        match load(&path, overrides) {
            Ok(more) => cases.extend(more),
            // Of a topology that is wrong and used by many, once.
            Err(diagnostics) if wrong.contains(&diagnostics) => {}
            Err(diagnostics) => wrong.push(diagnostics),
        }
        names.insert(name, path);
    }
    if wrong.is_empty() { Ok(cases) } else { Err(wrong) }
}

/// What is wrong with a scenario that has the name of another.
pub(crate) fn same_name(name: &str, path: &Path, other: &Path) -> Diagnostics {
    let message = format!("another file is called `{name}` too: {}", other.display());
    let mut diagnostic = Diagnostic::of_file(path.display().to_string(), message);
    diagnostic.help("rename one: reports and filters know a scenario by its path below `scenarios`");
    diagnostic.into()
}

/// A probe that was asked for outside of a file, on a network: from a place, and what, as a file has it,
/// `{"icmp": "8.8.8.8"}`. Its name is `trace`.
///
/// # Errors
/// All that is wrong with it.
pub fn probe(from: &str, what: &Value, network: &Network) -> Result<ProbeSpec, Diagnostics> {
    let mut written = serde_json::Map::from_iter([("from".to_owned(), Value::from(from))]);
    written.extend(what.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    // JSON is YAML.
    let source = Source::from_bytes("the command line", Value::Object(written).to_string())?;
    let file: file::ProbeFile = source.parse()?;
    let mut report = report::Report::new(&source);
    let name = Spanned { value: "trace".to_owned(), at: file.from.at };
    let probe = probes::read_one(&name, &file, network, &mut report);
    match report.finish(probe)? {
        Some(probe) => Ok(probe),
        None => Err(Diagnostic::of_file("the command line", "no probe can be made of it").into()),
    }
}

/// Steps that are to be taken after others were, outside of a scenario file: one, as a file has it, or a list. They are
/// held against what the ones before have made of the case's network: those of `taken`, the case's own among them as far
/// as they were taken. A step that names several interfaces or nodes is several. Sets of `checks` aren't known here;
/// `expect` is. `file` is what messages call the text.
///
/// # Errors
/// All that is wrong with them.
pub fn steps(written: &str, file: &str, case: &Case, taken: &[Step]) -> Result<Vec<Step>, Diagnostics> {
    // A list of one has another form than one: what a text is shows at its first sign.
    let mut lines =
        written.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with(['#', '%']));
    let is_list = lines.find(|line| !line.starts_with("---")).is_some_and(|line| line.starts_with(['-', '[']));
    let source = Source::from_bytes(file, written.to_owned())?;
    let new: Vec<Spanned<StepFile>> = if is_list { source.parse()? } else { vec![source.parse()?] };

    let mut report = report::Report::new(&source);
    let specs: probes::Probes<'_> = case.probes.iter().map(|probe| (probe.id.as_str(), Some(probe.clone()))).collect();
    let checks = steps::Checks::new();
    let only = [matrix::Combination { names: vec![&case.variant], overrides: Vec::new() }];
    let context = steps::Context {
        network: &case.network,
        probes: &specs,
        checks: &checks,
        combinations: Some(&only),
        index: 0,
        version: Some(case.version.clone()),
    };
    let steps = steps::read_after(&case.steps, taken, &new, &context, &mut report);
    report.finish(steps)
}

/// The scenario file's JSON Schema (draft 2020-12), with a description on every key.
///
/// It knows shapes and words; what ties two places of a file together (a probe and what is expected of it) only
/// [`load`] knows.
pub fn schema() -> Value {
    topology::schema_of::<file::ScenarioFile>()
}
