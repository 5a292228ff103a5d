//! From bytes to packets: Ethernet or bare IP, ARP, IPv4 with fragments, ICMP with what it quotes, UDP, TCP, DNS names,
//! and whatever VXLAN carries inside.
//!
//! Everything here takes hostile input: what isn't understood is [`Body::Other`] or [`Decoded::Other`], never a panic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    ArpOperation, ArpPacketSlice, EtherType, Ethernet2HeaderSlice, Icmpv4Slice, LaxIpv4Slice, SingleVlanSlice,
    TcpSlice, UdpSlice, ip_number,
};

/// Packets within packets that are looked into; an honest packet has two (VXLAN, and a quotation in an ICMP error).
const MAX_DEPTH: u8 = 4;

/// UDP ports whose payload is VXLAN: Cilium's and Linux's 8472, and IANA's 4789.
pub const VXLAN_PORTS: [u16; 2] = [8472, 4789];

/// The UDP port of DNS.
const DNS_PORT: u16 = 53;

/// Longest DNS name in bytes, as written with dots (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// What a captured frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: TUN and other devices without link addresses.
    Ip,
}

impl LinkLayer {
    /// By the device's ARPHRD_* number (linux/if_arp.h): Ethernet and loopback have Ethernet headers.
    pub fn of_hardware(arphrd: u16) -> Self {
        match arphrd {
            1 | 772 => Self::Ethernet,
            _ => Self::Ip,
        }
    }
}

/// A frame's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// ARP for IPv4.
    Arp(Arp),
    /// An IP packet.
    Ip(Packet<'a>),
    /// Anything else, or broken.
    Other,
}

/// An ARP message about IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks; otherwise it answers.
    pub request: bool,
    /// The sender's IP address.
    pub sender: Ipv4Addr,
    /// The sender's hardware address.
    pub sender_mac: [u8; 6],
    /// Whose hardware address is asked for, or who is answered.
    pub target: Ipv4Addr,
}

/// An IP packet. IPv4 only so far; the addresses leave room for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live.
    pub ttl: u8,
    /// Total length in bytes by its header, IP header included.
    pub size: u16,
    /// Identification, which ties fragments.
    pub id: u16,
    /// Don't-fragment flag.
    pub dont_fragment: bool,
    /// Which part of a datagram this is, where it isn't the whole.
    pub fragment: Option<Fragment>,
    /// IP protocol number.
    pub protocol: u8,
    /// What it carries.
    pub body: Body<'a>,
}

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Where it begins, in bytes from the datagram's first.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

impl Fragment {
    /// Whether it is the first, which has the transport header.
    pub fn is_first(self) -> bool {
        self.offset == 0
    }
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// An ICMP echo request or reply.
    Echo {
        /// Whether it is the reply.
        reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
        /// The bytes behind the header, perhaps cut short.
        payload: &'a [u8],
    },
    /// An ICMP message about another packet.
    IcmpError {
        /// What it says.
        error: IcmpError,
        /// The packet it is about, usually cut short.
        quoted: Option<Box<Packet<'a>>>,
    },
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// The bytes behind the header, perhaps cut short.
        payload: &'a [u8],
        /// What the payload is, by port.
        content: UdpContent<'a>,
    },
    /// TCP.
    Tcp(Tcp),
    /// A fragment other than the first: it has no transport header.
    Continued,
    /// Anything else, or broken.
    Other,
}

/// What a UDP payload is, by port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpContent<'a> {
    /// Nothing known.
    Opaque,
    /// A frame inside VXLAN.
    Vxlan {
        /// VXLAN network identifier.
        vni: u32,
        /// The frame.
        frame: Box<Decoded<'a>>,
    },
    /// A DNS message with one question.
    Dns(Dns),
    /// A WireGuard data message: a packet that nobody on the way can read.
    Sealed(Sealed),
}

/// What tells one WireGuard data message from all others, wherever it is seen: no translation and no relay changes it
/// (WireGuard's protocol, §5.4.6 of its whitepaper).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sealed {
    /// The receiver's index of the session.
    pub receiver: u32,
    /// The message's number in the session.
    pub counter: u64,
}

/// What a DNS message asks or answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Whether it is the answer.
    pub answer: bool,
    /// Its id.
    pub id: u16,
    /// The name asked for, in its own upper and lower case, without the last dot.
    pub name: String,
}

/// A TCP header's part that tells connections apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// The rest, which a quotation of 8 bytes lacks.
    pub rest: Option<TcpRest>,
}

/// What of a TCP header comes behind its first 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpRest {
    /// Acknowledgement number; means something if `ack` is set.
    pub acknowledgement: u32,
    /// SYN flag.
    pub syn: bool,
    /// ACK flag.
    pub ack: bool,
    /// RST flag.
    pub rst: bool,
    /// FIN flag.
    pub fin: bool,
}

/// What an ICMP message says about another packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// Destination unreachable, with its code (0 network, 1 host, 3 port, …; RFC 792).
    Unreachable(u8),
    /// Fragmentation needed, with the next hop's MTU in bytes (RFC 1191).
    TooBig(u16),
    /// Time exceeded, with its code (0 in transit, 1 in reassembly).
    TimeExceeded(u8),
    /// Another type and code.
    Other(u8, u8),
}

impl fmt::Display for IcmpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(code) => match unreachable(*code) {
                Some(words) => formatter.write_str(words),
                None => write!(formatter, "unreachable (code {code})"),
            },
            Self::TooBig(mtu) => write!(formatter, "too big for an MTU of {mtu}"),
            Self::TimeExceeded(0) => formatter.write_str("TTL exceeded"),
            Self::TimeExceeded(_) => formatter.write_str("fragments missing"),
            Self::Other(kind, code) => write!(formatter, "ICMP type {kind}, code {code}"),
        }
    }
}

/// Words for the codes of ICMP "destination unreachable" (RFC 792, RFC 1122, RFC 1812).
pub(crate) fn unreachable(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "net unreachable",
        1 => "host unreachable",
        2 => "protocol unreachable",
        3 => "port unreachable",
        9 => "net administratively prohibited",
        10 => "host administratively prohibited",
        13 => "administratively prohibited",
        _ => return None,
    })
}

/// Decodes frames by a list of VXLAN ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    vxlan_ports: Vec<u16>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(&VXLAN_PORTS)
    }
}

impl Decoder {
    /// A decoder that takes UDP to these ports for VXLAN.
    pub fn new(vxlan_ports: &[u16]) -> Self {
        Self { vxlan_ports: vxlan_ports.to_vec() }
    }

    /// Decodes a frame, which may be cut short.
    pub fn frame<'a>(&self, link: LinkLayer, bytes: &'a [u8]) -> Decoded<'a> {
        match link {
            LinkLayer::Ethernet => self.ethernet(bytes, MAX_DEPTH),
            LinkLayer::Ip => self.ip(bytes, MAX_DEPTH).map_or(Decoded::Other, Decoded::Ip),
        }
    }

    /// Decodes a packet that begins with its IP header and may be cut short.
    pub fn packet<'a>(&self, bytes: &'a [u8]) -> Option<Packet<'a>> {
        self.ip(bytes, MAX_DEPTH)
    }

    fn ethernet<'a>(&self, bytes: &'a [u8], depth: u8) -> Decoded<'a> {
        let Ok(header) = Ethernet2HeaderSlice::from_slice(bytes) else { return Decoded::Other };
        let (mut kind, mut rest) = (header.ether_type(), &bytes[header.slice().len()..]);
        // Two tags at most, as in QinQ.
        for _ in 0..2 {
            if !matches!(kind, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
                break;
            }
            let Ok(tag) = SingleVlanSlice::from_slice(rest) else { return Decoded::Other };
            (kind, rest) = (tag.ether_type(), tag.payload_slice());
        }
        match kind {
            EtherType::IPV4 => self.ip(rest, depth).map_or(Decoded::Other, Decoded::Ip),
            EtherType::ARP => arp(rest).map_or(Decoded::Other, Decoded::Arp),
            _ => Decoded::Other,
        }
    }

    fn ip<'a>(&self, bytes: &'a [u8], depth: u8) -> Option<Packet<'a>> {
        let depth = depth.checked_sub(1)?;
        let (slice, _) = LaxIpv4Slice::from_slice(bytes).ok()?;
        let (header, payload) = (slice.header(), slice.payload());
        let offset = header.fragments_offset().byte_offset();
        let more = header.more_fragments();
        let fragment = (offset != 0 || more).then_some(Fragment { offset, more });
        let body = if offset != 0 {
            Body::Continued
        } else {
            match payload.ip_number {
                ip_number::ICMP => self.icmp(payload.payload, depth),
                ip_number::UDP => self.udp(payload.payload, depth),
                ip_number::TCP => tcp(payload.payload).map_or(Body::Other, Body::Tcp),
                _ => Body::Other,
            }
        };
        Some(Packet {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            ttl: header.ttl(),
            size: header.total_len(),
            id: header.identification(),
            dont_fragment: header.dont_fragment(),
            fragment,
            protocol: payload.ip_number.0,
            body,
        })
    }

    fn icmp<'a>(&self, bytes: &'a [u8], depth: u8) -> Body<'a> {
        let Ok(slice) = Icmpv4Slice::from_slice(bytes) else { return Body::Other };
        let (kind, code, word) = (slice.type_u8(), slice.code_u8(), slice.bytes5to8());
        let halves = (u16::from_be_bytes([word[0], word[1]]), u16::from_be_bytes([word[2], word[3]]));
        let error = match (kind, code) {
            (0 | 8, 0) => {
                let (id, sequence) = halves;
                return Body::Echo { reply: kind == 0, id, sequence, payload: slice.payload() };
            }
            (3, 4) => IcmpError::TooBig(halves.1),
            (3, code) => IcmpError::Unreachable(code),
            (11, code) => IcmpError::TimeExceeded(code),
            // Source quench, redirect, parameter problem quote a packet too; others don't.
            (4 | 5 | 12, code) => IcmpError::Other(kind, code),
            _ => return Body::Other,
        };
        Body::IcmpError { error, quoted: self.ip(slice.payload(), depth).map(Box::new) }
    }

    fn udp<'a>(&self, bytes: &'a [u8], depth: u8) -> Body<'a> {
        let Ok(slice) = UdpSlice::from_slice_lax(bytes) else { return Body::Other };
        let (source_port, destination_port) = (slice.source_port(), slice.destination_port());
        let payload = slice.payload();
        let content = if self.vxlan_ports.contains(&destination_port) {
            self.vxlan(payload, depth)
        } else if source_port == DNS_PORT || destination_port == DNS_PORT {
            dns(payload).map_or(UdpContent::Opaque, UdpContent::Dns)
        } else {
            sealed(payload).map_or(UdpContent::Opaque, UdpContent::Sealed)
        };
        Body::Udp { source_port, destination_port, payload, content }
    }

    /// RFC 7348 §5: 8 bytes, of which the I flag must be set, then an Ethernet frame.
    fn vxlan<'a>(&self, bytes: &'a [u8], depth: u8) -> UdpContent<'a> {
        match bytes {
            [flags, _, _, _, a, b, c, _, frame @ ..] if flags & 0x08 != 0 => UdpContent::Vxlan {
                vni: u32::from_be_bytes([0, *a, *b, *c]),
                frame: Box::new(self.ethernet(frame, depth)),
            },
            _ => UdpContent::Opaque,
        }
    }
}

fn arp(bytes: &[u8]) -> Option<Arp> {
    let packet = ArpPacketSlice::from_slice(bytes).ok()?.to_packet();
    let packet = packet.try_eth_ipv4().ok()?;
    let request = match packet.operation {
        ArpOperation::REQUEST => true,
        ArpOperation::REPLY => false,
        _ => return None,
    };
    Some(Arp {
        request,
        sender: packet.sender_ipv4.into(),
        sender_mac: packet.sender_mac,
        target: packet.target_ipv4.into(),
    })
}

fn tcp(bytes: &[u8]) -> Option<Tcp> {
    if let Ok(slice) = TcpSlice::from_slice(bytes) {
        return Some(Tcp {
            source_port: slice.source_port(),
            destination_port: slice.destination_port(),
            sequence: slice.sequence_number(),
            rest: Some(TcpRest {
                acknowledgement: slice.acknowledgment_number(),
                syn: slice.syn(),
                ack: slice.ack(),
                rst: slice.rst(),
                fin: slice.fin(),
            }),
        });
    }
    // An ICMP error need quote no more than this (RFC 792).
    let head: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    Some(Tcp {
        source_port: u16::from_be_bytes([head[0], head[1]]),
        destination_port: u16::from_be_bytes([head[2], head[3]]),
        sequence: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        rest: None,
    })
}

/// A WireGuard data message: type 4 and three zeros, receiver, counter, all little-endian, then at least a tag.
fn sealed(bytes: &[u8]) -> Option<Sealed> {
    const SMALLEST: usize = 32;
    let rest = bytes.strip_prefix(&[4, 0, 0, 0]).filter(|_| bytes.len() >= SMALLEST)?;
    let (receiver, rest) = rest.split_first_chunk()?;
    let counter = rest.first_chunk()?;
    Some(Sealed { receiver: u32::from_le_bytes(*receiver), counter: u64::from_le_bytes(*counter) })
}

/// The first question of a DNS message (RFC 1035 §4.1). It comes right behind the header, so nothing before it could be
/// pointed at and no honest message compresses it.
fn dns(bytes: &[u8]) -> Option<Dns> {
    let (header, mut rest) = bytes.split_at_checked(12)?;
    if u16::from_be_bytes([header[4], header[5]]) != 1 {
        return None;
    }
    let mut name = String::new();
    loop {
        let (&length, behind) = rest.split_first()?;
        match length {
            0 => break,
            1..=63 => {
                let (label, behind) = behind.split_at_checked(usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                if name.len() > MAX_NAME {
                    return None;
                }
                rest = behind;
            }
            _ => return None,
        }
    }
    Some(Dns { answer: header[2] & 0x80 != 0, id: u16::from_be_bytes([header[0], header[1]]), name })
}
