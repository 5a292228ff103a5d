//! A packet of a probe as it was seen at one interface.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::decode::{Body, Fragment, IcmpError, LinkLayer, Packet};

/// Which way a packet went, as the interface's namespace sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It came in. On `lo`, where every packet goes out and comes in, only this is kept.
    In,
    /// It went out.
    Out,
}

/// What a sighted packet is to its probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is the probe's, or a forwarder's in its name.
    Request,
    /// It is the far end's.
    Answer,
    /// Somebody tells about the probe's packet, which it quotes.
    IcmpError(IcmpError),
}

/// A packet of a probe, seen at one interface of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The namespace's name in the lab.
    pub namespace: Arc<str>,
    /// The interface's name there.
    pub interface: Arc<str>,
    /// Which way it went.
    pub direction: Direction,
    /// Whether the frame was addressed to another host's hardware address: seen in passing, at a bridge's port or
    /// because a bridge sent it everywhere.
    pub in_passing: bool,
    /// When, by the kernel's clock.
    pub time: SystemTime,
    /// What it is to its probe.
    pub kind: Kind,
    /// The packet that carries the mark; of an ICMP error, the error itself.
    pub packet: Summary,
    /// What that packet travels in, outermost first; empty where it travels bare.
    pub outer: Vec<Summary>,
    /// Of an ICMP error, the packet it is about.
    pub quoted: Option<Quoted>,
    /// The frame as captured, where there was room to keep it.
    pub frame: Option<Frame>,
}

/// What an ICMP error quotes of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Whether it is the answer that came to nothing.
    pub answer: bool,
    /// The packet that carries the mark.
    pub packet: Summary,
    /// What that packet travelled in, outermost first. Where it isn't empty, the error is told to whoever put the packet
    /// into it, not to the probe.
    pub outer: Vec<Summary>,
}

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it begins with.
    pub link: LinkLayer,
    /// Its length on the link in bytes, which may be more than was kept.
    pub length: usize,
    /// The bytes kept.
    pub bytes: Arc<[u8]>,
}

/// A packet's header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// What the transport header says.
    pub transport: Transport,
    /// Time to live.
    pub ttl: u8,
    /// Total length in bytes by its header, IP header included.
    pub size: u16,
    /// IP identification.
    pub id: u16,
    /// Don't-fragment flag.
    pub dont_fragment: bool,
    /// Which part of a datagram it is, where it isn't the whole.
    pub fragment: Option<Fragment>,
}

/// What a transport header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// ICMP echo.
    Echo {
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// Another ICMP message.
    Icmp,
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Whether it opens a connection, from either side.
        syn: bool,
        /// Whether it breaks the connection off.
        rst: bool,
    },
    /// None: a fragment other than the first, or a protocol without ports.
    None,
}

impl Summary {
    /// The header fields of a packet.
    pub fn of(packet: &Packet<'_>) -> Self {
        let transport = match packet.body {
            Body::Echo { id, sequence, .. } => Transport::Echo { id, sequence },
            Body::IcmpError { .. } => Transport::Icmp,
            Body::Udp { source_port: source, destination_port: destination, .. } => {
                Transport::Udp { source, destination }
            }
            Body::Tcp(tcp) => Transport::Tcp {
                source: tcp.source_port,
                destination: tcp.destination_port,
                syn: tcp.rest.is_some_and(|rest| rest.syn),
                rst: tcp.rest.is_some_and(|rest| rest.rst),
            },
            Body::Continued | Body::Other => Transport::None,
        };
        Self {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            transport,
            ttl: packet.ttl,
            size: packet.size,
            id: packet.id,
            dont_fragment: packet.dont_fragment,
            fragment: packet.fragment,
        }
    }
}
