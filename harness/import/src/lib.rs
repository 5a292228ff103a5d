//! From a real cluster's outputs to a topology and a scenario. Pure: bytes in, text out; knows no kernel, opens no file.
//!
//! Reads `cilium sysdump` archives, and what `ip` and `kubectl` print. Tolerant of what is missing: it is guessed, and
//! each guess is marked in the text it became. Public addresses are replaced, secrets never read.

#![forbid(unsafe_code)]

mod archive;
mod draft;
mod evidence;
mod ip;
mod kube;
mod layout;
mod public;
mod write;

use topology::source::{Diagnostic, Diagnostics, Source};

pub use archive::{Files, MAX_ENTRIES, MAX_FILE, MAX_KEPT, MAX_UNPACKED};
use draft::Draft;
use evidence::Evidence;
use public::Renamer;

/// What may be chosen.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The topology's name: lower-case letters, digits and hyphens.
    pub name: String,
    /// The topology's path as the scenario will name it.
    pub topology_path: String,
    /// Whether nodes get new names.
    pub anonymize: bool,
    /// Cilium's version, whatever was found.
    pub version: Option<cilium::Version>,
    /// Whether interfaces of the same subnet on several nodes are in one network.
    pub networks: Networks,
}

/// Whether interfaces of the same subnet on several nodes are in one network, which can't be seen from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Networks {
    /// They are, unless the nodes' node IPs are on an overlay: then each node is in one of its own.
    #[default]
    Auto,
    /// They are.
    Shared,
    /// Each node is in one of its own.
    Separate,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The topology file's text.
    pub topology: String,
    /// The scenario file's text.
    pub scenario: String,
    /// What to tell whoever asked for it.
    pub summary: Summary,
}

/// What was read, assumed and left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Names of the nodes, machines beside the cluster included.
    pub nodes: Vec<String>,
    /// Cilium's version as written.
    pub version: String,
    /// Each file that something was taken from, with what.
    pub read: Vec<(String, &'static str)>,
    /// How many other files were looked into.
    pub of_no_use: usize,
    /// What can't be known, with what was assumed.
    pub unknown: Vec<String>,
    /// What is there and has no place in the files.
    pub left_out: Vec<String>,
    /// How many public addresses and networks were replaced.
    pub replaced: usize,
    /// Files that can't be read, or only in part.
    pub problems: Vec<Diagnostic>,
}

/// Nothing came of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No node's addresses were found; with what is wrong with the files.
    #[error("no node's links and addresses were found")]
    Nothing {
        /// What can't be read.
        problems: Vec<Diagnostic>,
        /// What was looked for.
        looked_for: &'static str,
    },
    /// What was written isn't a topology: a fault of this crate, or a cluster it has no words for.
    #[error("what was read makes no valid topology")]
    Invalid {
        /// What is wrong with it.
        mistakes: Diagnostics,
        /// Its text.
        text: String,
    },
}

/// Makes a topology and a scenario of files.
///
/// # Errors
/// No node's addresses are in them, or what is can't be expressed.
pub fn import(files: Files, options: &Options) -> Result<Imported, Error> {
    let mut evidence = Evidence::of(files);
    let mut renamer = Renamer::scrub(&mut evidence, options.anonymize);
    let (read, of_no_use) = (std::mem::take(&mut evidence.read), evidence.of_no_use);
    let problems = std::mem::take(&mut evidence.problems);
    let replaced = renamer.replaced();
    let Some(draft) = Draft::of(evidence, options, &mut renamer) else {
        return Err(Error::Nothing { problems, looked_for: layout::LOOKED_FOR });
    };
    let topology = write::topology(&draft, &options.name);
    let valid = Source::from_bytes(format!("{}.yaml", options.name), topology.as_bytes())
        .and_then(|source| topology::parse(&source));
    if let Err(mistakes) = valid {
        return Err(Error::Invalid { mistakes, text: topology });
    }
    let remarks = draft.all_remarks();
    let summary = Summary {
        nodes: draft.nodes.iter().map(|node| node.name.clone()).collect(),
        version: draft.cluster.version.clone(),
        read,
        of_no_use,
        unknown: remarks.unknown,
        left_out: remarks.left_out,
        replaced,
        problems,
    };
    Ok(Imported { topology, scenario: write::scenario(&draft, &options.topology_path), summary })
}
