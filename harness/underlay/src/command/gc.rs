//! `underlay gc`: clusters that a killed run left behind.

use std::io::{self, Write};

use kind::leftovers::{self, Leftover};
use kind::{Error, Tools};

use super::Stop;
use crate::engine::kind::pool::{self, Owner};
use crate::engine::kind::setup::unsupported;
use crate::exit;
use crate::live::folder::Entry;
use crate::live::refusal::Fault;
use crate::live::{Name, Refusal};
use crate::observed::EngineError;

const ABOUT: &str = "\
The engine `kind` takes its clusters down itself, also after Ctrl-C. A run that was killed leaves docker objects: nodes'
containers, and a network with the label dev.underlay.cluster. Clusters that a run uses just now stay. Unless they are
named, so do those that --keep left, and those that somebody else made: another user, a container that has docker's socket
too, this machine before its last start. Whether such a one is in use can't be seen from here.

Examples:
  underlay gc
  underlay gc --dry-run
  underlay gc underlay-0a1b2c3d";

/// Remove clusters that killed runs of the engine `kind` left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Args {
    /// Only these, also kept ones and those that somebody else made.
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
    let found = leftovers::list(&tools).await.map_err(failed)?;
    // Only now: whoever makes a cluster claims it before docker has anything of it.
    let claims = pool::folder().map_err(Refusal::from)?;
    let in_use = claims.labs()?;
    let own = Owner::of(&claims).map_err(|error| Refusal::harness("look at the folder of claims", &error))?;
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
        if let Some(why) = stays(leftover, &in_use, &own, is_named) {
            writeln!(out, "{name} stays: {why}")?;
            continue;
        }
        if args.dry_run {
            writeln!(out, "{name} would be removed: {}", parts(leftover))?;
            continue;
        }
        // Nobody begins to use it while it goes. One whose name no claim can have, nobody uses.
        let claim = name.parse::<Name>().ok().map(|name| claims.claim(&name)).transpose();
        let _claim = match claim {
            Ok(claim) => claim,
            Err(Refusal { fault: Fault::Usage, .. }) => {
                writeln!(out, "{name} stays: somebody has begun to use it")?;
                continue;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        leftovers::remove(&tools, leftover).await.map_err(failed)?;
        writeln!(out, "{name} is removed: {}", parts(leftover))?;
    }
    if found.is_empty() {
        writeln!(out, "nothing is left behind")?;
    }
    Ok(exit::OK)
}

/// Why a cluster stays, if it does.
fn stays(leftover: &Leftover, in_use: &[Entry], own: &Owner, is_named: bool) -> Option<String> {
    if let Some(entry) = in_use.iter().find(|entry| entry.name.as_str() == leftover.name) {
        return Some(format!("{} uses it", entry.process()));
    }
    if is_named {
        return None;
    }
    let why = if leftover.kept { "it was to be kept".to_owned() } else { own.doubts(leftover.owner.as_deref())? };
    Some(format!("{why}; `underlay gc {}` removes it", leftover.name))
}

fn parts(leftover: &Leftover) -> String {
    let network = leftover.network.then(|| "its network".to_owned());
    leftover.containers.iter().cloned().chain(network).collect::<Vec<_>>().join(", ")
}
