//! ARP requests that nobody has answered yet.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Place;
use crate::capture::decode::Arp;
use crate::capture::sighting::Direction;

/// How long a request counts as asked. Linux asks three times, a second apart (`mcast_solicit` 3, `retrans_time_ms`
/// 1000), and gives up a second after the last.
pub const ASKING: Duration = Duration::from_millis(3500);

/// Questions remembered at once.
const MAX_ASKED: usize = 4096;

/// A question that nobody has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The namespace that asks.
    pub place: Place,
    /// Index of the interface it asks on.
    pub link: u32,
    /// Name of that interface.
    pub interface: Arc<str>,
    /// Who asks.
    pub asker: Ipv4Addr,
    /// Whose hardware address is asked for.
    pub target: Ipv4Addr,
    /// How many times so far.
    pub times: u32,
    /// When first, by the kernel's clock.
    pub first: SystemTime,
    /// When the first request was read here: later than `first`, never earlier.
    pub first_read: Instant,
    /// When the last request was read here.
    pub last_read: Instant,
}

/// Where and when an ARP message was seen.
#[derive(Debug, Clone)]
pub struct ArpSeen {
    /// In which namespace.
    pub place: Place,
    /// Index of the interface.
    pub link: u32,
    /// Its name.
    pub interface: Arc<str>,
    /// Which way.
    pub direction: Direction,
    /// When, by the kernel's clock.
    pub time: SystemTime,
    /// When it was read here.
    pub read: Instant,
}

/// The questions of all namespaces.
#[derive(Debug, Default)]
pub struct Questions(HashMap<(Place, u32, Ipv4Addr), Asked>);

impl Questions {
    /// Takes note of an ARP message.
    pub fn note(&mut self, seen: &ArpSeen, arp: &Arp) {
        let key = |address| (seen.place, seen.link, address);
        match seen.direction {
            // Whoever sends anything has told its hardware address, request or not.
            Direction::In => {
                self.0.remove(&key(arp.sender));
            }
            // Asking for one's own address is an announcement.
            Direction::Out if arp.request && arp.sender != arp.target => {
                if self.0.len() >= MAX_ASKED {
                    self.0.retain(|_, asked| seen.read.duration_since(asked.last_read) < ASKING);
                    if self.0.len() >= MAX_ASKED {
                        return;
                    }
                }
                let asked = self.0.entry(key(arp.target)).or_insert_with(|| Asked {
                    place: seen.place,
                    link: seen.link,
                    interface: Arc::clone(&seen.interface),
                    asker: arp.sender,
                    target: arp.target,
                    times: 0,
                    first: seen.time,
                    first_read: seen.read,
                    last_read: seen.read,
                });
                if seen.read.duration_since(asked.last_read) >= ASKING {
                    (asked.times, asked.first, asked.first_read) = (0, seen.time, seen.read);
                }
                asked.times += 1;
                asked.last_read = seen.read;
            }
            Direction::Out => {}
        }
    }

    /// The questions of a namespace that still count at `now`.
    pub fn open(&self, place: Place, now: Instant) -> impl Iterator<Item = &Asked> {
        self.0
            .values()
            .filter(move |asked| asked.place == place && now.saturating_duration_since(asked.last_read) < ASKING)
    }
}
