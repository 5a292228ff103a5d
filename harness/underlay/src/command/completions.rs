//! `underlay completions`: what a shell needs to complete this program's verbs and options.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Stop};
use crate::exit;

const EXAMPLES: &str = "\
Examples:
  underlay completions bash > ~/.local/share/bash-completion/completions/underlay
  underlay completions zsh > ~/.zfunc/_underlay          a folder of $fpath
  underlay completions fish > ~/.config/fish/completions/underlay.fish";

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    // Aside first: the generator would panic where nobody reads to the end.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "underlay", &mut script);
    io::stdout().write_all(&script)?;
    Ok(exit::OK)
}
