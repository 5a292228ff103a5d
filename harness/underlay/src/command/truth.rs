//! `underlay test --engine A,B`: the same cases on two engines, held against each other cell by cell.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use cilium::Version;
use indexmap::IndexMap;

use super::bench::Bench;
use super::test::Format;
use super::{Stop, place};
use crate::case::Case;
use crate::compare::progress::Progress;
use crate::exit;
use crate::observed::Engine;
use crate::report::paint::Color;
use crate::report::schema::{self, Host};
use crate::runner;
use crate::truth::facts::Facts;
use crate::truth::known::Known;
use crate::truth::recording::{self, Recording};
use crate::truth::{Truth, human};
use crate::verdict::{Provenance, Verdict};

/// What is to be done.
pub(super) struct Asked<'a> {
    /// On these.
    pub(super) engines: [Arc<dyn Engine>; 2],
    /// The cases.
    pub(super) cases: Vec<Arc<Case>>,
    /// How many at a time, if somebody says.
    pub(super) jobs: Option<NonZeroUsize>,
    /// How to write what comes of it.
    pub(super) format: Format,
    /// Known differences, in place of those that are shipped.
    pub(super) known: Option<&'a Path>,
    /// Where to save what the real engine makes of the cases.
    pub(super) record: Option<&'a Path>,
}

/// Runs the cases on both engines, one after the other, and says where they differ.
pub(super) fn run(asked: Asked<'_>, bench: &mut Bench, color: Color) -> Result<u8, Stop> {
    let known = asked.known.map_or_else(Known::shipped, Known::read).map_err(|wrong| Stop::Files(vec![wrong]))?;
    let real = asked.engines.iter().position(|engine| engine.provenance() == Provenance::Real);
    if asked.record.is_some() && real.is_none() {
        let message = "--record saves what a real component does, and neither engine runs one";
        return Err(Stop::usage(message, "--engine netns,agent"));
    }
    let mut results = Vec::new();
    let mut interrupted = None;
    for engine in &asked.engines {
        let jobs = runner::jobs(asked.jobs, &**engine);
        let (end, cases) =
            bench.run_on(Arc::clone(engine), asked.cases.clone(), jobs, Some(Box::new(Progress::new())))?;
        results.push(cases);
        if end.interrupted.is_some() {
            interrupted = Some(end.exit_code());
            break;
        }
    }
    // What both have done is worth hearing of, after hours.
    let [first, second] = results.as_slice() else { return Ok(interrupted.unwrap_or(exit::HARNESS)) };

    let names = asked.engines.each_ref().map(|engine| format!("{} ({})", engine.name(), word(engine.provenance())));
    let truth = Truth::of(names, first, second, &known);
    if let (Some(folder), Some(real)) = (asked.record, real) {
        let written = record(folder, &*asked.engines[real], &asked.cases, &results[real])?;
        written.iter().try_for_each(|path| writeln!(io::stderr(), "recorded {}", path.display()))?;
    }
    let text = match asked.format {
        Format::Human => human::render(&truth, color.for_stream(&io::stdout()), place::width()),
        Format::Json => serde_json::to_string_pretty(&truth).map_err(io::Error::from)? + "\n",
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(interrupted.unwrap_or_else(|| code(&truth, &results)))
}

fn word(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Model => "model",
        Provenance::Real => "real",
        Provenance::Stub => "stub",
    }
}

fn code(truth: &Truth, results: &[Vec<schema::Case>]) -> u8 {
    let erred = results.iter().flatten().any(|case| case.verdict == Verdict::Error);
    match (erred, truth.holds(), truth.cases.is_empty()) {
        (true, ..) => exit::HARNESS,
        (false, false, _) => exit::FAILED,
        (false, true, true) => exit::HOST,
        (false, true, false) => exit::OK,
    }
}

/// Saves facts, a file for each scenario and version. A case of which nothing was observed is in none.
fn record(
    folder: &Path,
    engine: &dyn Engine,
    cases: &[Arc<Case>],
    results: &[schema::Case],
) -> Result<Vec<PathBuf>, Stop> {
    let host = Host::here();
    let mut recordings: IndexMap<(&str, &str), Recording> = IndexMap::new();
    for result in results.iter().filter(|result| !matches!(result.verdict, Verdict::Skip | Verdict::Error)) {
        let Some(case) = cases.iter().find(|case| case.id() == result.id()) else { continue };
        let recording = recordings.entry((&result.scenario, &result.cilium)).or_insert_with(|| Recording {
            schema: recording::SCHEMA.to_owned(),
            scenario: result.scenario.clone(),
            file: result.file.clone(),
            engine: engine.name().to_owned(),
            component: component(engine, &case.version),
            version: result.cilium.clone(),
            kernel: format!("{} {}", host.os, host.kernel),
            arch: host.arch.clone(),
            date: Utc::now().format("%Y-%m-%d").to_string(),
            cases: IndexMap::new(),
        });
        recording.cases.insert(result.variant.clone(), Facts::of(result));
    }
    let write = |recording: &Recording| recording.write(folder);
    let written: Result<_, _> = recordings.values().map(write).collect();
    written.map_err(|error| Stop::usage(error.to_string(), "name a folder that can be written to"))
}

fn component(engine: &dyn Engine, version: &Version) -> String {
    engine.component(version).unwrap_or_else(|| engine.name().to_owned())
}
