//! `underlay check`: validates files, builds nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::de::IgnoredAny;
use topology::source::{Diagnostic, Diagnostics, Source};

use super::Stop;
use crate::exit;
use crate::scenario::{self, Overrides};

/// Keys at the top of a topology file that no scenario has, and the other way round.
const TOPOLOGY: [&str; 4] = ["nodes", "vcns", "overlay", "internet"];
const SCENARIO: [&str; 6] = ["topology", "variants", "expect", "probes", "claims", "values"];

/// Validate scenario and topology files; build nothing.
///
/// Which kind a file is shows in its keys. All that is wrong is printed with its place and what would be right.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  underlay check\n  underlay check scenarios/guide topologies/split-vcn.yaml")]
pub(super) struct Args {
    /// Files, or folders of .yaml files; without any, `scenarios` and `topologies` here.
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let mut asked = args.files.clone();
    if asked.is_empty() {
        asked = ["scenarios", "topologies"].map(PathBuf::from).into_iter().filter(|folder| folder.is_dir()).collect();
    }
    // Folders are looked through for both kinds; `discover` leaves out a folder of topologies only below another.
    let files = scenario::discover(&asked).map_err(|wrong| Stop::Files(vec![wrong]))?;
    let mut wrong = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut out = io::stdout().lock();
    for file in &files {
        match check(file) {
            Ok(Found::Topology(words)) => writeln!(out, "{}: {words}", file.display())?,
            Ok(Found::Scenario(words)) => {
                writeln!(out, "{}: {words}", file.display())?;
                let name = scenario::scenario_id(file);
                // Of each by itself nothing is wrong; both together no command takes.
                if let Some(other) = names.insert(name.clone(), file) {
                    wrong.push(scenario::same_name(&name, file, other));
                }
            }
            Err(diagnostics) if wrong.contains(&diagnostics) => {}
            Err(diagnostics) => wrong.push(diagnostics),
        }
    }
    if wrong.is_empty() { Ok(exit::OK) } else { Err(Stop::Files(wrong)) }
}

/// What a file holds, in words.
enum Found {
    Topology(String),
    Scenario(String),
}

fn check(file: &Path) -> Result<Found, Diagnostics> {
    let source = Source::read(file)?;
    let keys: IndexMap<String, IgnoredAny> = source.parse()?;
    let has = |known: &[&str]| known.iter().filter(|key| keys.contains_key(**key)).count();
    let (topology, scenario) = (has(&TOPOLOGY), has(&SCENARIO));
    if topology > scenario {
        let network = topology::parse(&source)?;
        let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (nodes, vcns) = (count(network.nodes.len(), "node"), count(network.vcns.len(), "VCN"));
        return Ok(Found::Topology(format!("topology, {nodes}, {vcns}")));
    }
    if scenario > 0 {
        let cases = scenario::parse(&source, &Overrides::default())?.len();
        return Ok(Found::Scenario(format!("scenario, {cases} {}", if cases == 1 { "case" } else { "cases" })));
    }
    let mut diagnostic = Diagnostic::of_file(source.file(), "neither a scenario nor a topology");
    diagnostic.help("a scenario has the keys `topology` and `expect`, a topology `nodes` and `vcns`");
    Err(diagnostic.into())
}
