//! The system calls that no safe wrapper has: all of this crate's unsafe code outside the overlay.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{ForkResult, fork};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits::no_more_threads;

/// A packet socket that is bound to no protocol: it receives nothing until it is bound. nix has no protocol 0.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets so many bytes wait in a socket to be read, or as many of them as net.core.rmem_max allows, beyond which only root
/// of the first user namespace may go.
///
/// # Errors
/// The kernel's answer.
pub fn receive_buffer(socket: &impl AsFd, bytes: usize) -> nix::Result<()> {
    setsockopt(socket, sockopt::RcvBufForce, &bytes).or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes))
}

/// What this process has open beside stdin, stdout and stderr: by number, and what was opened to find out, too.
///
/// # Errors
/// The kernel's answer.
pub fn descriptors() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    open.retain(|fd| *fd > io::stderr().as_raw_fd());
    Ok(open)
}

/// Registers a descriptor that doesn't block with the runtime of the calling task.
///
/// # Errors
/// The kernel's answer, e.g. that such a descriptor can't be polled.
pub fn async_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open as long as it lives, and the AsyncFd owns it from here on.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Binds a process to be to the thread that starts it: killed when that ends. It joins the cgroup whose `cgroup.procs` is
/// open for writing as `cgroup` before it runs anything of its own.
pub(crate) fn begin_bound(command: &mut Command, cgroup: RawFd) {
    let bind = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // SAFETY: the caller of `spawn` keeps it open; the child has a copy.
        nix::unistd::write(unsafe { BorrowedFd::borrow_raw(cgroup) }, b"0")?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls and touches no memory but its own stack.
    unsafe { command.pre_exec(bind) };
}

/// Makes this process two, as fork(2) does.
///
/// # Errors
/// It has more than one thread, and only one of them would go on in the child; or the kernel's answer.
pub fn fork_alone() -> io::Result<ForkResult> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with more than one thread can't be forked"));
    }
    // SAFETY: with a single thread nobody else can hold a lock or be halfway through anything.
    unsafe { fork() }.map_err(|errno| no_more_threads(errno.into()))
}
