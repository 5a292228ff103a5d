//! A lab's first process: whatever else is started in the lab lives in its pid namespace, and ends with it.
//!
//! It waits for two things: the end of the process that started it, which is its own end, and orphans, which it reaps.
//! The kernel then kills all that is left in the namespace, daemons included (pid_namespaces(7)).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::exit;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, setsid};

use crate::passing;
use crate::sys::fork_alone;

/// A lab's first process, as the one that started it has it. It ends when this is dropped, or with this process.
#[derive(Debug)]
pub struct Init {
    /// Its pid namespace.
    pub pids: OwnedFd,
    /// Its mount namespace, in which /proc shows its processes.
    pub mounts: OwnedFd,
    line: UnixStream,
}

impl Init {
    /// Starts it. Call it after [`crate::sandbox::enter`], while the process has one thread.
    ///
    /// # Errors
    /// The kernel's answer; the step is in the text.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // By way of a process in between: one whose children are born elsewhere can't have threads (unshare(2)).
        match fork_alone().map_err(|error| step("fork", error))? {
            ForkResult::Child => {
                drop(ours);
                exit(begin(&theirs))
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                waitpid(child, None)?;
            }
        }
        let mut told = [0; 512];
        let (length, passed) = passing::receive(&ours, &mut told)?;
        let Ok([pids, mounts]) = <[OwnedFd; 2]>::try_from(passed) else {
            let mut reason = String::from_utf8_lossy(&told[..length]).into_owned();
            (&ours).read_to_string(&mut reason)?;
            return Err(io::Error::other(reason));
        };
        Ok(Self { pids, mounts, line: ours })
    }

    /// The line to it: it ends when the process has ended, and nothing ever comes over it.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn line(&self) -> io::Result<UnixStream> {
        self.line.try_clone()
    }
}

/// Makes the pid namespace and its first process, whose life this is too. Gives the code to end with.
fn begin(line: &UnixStream) -> i32 {
    let born = unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| step("make a pid namespace", errno.into()));
    match born.and_then(|()| fork_alone()) {
        Ok(ForkResult::Parent { .. }) => 0,
        Ok(ForkResult::Child) => live(line),
        Err(error) => tell(line, &error),
    }
}

/// Who started this is there to read it, or has no use for it any more.
fn tell(mut line: &UnixStream, error: &io::Error) -> i32 {
    let _ = line.write_all(error.to_string().as_bytes());
    1
}

/// The life of the first process. Gives the code it ends with.
fn live(line: &UnixStream) -> i32 {
    let settled = settle().and_then(|[pids, mounts]| {
        let orphans = orphans()?;
        passing::send(line, b".", &[pids.as_fd(), mounts.as_fd()])?;
        Ok(orphans)
    });
    let orphans = match settled {
        Ok(orphans) => orphans,
        Err(error) => return tell(line, &error),
    };
    loop {
        let mut events =
            [PollFd::new(line.as_fd(), PollFlags::POLLIN), PollFd::new(orphans.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut events, PollTimeout::NONE);
        let [from_line, _] = events.map(|event| event.any().unwrap_or(false));
        if from_line {
            return 0;
        }
        while let Ok(Some(_)) = orphans.read_signal() {}
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

/// A /proc of its own, out of reach of the terminal's signals. Gives its pid namespace and its mount namespace.
fn settle() -> io::Result<[File; 2]> {
    let _ = setsid();
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| step("make a mount namespace", errno.into()))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|errno| step("keep mounts to itself", errno.into()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
        .map_err(|errno| step("mount a /proc of the lab's own processes", errno.into()))?;
    Ok([File::open("/proc/self/ns/pid")?, File::open("/proc/self/ns/mnt")?])
}

fn orphans() -> io::Result<SignalFd> {
    let mut child = SigSet::empty();
    child.add(Signal::SIGCHLD);
    child.thread_block()?;
    Ok(SignalFd::with_flags(&child, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

fn step(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
