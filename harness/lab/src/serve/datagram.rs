//! Receiving from a connected UDP socket so that ICMP errors are noticed at once.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Receives one datagram and returns its length in bytes.
///
/// An ICMP error raises `EPOLLERR` but not `EPOLLIN`, which [`UdpSocket::recv`] sleeps through.
///
/// # Errors
/// The kernel's answer: `ECONNREFUSED` after port unreachable, `EHOSTUNREACH` after host unreachable, and so on.
pub async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let receive = || Ok(recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?);
    socket.async_io(Interest::READABLE | Interest::ERROR, receive).await
}
