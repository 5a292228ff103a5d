//! `underlay schema`: the JSON Schema of a file kind, for editors, or its reference, for readers.

use std::io::{self, Write};

use serde_json::Value;

use super::Stop;
use crate::{exit, reference, scenario};

/// Print the JSON Schema of scenario or topology files, for editors.
///
/// An editor with the YAML language server completes and explains keys when a file begins with
/// `# yaml-language-server: $schema=<path to the schema>`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which kind of file.
    kind: Kind,
    /// As what.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// JSON Schema, draft 2020-12.
    Json,
    /// A page with every key, what it takes and what it means.
    Markdown,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// What is run and what must come of it.
    Scenario,
    /// What the network looks like.
    Topology,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let schema: Value = match args.kind {
        Kind::Scenario => scenario::schema(),
        Kind::Topology => topology::schema(),
    };
    match args.format {
        Format::Json => writeln!(io::stdout(), "{schema:#}")?,
        Format::Markdown => write!(io::stdout(), "{}", reference::page(&schema))?,
    }
    Ok(exit::OK)
}
