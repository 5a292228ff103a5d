//! What a probe found out.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::capture::decode::unreachable;
use crate::deathwatch::Death;
use crate::mark::Mark;

/// What a probe found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What came back.
    pub outcome: Outcome,
    /// How far it got. [`Stage::Exchange`] is the last.
    pub stage: Stage,
    /// The source address the far end saw, where it told. The kernel's answer to a ping doesn't tell.
    pub source_seen: Option<Ipv4Addr>,
    /// What was answered: a name's addresses, separated by ", "; an HTTP body, at most 64 KiB of it.
    pub answer: Option<String>,
    /// HTTP status code.
    pub status: Option<u16>,
    /// From the first packet sent to the answer, whole: resolution, connection and TLS handshake included. In JSON
    /// `rtt_us`, in microseconds.
    #[serde(rename = "rtt_us", serialize_with = "microseconds")]
    pub rtt: Option<Duration>,
    /// How silence was established, where the outcome is [`Outcome::Silence`].
    pub silence: Option<Silence>,
    /// What the probe's packets could be recognised by.
    #[serde(skip)]
    pub marks: Vec<Mark>,
    /// In words, for people.
    pub detail: String,
}

/// What came back. Serialized as its [kind](Outcome::kind).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What was hoped for. An HTTP status of any kind is a reply.
    Reply,
    /// Nothing.
    Silence,
    /// Somebody said that nobody listens there: TCP reset, ICMP port unreachable.
    Refused,
    /// Somebody said that there is no way.
    Unreachable {
        /// Who: a router, or one of the sender's own addresses where the next hop didn't answer ARP. None where the
        /// sender's routing table said it before anything was sent.
        by: Option<Ipv4Addr>,
        /// Code of the ICMP "destination unreachable" message (RFC 792, RFC 1122, RFC 1812): 0 net, 1 host …
        code: u8,
    },
    /// The packet was too big for a link and not to be cut up.
    TooBig {
        /// Who said so; none where the sender itself knew (its link's or route's MTU, or a path MTU it was told
        /// before).
        by: Option<Ipv4Addr>,
        /// The MTU in bytes.
        mtu: u32,
    },
    /// The packet went in circles, or too far.
    TtlExceeded {
        /// Where it ended.
        by: Ipv4Addr,
    },
    /// A DNS server answered, but without an address.
    DnsFailure(DnsFailure),
    /// The TLS handshake failed; a certificate that isn't trusted, most of the time.
    TlsFailure,
    /// The connection was made, and closed or reset before the answer was whole; or the answer made no sense.
    Broken,
    /// The probe could not be sent, for a reason that is none of the network's.
    NotPossible {
        /// The kernel's error number, where it is the kernel's.
        errno: Option<i32>,
    },
}

/// An outcome without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// [`Outcome::Reply`].
    Reply,
    /// [`Outcome::Silence`].
    Silence,
    /// [`Outcome::Refused`].
    Refused,
    /// [`Outcome::Unreachable`].
    Unreachable,
    /// [`Outcome::TooBig`].
    TooBig,
    /// [`Outcome::TtlExceeded`].
    TtlExceeded,
    /// [`Outcome::DnsFailure`].
    DnsFailure,
    /// [`Outcome::TlsFailure`].
    TlsFailure,
    /// [`Outcome::Broken`].
    Broken,
    /// [`Outcome::NotPossible`].
    NotPossible,
}

impl OutcomeKind {
    /// Its name in scenarios and reports, as serde writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Silence => "silence",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TooBig => "too-big",
            Self::TtlExceeded => "ttl-exceeded",
            Self::DnsFailure => "dns-failure",
            Self::TlsFailure => "tls-failure",
            Self::Broken => "broken",
            Self::NotPossible => "not-possible",
        }
    }
}

/// Why a DNS answer has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFailure {
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists, but has no A record.
    NoData,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// Another response code.
    Other(u16),
}

/// How far a probe got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Finding the host's address.
    Resolve,
    /// Making the TCP connection.
    Connect,
    /// The TLS handshake.
    Handshake,
    /// Question and answer.
    Exchange,
}

/// How silence was established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// Nothing came within this time.
    Deadline(Duration),
    /// The packet, or the answer to it, was seen to die.
    Death(Death),
}

impl Outcome {
    /// The outcome without its details.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Reply => OutcomeKind::Reply,
            Self::Silence => OutcomeKind::Silence,
            Self::Refused => OutcomeKind::Refused,
            Self::Unreachable { .. } => OutcomeKind::Unreachable,
            Self::TooBig { .. } => OutcomeKind::TooBig,
            Self::TtlExceeded { .. } => OutcomeKind::TtlExceeded,
            Self::DnsFailure(_) => OutcomeKind::DnsFailure,
            Self::TlsFailure => OutcomeKind::TlsFailure,
            Self::Broken => OutcomeKind::Broken,
            Self::NotPossible { .. } => OutcomeKind::NotPossible,
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.kind().serialize(serializer)
    }
}

impl Serialize for Silence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn microseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).serialize(serializer)
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = |formatter: &mut fmt::Formatter<'_>, by: &Option<Ipv4Addr>| match by {
            Some(by) => write!(formatter, ", says {by}"),
            None => formatter.write_str(", says the sender's own kernel"),
        };
        match self {
            Self::Unreachable { by, code } => {
                match unreachable(*code) {
                    Some(words) => formatter.write_str(words)?,
                    None => write!(formatter, "unreachable (code {code})")?,
                }
                says(formatter, by)
            }
            Self::TooBig { by, mtu } => {
                write!(formatter, "too big for an MTU of {mtu}")?;
                says(formatter, by)
            }
            Self::TtlExceeded { by } => write!(formatter, "TTL exceeded at {by}"),
            Self::DnsFailure(failure) => failure.fmt(formatter),
            Self::TlsFailure => formatter.write_str("TLS handshake failed"),
            Self::NotPossible { errno: Some(errno) } => {
                write!(formatter, "not possible: {}", nix::errno::Errno::from_raw(*errno).desc())
            }
            Self::NotPossible { errno: None } => formatter.write_str("not possible"),
            Self::Reply | Self::Silence | Self::Refused | Self::Broken => formatter.write_str(self.kind().name()),
        }
    }
}

impl fmt::Display for DnsFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => formatter.write_str("NXDOMAIN"),
            Self::NoData => formatter.write_str("no A record"),
            Self::ServerFailure => formatter.write_str("SERVFAIL"),
            Self::Refused => formatter.write_str("REFUSED"),
            Self::Other(code) => write!(formatter, "DNS response code {code}"),
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline(deadline) => write!(formatter, "nothing within {} ms", deadline.as_millis()),
            Self::Death(death) => write!(formatter, "died in {death}"),
        }
    }
}
