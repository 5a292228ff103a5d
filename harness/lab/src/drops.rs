//! Where packets were seen to die: every part of a lab that drops a packet on purpose says so here, with the packet.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

/// Drops that wait for a slow reader; a reader that falls further behind is told how many it missed.
const BACKLOG: usize = 4096;

/// A packet that a part of the lab dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The namespace it died in, `vcn a` or `master`.
    pub namespace: String,
    /// The interface it died at, where that is known.
    pub interface: Option<String>,
    /// Why.
    pub reason: DropReason,
    /// The packet from its IP header on, perhaps cut short.
    pub packet: Vec<u8>,
}

/// Why a part of the lab dropped a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropReason {
    /// A VCN's gateway: the source is no interface's address in the network.
    SourceCheck,
    /// A VCN's gateway: new traffic from the internet isn't let in.
    IngressDenied,
    /// The overlay: no peer has this address.
    NoPeer(Ipv4Addr),
    /// The overlay: the peer may not send from this source address.
    NotAllowedSource(Ipv4Addr),
    /// A firewall rule, by the name its log prefix gives.
    Rule(String),
    /// An eBPF program.
    Program(Box<ProgramDrop>),
}

/// What an eBPF program says of a packet it drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramDrop {
    /// Why, `Stale or unroutable IP`.
    pub reason: String,
    /// Where in its source it says so, `bpf_host.c:865`, where that is known.
    pub source: Option<String>,
}

/// `Stale or unroutable IP (bpf_host.c:865)`
impl fmt::Display for ProgramDrop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)?;
        match &self.source {
            Some(source) => write!(formatter, " ({source})"),
            None => Ok(()),
        }
    }
}

/// Where the lab's parts report drops and readers listen. Clones are the same log.
#[derive(Debug, Clone)]
pub struct DropLog {
    reports: broadcast::Sender<Dropped>,
    missed: Arc<AtomicU64>,
}

impl Default for DropLog {
    fn default() -> Self {
        Self { reports: broadcast::channel(BACKLOG).0, missed: Arc::default() }
    }
}

impl DropLog {
    /// Reports a drop. Nobody need be listening.
    pub fn report(&self, dropped: Dropped) {
        let _ = self.reports.send(dropped);
    }

    /// That reports were lost before they came here, nobody knows how many.
    pub(crate) fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times reports were lost on their way here.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Listens to drops from now on.
    pub fn listen(&self) -> broadcast::Receiver<Dropped> {
        self.reports.subscribe()
    }
}
