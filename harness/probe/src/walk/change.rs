//! From sightings to hops: what was done to a packet between one and the next.

use super::journey::{Way as Path, microseconds};
use super::{Change, Endpoint, Hop, Known, Outer, Way, place, sealed};
use crate::capture::sighting::{Direction, Sighting, Summary};
use crate::correlate::sealed::SealedSighting;

/// The hops of a packet's way, with the encrypted legs between them.
pub(super) fn hops(way: &Path<'_>, known: &Known<'_>) -> Vec<Hop> {
    let Some(begun) = way.first().map(|first| first.time) else { return Vec::new() };
    let kept = fold::<Sighting>(way);
    let mut hops: Vec<Hop> = Vec::with_capacity(kept.len());
    for (index, (sighting, at)) in kept.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| kept[before].0);
        let mut changed = Vec::new();
        if let Some(before) = before {
            if sealed::is_leg(before, sighting, known) {
                hops.extend(sealed::between(before, sighting, begun, known));
                changed.push(Change::Decrypted { inferred: true });
            }
            changes(before, sighting, known, &mut changed);
        } else if let Some(outer) = sighting.outer.first() {
            // A tunnel's end that sends on its own behalf.
            changed.push(Change::Encapsulated { src: Endpoint::source(outer), dst: Endpoint::destination(outer) });
        }
        hops.push(Hop {
            at: at.clone(),
            direction: sighting.direction.into(),
            src: Endpoint::source(&sighting.packet),
            dst: Endpoint::destination(&sighting.packet),
            outer: sighting.outer.first().map(Outer::of),
            size: sighting.packet.size,
            ttl: sighting.packet.ttl,
            us: microseconds(begun, sighting.time),
            changed,
            inferred: false,
        });
    }
    hops
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::In,
            Direction::Out => Self::Out,
        }
    }
}

/// Something seen at an interface.
pub(super) trait Spot {
    /// The namespace, the interface, and which way.
    fn spot(&self) -> (&str, &str, Direction);
}

impl Spot for Sighting {
    fn spot(&self) -> (&str, &str, Direction) {
        (&self.namespace, &self.interface, self.direction)
    }
}

impl Spot for SealedSighting {
    fn spot(&self) -> (&str, &str, Direction) {
        (&self.namespace, &self.interface, self.direction)
    }
}

/// The sightings that make a hop, with its name. Of a gateway's several interfaces only the first on the way in and the
/// last on the way out do.
pub(super) fn fold<'a, S: Spot>(way: &[&'a S]) -> Vec<(&'a S, String)> {
    let mut kept: Vec<(&S, String)> = Vec::with_capacity(way.len());
    let mut rest = way;
    while let Some(first) = rest.first() {
        let (namespace, interface, _) = first.spot();
        let (run, behind) = rest.split_at(rest.iter().take_while(|next| next.spot().0 == namespace).count());
        rest = behind;
        if !place::is_vcn(namespace) {
            kept.extend(run.iter().map(|one| (*one, place::name(namespace, Some(one.spot().1)))));
            continue;
        }
        let came_in = run.iter().find(|one| one.spot().2 == Direction::In);
        let went_out = run.iter().rfind(|one| one.spot().2 == Direction::Out);
        let switched = went_out.is_some() && run.iter().all(|one| place::is_port(one.spot().1));
        let at = if switched { place::subnet(namespace) } else { place::name(namespace, Some(interface)) };
        kept.extend(came_in.into_iter().chain(went_out).map(|one| (*one, at.clone())));
    }
    kept
}

/// What was done to a packet between two sightings.
fn changes(before: &Sighting, now: &Sighting, known: &Known<'_>, changed: &mut Vec<Change>) {
    let forwarded = now.packet.ttl > before.packet.ttl
        || (now.direction == Direction::Out && now.packet.id != before.packet.id && now.namespace == before.namespace);
    if forwarded {
        changed.push(Change::Forwarded { by: place::name(&now.namespace, None) });
        return;
    }
    match (before.outer.first(), now.outer.first()) {
        (None, Some(outer)) => {
            changed.push(Change::Encapsulated { src: Endpoint::source(outer), dst: Endpoint::destination(outer) });
        }
        (Some(_), None) => changed.push(Change::Decapsulated {}),
        (Some(before), Some(now)) => translations(before, now, true, changed),
        (None, None) => {}
    }
    translations(&before.packet, &now.packet, false, changed);
    match (in_pieces(before), in_pieces(now)) {
        (false, true) => changed.push(Change::Fragmented { pieces: pieces(now, known) }),
        (true, false) => changed.push(Change::Reassembled {}),
        _ => {}
    }
}

pub(super) fn translations(before: &Summary, now: &Summary, outer: bool, changed: &mut Vec<Change>) {
    let (from, to) = (Endpoint::source(before), Endpoint::source(now));
    if from != to {
        changed.push(Change::Snat { from, to, outer });
    }
    let (from, to) = (Endpoint::destination(before), Endpoint::destination(now));
    if from != to {
        changed.push(Change::Dnat { from, to, outer });
    }
}

fn in_pieces(sighting: &Sighting) -> bool {
    sighting.outer.first().unwrap_or(&sighting.packet).fragment.is_some()
}

/// How many pieces of this sighting's packet were seen at its interface.
fn pieces(sighting: &Sighting, known: &Known<'_>) -> usize {
    let carrier = |sighting: &Sighting| *sighting.outer.first().unwrap_or(&sighting.packet);
    let whole = carrier(sighting);
    let is_piece = |other: &&Sighting| {
        let piece = carrier(other);
        (&other.namespace, &other.interface, other.direction)
            == (&sighting.namespace, &sighting.interface, sighting.direction)
            && (piece.id, piece.source, piece.destination, piece.protocol)
                == (whole.id, whole.source, whole.destination, whole.protocol)
            && piece.fragment.is_some()
    };
    known.trail.sightings.iter().filter(is_piece).count()
}
