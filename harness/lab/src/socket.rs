//! The one place where sockets are made: each is opened inside the namespace it belongs to and nowhere else, so that
//! no library can open one in the host's by being lazy.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

impl Namespace {
    fn socket<T>(&self, step: &str, open: impl FnOnce() -> io::Result<T>) -> Result<T> {
        self.enter(open)?.map_err(|source| Error::Socket {
            namespace: self.name().to_owned(),
            step: step.to_owned(),
            source,
        })
    }

    /// A UDP socket bound to `address` (port 0: the kernel picks one), with a mark for policy routing where `mark` is
    /// given.
    ///
    /// # Errors
    /// The kernel's answer, e.g. `EADDRNOTAVAIL` where the namespace has no such address.
    pub fn udp(&self, address: SocketAddrV4, mark: Option<u32>) -> Result<UdpSocket> {
        self.socket(&format!("bind udp {address}"), || {
            let fd = socket(AddressFamily::Inet, SockType::Datagram, flags(), SockProtocol::Udp)?;
            set_mark(&fd, mark)?;
            bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
            UdpSocket::from_std(std::net::UdpSocket::from(fd))
        })
    }

    /// A TCP listener on `address`.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn tcp_listener(&self, address: SocketAddrV4) -> Result<TcpListener> {
        self.socket(&format!("listen on tcp {address}"), || {
            let fd = socket(AddressFamily::Inet, SockType::Stream, flags(), SockProtocol::Tcp)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &SockaddrIn::from(address))?;
            listen(&fd, nix::sys::socket::Backlog::new(BACKLOG)?)?;
            TcpListener::from_std(std::net::TcpListener::from(fd))
        })
    }

    /// A TCP socket that is to connect, from `source` if given. Connect it with [`TcpSocket::connect`].
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn tcp(&self, source: Option<Ipv4Addr>) -> Result<TcpSocket> {
        self.socket("open a tcp socket", || {
            let socket = TcpSocket::new_v4()?;
            if let Some(source) = source {
                socket.bind(SocketAddrV4::new(source, 0).into())?;
            }
            Ok(socket)
        })
    }

    /// A raw ICMP socket: it sends ICMP messages and receives every one that reaches this host, IP header included.
    /// Raw, since unprivileged ICMP sockets need `net.ipv4.ping_group_range`. Not blocking.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn raw_icmp(&self) -> Result<OwnedFd> {
        self.socket("open a raw ICMP socket", || {
            Ok(socket(AddressFamily::Inet, SockType::Raw, flags(), SockProtocol::Icmp)?)
        })
    }

    /// A packet socket that sees no packet yet: it is bound to no protocol. Not blocking.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn packet(&self) -> Result<OwnedFd> {
        self.socket("open a packet socket", crate::sys::packet_socket)
    }
}

fn flags() -> SockFlag {
    SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC
}

fn set_mark(fd: &OwnedFd, mark: Option<u32>) -> io::Result<()> {
    mark.map_or(Ok(()), |mark| Ok(setsockopt(fd, sockopt::Mark, &mark)?))
}
