//! Encrypted datagrams that passed while a mark was looked for. What is in them nobody can see; which of them are the
//! same one at another hop, their own numbers tell.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::capture::decode::{Body, Packet, Sealed, UdpContent};
use crate::capture::sighting::{Direction, Summary};
use crate::deathwatch::Death;

/// Sightings of encrypted datagrams that are remembered; beyond that the oldest are forgotten.
const MAX_SEALED: usize = 8192;

/// Drops of encrypted datagrams that are remembered.
const MAX_DROPS: usize = 256;

/// An encrypted datagram, seen at one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSighting {
    /// The namespace's name in the lab.
    pub namespace: Arc<str>,
    /// The interface's name there.
    pub interface: Arc<str>,
    /// Which way it went.
    pub direction: Direction,
    /// Whether it was addressed to another host's hardware address.
    pub in_passing: bool,
    /// When, by the kernel's clock.
    pub time: SystemTime,
    /// Which datagram it is.
    pub sealed: Sealed,
    /// The datagram's own headers.
    pub packet: Summary,
}

/// The death of an encrypted datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDeath {
    /// Which datagram it is.
    pub sealed: Sealed,
    /// Its length in bytes by its IP header.
    pub size: u16,
    /// Where and why it died.
    pub death: Death,
}

/// The encrypted datagrams of all namespaces.
#[derive(Debug, Default)]
pub struct SealedLog {
    seen: VecDeque<SealedSighting>,
    drops: VecDeque<SealedDeath>,
    /// When the last one was forgotten that had to be: what is older may be missing.
    pub forgotten: Option<SystemTime>,
}

impl SealedLog {
    /// Takes note of a datagram.
    pub fn note(&mut self, sighting: SealedSighting) {
        if self.seen.len() >= MAX_SEALED {
            self.forgotten = self.seen.pop_front().map(|oldest| oldest.time);
        }
        self.seen.push_back(sighting);
    }

    /// Takes note of a datagram's death.
    pub fn note_drop(&mut self, dead: SealedDeath) {
        if self.drops.len() >= MAX_DROPS {
            self.drops.pop_front();
        }
        self.drops.push_back(dead);
    }

    /// Those seen at or after a time, in the order seen.
    pub fn since(&self, time: SystemTime) -> impl Iterator<Item = &SealedSighting> {
        self.seen.iter().filter(move |sighting| sighting.time >= time)
    }

    /// The deaths that are known.
    pub fn drops(&self) -> impl Iterator<Item = &SealedDeath> {
        self.drops.iter()
    }
}

/// Which encrypted datagram a packet is, if it is one.
pub fn of(packet: &Packet<'_>) -> Option<Sealed> {
    match packet.body {
        Body::Udp { content: UdpContent::Sealed(sealed), .. } => Some(sealed),
        _ => None,
    }
}
