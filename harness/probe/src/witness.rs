//! Deaths that were witnessed: a drop that the lab reported, a next hop that never told its hardware address, or an ICMP
//! error that somebody else than the probe is told.
//!
//! # An error that goes to somebody else
//! What becomes of a packet inside a tunnel is told to the tunnel's end, which keeps it to itself; what becomes of an
//! answer is told to the far end. An error about either that says the packet went no further is a death.
//!
//! # An error that gets lost
//! An error about the request is for the probe, which is told by its socket and needs no witness. One that got no further
//! for [`GRACE`], with nothing else seen meanwhile, won't reach it: a program on the way has turned it into something the
//! probe's socket doesn't know, or dropped it (Cilium does so to errors about a service's backend). The packet died where
//! the error says.
//!
//! # A next hop that doesn't answer
//! A packet that waits for ARP is nowhere to be seen: it was last seen in its namespace, and what is seen instead is a
//! question that nobody answers. It is dead when all of this holds:
//!
//! - its last sighting is in the namespace that asks, and not on its way out of it (except into a VXLAN device, which
//!   hands the packet back to the same namespace in another one);
//! - the question is for the packet's next hop: for its destination, for the gateway of a route there, or, behind a
//!   VXLAN device, for any address, since the outer packet was never seen;
//! - it was open when the packet came, or was asked at once (within [`SETTLED`]);
//! - it has been open for [`GRACE`], and the packet not seen elsewhere for [`SETTLED`];
//! - the kernel's neighbour entry for that address on that interface is incomplete or failed;
//! - no packet was lost by the capture since the mark began to be looked for.
//!
//! A request that was delivered to its namespace is tied only to questions for the way back of its answer, and only by
//! the most specific route, as its server may just be slow.
//!
//! # Limits
//! - Who answers ARP later than [`GRACE`], because its link comes up meanwhile, is taken for silent. A link of a lab
//!   answers in microseconds.
//! - A packet whose destination a namespace translates and which then waits for ARP in that same namespace, unseen in
//!   its new form, is tied to no question: its death isn't witnessed, and the deadline decides.
//! - Behind a VXLAN device any silent address will do: of two the one asked for nearest to the packet is named, and a
//!   packet that died there unseen for another reason at the moment somebody asked in vain is put down to that.
//! - A packet that was never seen is tied only where it is known where it begins: of a TCP mark, or of a packet
//!   announced by [`Witness::watch_from`].

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::Namespace;
use lab::drops::DropLog;
use lab::netlink::{NeighbourInfo, NeighbourState, RouteInfo};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::capture::decode::IcmpError;
use crate::capture::sighting::{Direction, Kind, Sighting};
use crate::capture::{Capture, Shared, told};
use crate::correlate::arp::Asked;
use crate::correlate::{MarkId, Place, Seen, Track};
use crate::deathwatch::{Cause, Death, Deathwatch, Watch};
use crate::mark::Mark;

/// How long a question for a hardware address must stay open. On a link of a lab the answer takes microseconds.
pub const GRACE: Duration = Duration::from_millis(150);

/// How long a packet must not have been seen anywhere else. From hop to hop it takes microseconds in the kernel, and a
/// few milliseconds through an overlay in user space.
pub const SETTLED: Duration = Duration::from_millis(50);

/// Witnesses deaths by a capture and the lab's log of drops.
#[derive(Debug)]
pub struct Witness {
    capture: Capture,
    grace: Duration,
    listener: JoinHandle<()>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Witness {
    /// Begins to listen to `drops`. Must be called inside a tokio runtime.
    pub fn new(capture: &Capture, drops: &DropLog) -> Self {
        let mut reports = drops.listen();
        let shared = Arc::clone(capture.shared());
        let listener = tokio::spawn(async move {
            loop {
                match reports.recv().await {
                    Ok(dropped) => shared.dropped(&dropped),
                    Err(RecvError::Lagged(count)) => shared.drops_unheard(count),
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { capture: capture.clone(), grace: GRACE, listener }
    }

    /// The same with another grace than [`GRACE`] for questions that nobody answers.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// As [`Deathwatch::watch`], for a packet that begins in a captured namespace and goes to this address. A packet
    /// that dies for want of its first hop's hardware address is never seen at all; only so is it missed.
    pub fn watch_from(&self, mark: &Mark, from: &Namespace, to: Ipv4Addr) -> Watch<'_> {
        self.watching(mark, Some((from, to)))
    }

    fn watching(&self, mark: &Mark, origin: Option<(&Namespace, Ipv4Addr)>) -> Watch<'_> {
        let shared = self.capture.shared();
        let id = shared.watch(mark);
        let mut state = shared.lock();
        let origin = origin.and_then(|(from, to)| Some((state.place_of_namespace(from)?, IpAddr::V4(to))));
        if let Some(track) = state.correlator.track_mut(id) {
            track.watchers += 1;
            track.origin = track.origin.or(origin);
        }
        drop(state);
        let watching = Watching { shared: Arc::clone(shared), id, grace: self.grace };
        Box::pin(async move { watching.death().await })
    }
}

impl Deathwatch for Witness {
    fn watch(&self, mark: Mark) -> Watch<'_> {
        self.watching(&mark, None)
    }

    fn watch_sent(&self, mark: Mark, from: &Namespace, to: Ipv4Addr) -> Watch<'_> {
        self.watching(&mark, Some((from, to)))
    }
}

/// One who waits for a mark's death.
struct Watching {
    shared: Arc<Shared>,
    id: MarkId,
    grace: Duration,
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(track) = self.shared.lock().correlator.track_mut(self.id) {
            track.watchers = track.watchers.saturating_sub(1);
        }
    }
}

/// What is known of a mark's life.
enum Life {
    /// Nothing speaks against it.
    Alive,
    /// It will be suspect in so long, unless something is seen.
    Waiting(Duration),
    /// It seems to wait for a hardware address.
    Suspect(Box<Suspicion>),
    /// It was dropped.
    Dead(Box<Death>),
}

/// A packet that seems to wait for a hardware address.
struct Suspicion {
    namespace: Namespace,
    /// Where the packet was last seen; none for one that never was.
    last: Option<Seen>,
    wanted: Wanted,
    questions: Vec<Asked>,
}

/// What a packet's next hop may be.
enum Wanted {
    /// The device at hand decides: any if it is VXLAN, none otherwise.
    Encapsulated,
    /// The one towards this address, or if the namespace has that address itself, back to those.
    Towards { destination: IpAddr, back: Vec<IpAddr>, kind: Kind },
}

/// What the kernel knows of a namespace.
struct Knowledge {
    addresses: Vec<IpAddr>,
    vxlan: Vec<String>,
    routes: Vec<RouteInfo>,
    neighbours: Vec<NeighbourInfo>,
}

impl Watching {
    async fn death(&self) -> Death {
        let mut changes = self.shared.changes();
        loop {
            changes.borrow_and_update();
            let again = match self.life(Instant::now()) {
                Life::Dead(death) => return *death,
                Life::Alive => None,
                Life::Waiting(left) => Some(left),
                Life::Suspect(suspicion) => match self.examine(*suspicion).await {
                    Some(death) => return death,
                    // The kernel, or the packet, has thought better of it.
                    None => Some(self.grace.max(SETTLED)),
                },
            };
            // The sender lives in `self`; a deadline that passes means it is time to look again.
            match again {
                None => drop(changes.changed().await),
                Some(left) => drop(timeout(left, changes.changed()).await),
            }
        }
    }

    fn life(&self, now: Instant) -> Life {
        let state = self.shared.lock();
        let Some(track) = state.correlator.track(self.id) else { return Life::Alive };
        if let Some(death) = &track.dropped {
            return Life::Dead(Box::new(death.clone()));
        }
        let last = last(track);
        if let Some(death) = last.filter(|_| !track.answered).and_then(|last| lost_error(track, last)) {
            let due = last.map_or(now, |last| last.read + self.grace);
            return match due.saturating_duration_since(now) {
                Duration::ZERO => Life::Dead(Box::new(death)),
                left => Life::Waiting(left),
            };
        }
        let Some((place, since, wanted)) = (match last {
            Some(seen) => wanted(track, seen).map(|wanted| (seen.place, seen.read, wanted)),
            None => track.origin.map(|(place, destination)| {
                let wanted = Wanted::Towards { destination, back: Vec::new(), kind: Kind::Request };
                (place, track.since, wanted)
            }),
        }) else {
            return Life::Alive;
        };
        let Some(namespace) = state.namespace(place) else { return Life::Alive };
        // A packet that was never seen may not have been sent when the question was asked.
        let may_be_ours = |asked: &&Asked| last.is_some() || asked.last_read >= since;
        let (mut questions, mut left) = (Vec::new(), None::<Duration>);
        for asked in state.correlator.questions.open(place, now).filter(may_be_ours) {
            let due = (asked.first_read + self.grace).max(since + SETTLED);
            match due.saturating_duration_since(now) {
                Duration::ZERO => questions.push(asked.clone()),
                wait => left = Some(left.map_or(wait, |left| left.min(wait))),
            }
        }
        if questions.is_empty() {
            return left.map_or(Life::Alive, Life::Waiting);
        }
        Life::Suspect(Box::new(Suspicion { namespace: namespace.clone(), last: last.cloned(), wanted, questions }))
    }

    async fn examine(&self, suspicion: Suspicion) -> Option<Death> {
        let namespace = suspicion.namespace.clone();
        // Netlink answers at once, but waits for its turn behind whoever builds there.
        let asking = Asking { shared: &self.shared, since: Some(Instant::now()) };
        let knowledge = tokio::task::spawn_blocking(move || knowledge(&namespace)).await.ok()?.ok()?;
        asking.answered();
        let asked = suspicion.tied(&knowledge)?;
        let answer = suspicion.is_of_answer(&knowledge);

        // What has happened meanwhile?
        self.shared.sweep();
        let mut state = self.shared.lock();
        let lost = state.lost();
        let track = state.correlator.track(self.id)?;
        let same_place = match (&suspicion.last, last(track)) {
            (None, None) => true,
            (Some(before), Some(now)) => before == now,
            _ => false,
        };
        let still_open = state
            .correlator
            .questions
            .open(asked.place, Instant::now())
            .any(|open| (open.link, open.target, open.first_read) == (asked.link, asked.target, asked.first_read));
        if lost != track.lost_before || !same_place || !still_open {
            return None;
        }
        let times = if asked.times == 1 { "once".to_owned() } else { format!("{} times", asked.times) };
        let mut detail = format!("{} asked for {} {times}, nobody answered", asked.asker, asked.target);
        match &suspicion.last {
            Some(seen) => {
                let way = match seen.sighting.direction {
                    Direction::In => "coming in by",
                    Direction::Out => "going out by",
                };
                detail.push_str(&format!("; the packet was last seen {way} {}", seen.sighting.interface));
            }
            None => detail.push_str("; the packet was never seen"),
        }
        Some(Death {
            namespace: suspicion.namespace.name().to_owned(),
            interface: Some(asked.interface.to_string()),
            cause: Cause::NoNeighbour(asked.target),
            answer,
            detail,
        })
    }
}

/// A question to the kernel about a suspicion.
struct Asking<'a> {
    shared: &'a Shared,
    /// None once it was answered.
    since: Option<Instant>,
}

impl Asking<'_> {
    fn answered(mut self) {
        self.since = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            let mut state = self.shared.lock();
            state.unwitnessed = state.unwitnessed.max(since.elapsed());
        }
    }
}

/// Where a mark was last seen.
fn last(track: &Track) -> Option<&Seen> {
    // Of the same time, the one looked at last.
    track.seen().max_by_key(|seen| seen.sighting.time)
}

/// The death that an error tells of which is the last that was seen: where it was seen first.
fn lost_error(track: &Track, last: &Seen) -> Option<Death> {
    // What is too big may be sent again smaller.
    let says = |sighting: &Sighting| match sighting.kind {
        Kind::IcmpError(IcmpError::TooBig(_)) => None,
        kind => told::death(&sighting.namespace, kind, &sighting.packet, sighting.quoted.as_ref()?),
    };
    let last = says(&last.sighting)?;
    let deaths = track.seen().filter_map(|seen| Some((seen.sighting.time, says(&seen.sighting)?)));
    deaths.filter(|(_, death)| death.cause == last.cause).min_by_key(|(time, _)| *time).map(|(_, death)| death)
}

/// What a packet that was last seen here may wait for.
fn wanted(track: &Track, seen: &Seen) -> Option<Wanted> {
    let sighting = &seen.sighting;
    if sighting.in_passing || matches!(sighting.kind, Kind::IcmpError(_)) {
        return None;
    }
    if seen.went_out() {
        return Some(Wanted::Encapsulated);
    }
    let carrier = sighting.outer.first().unwrap_or(&sighting.packet);
    // A request's answer goes to its source; an answer to a translated address goes on to where the request came from.
    let back = match sighting.kind {
        Kind::Request => vec![carrier.source],
        _ => {
            let here = |seen: &&Seen, place: Place| seen.place == place && seen.sighting.kind == Kind::Request;
            track.seen().filter(|other| here(other, seen.place)).map(|other| other.sighting.packet.source).collect()
        }
    };
    Some(Wanted::Towards { destination: carrier.destination, back, kind: sighting.kind })
}

fn knowledge(namespace: &Namespace) -> lab::Result<Knowledge> {
    let mut netlink = namespace.netlink()?;
    let links = netlink.links()?;
    let is_vxlan = |link: &&lab::netlink::LinkInfo| link.kind.as_deref() == Some("vxlan");
    Ok(Knowledge {
        addresses: links.iter().flat_map(|link| &link.addresses).map(|address| address.net.addr()).collect(),
        vxlan: links.iter().filter(is_vxlan).map(|link| link.name.clone()).collect(),
        routes: netlink.routes()?,
        neighbours: netlink.neighbours()?,
    })
}

impl Knowledge {
    fn is_silent(&self, asked: &Asked) -> bool {
        let silent = |state| matches!(state, NeighbourState::Incomplete | NeighbourState::Failed);
        self.neighbours
            .iter()
            .any(|entry| entry.link == asked.link && entry.address == IpAddr::V4(asked.target) && silent(entry.state))
    }

    /// Whether `hop` may be the next hop to `destination`. `strictly`: only by the most specific routes of all tables;
    /// otherwise by any, as policy rules may choose a table with a less specific one.
    fn leads(&self, destination: IpAddr, hop: IpAddr, strictly: bool) -> bool {
        let matching = || self.routes.iter().filter(|route| route.destination.contains(&destination));
        let longest = matching().map(|route| route.destination.prefix_len()).max();
        destination == hop
            || matching().any(|route| {
                route.gateway == Some(hop) && (!strictly || Some(route.destination.prefix_len()) == longest)
            })
    }
}

impl Suspicion {
    /// Whether it is the answer that waits: one was seen, or the request has arrived.
    fn is_of_answer(&self, knowledge: &Knowledge) -> bool {
        let was_seen = self.last.as_ref().is_some_and(|seen| seen.sighting.kind == Kind::Answer);
        let arrived =
            matches!(&self.wanted, Wanted::Towards { destination, .. } if knowledge.addresses.contains(destination));
        was_seen || arrived
    }

    /// The question the packet waits for.
    fn tied(&self, knowledge: &Knowledge) -> Option<Asked> {
        // A packet that waits makes the kernel ask at once.
        let in_time = |asked: &Asked| self.last.as_ref().is_none_or(|seen| asked.first <= seen.sighting.time + SETTLED);
        let fits = |asked: &&Asked| {
            let hop = IpAddr::V4(asked.target);
            match &self.wanted {
                Wanted::Encapsulated => {
                    in_time(asked)
                        && self.last.as_ref().is_some_and(|seen| {
                            // The inner packet's own next hop is asked for on the VXLAN device itself, before it goes out.
                            knowledge.vxlan.iter().any(|name| **name == *seen.sighting.interface)
                                && asked.interface != seen.sighting.interface
                        })
                }
                Wanted::Towards { destination, .. } if !knowledge.addresses.contains(destination) => {
                    in_time(asked) && knowledge.leads(*destination, hop, false)
                }
                Wanted::Towards { back, kind, .. } => {
                    back.iter().any(|destination| knowledge.leads(*destination, hop, *kind == Kind::Request))
                }
            }
        };
        let distance = |asked: &&Asked| {
            let Some(seen) = &self.last else { return Duration::ZERO };
            let time = seen.sighting.time;
            asked.first.duration_since(time).or_else(|_| time.duration_since(asked.first)).unwrap_or_default()
        };
        self.questions.iter().filter(fits).filter(|asked| knowledge.is_silent(asked)).min_by_key(distance).cloned()
    }
}
