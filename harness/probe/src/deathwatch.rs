//! Who tells a probe that its packet is dead, so that silence need not be waited for.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use lab::Namespace;
use lab::drops::DropReason;

use crate::capture::decode::IcmpError;
use crate::mark::Mark;

/// Resolves when the watched packet was seen to die, and never before or for another reason. Dropping it ends the
/// watch.
pub type Watch<'a> = Pin<Box<dyn Future<Output = Death> + Send + 'a>>;

/// Watches over packets in flight.
pub trait Deathwatch: Send + Sync {
    /// Watches for the death of the packets with this mark, from the moment of the call (not from the first poll): a
    /// probe calls it before it sends.
    ///
    /// The answer's death counts too: it carries the same mark, and the probe stays as silent. A packet that is copied
    /// or sent again is dead when a death of any copy was seen and no copy arrived.
    fn watch(&self, mark: Mark) -> Watch<'_>;

    /// The same for packets that a namespace sends to an address: a packet that dies on its first hop for want of a
    /// hardware address is never seen, and its death is told only where it is known who sends it and where to.
    fn watch_sent(&self, mark: Mark, from: &Namespace, to: Ipv4Addr) -> Watch<'_> {
        let _ = (from, to);
        self.watch(mark)
    }
}

/// Watches nothing: silence is established by the deadline alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDeathwatch;

impl Deathwatch for NoDeathwatch {
    fn watch(&self, _mark: Mark) -> Watch<'_> {
        Box::pin(std::future::pending())
    }
}

/// Where and why a packet died, as witnessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Name of the namespace it died in, `vcn a` or `master`.
    pub namespace: String,
    /// The interface it died at, where that is known.
    pub interface: Option<String>,
    /// Why.
    pub cause: Cause,
    /// Whether it is the answer that died.
    pub answer: bool,
    /// What was seen, in words: `10.0.0.239 asked for 10.0.0.24 3 times, nobody answered`.
    pub detail: String,
}

/// Why a packet died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A part of the lab dropped it and said so.
    Dropped(DropReason),
    /// It waited for the hardware address of this neighbour, which nobody told.
    NoNeighbour(Ipv4Addr),
    /// A router said so, to somebody else than the probe: to the tunnel's end that sent the packet on, or to the far
    /// end, of its answer.
    Told {
        /// What it said.
        error: IcmpError,
        /// Who.
        by: IpAddr,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(DropReason::SourceCheck) => formatter.write_str("source check"),
            Self::Dropped(DropReason::IngressDenied) => formatter.write_str("new traffic from outside not let in"),
            Self::Dropped(DropReason::NoPeer(address)) => write!(formatter, "no overlay peer has {address}"),
            Self::Dropped(DropReason::NotAllowedSource(address)) => {
                write!(formatter, "the overlay peer may not send from {address}")
            }
            Self::Dropped(DropReason::Rule(name)) => write!(formatter, "firewall rule {name}"),
            Self::Dropped(DropReason::Program(drop)) => write!(formatter, "an eBPF program: {drop}"),
            Self::NoNeighbour(address) => write!(formatter, "nobody answers for {address} on the link"),
            Self::Told { error, by } => write!(formatter, "{error}, says {by}"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.namespace)?;
        if let Some(interface) = &self.interface {
            write!(formatter, " ({interface})")?;
        }
        write!(formatter, ": {}", self.cause)
    }
}
