//! `underlay man`: manual pages, one a verb.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{CommandFactory, ValueHint};

use super::{Cli, Stop};
use crate::exit;

const EXAMPLES: &str = "\
Examples:
  underlay man --out ~/.local/share/man/man1
  man underlay-trace";

/// Write manual pages.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder to write them into; it is made if it isn't there.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let write = || {
        fs::create_dir_all(&args.out)?;
        clap_mangen::generate_to(Cli::command(), &args.out)
    };
    let name = args.out.display();
    write().map_err(|error| Stop::usage(format!("{name}: {error}"), "name a folder that can be written to"))?;
    writeln!(io::stdout(), "underlay(1) and a page for each verb are in {name}")?;
    Ok(exit::OK)
}
