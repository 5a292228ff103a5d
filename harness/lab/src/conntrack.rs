//! The flows a namespace's kernel keeps: who talks to whom, and what is translated.

use std::net::{Ipv4Addr, SocketAddrV4};

use netlink_packet_core::Nla;
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use crate::error::Result;
use crate::namespace::Namespace;

/// `CTA_PROTO_ICMP_ID` (linux/netfilter/nfnetlink_conntrack.h).
const ICMP_ID: u16 = 4;

/// ICMP's protocol number.
const ICMP: u8 = 1;

/// A flow, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// The first packet, as it came.
    pub original: Direction,
    /// A packet of the answer, as it comes: where it is not the original turned round, something is translated.
    pub reply: Direction,
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Direction {
    /// Source. Of ICMP echo the port is the identifier on the side of who asks, and 0 on the other.
    pub source: SocketAddrV4,
    /// Destination, likewise.
    pub destination: SocketAddrV4,
}

impl Namespace {
    /// All IPv4 flows that are known, in no order. Flows of protocols without ports have port 0.
    ///
    /// # Errors
    /// The kernel has no conntrack.
    pub fn conntrack(&self) -> Result<Vec<Flow>> {
        let mut flows = Vec::new();
        let request = NetfilterMessage::new(
            NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0),
            ConntrackMessage::Get(Vec::new()),
        );
        self.netfilter()?.dump("list flows", request, |answer: NetfilterMessage| {
            if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = answer.inner
                && let Some(flow) = flow(&attributes)
            {
                flows.push(flow);
            }
        })?;
        Ok(flows)
    }
}

/// What a tuple holds.
#[derive(Default)]
struct Parts {
    protocol: u8,
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    source_port: u16,
    destination_port: u16,
    icmp_id: u16,
}

fn flow(attributes: &[ConntrackAttribute]) -> Option<Flow> {
    let mut original = None;
    let mut reply = None;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => original = Some(parts(tuples)),
            ConntrackAttribute::CtaTupleReply(tuples) => reply = Some(parts(tuples)),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    Some(Flow { protocol: original.protocol, original: original.direction(true)?, reply: reply.direction(false)? })
}

fn parts(tuples: &[Tuple]) -> Parts {
    let mut parts = Parts::default();
    for tuple in tuples {
        match tuple {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(std::net::IpAddr::V4(address)) => parts.source = Some(*address),
                        IPTuple::DestinationAddress(std::net::IpAddr::V4(address)) => {
                            parts.destination = Some(*address)
                        }
                        _ => {}
                    }
                }
            }
            Tuple::Proto(protocols) => protocols.iter().for_each(|protocol| parts.protocol(protocol)),
            _ => {}
        }
    }
    parts
}

impl Parts {
    fn protocol(&mut self, protocol: &ProtoTuple) {
        match protocol {
            ProtoTuple::Protocol(number) => self.protocol = (*number).into(),
            ProtoTuple::SourcePort(port) => self.source_port = *port,
            ProtoTuple::DestinationPort(port) => self.destination_port = *port,
            ProtoTuple::Other(other) if other.kind() == ICMP_ID => {
                let mut value = vec![0; other.value_len()];
                other.emit_value(&mut value);
                if let Some(id) = value.first_chunk() {
                    self.icmp_id = u16::from_be_bytes(*id);
                }
            }
            _ => {}
        }
    }

    fn direction(&self, asks: bool) -> Option<Direction> {
        let (mut source_port, mut destination_port) = (self.source_port, self.destination_port);
        if self.protocol == ICMP {
            (source_port, destination_port) = if asks { (self.icmp_id, 0) } else { (0, self.icmp_id) };
        }
        Some(Direction {
            source: SocketAddrV4::new(self.source?, source_port),
            destination: SocketAddrV4::new(self.destination?, destination_port),
        })
    }
}
