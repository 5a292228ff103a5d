//! Legs on which a packet was encrypted: which of the datagrams that passed meanwhile carried it.
//!
//! A datagram is the packet's if it is of its size, left the node that the packet was encrypted on, after that, and
//! reached the node it was decrypted on, before that. Of several the first one: an overlay keeps the order.

use std::time::SystemTime;

use super::journey::{Way as Path, microseconds};
use super::{Change, Endpoint, Hop, Known, Outer, change, place};
use crate::capture::decode::Sealed;
use crate::capture::sighting::{Direction, Sighting};
use crate::correlate::sealed::{SealedDeath, SealedSighting};

/// What WireGuard adds to a packet: its header and tag, and IP's and UDP's headers around them.
const OVERHEAD: u16 = 16 + 16 + 20 + 8;

/// Packets are padded to a multiple of this many bytes before they are encrypted.
const PADDING: u16 = 16;

/// Whether a packet was encrypted at one sighting and decrypted at the next.
pub(super) fn is_leg(before: &Sighting, now: &Sighting, known: &Known<'_>) -> bool {
    enters(before, known)
        && known.overlay == Some(&*now.interface)
        && now.direction == Direction::In
        && before.namespace != now.namespace
}

/// Whether a packet goes into the overlay here.
pub(super) fn enters(sighting: &Sighting, known: &Known<'_>) -> bool {
    known.overlay == Some(&*sighting.interface) && sighting.direction == Direction::Out
}

/// The encrypted hops between two sightings.
pub(super) fn between(before: &Sighting, now: &Sighting, begun: SystemTime, known: &Known<'_>) -> Vec<Hop> {
    let arrives = |way: &[&SealedSighting]| {
        way.last().is_some_and(|last| last.namespace == now.namespace && last.time <= now.time)
    };
    found(before, known, arrives).map(|(_, way)| hops(before, &way, begun)).unwrap_or_default()
}

/// The encrypted hops behind a packet that entered the overlay last and came out nowhere.
pub(super) fn after_the_last(hops: &mut Vec<Hop>, way: &Path<'_>, known: &Known<'_>) {
    if let (Some(first), Some(last)) = (way.first(), way.last())
        && enters(last, known)
        && let Some((_, datagram)) = found(last, known, |_| true)
    {
        hops.extend(self::hops(last, &datagram, first.time));
    }
}

/// The datagram that carried the packet last seen here, and where it was seen.
pub(super) fn found<'a>(
    packet: &Sighting,
    known: &Known<'a>,
    arrives: impl Fn(&[&SealedSighting]) -> bool,
) -> Option<(Sealed, Vec<&'a SealedSighting>)> {
    let fits = |datagram: &&SealedSighting| {
        carries(datagram.packet.size, packet)
            && datagram.namespace == packet.namespace
            && datagram.direction == Direction::Out
            && datagram.time >= packet.time
    };
    let begun = known.trail.sealed.iter().filter(fits);
    begun.map(|first| (first.sealed, seen(first.sealed, known))).find(|(_, way)| arrives(way))
}

/// A datagram of the packet's size that a rule dropped on the packet's own node, and which was seen nowhere.
pub(super) fn dropped_unseen<'a>(packet: &Sighting, known: &Known<'a>) -> Option<&'a SealedDeath> {
    known.trail.sealed_deaths.iter().find(|dead| {
        *dead.death.namespace == *packet.namespace
            && carries(dead.size, packet)
            && known.trail.sealed.iter().all(|seen| seen.sealed != dead.sealed)
    })
}

/// Whether a datagram of this length may carry a packet.
fn carries(size: u16, packet: &Sighting) -> bool {
    let carrier = packet.outer.first().unwrap_or(&packet.packet);
    let padded = size.checked_sub(OVERHEAD);
    padded.is_some_and(|padded| padded >= carrier.size && padded - carrier.size < PADDING)
}

fn seen<'a>(sealed: Sealed, known: &Known<'a>) -> Vec<&'a SealedSighting> {
    let same = |sighting: &&SealedSighting| {
        sighting.sealed == sealed && (!sighting.in_passing || place::is_vcn(&sighting.namespace))
    };
    known.trail.sealed.iter().filter(same).collect()
}

fn hops(packet: &Sighting, way: &[&SealedSighting], begun: SystemTime) -> Vec<Hop> {
    let kept = change::fold(way);
    let mut hops = Vec::with_capacity(kept.len());
    for (index, (datagram, at)) in kept.iter().enumerate() {
        let mut changed = Vec::new();
        match index.checked_sub(1).map(|before| kept[before].0) {
            None => changed.push(Change::Encrypted { inferred: true }),
            Some(before) => change::translations(&before.packet, &datagram.packet, true, &mut changed),
        }
        hops.push(Hop {
            at: at.clone(),
            direction: datagram.direction.into(),
            src: Endpoint::source(&packet.packet),
            dst: Endpoint::destination(&packet.packet),
            outer: Some(Outer::of(&datagram.packet)),
            size: packet.packet.size,
            ttl: packet.packet.ttl,
            us: microseconds(begun, datagram.time),
            changed,
            inferred: true,
        });
    }
    hops
}
