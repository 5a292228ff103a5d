//! Where output goes: how wide it may be.

use std::io::{self, IsTerminal};

/// Where nobody says how wide a line may be.
const WIDTH: usize = 80;

/// How many characters fit in a line of standard output: the terminal's, or COLUMNS, or 80.
pub(super) fn width() -> usize {
    let terminal = || {
        let (_, columns) = console::Term::stdout().size_checked()?;
        io::stdout().is_terminal().then_some(usize::from(columns))
    };
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok();
    asked().or_else(terminal).filter(|width| *width >= 40).unwrap_or(WIDTH)
}
