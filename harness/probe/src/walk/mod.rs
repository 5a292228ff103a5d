//! Where a probe's packet went, hop by hop, what each hop did to it, and where and why it ended.
//!
//! Made from what was seen, never from what should be: a [`Trail`] of sightings, the probe's own evidence, and what the
//! kernels along the way know of themselves ([`Facts`]). Pure but for [`facts`], which asks a kernel.
//!
//! # Limits
//! - Of several copies of a packet (TCP's retransmissions, a forwarder's repeated questions) the walk is that of the one
//!   that came furthest, of equals the first one.
//! - An encrypted leg is tied to its packet by time and size, and marked as inferred. Its hops are told from others by
//!   WireGuard's own numbers, which is exact.
//! - A rule that drops without a name is nobody's: the end is unknown, at the last place where the packet was seen.

mod change;
mod end;
pub mod facts;
mod journey;
pub mod place;
mod sealed;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::capture::Trail;
use crate::capture::sighting::{Kind, Sighting, Summary, Transport};
use crate::evidence::{Evidence, Outcome, Silence, Stage};

use facts::Facts;
use journey::Journeys;

/// A packet's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Where it was seen, in order. Empty for a packet that was never seen.
    pub hops: Vec<Hop>,
    /// How it ended.
    pub end: End,
    /// The way back of the answer, or of the ICMP error that the sender was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<Walk>>,
    /// Whether nothing is missing: no packet was lost by the capture, every sighting was kept, and the end is known.
    pub complete: bool,
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Where: `master/enp0s6`, `master/pod`, `vcn a/gateway`, `internet` (see [`place::name`]).
    pub at: String,
    /// Which way it went, as the interface's namespace sees it.
    pub direction: Way,
    /// Source, with its port where it has one.
    pub src: Endpoint,
    /// Destination, with its port where it has one.
    pub dst: Endpoint,
    /// What it travels in: the outermost packet around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<Outer>,
    /// Length in bytes by its IP header; of a fragment, the fragment's.
    pub size: u16,
    /// Time to live.
    pub ttl: u8,
    /// Microseconds since the first hop.
    #[serde(default)]
    pub us: u64,
    /// What was done to it since the hop before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Change>,
    /// Whether it is not known but concluded: the packet was encrypted here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
}

/// Which way a packet went at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// The packet around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    /// Source with its port.
    pub src: Endpoint,
    /// Destination with its port.
    pub dst: Endpoint,
    /// Length in bytes by its IP header; of a fragment, the fragment's.
    pub size: u16,
    /// Time to live.
    pub ttl: u8,
}

/// An address, with a port where there is one. In JSON a text: `10.0.0.239`, `10.0.0.239:41641`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// What was done to a packet between two hops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Its source was replaced.
    Snat {
        /// By this hop it was that …
        from: Endpoint,
        /// … and is this.
        to: Endpoint,
        /// Whether it is the packet around it whose source was replaced.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        outer: bool,
    },
    /// Its destination was replaced.
    Dnat {
        /// It was that …
        from: Endpoint,
        /// … and is this.
        to: Endpoint,
        /// Whether it is the packet around it whose destination was replaced.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        outer: bool,
    },
    /// It was put into another packet, in the clear (VXLAN).
    Encapsulated {
        /// The outer packet's source.
        src: Endpoint,
        /// The outer packet's destination.
        dst: Endpoint,
    },
    /// It was taken out of another packet.
    Decapsulated {},
    /// It, or the packet around it, was cut into pieces.
    Fragmented {
        /// How many were seen.
        pieces: usize,
    },
    /// The pieces were put together.
    Reassembled {},
    /// It was encrypted.
    Encrypted {
        /// Always true: nobody can look inside.
        inferred: bool,
    },
    /// It was decrypted.
    Decrypted {
        /// Always true, as of [`Change::Encrypted`].
        inferred: bool,
    },
    /// A server took it and asked on in its name, as a DNS forwarder does.
    Forwarded {
        /// The server's place.
        by: String,
    },
}

/// How a packet's way ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Where; the place where it was last seen, or where it would have gone out.
    pub at: String,
    /// Why.
    pub reason: EndReason,
    /// The evidence in words; may be empty.
    #[serde(default)]
    pub detail: String,
}

/// Why a packet's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// It arrived: a request was answered, an answer reached who had asked.
    Delivered,
    /// The far end answered, but the answer was lost: its own walk tells where.
    AnswerLost,
    /// It reached the far end, which said that nobody listens there.
    Refused,
    /// It reached the machine that has its destination address, and no answer left it.
    Unanswered,
    /// Nobody told the next hop's hardware address.
    NoArpReply,
    /// A router, or the sender's own kernel, had no route for it.
    NoRoute,
    /// A router refused to pass it on, and said so.
    Prohibited,
    /// It was too big for the next link and not to be cut up.
    TooBig,
    /// It went in circles, or too far.
    TtlExceeded,
    /// A cloud gateway's source check: no interface of the network has its source.
    SourceCheck,
    /// A cloud gateway lets nothing new in from the internet.
    IngressDenied,
    /// The overlay has no peer with its destination.
    OverlayNoPeer,
    /// The overlay's peer may not send from its source.
    OverlaySource,
    /// The overlay took it, and nothing came out at a peer.
    OverlayDead,
    /// A firewall rule, which the detail names.
    Firewall,
    /// An eBPF program, whose own reason is the detail's.
    Ebpf,
    /// The sender's kernel wouldn't send it.
    NotSent,
    /// Nothing tells.
    Unknown,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::Delivered,
        Self::AnswerLost,
        Self::Refused,
        Self::Unanswered,
        Self::NoArpReply,
        Self::NoRoute,
        Self::Prohibited,
        Self::TooBig,
        Self::TtlExceeded,
        Self::SourceCheck,
        Self::IngressDenied,
        Self::OverlayNoPeer,
        Self::OverlaySource,
        Self::OverlayDead,
        Self::Firewall,
        Self::Ebpf,
        Self::NotSent,
        Self::Unknown,
    ];

    /// Its name in scenarios and reports, as serde writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::AnswerLost => "answer-lost",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::NoArpReply => "no-arp-reply",
            Self::NoRoute => "no-route",
            Self::Prohibited => "prohibited",
            Self::TooBig => "too-big",
            Self::TtlExceeded => "ttl-exceeded",
            Self::SourceCheck => "source-check",
            Self::IngressDenied => "ingress-denied",
            Self::OverlayNoPeer => "overlay-no-peer",
            Self::OverlaySource => "overlay-source",
            Self::OverlayDead => "overlay-dead",
            Self::Firewall => "firewall",
            Self::Ebpf => "ebpf",
            Self::NotSent => "not-sent",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::AnswerLost => "answered, but the answer was lost",
            Self::Refused => "refused: nobody listens there",
            Self::Unanswered => "arrived, and nobody answered",
            Self::NoArpReply => "nobody answers ARP for the next hop",
            Self::NoRoute => "no route",
            Self::Prohibited => "a router refuses it",
            Self::TooBig => "too big for the next link",
            Self::TtlExceeded => "went in circles, or too far",
            Self::SourceCheck => "the cloud's source check",
            Self::IngressDenied => "the cloud lets nothing new in",
            Self::OverlayNoPeer => "no peer of the overlay has the destination",
            Self::OverlaySource => "the overlay's peer may not send from this source",
            Self::OverlayDead => "the overlay took it, and it came out nowhere",
            Self::Firewall => "a firewall rule",
            Self::Ebpf => "an eBPF program dropped it",
            Self::NotSent => "the sender's kernel would not send it",
            Self::Unknown => "nothing tells why",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for EndReason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|reason| reason.name() == text).ok_or(())
    }
}

impl Walk {
    /// Where it all came to an end: the request's end, or the answer's where it was the answer that was lost.
    pub fn last_end(&self) -> &End {
        match &self.answer {
            Some(answer) if self.end.reason == EndReason::AnswerLost => &answer.end,
            _ => &self.end,
        }
    }

    /// The hops of the way there and of the way back, in order.
    pub fn all_hops(&self) -> impl Iterator<Item = &Hop> {
        self.hops.iter().chain(self.answer.iter().flat_map(|answer| &answer.hops))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(formatter),
            None => self.address.fmt(formatter),
        }
    }
}

impl FromStr for Endpoint {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self { address, port: None });
        }
        let with_port: SocketAddr = text.parse()?;
        Ok(Self { address: with_port.ip(), port: Some(with_port.port()) })
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Endpoint {
    fn source(packet: &Summary) -> Self {
        let port = match packet.transport {
            Transport::Udp { source, .. } | Transport::Tcp { source, .. } => Some(source),
            Transport::Echo { .. } | Transport::Icmp | Transport::None => None,
        };
        Self { address: packet.source, port }
    }

    fn destination(packet: &Summary) -> Self {
        let port = match packet.transport {
            Transport::Udp { destination, .. } | Transport::Tcp { destination, .. } => Some(destination),
            Transport::Echo { .. } | Transport::Icmp | Transport::None => None,
        };
        Self { address: packet.destination, port }
    }
}

impl Outer {
    fn of(packet: &Summary) -> Self {
        Self { src: Endpoint::source(packet), dst: Endpoint::destination(packet), size: packet.size, ttl: packet.ttl }
    }
}

/// What a walk is made from.
#[derive(Debug)]
pub struct Known<'a> {
    /// Name of the namespace the probe was sent from.
    pub from: &'a str,
    /// What the probe found out.
    pub evidence: &'a Evidence,
    /// What was seen of its packet: of the last of its [marks](Evidence::marks), which is the one it ended with.
    pub trail: &'a Trail,
    /// The overlay's interface, where there is one.
    pub overlay: Option<&'a str>,
}

/// The walk of a probe's packet. `facts` is asked for what the kernel of a namespace knows, where that can matter: it is
/// asked seldom, and may not know.
pub fn walk(known: &Known<'_>, facts: &mut dyn FnMut(&str) -> Option<Facts>) -> Walk {
    let journeys = Journeys::of(&known.trail.sightings);
    let there = journeys.request(known);
    let far = there.last().map(|sighting| &*sighting.namespace);
    let back = far.map(|far| journeys.answer(far, there.first().map(|first| first.time))).unwrap_or_default();
    let told = journeys.error(false);

    let mut hops = change::hops(&there, known);
    sealed::after_the_last(&mut hops, &there, known);
    let end = end::of_request(known, &there, &hops, &back, &told, facts);

    // An error that somebody else was told is part of the end, not an answer.
    let told_here = told.last().is_some_and(|last| {
        &*last.namespace == known.from && last.quoted.as_ref().is_some_and(|quoted| quoted.outer.is_empty())
    });
    let way_back = if back.is_empty() && told_here { &told } else { &back };
    let seen = (!way_back.is_empty()).then(|| {
        let mut hops = change::hops(way_back, known);
        sealed::after_the_last(&mut hops, way_back, known);
        let end = end::of_answer(known, way_back, &hops, &journeys.error(true), facts);
        let complete = is_complete(known.trail, &end);
        Box::new(Walk { hops, end, answer: None, complete })
    });
    let unseen = || {
        let end = end::of_unseen_answer(known).filter(|_| end.reason == EndReason::AnswerLost)?;
        Some(Box::new(Walk { hops: Vec::new(), complete: is_complete(known.trail, &end), end, answer: None }))
    };
    let answer = seen.or_else(unseen);
    let complete = is_complete(known.trail, &end) && answer.as_ref().is_none_or(|answer| answer.complete);
    Walk { hops, end, answer, complete }
}

fn is_complete(trail: &Trail, end: &End) -> bool {
    trail.lost == 0 && trail.left_out == 0 && !trail.sealed_forgotten && end.reason != EndReason::Unknown
}

/// Every place where a packet was seen as it is, not encrypted and not in passing, by the names of [`place::name`].
pub fn places<'a>(sightings: impl IntoIterator<Item = &'a Sighting>) -> BTreeSet<String> {
    let seen = sightings.into_iter().filter(|sighting| !place::in_passing(sighting));
    seen.map(|sighting| place::name(&sighting.namespace, Some(&sighting.interface))).collect()
}

impl Evidence {
    /// Whether the far end's answer came, whatever it said.
    fn was_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Reply | Outcome::DnsFailure(_) | Outcome::TlsFailure | Outcome::Broken)
    }

    /// Whether it is the making of a connection that decided.
    fn is_about_connecting(&self) -> bool {
        self.outcome == Outcome::Reply || matches!(self.stage, Stage::Connect | Stage::Resolve)
    }

    fn death(&self) -> Option<&crate::deathwatch::Death> {
        match &self.silence {
            Some(Silence::Death(death)) => Some(death),
            _ => None,
        }
    }
}

fn is_request(sighting: &Sighting) -> bool {
    sighting.kind == Kind::Request
}
