//! What became of each mark: where its packets were seen, and which questions for hardware addresses stay open.
//!
//! Knows no kernel: it is shown packets, in time order, and remembers a bounded number of them.

pub mod arp;
pub mod identify;
pub mod sealed;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::capture::decode::{Decoded, Packet};
use crate::capture::sighting::{Frame, Kind, Sighting};
use crate::deathwatch::Death;
use crate::mark::Mark;

use arp::Questions;
use identify::{Identified, Identifier, Key};
use sealed::SealedLog;

/// A namespace that is captured, by a number of the capture's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(pub u32);

/// A mark that is looked for, by a number of the capture's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MarkId(pub u64);

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sightings for one mark: the first half and the last half of what was seen.
    pub sightings: usize,
    /// Marks; beyond that the oldest that nobody watches is forgotten.
    pub marks: usize,
    /// Bytes of frames, all marks together; sightings beyond that have no frame.
    pub frames: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sightings: 512, marks: 4096, frames: 32 << 20 }
    }
}

/// A sighting and what the witness needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// In which namespace.
    pub place: Place,
    /// When it was read here: later than its time, never earlier.
    pub read: Instant,
    /// What was seen.
    pub sighting: Sighting,
}

/// What is known of a mark's packets.
#[derive(Debug)]
pub struct Track {
    /// The mark.
    pub mark: Mark,
    /// When it began to be looked for.
    pub since: Instant,
    /// Frames that all namespaces' sockets had lost by then.
    pub lost_before: u64,
    /// Where its first packet comes from and where that is to go, where this is known beforehand.
    pub origin: Option<(Place, std::net::IpAddr)>,
    /// How many wait for its death.
    pub watchers: usize,
    /// A drop that was reported, or an ICMP error that went to somebody else than the probe.
    pub dropped: Option<Death>,
    /// Whether an answer was seen anywhere.
    pub answered: bool,
    /// Sightings between the first and the last half that were not kept.
    pub left_out: u64,
    first: Vec<Seen>,
    last: VecDeque<Seen>,
}

impl Track {
    /// The sightings kept, in the order seen.
    pub fn seen(&self) -> impl DoubleEndedIterator<Item = &Seen> {
        self.first.iter().chain(&self.last)
    }
}

/// The marks looked for, what was seen of them, and the open questions.
#[derive(Debug)]
pub struct Correlator {
    limits: Limits,
    identifier: Identifier,
    /// Questions for hardware addresses that nobody has answered.
    pub questions: Questions,
    /// Encrypted datagrams.
    pub sealed: SealedLog,
    tracks: HashMap<MarkId, Track>,
    order: VecDeque<MarkId>,
    next: u64,
    frame_bytes: usize,
    /// Sightings whose frame was not kept for want of room.
    pub frames_left_out: u64,
}

impl Correlator {
    /// Looks for nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            identifier: Identifier::default(),
            questions: Questions::default(),
            sealed: SealedLog::default(),
            tracks: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            frame_bytes: 0,
            frames_left_out: 0,
        }
    }

    /// Whether any mark is looked for.
    pub fn is_idle(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The number of a mark that is looked for.
    pub fn find(&self, mark: &Mark) -> Option<MarkId> {
        self.tracks.iter().find(|(_, track)| track.mark == *mark).map(|(id, _)| *id)
    }

    /// Begins to look for a mark, or goes on if it is looked for. `place_of_tcp` is where a TCP mark's connection is
    /// opened; without it, or until [`Correlator::locate`] gives it, such a mark is found nowhere.
    pub fn watch(&mut self, mark: &Mark, place_of_tcp: Option<Place>, lost_before: u64) -> MarkId {
        if let Some(id) = self.find(mark) {
            return id;
        }
        while self.tracks.len() >= self.limits.marks {
            let Some(at) = self.order.iter().position(|id| self.tracks.get(id).is_none_or(|track| track.watchers == 0))
            else {
                break;
            };
            if let Some(id) = self.order.remove(at) {
                self.forget(id);
            }
        }
        let id = MarkId(self.next);
        self.next += 1;
        let track = Track {
            mark: mark.clone(),
            since: Instant::now(),
            lost_before,
            origin: None,
            watchers: 0,
            dropped: None,
            answered: false,
            left_out: 0,
            first: Vec::new(),
            last: VecDeque::new(),
        };
        self.tracks.insert(id, track);
        self.order.push_back(id);
        match mark {
            Mark::Payload(token) => self.identifier.insert(&Key::Payload(*token), id),
            Mark::Dns(name) => self.identifier.insert(&Key::Dns(name.trim_end_matches('.').to_owned()), id),
            Mark::Tcp { .. } => {
                if let Some(place) = place_of_tcp {
                    self.settle(id, place);
                }
            }
        }
        id
    }

    /// Says where a TCP mark's connection is opened, that wasn't seen into when the mark began to be looked for.
    pub fn locate(&mut self, id: MarkId, place: Place) {
        if self.settle(id, place) {
            self.identifier.forget_beginnings();
        }
    }

    /// Whether this wasn't known yet.
    fn settle(&mut self, id: MarkId, place: Place) -> bool {
        if let Some(track) = self.tracks.get_mut(&id)
            && let Mark::Tcp { local_port, remote, .. } = track.mark
            && track.origin.is_none()
        {
            track.origin = Some((place, (*remote.ip()).into()));
            self.identifier.insert(&Key::Tcp { place, local_port, remote }, id);
            return true;
        }
        false
    }

    /// Forgets a mark and what was seen of it.
    pub fn forget(&mut self, id: MarkId) {
        if let Some(track) = self.tracks.remove(&id) {
            self.frame_bytes -= track.seen().map(|seen| frame_bytes(&seen.sighting)).sum::<usize>();
        }
        self.order.retain(|other| *other != id);
        self.identifier.remove(id);
    }

    /// What is known of a mark.
    pub fn track(&self, id: MarkId) -> Option<&Track> {
        self.tracks.get(&id)
    }

    /// What is known of a mark, to change.
    pub fn track_mut(&mut self, id: MarkId) -> Option<&mut Track> {
        self.tracks.get_mut(&id)
    }

    /// What is known of all marks.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.values()
    }

    /// All marks.
    pub fn marks(&self) -> impl Iterator<Item = (MarkId, &Mark)> {
        self.tracks.iter().map(|(id, track)| (*id, &track.mark))
    }

    /// The mark a frame seen at `place` carries.
    pub fn identify(&mut self, place: Place, frame: &Decoded<'_>) -> Option<Identified> {
        match frame {
            Decoded::Ip(packet) => self.identifier.identify(place, packet),
            Decoded::Arp(_) | Decoded::Other => None,
        }
    }

    /// The mark a packet carries that is told of, not seen: nothing is learnt from it.
    pub fn recognise(&self, place: Place, packet: &Packet<'_>) -> Option<Identified> {
        self.identifier.recognise(place, packet)
    }

    /// Remembers a sighting.
    pub fn keep(&mut self, id: MarkId, mut seen: Seen) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.answered |= seen.sighting.kind == Kind::Answer;
        let bytes = frame_bytes(&seen.sighting);
        if self.frame_bytes + bytes > self.limits.frames {
            seen.sighting.frame = None;
            self.frames_left_out += 1;
        } else {
            self.frame_bytes += bytes;
        }
        let half = (self.limits.sightings / 2).max(1);
        if track.first.len() < half {
            track.first.push(seen);
            return;
        }
        if track.last.len() >= half
            && let Some(old) = track.last.pop_front()
        {
            track.left_out += 1;
            self.frame_bytes -= frame_bytes(&old.sighting);
        }
        track.last.push_back(seen);
    }
}

/// A frame's bytes, if they are to be kept.
pub(crate) fn frame(link: crate::capture::decode::LinkLayer, length: usize, bytes: &[u8]) -> Frame {
    Frame { link, length, bytes: Arc::from(bytes) }
}

fn frame_bytes(sighting: &Sighting) -> usize {
    sighting.frame.as_ref().map_or(0, |frame| frame.bytes.len())
}
