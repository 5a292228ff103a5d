//! `underlay gc`: clusters that a killed run left behind.

use std::io::{self, Write};

use kind::leftovers::{self, Leftover};
use kind::{Error, Tools};

use super::Stop;
use crate::engine::kind::pool;
use crate::engine::kind::setup::unsupported;
use crate::exit;
use crate::live::Refusal;
use crate::observed::EngineError;

const ABOUT: &str = "\
The engine `kind` takes its clusters down itself, also after Ctrl-C. A run that was killed leaves docker objects: nodes'
containers, and a network with the label dev.underlay.cluster. Clusters that a run uses just now stay, and those that
--keep left stay unless they are named.

Examples:
  underlay gc
  underlay gc --dry-run
  underlay gc underlay-0a1b2c3d";

/// Remove clusters that killed runs of the engine `kind` left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Args {
    /// Only these, kept ones too.
    clusters: Vec<String>,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let runtime = super::lone_runtime()?;
    runtime.block_on(collect(args))
}

async fn collect(args: &Args) -> Result<u8, Stop> {
    let tools = Tools::of_host();
    let failed = |error: Error| {
        Refusal::from(match error {
            Error::Absent { .. } => {
                unsupported(format!("look for clusters: {error}; without docker and kind there are none"))
            }
            other => EngineError::failed("look for clusters", &other),
        })
    };
    let in_use: Vec<_> = pool::folder().map_err(Refusal::from)?.labs()?;
    let found = leftovers::list(&tools).await.map_err(failed)?;
    if let Some(unknown) = args.clusters.iter().find(|name| found.iter().all(|leftover| leftover.name != **name)) {
        let names: Vec<_> = found.iter().map(|leftover| leftover.name.as_str()).collect();
        let help = if names.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(Stop::usage(format!("there is no cluster `{unknown}`"), help));
    }
    let mut out = io::stdout().lock();
    for leftover in &found {
        let name = &leftover.name;
        let is_named = args.clusters.contains(name);
        if !args.clusters.is_empty() && !is_named {
            continue;
        }
        if let Some(entry) = in_use.iter().find(|entry| entry.name.as_str() == name) {
            writeln!(out, "{name} stays: {} uses it", entry.process())?;
        } else if leftover.kept && !is_named {
            writeln!(out, "{name} stays: it was to be kept")?;
        } else if args.dry_run {
            writeln!(out, "{name} would be removed: {}", parts(leftover))?;
        } else {
            leftovers::remove(&tools, leftover).await.map_err(failed)?;
            writeln!(out, "{name} is removed: {}", parts(leftover))?;
        }
    }
    if found.is_empty() {
        writeln!(out, "nothing is left behind")?;
    }
    Ok(exit::OK)
}

fn parts(leftover: &Leftover) -> String {
    let network = leftover.network.then(|| "its network".to_owned());
    leftover.containers.iter().cloned().chain(network).collect::<Vec<_>>().join(", ")
}
