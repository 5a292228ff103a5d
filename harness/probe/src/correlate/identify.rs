//! Which mark a packet carries, though translation, encapsulation and fragmentation changed it on the way.
//!
//! - Payload marks are read from the payload of ICMP echo and UDP; DNS marks from the question's name.
//! - TCP is known by its initial sequence number, which no NAT changes, learnt from the first SYN that begins where the
//!   mark says; a SYN seen anywhere brings its addresses and ports *at that place*, by which later segments are known
//!   there.
//! - A datagram that an ICMP error quotes too little of is known by its way at that place.
//! - A fragment other than the first is known by (place, source, destination, id, protocol) of the first.
//! - All of this holds inside VXLAN, at any depth, and inside what an ICMP error quotes.
//!
//! Legs where the packet is encrypted have no sightings. They are to be inferred, from what was seen at either end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use super::{MarkId, Place};
use crate::capture::decode::{Body, Decoded, Fragment, Packet, Tcp, UdpContent};
use crate::capture::sighting::{Kind, Quoted, Summary};
use crate::mark::MAGIC;

/// Fragmented datagrams remembered at once, all marks and places together.
const MAX_FRAGMENTED: usize = 4096;

/// SYNs remembered at once, whoever's they are.
const MAX_SYNS: usize = 4096;

/// Ways (addresses and ports) remembered for one mark.
const MAX_WAYS: usize = 512;

/// A mark in terms of places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A token behind [`MAGIC`].
    Payload(u64),
    /// A DNS name in its own case, without the last dot.
    Dns(String),
    /// A connection from this port at this place.
    Tcp {
        /// Where it is opened.
        place: Place,
        /// Its local port.
        local_port: u16,
        /// Its destination before any translation.
        remote: SocketAddrV4,
    },
}

/// A packet that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    /// The mark.
    pub mark: MarkId,
    /// What it is to the probe.
    pub kind: Kind,
    /// The packet that carries the mark; of an ICMP error, the error itself.
    pub packet: Summary,
    /// What that packet travels in, outermost first.
    pub outer: Vec<Summary>,
    /// Of an ICMP error, the packet it is about.
    pub quoted: Option<Quoted>,
}

/// Source and destination with their ports.
type Way = (SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Datagram {
    place: Place,
    source: IpAddr,
    destination: IpAddr,
    id: u16,
    protocol: u8,
}

#[derive(Debug)]
struct Connection {
    mark: MarkId,
    place: Place,
    local_port: u16,
    remote: SocketAddrV4,
    /// The initial sequence number, and whether the SYN's destination was `remote`.
    learnt: Option<(u32, bool)>,
}

/// What a fragmented datagram was found to be when its first fragment came by.
#[derive(Debug, Clone)]
struct First {
    mark: MarkId,
    kind: Kind,
}

/// Finds marks in packets; learns from each packet for the next ones, so packets are to be shown in time order.
#[derive(Debug, Default)]
pub struct Identifier {
    payloads: HashMap<u64, MarkId>,
    names: HashMap<String, MarkId>,
    connections: Vec<Connection>,
    initial: HashMap<u32, MarkId>,
    /// Where a SYN of this sequence number was seen first.
    began: HashMap<u32, Place>,
    began_order: VecDeque<u32>,
    /// Ways of TCP connections and UDP datagrams by place, requests' direction.
    ways: HashMap<(Place, Way), MarkId>,
    /// Ways of requests by mark, wherever seen: a packet that goes one of them backwards is an answer.
    requests: HashMap<MarkId, HashSet<Way>>,
    fragmented: HashMap<Datagram, First>,
    fragmented_order: VecDeque<Datagram>,
}

/// A mark found in one packet or in what it carries.
struct Found {
    mark: MarkId,
    kind: Kind,
    packet: Summary,
    quoted: Option<Quoted>,
}

impl Identifier {
    /// Begins to look for a mark.
    pub fn insert(&mut self, key: &Key, mark: MarkId) {
        match key {
            Key::Payload(token) => {
                self.payloads.insert(*token, mark);
            }
            Key::Dns(name) => {
                self.names.insert(name.clone(), mark);
            }
            &Key::Tcp { place, local_port, remote } => {
                self.connections.push(Connection { mark, place, local_port, remote, learnt: None });
            }
        }
    }

    /// Stops looking for a mark.
    pub fn remove(&mut self, mark: MarkId) {
        self.payloads.retain(|_, found| *found != mark);
        self.names.retain(|_, found| *found != mark);
        self.connections.retain(|connection| connection.mark != mark);
        self.initial.retain(|_, found| *found != mark);
        self.ways.retain(|_, found| *found != mark);
        self.requests.remove(&mark);
        self.fragmented.retain(|_, first| first.mark != mark);
    }

    /// Forgets where SYNs were seen first. To be called when a place is seen into that wasn't before: a connection of its
    /// own may have been seen elsewhere by then, and is to be learnt when its SYN is repeated.
    pub fn forget_beginnings(&mut self) {
        self.began.clear();
        self.began_order.clear();
    }

    /// The mark a packet seen at `place` carries. Learns from it.
    pub fn identify(&mut self, place: Place, packet: &Packet<'_>) -> Option<Identified> {
        self.learn(place, packet);
        let mut outer = Vec::new();
        let found = self.find(place, packet, &mut outer)?;
        self.remember(place, packet, &found);
        Some(Identified { mark: found.mark, kind: found.kind, packet: found.packet, outer, quoted: found.quoted })
    }

    /// The mark a packet carries that somebody tells of. Learns nothing.
    pub fn recognise(&self, place: Place, packet: &Packet<'_>) -> Option<Identified> {
        let mut outer = Vec::new();
        let found = self.find(place, packet, &mut outer)?;
        Some(Identified { mark: found.mark, kind: found.kind, packet: found.packet, outer, quoted: found.quoted })
    }

    fn find(&self, place: Place, packet: &Packet<'_>, outer: &mut Vec<Summary>) -> Option<Found> {
        let summary = Summary::of(packet);
        let bare = |mark, kind| Found { mark, kind, packet: summary, quoted: None };
        match &packet.body {
            Body::Echo { reply, payload, .. } => {
                let mark = *self.payloads.get(&token(payload)?)?;
                Some(bare(mark, if *reply { Kind::Answer } else { Kind::Request }))
            }
            Body::Udp { content: UdpContent::Vxlan { frame, .. }, .. } => match &**frame {
                Decoded::Ip(inner) => {
                    outer.push(summary);
                    self.find(place, inner, outer)
                }
                Decoded::Arp(_) | Decoded::Other => None,
            },
            Body::Udp { source_port, destination_port, payload, content } => {
                let way = way(packet, *source_port, *destination_port);
                if let Some(mark) = token(payload).and_then(|token| self.payloads.get(&token)).copied() {
                    let kind = self.direction(mark, way);
                    Some(bare(mark, kind))
                } else if let UdpContent::Dns(message) = content {
                    let mark = *self.names.get(&message.name)?;
                    Some(bare(mark, if message.answer { Kind::Answer } else { Kind::Request }))
                } else {
                    None
                }
            }
            Body::Tcp(tcp) => {
                let way = way(packet, tcp.source_port, tcp.destination_port);
                self.segment(place, tcp, way).map(|(mark, kind)| bare(mark, kind))
            }
            Body::IcmpError { error, quoted: Some(quoted) } => {
                // What the quoted packet travelled in isn't what the error travels in.
                let mut travelled = Vec::new();
                let found = self.find(place, quoted, &mut travelled).or_else(|| self.cut_short(place, quoted))?;
                let answer = found.kind == Kind::Answer;
                Some(Found {
                    mark: found.mark,
                    kind: Kind::IcmpError(*error),
                    packet: summary,
                    quoted: Some(Quoted { answer, packet: found.packet, outer: travelled }),
                })
            }
            Body::Continued => {
                let first = self.fragmented.get(&datagram(place, packet))?;
                Some(bare(first.mark, first.kind))
            }
            Body::IcmpError { quoted: None, .. } | Body::Other => None,
        }
    }

    /// A quoted datagram of which too little is quoted for its mark to be seen: by its way, if it was seen here.
    fn cut_short(&self, place: Place, quoted: &Packet<'_>) -> Option<Found> {
        let Body::Udp { source_port, destination_port, .. } = &quoted.body else { return None };
        let way = way(quoted, *source_port, *destination_port);
        let (mark, kind) = match self.ways.get(&(place, way)) {
            Some(mark) => (*mark, Kind::Request),
            None => (*self.ways.get(&(place, (way.1, way.0)))?, Kind::Answer),
        };
        Some(Found { mark, kind, packet: Summary::of(quoted), quoted: None })
    }

    /// Request or answer, by whether a request was seen to go the other way round. The first packet is a request.
    fn direction(&self, mark: MarkId, way: Way) -> Kind {
        match self.requests.get(&mark) {
            Some(requests) if !requests.contains(&way) && requests.contains(&(way.1, way.0)) => Kind::Answer,
            _ => Kind::Request,
        }
    }

    fn segment(&self, place: Place, tcp: &Tcp, way: Way) -> Option<(MarkId, Kind)> {
        let Some(rest) = tcp.rest else {
            // Quoted and cut short: the sequence number of a SYN, or a way known here.
            let mark = self.initial.get(&tcp.sequence).or_else(|| self.ways.get(&(place, way)));
            return mark.map(|mark| (*mark, Kind::Request));
        };
        if rest.syn && !rest.ack {
            return self.initial.get(&tcp.sequence).map(|mark| (*mark, Kind::Request));
        }
        if rest.ack
            && (rest.syn || rest.rst)
            && let Some(mark) = self.initial.get(&rest.acknowledgement.wrapping_sub(1))
        {
            return Some((*mark, Kind::Answer));
        }
        if let Some(mark) = self.ways.get(&(place, way)) {
            return Some((*mark, Kind::Request));
        }
        self.ways.get(&(place, (way.1, way.0))).map(|mark| (*mark, Kind::Answer))
    }

    /// Takes the initial sequence number of a connection from its first SYN where it is opened. One to the mark's own
    /// destination is better than one to another, which may have been translated before it was seen.
    fn learn(&mut self, place: Place, packet: &Packet<'_>) {
        let Body::Tcp(tcp @ Tcp { rest: Some(rest), .. }) = &packet.body else { return };
        if !rest.syn || rest.ack {
            return;
        }
        // Through a node pass the SYNs of its pods, from ports that connections of its own may have too.
        if self.began_at(place, tcp.sequence) != place || self.initial.contains_key(&tcp.sequence) {
            return;
        }
        let remote = SocketAddr::new(packet.destination, tcp.destination_port);
        let exact = |connection: &Connection| SocketAddr::V4(connection.remote) == remote;
        let here = self.connections.iter_mut().filter(|connection| {
            let better = match connection.learnt {
                None => true,
                Some((_, was_exact)) => !was_exact && exact(connection),
            };
            better && connection.place == place && connection.local_port == tcp.source_port
        });
        // The port may have been another mark's before: among equals the latest is it.
        let Some(connection) = here.max_by_key(|connection| exact(connection)) else { return };
        let learnt = (tcp.sequence, exact(connection));
        let (mark, old) = (connection.mark, connection.learnt.replace(learnt));
        if let Some((old, _)) = old {
            self.initial.remove(&old);
            self.ways.retain(|_, known| *known != mark);
        }
        self.initial.insert(tcp.sequence, mark);
    }

    /// Where a SYN was seen first.
    fn began_at(&mut self, place: Place, sequence: u32) -> Place {
        if let Some(began) = self.began.get(&sequence) {
            return *began;
        }
        self.began.insert(sequence, place);
        self.began_order.push_back(sequence);
        while self.began_order.len() > MAX_SYNS {
            if let Some(oldest) = self.began_order.pop_front() {
                self.began.remove(&oldest);
            }
        }
        place
    }

    /// Remembers by what the packets that belong to this one can be known.
    fn remember(&mut self, place: Place, packet: &Packet<'_>, found: &Found) {
        if packet.fragment.is_some_and(Fragment::is_first) {
            let datagram = datagram(place, packet);
            if self.fragmented.insert(datagram, First { mark: found.mark, kind: found.kind }).is_none() {
                self.fragmented_order.push_back(datagram);
            }
            while self.fragmented_order.len() > MAX_FRAGMENTED {
                if let Some(oldest) = self.fragmented_order.pop_front() {
                    self.fragmented.remove(&oldest);
                }
            }
        }
        let (source_port, destination_port) = match &packet.body {
            Body::Udp { content: UdpContent::Vxlan { frame, .. }, .. } => {
                if let Decoded::Ip(inner) = &**frame {
                    self.remember(place, inner, found);
                }
                return;
            }
            Body::Udp { source_port, destination_port, .. } => (*source_port, *destination_port),
            Body::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
            _ => return,
        };
        let mut way = way(packet, source_port, destination_port);
        match found.kind {
            Kind::Request => {}
            Kind::Answer => way = (way.1, way.0),
            Kind::IcmpError(_) => return,
        }
        let requests = self.requests.entry(found.mark).or_default();
        if requests.contains(&way) || requests.len() < MAX_WAYS {
            requests.insert(way);
            self.ways.insert((place, way), found.mark);
        }
    }
}

/// The token of a payload mark.
fn token(payload: &[u8]) -> Option<u64> {
    let token = payload.strip_prefix(&MAGIC)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*token))
}

fn way(packet: &Packet<'_>, source_port: u16, destination_port: u16) -> Way {
    (SocketAddr::new(packet.source, source_port), SocketAddr::new(packet.destination, destination_port))
}

fn datagram(place: Place, packet: &Packet<'_>) -> Datagram {
    Datagram { place, source: packet.source, destination: packet.destination, id: packet.id, protocol: packet.protocol }
}
