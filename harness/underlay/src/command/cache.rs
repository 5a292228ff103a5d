//! `underlay cache`: real components that were fetched.

use std::io::{self, Write};
use std::time::SystemTime;

use image::{Cache, Entry, Origin};

use super::Stop;
use crate::component::{self, bytes};
use crate::exit;

const ABOUT: &str = "\
A component is an image that was pulled from a registry or read from a file, verified and unpacked, once for each digest.
An image's name stands for what it stood for when it was pulled, until it is pruned. The cache is $UNDERLAY_CACHE, or
underlay in $XDG_CACHE_HOME or ~/.cache.

Examples:
  underlay cache pull quay.io/cilium/cilium:v1.18.2
  underlay cache pull ./cilium.tar     of `docker save` or an OCI layout
  underlay cache ls
  underlay cache prune";

/// List, fetch and remove real components: unpacked images
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what is there, and how much room it takes.
    Ls,
    /// Fetch images; prints each one's folder.
    Pull {
        /// Images by name, or files: an OCI layout, or what `docker save` writes.
        #[arg(required = true, value_name = "IMAGE|FILE")]
        images: Vec<String>,
    },
    /// Remove all that no process uses just now.
    Prune,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    match &args.verb {
        Verb::Ls => list(&Cache::of_user()?)?,
        Verb::Pull { images } => pull(images)?,
        Verb::Prune => prune(&Cache::of_user()?)?,
    }
    Ok(exit::OK)
}

fn pull(images: &[String]) -> Result<(), Stop> {
    // What is no name is told before anything is fetched.
    let origins: Vec<Origin> = images.iter().map(|image| image.parse()).collect::<Result<_, _>>()?;
    for origin in origins {
        let root = component::obtain(origin)?;
        writeln!(io::stdout(), "{}", root.dir.display())?;
    }
    Ok(())
}

fn list(cache: &Cache) -> Result<(), Stop> {
    let entries = cache.entries()?;
    let mut out = io::stdout().lock();
    for entry in &entries {
        writeln!(out, "{}", line(entry))?;
    }
    let all = entries.iter().map(|entry| entry.bytes).sum();
    Ok(writeln!(out, "{} in {}", bytes(all), cache.root().display())?)
}

fn prune(cache: &Cache) -> Result<(), Stop> {
    let pruned = cache.prune()?;
    let mut out = io::stdout().lock();
    for entry in &pruned.removed {
        writeln!(out, "removed {}", line(entry))?;
    }
    for entry in &pruned.in_use {
        writeln!(out, "in use  {}", line(entry))?;
    }
    let all = pruned.removed.iter().map(|entry| entry.bytes).sum();
    Ok(writeln!(out, "{} freed", bytes(all))?)
}

/// `1b4f0e985197  812 MB  3 days  quay.io/cilium/cilium:v1.18.2`
fn line(entry: &Entry) -> String {
    const SHORT: usize = "sha256:".len() + 12;
    let digest = entry.digest.get("sha256:".len()..SHORT).unwrap_or(&entry.digest);
    let what = match (&entry.what, entry.is_whole) {
        (_, false) => "(not whole: a later pull goes on)",
        (Some(what), true) => what.as_str(),
        (None, true) => "(of unknown origin)",
    };
    let age = entry.made.and_then(|made| SystemTime::now().duration_since(made).ok());
    let age = age.map_or_else(|| "-".to_owned(), |age| format!("{} d", age.as_secs() / 86_400));
    format!("{digest}  {:>7}  {age:>6}  {what}", bytes(entry.bytes))
}
