//! Netlink requests inside one namespace, one after the other, each answered before the next.
//!
//! rtnetlink builds the messages; sending is synchronous here, since building a lab is a long row of requests of 20 µs
//! each that the kernel serialises anyway (RTNL), and a task a namespace would cost more than it could win.

mod dump;
mod impair;
mod link;
mod listen;
mod neighbour;
mod operational;
mod route;
mod watch;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};

pub use dump::{AddressInfo, LinkInfo, NeighbourInfo, NeighbourState, RouteInfo};
pub use impair::Netem;
pub use link::{BondMode, VethEnd, add_veth};
pub use listen::Listening;
pub use neighbour::Neighbour;
pub use route::{Route, RouteKind, Rule, Scope, table};
pub use watch::watch_network;

/// Bytes read at once; the kernel fills at most 32 KiB of a dump into one datagram.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// Bytes that a socket takes at once everywhere (net.core.wmem_default is 208 KiB, of which the kernel's own use takes some).
const USUAL_SEND_BUFFER: usize = 64 * 1024;

/// A netlink socket that remembers its namespace's name for messages.
#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    namespace: String,
    sequence: u32,
}

impl Client {
    /// Opens a socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER) in the namespace the calling thread is in.
    pub(crate) fn open(protocol: isize, namespace: &str) -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| Error::Netlink {
            namespace: namespace.to_owned(),
            step: "open a netlink socket".to_owned(),
            message: None,
            source,
        })?;
        Ok(Self { socket, namespace: namespace.to_owned(), sequence: 0 })
    }

    /// Lets as many bytes wait to be read, as far as the process may say so.
    pub(crate) fn receive_buffer(&self, bytes: usize) {
        let _ = crate::sys::receive_buffer(&self.socket.as_fd(), bytes);
    }

    /// Joins groups of messages that come of the kernel's own accord.
    pub(crate) fn join(&mut self, step: &str, groups: &[u32]) -> Result<()> {
        let mut joining = groups.iter();
        joining
            .try_for_each(|group| self.socket.add_membership(*group))
            .map_err(|source| self.failed(step, None, source))
    }

    /// The bare socket, registered with the runtime, for messages that come of the kernel's own accord.
    fn async_fd(&self, step: &str) -> Result<AsyncFd<OwnedFd>> {
        let register = || -> io::Result<AsyncFd<OwnedFd>> {
            self.socket.set_non_blocking(true)?;
            crate::sys::async_fd(self.socket.as_fd().try_clone_to_owned()?, Interest::READABLE)
        };
        register().map_err(|source| self.failed(step, None, source))
    }

    fn failed(&self, step: &str, message: Option<String>, source: io::Error) -> Error {
        Error::Netlink { namespace: self.namespace.clone(), step: step.to_owned(), message, source }
    }

    /// Appends a message with the next sequence number to `buffer`.
    fn serialize<M: NetlinkSerializable>(&mut self, buffer: &mut Vec<u8>, message: M, flags: u16) -> u32 {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.sequence_number = self.sequence;
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = buffer.len();
        // Netlink aligns messages to 4 bytes.
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut buffer[start..]);
        self.sequence
    }

    fn send(&self, step: &str, buffer: &[u8]) -> Result<()> {
        if buffer.len() > USUAL_SEND_BUFFER {
            let (socket, bytes) = (self.socket.as_fd(), 2 * buffer.len());
            if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_err() {
                let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
            }
        }
        self.socket.send(buffer, 0).map(|_| ()).map_err(|source| self.failed(step, None, source))
    }

    /// Reads messages until `done` says so; `each` gets the payload of every one.
    fn receive<M: NetlinkDeserializable>(
        &mut self,
        step: &str,
        mut each: impl FnMut(NetlinkMessage<M>) -> std::result::Result<bool, (Option<String>, io::Error)>,
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(|source| self.failed(step, None, source))?;
            let mut rest = &buffer[..];
            while rest.len() >= 16 {
                let message = NetlinkMessage::<M>::deserialize(rest).map_err(|error| {
                    self.failed(step, Some(error.to_string()), io::Error::from(io::ErrorKind::InvalidData))
                })?;
                let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
                if length == 0 {
                    break;
                }
                rest = &rest[length..];
                match each(message) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err((text, source)) => return Err(self.failed(step, text, source)),
                }
            }
        }
    }

    /// Sends one request and waits for its acknowledgement.
    pub(crate) fn request<M>(&mut self, step: &str, message: M, flags: u16) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.batch(step, vec![(message, flags | NLM_F_ACK)])
    }

    /// Sends messages in one datagram and waits until the last one that asked for an acknowledgement has it. The first
    /// error is returned, after all answers are read.
    ///
    /// The others aren't acknowledged, whatever they ask for: their errors come all the same, and the kernel answers before
    /// anybody reads, so that a few hundred answers would overflow the socket (Linux, net/netfilter/nfnetlink.c).
    pub(crate) fn batch<M>(&mut self, step: &str, messages: Vec<(M, u16)>) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut buffer = Vec::new();
        let first = self.sequence + 1;
        let acknowledged = messages.iter().rposition(|(_, flags)| flags & NLM_F_ACK != 0);
        let (mut last, mut waited_for) = (first, None);
        for (index, (message, flags)) in messages.into_iter().enumerate() {
            let is_last = acknowledged == Some(index);
            let flags = if is_last { flags } else { flags & !NLM_F_ACK };
            last = self.serialize(&mut buffer, message, flags | NLM_F_REQUEST);
            waited_for = if is_last { Some(last) } else { waited_for };
        }
        self.send(step, &buffer)?;
        let Some(waited_for) = waited_for else { return Ok(()) };
        let mut refused: Option<(u32, Option<String>, io::Error)> = None;
        self.receive::<M>(step, |message| {
            let sequence = message.header.sequence_number;
            if let NetlinkPayload::Error(error) = &message.payload
                && (first..=last).contains(&sequence)
            {
                if error.code.is_some() && refused.is_none() {
                    refused = Some((sequence - first, extended_ack(&error.header), error.to_io()));
                }
                // What is wrong with a batch as a whole is told of its first message, and nothing of the others.
                return Ok(sequence == waited_for || (sequence == first && error.code.is_some()));
            }
            Ok(false)
        })?;
        match refused {
            None => Ok(()),
            Some((_, text, source)) if first == last => Err(self.failed(step, text, source)),
            Some((index, text, source)) => Err(self.failed(&format!("{step}, message {}", index + 1), text, source)),
        }
    }

    /// Sends a dump request and gives every answer to `each`.
    pub(crate) fn dump<M>(&mut self, step: &str, message: M, mut each: impl FnMut(M)) -> Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let mut buffer = Vec::new();
        let sequence = self.serialize(&mut buffer, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.send(step, &buffer)?;
        self.receive::<M>(step, |message| {
            if message.header.sequence_number != sequence {
                return Ok(false);
            }
            match message.payload {
                NetlinkPayload::Done(_) => Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    Err((extended_ack(&error.header), error.to_io()))
                }
                NetlinkPayload::InnerMessage(inner) => {
                    each(inner);
                    Ok(false)
                }
                _ => Ok(false),
            }
        })
    }
}

/// The kernel's words in an error message: the NLMSGERR_ATTR_MSG attribute behind the capped request's header.
fn extended_ack(payload: &[u8]) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut rest = payload.get(16..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Requests to the routing subsystem of one namespace: links, addresses, routes, rules, neighbours.
pub struct Netlink<'namespace> {
    pub(crate) client: std::sync::MutexGuard<'namespace, Client>,
    pub(crate) namespace: &'namespace crate::Namespace,
}

impl Netlink<'_> {
    fn request(&mut self, step: &str, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.client.request(step, message, flags)
    }

    /// The index of the interface of that name.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn index(&self, name: &str) -> Result<u32> {
        let look_up = || {
            nix::net::if_::if_nametoindex(name).map_err(|errno| {
                // glibc says "no such file" where it could open no socket to ask with: then ask for a socket ourselves.
                let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
                socket(family, kind, SockFlag::SOCK_CLOEXEC, None).err().unwrap_or(errno)
            })
        };
        self.namespace.enter(look_up)?.map_err(|errno| Error::Netlink {
            namespace: self.namespace.name().to_owned(),
            step: format!("look up interface {name}"),
            message: None,
            source: errno.into(),
        })
    }
}
