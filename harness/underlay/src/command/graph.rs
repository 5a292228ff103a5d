//! `underlay graph`: a picture of a topology.

use std::io::{self, Write};
use std::path::PathBuf;

use topology::source::Source;

use super::Stop;
use crate::exit;
use crate::report::picture::{mermaid, svg};
use crate::report::schema::topology::Topology;

const EXAMPLES: &str = "\
Examples:
  underlay graph topologies/split-vcn.yaml > split-vcn.svg
  underlay graph topologies/split-vcn.yaml --format mermaid";

/// Draw a topology: networks, gateways, machines, the overlay.
///
/// Needs no privileges. The picture goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A topology file.
    topology: PathBuf,

    /// In which language.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// A file for browsers, light and dark.
    #[default]
    Svg,
    /// Text that GitHub and many wikis draw.
    Mermaid,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let read = || topology::parse(&Source::read(&args.topology)?);
    let network = read().map_err(|wrong| Stop::Files(vec![wrong]))?;
    let topology = Topology::bare(&network);
    let text = match args.format {
        Format::Svg => svg::file(&topology),
        Format::Mermaid => mermaid::draw(&topology),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(exit::OK)
}
