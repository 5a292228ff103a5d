//! Processes that go on when the one that started them has ended, however that came about.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, close, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::limits::no_more_threads;
use crate::sys::{descriptors, fork_alone};

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
            match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => Ok(ours),
                _ => Err(no_more_threads(io::Error::other("the second of two forks failed"))),
            }
        }
        ForkResult::Child => {
            drop(ours);
            match fork_alone() {
                Ok(ForkResult::Child) => exit(i32::from(settle(&theirs).and_then(|()| live(theirs)).is_err())),
                Ok(ForkResult::Parent { .. }) => exit(0),
                Err(_) => exit(1),
            }
        }
    }
}

/// Out of reach of the terminal's signals, and with nothing open whose end somebody waits for, save the line.
fn settle(line: &UnixStream) -> io::Result<()> {
    setsid()?;
    let nowhere = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    drop(nowhere);
    close_all_but(line.as_raw_fd())?;
    std::env::set_current_dir("/")
}

/// Closes what came with the fork beside stdin, stdout and stderr: the pipes and locks that whoever started the program
/// handed it, `make`'s or `flock`'s for two, and the lines to others like this process. Nothing here uses them.
fn close_all_but(line: RawFd) -> io::Result<()> {
    // A namespace is left by way of a descriptor that may be open already ([`crate::Namespace::enter`]). It stays; it holds
    // nothing that the process isn't in itself.
    let home = fs::read_link("/proc/self/ns/net")?;
    let is_home = |fd: RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|leads_to| leads_to == home);
    for fd in descriptors()?.into_iter().filter(|fd| *fd != line && !is_home(*fd)) {
        // What fails is closed, too: the directory that was read.
        let _ = close(fd);
    }
    Ok(())
}
