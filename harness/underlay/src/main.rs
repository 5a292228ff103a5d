//! The program `underlay`. All of it is in the library; see [`underlay::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nothing may start a thread before this: entering a user namespace needs a process with one.
    ExitCode::from(underlay::command::main())
}
