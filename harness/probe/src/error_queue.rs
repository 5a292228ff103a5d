//! A socket's error queue (`IP_RECVERR`, ip(7)): who refused a packet and with which ICMP message, which errno hides.

use std::io::{self, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc::{SO_EE_ORIGIN_ICMP, sock_extended_err, sockaddr_in};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};

use crate::evidence::Outcome;

const ICMP_UNREACHABLE: u8 = 3;
const ICMP_TIME_EXCEEDED: u8 = 11;
const CODE_NET: u8 = 0;
const CODE_HOST: u8 = 1;
const CODE_PORT: u8 = 3;
const CODE_TOO_BIG: u8 = 4;

/// An entry of an error queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    errno: i32,
    icmp: Option<Icmp>,
    /// The MTU, with an error that has one.
    info: u32,
}

/// An ICMP error message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) by: Ipv4Addr,
}

impl Icmp {
    /// What the message means to somebody who sent a datagram or opened a connection. `mtu` goes with code 4.
    pub(crate) fn outcome(self, mtu: u32) -> Option<Outcome> {
        let by = Some(self.by);
        match (self.kind, self.code) {
            (ICMP_UNREACHABLE, CODE_TOO_BIG) => Some(Outcome::TooBig { by, mtu }),
            (ICMP_UNREACHABLE, code) => Some(Outcome::Unreachable { by, code }),
            (ICMP_TIME_EXCEEDED, _) => Some(Outcome::TtlExceeded { by: self.by }),
            _ => None,
        }
    }
}

/// Has the kernel keep the errors of this socket.
pub(crate) fn keep(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::Ipv4RecvErr, &true)?)
}

/// The last error that an ICMP message brought, or else the last one of the sender's own.
pub(crate) fn take(socket: &impl AsFd) -> Option<Reported> {
    let mut last: Option<Reported> = None;
    while let Some(reported) = next(socket) {
        if reported.icmp.is_some() || last.is_none_or(|last| last.icmp.is_none()) {
            last = Some(reported);
        }
    }
    last
}

fn next(socket: &impl AsFd) -> Option<Reported> {
    let mut control = nix::cmsg_space!(sock_extended_err, sockaddr_in);
    let mut quoted = [0; 256];
    let mut parts = [IoSliceMut::new(&mut quoted)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut control), flags).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, offender) => Some(Reported {
            errno: i32::try_from(error.ee_errno).unwrap_or(i32::MAX),
            icmp: offender.filter(|_| error.ee_origin == SO_EE_ORIGIN_ICMP).map(|offender| Icmp {
                kind: error.ee_type,
                code: error.ee_code,
                by: Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr)),
            }),
            info: error.ee_info,
        }),
        _ => None,
    })
}

impl Reported {
    /// Who sent the ICMP message, if it was one.
    pub(crate) fn by(&self) -> Option<Ipv4Addr> {
        self.icmp.map(|icmp| icmp.by)
    }

    /// What it means to somebody who sent a datagram or opened a connection.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.icmp {
            Some(Icmp { kind: ICMP_UNREACHABLE, code: CODE_PORT, .. }) => Outcome::Refused,
            Some(icmp) => icmp.outcome(self.info).unwrap_or(Outcome::NotPossible { errno: Some(self.errno) }),
            None => of_errno(self.errno, self.info),
        }
    }

    /// What an error means that left nothing in the queue.
    pub(crate) fn without_queue(error: &io::Error) -> Outcome {
        error.raw_os_error().map_or(Outcome::Broken, |errno| of_errno(errno, 0))
    }
}

fn of_errno(errno: i32, mtu: u32) -> Outcome {
    match Errno::from_raw(errno) {
        Errno::ECONNREFUSED => Outcome::Refused,
        Errno::ENETUNREACH => Outcome::Unreachable { by: None, code: CODE_NET },
        Errno::EHOSTUNREACH => Outcome::Unreachable { by: None, code: CODE_HOST },
        Errno::EMSGSIZE => Outcome::TooBig { by: None, mtu },
        Errno::ECONNRESET | Errno::EPIPE => Outcome::Broken,
        _ => Outcome::NotPossible { errno: Some(errno) },
    }
}
