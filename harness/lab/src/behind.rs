//! Processes that go on when the one that started them has ended, however that came about.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::sys::fork_alone;

/// Starts one whose life is `live`. The line between the two ends with either. Call it while the process has one thread.
///
/// # Errors
/// The kernel's answer.
pub(crate) fn start(live: impl FnOnce(UnixStream) -> io::Result<()>) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    // By way of a process in between, so that nobody has to wait for its end.
    match fork_alone()? {
        ForkResult::Parent { child } => {
            drop(theirs);
            waitpid(child, None)?;
            Ok(ours)
        }
        ForkResult::Child => {
            drop(ours);
            match fork_alone() {
                Ok(ForkResult::Child) => exit(i32::from(settle().and_then(|()| live(theirs)).is_err())),
                _ => exit(0),
            }
        }
    }
}

/// Out of reach of the terminal's signals, and with nothing open whose end somebody waits for.
fn settle() -> io::Result<()> {
    setsid()?;
    let nowhere = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    std::env::set_current_dir("/")
}
