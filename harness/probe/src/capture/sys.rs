//! What can't be said safely: two system calls on packet sockets that nix doesn't wrap, and waiting for a descriptor.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc;
use nix::sys::epoll::Epoll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes a packet socket see every packet of every interface of its namespace, in both directions.
pub(super) fn bind_all(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the address outlives the call, and its length is its type's.
    let result = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Packets a packet socket has seen and, among them, those it had no room for, since this was last asked.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    // SAFETY: tpacket_stats is plain data for which all zeroes is a valid value.
    let mut stats: libc::tpacket_stats = unsafe { zeroed() };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `stats`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((stats.tp_packets, stats.tp_drops)) }
}

/// An epoll descriptor that is itself waited for.
#[derive(Debug)]
pub(super) struct Readiness(pub(super) Epoll);

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Has tokio wait for something in the epoll set. Needs a runtime.
pub(super) fn readable(readiness: Readiness) -> io::Result<AsyncFd<Readiness>> {
    // SAFETY: the descriptor is the epoll set's own; nothing closes or replaces it while the `AsyncFd` has it.
    let registered = unsafe { AsyncFd::register_with_interest(readiness, Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}
