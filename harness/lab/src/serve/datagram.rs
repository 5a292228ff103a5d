//! Receiving from a connected UDP socket so that ICMP errors are noticed at once.

use std::io;

use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Receives one datagram and returns its length in bytes.
///
/// An ICMP error raises `EPOLLERR` but not `EPOLLIN`, which [`UdpSocket::recv`] sleeps through.
///
/// # Errors
/// The kernel's answer: `ECONNREFUSED` after port unreachable, `EHOSTUNREACH` after host unreachable, and so on.
pub async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        socket.ready(Interest::READABLE | Interest::ERROR).await?;
        match socket.try_recv(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The error was taken by an earlier call; forget the readiness it left behind.
                let _ = socket.try_io(Interest::ERROR, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
            }
            received => return received,
        }
    }
}
