//! Which sightings are of one and the same packet, and which packets follow from one another.

use std::collections::HashMap;
use std::time::SystemTime;

use super::{Known, place};
use crate::capture::sighting::{Direction, Kind, Sighting, Transport};
use crate::evidence::Outcome;

/// Servers that a question is followed through, each asking on in its name.
const MAX_LEGS: usize = 16;

/// Sightings of packets, in order.
pub(super) type Way<'a> = Vec<&'a Sighting>;

/// What tells packets of a probe apart at any hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Which {
    kind: What,
    id: u16,
    protocol: u8,
    syn: bool,
    rst: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Request,
    Answer,
    Error { about_answer: bool },
}

/// All packets of a probe.
#[derive(Debug, Default)]
pub(super) struct Journeys<'a> {
    all: Vec<(What, Way<'a>)>,
}

impl<'a> Journeys<'a> {
    /// Sorts sightings, which are in time order, by packets.
    pub(super) fn of(sightings: &'a [Sighting]) -> Self {
        let mut all: Vec<(What, Way<'a>)> = Vec::new();
        let mut open: HashMap<Which, usize> = HashMap::new();
        for sighting in sightings.iter().filter(|sighting| !place::in_passing(sighting)) {
            // Later fragments follow the first one.
            if sighting.packet.fragment.is_some_and(|fragment| !fragment.is_first()) {
                continue;
            }
            let which = Which::of(sighting);
            let known = open.get(&which).copied().filter(|known| {
                // The kernel gives many packets the id 0; no packet's time to live ever grows.
                all[*known].1.last().is_none_or(|last: &&Sighting| last.packet.ttl >= sighting.packet.ttl)
            });
            match known {
                Some(known) => all[known].1.push(sighting),
                None => {
                    open.insert(which, all.len());
                    all.push((which.kind, vec![sighting]));
                }
            }
        }
        Self { all }
    }

    fn of_kind(&self, what: What) -> impl Iterator<Item = &Way<'a>> {
        self.all.iter().filter(move |(kind, _)| *kind == what).map(|(_, way)| way)
    }

    /// The way of the request, servers that ask on in its name included.
    pub(super) fn request(&self, known: &Known<'_>) -> Way<'a> {
        let begins = |way: &Way<'_>| way.first().is_some_and(|first| &*first.namespace == known.from);
        let opens = |way: &Way<'_>| match way.first().map(|first| first.packet.transport) {
            Some(Transport::Tcp { syn, .. }) => syn == known.evidence.is_about_connecting(),
            _ => true,
        };
        let requests = || self.of_kind(What::Request);
        // Of a connection that was made and then fell silent, what was said last.
        let is_tcp =
            |way: &&Way<'_>| way.first().is_some_and(|first| matches!(first.packet.transport, Transport::Tcp { .. }));
        if known.evidence.outcome == Outcome::Silence
            && !known.evidence.is_about_connecting()
            && let Some(last) = requests().filter(|way| begins(way)).filter(is_tcp).last()
        {
            return last.clone();
        }
        let from_here = furthest(requests().filter(|way| begins(way) && opens(way)));
        let first = from_here.or_else(|| furthest(requests().filter(|way| begins(way)))).or_else(|| requests().next());
        first.map(|first| self.followed(first, What::Request)).unwrap_or_default()
    }

    /// The way of the answer that left `far`, after the request had begun.
    pub(super) fn answer(&self, far: &str, since: Option<SystemTime>) -> Way<'a> {
        let later = move |way: &&Way<'_>| way.first().map(|first| first.time) >= since;
        let answers = || self.of_kind(What::Answer).filter(later);
        let begins = |way: &&Way<'_>| way.first().is_some_and(|first| &*first.namespace == far);
        let first = furthest(answers().filter(begins)).or_else(|| furthest(answers()));
        first.map(|first| self.followed(first, What::Answer)).unwrap_or_default()
    }

    /// The way of an ICMP error about the request, or about the answer.
    pub(super) fn error(&self, about_answer: bool) -> Way<'a> {
        furthest(self.of_kind(What::Error { about_answer })).cloned().unwrap_or_default()
    }

    /// A packet's way, and that of the packet that a server sent on where it ended.
    fn followed(&self, first: &Way<'a>, what: What) -> Way<'a> {
        let mut whole = first.clone();
        for _ in 0..MAX_LEGS {
            let Some(last) = whole.last().copied().filter(|last| last.direction == Direction::In) else { break };
            let goes_on = |way: &&Way<'_>| {
                way.first().is_some_and(|first| {
                    first.namespace == last.namespace
                        && first.direction == Direction::Out
                        && first.time >= last.time
                        // A segment of the same connection, from the same end, is no answer to itself.
                        && first.packet.source != whole[0].packet.source
                })
            };
            let Some(next) = furthest(self.of_kind(what).filter(goes_on)) else { break };
            whole.extend(next);
        }
        whole
    }
}

/// Of several the one that was seen at most hops; of equals the first.
fn furthest<'w, 'a>(ways: impl Iterator<Item = &'w Way<'a>>) -> Option<&'w Way<'a>>
where
    'a: 'w,
{
    let mut best: Option<&Way<'a>> = None;
    for way in ways {
        if best.is_none_or(|best| way.len() > best.len()) {
            best = Some(way);
        }
    }
    best
}

impl Which {
    fn of(sighting: &Sighting) -> Self {
        let kind = match (sighting.kind, &sighting.quoted) {
            (Kind::Request, _) => What::Request,
            (Kind::Answer, _) => What::Answer,
            (Kind::IcmpError(_), quoted) => {
                What::Error { about_answer: quoted.as_ref().is_some_and(|quoted| quoted.answer) }
            }
        };
        let (syn, rst) = match sighting.packet.transport {
            Transport::Tcp { syn, rst, .. } => (syn, rst),
            _ => (false, false),
        };
        Self { kind, id: sighting.packet.id, protocol: sighting.packet.protocol, syn, rst }
    }
}

/// Microseconds from one time to a later one.
pub(super) fn microseconds(from: SystemTime, to: SystemTime) -> u64 {
    to.duration_since(from).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
