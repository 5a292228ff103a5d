//! Every packet of a probe, seen at every interface of every namespace of a lab.
//!
//! One packet socket a namespace, bound to no interface; one task reads them all. Frames are looked at in the order in
//! which they passed, whichever socket is read first: a frame is looked at only after all sockets were found empty, or
//! read once more, since it was read. By then every earlier hop of its packet has been read too, as the kernel hands a
//! packet to one hop's socket before it passes it on.
//!
//! Only packets that carry a watched mark are kept, a bounded number of them (see [`Limits`]).

pub mod decode;
pub mod sighting;
pub mod stream;
mod sys;
mod tap;
pub(crate) mod told;

use std::cmp::Reverse;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lab::Namespace;
use lab::drops::Dropped;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::correlate::arp::ArpSeen;
use crate::correlate::sealed::{self, SealedDeath, SealedSighting};
use crate::correlate::{Correlator, Limits, MarkId, Place, Seen};
use crate::deathwatch::{Cause, Death};
use crate::mark::Mark;

use decode::{Decoded, Decoder};
use sighting::{Direction, Kind, Sighting, Summary};
use sys::Readiness;
use tap::{Raw, Tap};

/// Frames read from one socket before the others get their turn.
const TURN: usize = 1024;

/// Rounds over all sockets before whoever asked gets an answer, though packets keep coming.
const MAX_ROUNDS: usize = 256;

/// Threads that close a capture's sockets, which end with that.
const CLOSERS: usize = 4;

/// What can go wrong with a capture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab refused.
    #[error(transparent)]
    Lab(#[from] lab::Error),
    /// A packet socket could not be set up.
    #[error("capture in namespace {namespace}: {step}")]
    Socket {
        /// The namespace's name in the lab.
        namespace: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The reader could not be set up.
    #[error("capture: wait for packets")]
    Reader(#[source] io::Error),
}

impl Error {
    fn socket(namespace: &Namespace, step: &'static str, source: io::Error) -> Self {
        Self::Socket { namespace: namespace.name().to_owned(), step, source }
    }
}

/// A capture's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a capture is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Room for frames that wait to be read, in bytes for each namespace; used only as far as frames wait. An ordinary
    /// user gets no more than `net.core.rmem_max`.
    pub receive_buffer: usize,
    /// Bytes kept of a frame.
    pub snap: usize,
    /// UDP ports whose payload is VXLAN.
    pub vxlan_ports: Vec<u16>,
    /// How much is remembered.
    pub limits: Limits,
    /// Captures nothing, whatever namespaces are added: to find out what capturing costs.
    pub off: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_buffer: 4 << 20,
            snap: 2048,
            vxlan_ports: decode::VXLAN_PORTS.to_vec(),
            limits: Limits::default(),
            off: false,
        }
    }
}

/// What one namespace's socket saw, by its own count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// The namespace's name in the lab.
    pub namespace: String,
    /// Packets it saw, lost ones included.
    pub received: u64,
    /// Packets it had no room for.
    pub lost: u64,
}

/// What a capture missed. While anything is missing, that a packet was *not* seen somewhere proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets lost, by the namespaces' names; only those that lost any.
    pub packets: Vec<(String, u64)>,
    /// Drops the lab reported that came too fast to be heard.
    pub drops: u64,
    /// Sightings beyond what is kept for a mark, all marks together.
    pub sightings: u64,
    /// How long the kernel took at worst to tell a witness what it knows, of witnesses that nobody waited for any longer:
    /// their probes ended first, by what else came or by the clock.
    pub unwitnessed: Duration,
}

impl Losses {
    /// Whether packets went unseen, so that evidence from not seeing one is inconclusive.
    pub fn any_packet(&self) -> bool {
        !self.packets.is_empty()
    }
}

/// All that a capture knows of a mark.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// Where it was seen, in time order.
    pub sightings: Vec<Sighting>,
    /// Sightings that were not kept.
    pub left_out: u64,
    /// Packets of any kind that the capture lost since it looks for the mark.
    pub lost: u64,
    /// A reported drop, or an ICMP error that went to somebody else than the probe.
    pub death: Option<Death>,
    /// Encrypted datagrams seen since the mark's first sighting, in time order.
    pub sealed: Vec<SealedSighting>,
    /// Whether some of those were not kept.
    pub sealed_forgotten: bool,
    /// Deaths of encrypted datagrams.
    pub sealed_deaths: Vec<SealedDeath>,
}

/// A running capture. Clones are the same one; it ends with the last.
#[derive(Debug, Clone)]
pub struct Capture {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// Ends the capture when dropped.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.reader.abort();
        let mut taps = std::mem::take(&mut self.shared.lock().taps);
        // Each close waits for an RCU grace period, 12 to 17 ms, which closes at the same time share. Where there is no
        // thread to wait in, waits here.
        let share = taps.len().div_ceil(CLOSERS).max(1);
        while !taps.is_empty() {
            let part = taps.split_off(taps.len().saturating_sub(share));
            let _ = std::thread::Builder::new().name("capture-close".to_owned()).spawn(move || drop(part));
        }
    }
}

impl Capture {
    /// Begins to capture in these namespaces. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A socket can't be opened: no privileges in the namespace, or too many open files.
    pub fn start(namespaces: &[Namespace]) -> Result<Self> {
        Self::with(namespaces, Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Capture::start`].
    pub fn with(namespaces: &[Namespace], options: Options) -> Result<Self> {
        let reader = |errno: nix::Error| Error::Reader(errno.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(reader)?;
        let shared = Arc::new(Shared {
            ready: sys::readable(Readiness(epoll)).map_err(Error::Reader)?,
            state: Mutex::new(State {
                decoder: Decoder::new(&options.vxlan_ports),
                correlator: Correlator::new(options.limits),
                taps: Vec::new(),
                held: Vec::new(),
                buffer: vec![0; options.snap],
                control: nix::cmsg_space!(nix::sys::time::TimeSpec),
                drops_unheard: 0,
                unwitnessed: Duration::ZERO,
                receive_buffer: options.receive_buffer,
                off: options.off,
            }),
            changes: watch::Sender::new(0),
        });
        shared.add(namespaces)?;
        let reading = Arc::clone(&shared);
        let reader = tokio::spawn(async move {
            while let Ok(mut ready) = reading.ready.readable().await {
                reading.sweep();
                ready.clear_ready();
            }
        });
        Ok(Self { _owner: Arc::new(Owner { shared: Arc::clone(&shared), reader }), shared })
    }

    /// Captures in these namespaces too. Those already captured are left as they are.
    ///
    /// # Errors
    /// As [`Capture::start`]; then none of them is added.
    pub fn add(&self, namespaces: &[Namespace]) -> Result<()> {
        self.shared.add(namespaces)
    }

    /// Begins to look for a mark, from this moment on: call it before the first packet is sent. A TCP mark whose
    /// namespace isn't captured is found once the namespace is added.
    pub fn watch(&self, mark: &Mark) {
        self.shared.watch(mark);
    }

    /// Forgets a mark and what was seen of it.
    pub fn forget(&self, mark: &Mark) {
        let mut state = self.shared.lock();
        if let Some(id) = state.correlator.find(mark) {
            state.correlator.forget(id);
        }
    }

    /// Where a mark was seen, in time order: every packet that passed before this call is in it, unless more passed
    /// than is kept for a mark. Empty for a mark that isn't looked for.
    pub fn sightings(&self, mark: &Mark) -> Vec<Sighting> {
        self.shared.sweep();
        let state = self.shared.lock();
        let Some(track) = state.correlator.find(mark).and_then(|id| state.correlator.track(id)) else {
            return Vec::new();
        };
        let mut sightings: Vec<_> = track.seen().map(|seen| seen.sighting.clone()).collect();
        sightings.sort_by_key(in_order);
        sightings
    }

    /// All that is known of a mark up to this call; none for a mark that isn't looked for.
    pub fn trail(&self, mark: &Mark) -> Option<Trail> {
        self.shared.sweep();
        let mut state = self.shared.lock();
        let lost = state.lost();
        let correlator = &state.correlator;
        let track = correlator.track(correlator.find(mark)?)?;
        let mut sightings: Vec<_> = track.seen().map(|seen| seen.sighting.clone()).collect();
        sightings.sort_by_key(in_order);
        let begun = sightings.first().map(|sighting| sighting.time);
        let mut sealed: Vec<_> = begun.into_iter().flat_map(|begun| correlator.sealed.since(begun)).cloned().collect();
        sealed.sort_by_key(|sighting| sighting.time);
        let forgotten = correlator.sealed.forgotten.zip(begun).is_some_and(|(forgotten, begun)| forgotten >= begun);
        Some(Trail {
            sightings,
            left_out: track.left_out,
            lost: lost - track.lost_before,
            death: track.dropped.clone(),
            sealed,
            sealed_forgotten: forgotten,
            sealed_deaths: correlator.sealed.drops().cloned().collect(),
        })
    }

    /// The namespace of that name, if it is captured.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.shared.lock().taps.iter().find(|tap| *tap.name == *name).map(|tap| tap.namespace.clone())
    }

    /// Waits until what was seen of a mark satisfies `done`, and returns it. Wrap it in a deadline.
    pub async fn until(&self, mark: &Mark, mut done: impl FnMut(&[Sighting]) -> bool) -> Vec<Sighting> {
        let mut changes = self.shared.changes();
        loop {
            changes.borrow_and_update();
            let sightings = self.sightings(mark);
            if done(&sightings) {
                return sightings;
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }

    /// What each namespace's socket saw so far, in the order the namespaces were added.
    pub fn statistics(&self) -> Vec<Statistics> {
        let mut state = self.shared.lock();
        let count = |tap: &mut Tap| {
            tap.count();
            Statistics { namespace: tap.name.to_string(), received: tap.received, lost: tap.lost }
        };
        state.taps.iter_mut().map(count).collect()
    }

    /// What went unseen so far.
    pub fn losses(&self) -> Losses {
        let lost = self.statistics().into_iter().filter(|statistics| statistics.lost > 0);
        let packets = lost.map(|statistics| (statistics.namespace, statistics.lost)).collect();
        let state = self.shared.lock();
        let sightings = state.correlator.tracks().map(|track| track.left_out).sum();
        Losses { packets, drops: state.drops_unheard, sightings, unwitnessed: state.unwitnessed }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// What the reader, the witness and whoever asks work on.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All packet sockets hang on its epoll descriptor, which tokio waits for.
    ready: AsyncFd<Readiness>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(crate) struct State {
    decoder: Decoder,
    pub(crate) correlator: Correlator,
    taps: Vec<Tap>,
    /// Frames read but not looked at yet.
    held: Vec<(Place, Instant, Raw)>,
    buffer: Vec<u8>,
    control: Vec<u8>,
    drops_unheard: u64,
    pub(crate) unwitnessed: Duration,
    receive_buffer: usize,
    off: bool,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever something that matters to a mark was seen.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn add(&self, namespaces: &[Namespace]) -> Result<()> {
        let mut state = self.lock();
        if state.off {
            return Ok(());
        }
        let mut new: Vec<Tap> = Vec::new();
        for namespace in namespaces {
            if state.taps.iter().chain(&new).all(|tap| tap.namespace != *namespace) {
                new.push(Tap::open(namespace, state.receive_buffer)?);
            }
        }
        let Some(first) = new.first() else { return Ok(()) };
        tap::stamps_work(&first.namespace)?;
        for (index, tap) in (state.taps.len()..).zip(&new) {
            tap.begin()?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            self.ready
                .get_ref()
                .0
                .add(&tap.socket, event)
                .map_err(|errno| Error::socket(&tap.namespace, "wait for packets", errno.into()))?;
        }
        state.taps.append(&mut new);
        let marks: Vec<_> = state.correlator.marks().map(|(id, mark)| (id, mark.clone())).collect();
        for (id, mark) in marks {
            if let Some(place) = state.place_of(&mark) {
                state.correlator.locate(id, place);
            }
        }
        Ok(())
    }

    pub(crate) fn watch(&self, mark: &Mark) -> MarkId {
        let mut state = self.lock();
        let place = state.place_of(mark);
        let lost = state.lost();
        state.correlator.watch(mark, place, lost)
    }

    /// Reads all that waits in the sockets and looks at it in the order in which it passed.
    pub(crate) fn sweep(&self) {
        let mut state = self.lock();
        let mut changed = false;
        for _ in 0..MAX_ROUNDS {
            let earlier = state.held.len();
            state.read(&self.ready.get_ref().0);
            let done = state.held.len() == earlier;
            changed |= state.look(earlier);
            if done {
                break;
            }
        }
        drop(state);
        if changed {
            self.changed();
        }
    }

    /// Takes note of a drop that a part of the lab reported.
    pub(crate) fn dropped(&self, dropped: &Dropped) {
        // The packet's own first sighting may be what it is known by.
        self.sweep();
        if self.lock().note_drop(dropped) {
            self.changed();
        }
    }

    pub(crate) fn drops_unheard(&self, count: u64) {
        self.lock().drops_unheard += count;
    }
}

impl State {
    fn place_of(&self, mark: &Mark) -> Option<Place> {
        let Mark::Tcp { namespace, .. } = mark else { return None };
        self.place_of_namespace(namespace)
    }

    pub(crate) fn place_of_namespace(&self, namespace: &Namespace) -> Option<Place> {
        self.taps.iter().position(|tap| tap.namespace == *namespace).map(|index| Place(index as u32))
    }

    pub(crate) fn namespace(&self, place: Place) -> Option<&Namespace> {
        self.taps.get(place.0 as usize).map(|tap| &tap.namespace)
    }

    /// Packets lost in all namespaces so far.
    pub(crate) fn lost(&mut self) -> u64 {
        self.taps.iter_mut().for_each(Tap::count);
        self.taps.iter().map(|tap| tap.lost).sum()
    }

    /// Reads the sockets that have something.
    fn read(&mut self, epoll: &Epoll) {
        let mut events = [EpollEvent::empty(); 64];
        let idle = self.correlator.is_idle();
        // Sockets beyond those that fit have their turn at once; one that is never empty must not keep us here.
        for _ in 0..=self.taps.len() / events.len() {
            let ready = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            for event in &events[..ready] {
                let index = event.data() as usize;
                let Some(tap) = self.taps.get(index) else { continue };
                let read = Instant::now();
                for _ in 0..TURN {
                    let Some(raw) = tap.receive(&mut self.buffer, &mut self.control) else { break };
                    let Some(raw) = raw else { continue };
                    if idle && !matches!(self.decoder.frame(raw.layer, &raw.bytes), Decoded::Arp(_)) {
                        continue;
                    }
                    self.held.push((Place(index as u32), read, raw));
                }
            }
            if ready < events.len() {
                return;
            }
        }
    }

    /// Looks at the frames that may be looked at, of which the first `earlier` had been read before all sockets were
    /// read once more. Whether anything was seen that matters.
    fn look(&mut self, earlier: usize) -> bool {
        let Some(until) = self.held[..earlier].iter().map(|(_, _, raw)| raw.time).max() else { return false };
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|(_, _, raw)| raw.time);
        self.held = held.split_off(held.partition_point(|(_, _, raw)| raw.time <= until));
        let mut changed = false;
        for (place, read, raw) in held {
            changed |= self.look_at(place, read, &raw);
        }
        changed
    }

    fn look_at(&mut self, place: Place, read: Instant, raw: &Raw) -> bool {
        let Some(tap) = self.taps.get_mut(place.0 as usize) else { return false };
        let decoded = self.decoder.frame(raw.layer, &raw.bytes);
        if let Decoded::Arp(arp) = &decoded {
            let interface = tap.name_of(raw.link);
            let seen = ArpSeen { place, link: raw.link, interface, direction: raw.direction, time: raw.time, read };
            self.correlator.questions.note(&seen, arp);
            return true;
        }
        if let Decoded::Ip(packet) = &decoded
            && let Some(sealed) = sealed::of(packet)
        {
            self.correlator.sealed.note(SealedSighting {
                namespace: Arc::clone(&tap.name),
                interface: tap.name_of(raw.link),
                direction: raw.direction,
                in_passing: raw.in_passing,
                time: raw.time,
                sealed,
                packet: Summary::of(packet),
            });
            return false;
        }
        let Some(found) = self.correlator.identify(place, &decoded) else { return false };
        let death = told::elsewhere(&tap.name, &found).map(|death| {
            let questions = self.correlator.questions.open(place, read);
            told::asked_in_vain(death, questions)
        });
        let interface = tap.name_of(raw.link);
        let sighting = Sighting {
            namespace: Arc::clone(&tap.name),
            in_passing: raw.in_passing && !takes_all(&interface),
            interface,
            direction: raw.direction,
            time: raw.time,
            kind: found.kind,
            packet: found.packet,
            outer: found.outer,
            quoted: found.quoted,
            frame: Some(crate::correlate::frame(raw.layer, raw.length, &raw.bytes)),
        };
        self.correlator.keep(found.mark, Seen { place, read, sighting });
        if let Some(death) = death
            && let Some(track) = self.correlator.track_mut(found.mark)
            // Of a request that was answered, another copy got through.
            && (death.answer || !track.answered)
            && track.dropped.is_none()
        {
            track.dropped = Some(death);
        }
        true
    }

    fn note_drop(&mut self, dropped: &Dropped) -> bool {
        let Some(packet) = self.decoder.packet(&dropped.packet) else { return false };
        let place = self.taps.iter().position(|tap| *tap.name == *dropped.namespace);
        let place = Place(place.map_or(u32::MAX, |index| index as u32));
        if let Some(sealed) = sealed::of(&packet) {
            let death = Death {
                namespace: dropped.namespace.clone(),
                interface: dropped.interface.clone(),
                cause: Cause::Dropped(dropped.reason.clone()),
                answer: false,
                detail: format!("the datagram {} → {} was dropped", packet.source, packet.destination),
            };
            self.correlator.sealed.note_drop(SealedDeath { sealed, size: packet.size, death });
            return false;
        }
        let Some(found) = self.correlator.recognise(place, &packet) else { return false };
        let Some(track) = self.correlator.track_mut(found.mark) else { return false };
        let what = match found.kind {
            // Another copy got through.
            Kind::Request if track.answered => return false,
            Kind::Request => "packet",
            Kind::Answer => "answer",
            Kind::IcmpError(_) => return false,
        };
        if !told::ends_it(&found.packet) || track.dropped.is_some() {
            return false;
        }
        let (source, destination) = (found.packet.source, found.packet.destination);
        let mut detail = format!("the {what} {source} → {destination} was dropped");
        if let Some(outer) = found.outer.first() {
            detail.push_str(&format!(" inside {} → {}", outer.source, outer.destination));
        }
        track.dropped = Some(Death {
            namespace: dropped.namespace.clone(),
            interface: dropped.interface.clone(),
            cause: Cause::Dropped(dropped.reason.clone()),
            answer: found.kind == Kind::Answer,
            detail,
        });
        true
    }
}

/// Sightings in the order things happened. A packet that eBPF redirects into another namespace keeps the time it came in
/// at (Linux, net/core/filter.c, `skb_do_redirect`): of two at the same time the one that may go further was first.
fn in_order(sighting: &Sighting) -> (SystemTime, Reverse<u8>) {
    (sighting.time, Reverse(sighting.packet.ttl))
}

/// Whether what stands behind an interface takes every packet, whoever's hardware address is on it: Cilium's own devices,
/// where eBPF looks at packets before the kernel would turn them away (Cilium 1.18, bpf/bpf_overlay.c).
fn takes_all(interface: &str) -> bool {
    interface.starts_with("cilium_")
}

impl Seen {
    /// Whether the packet has left the namespace, as far as the kernel is concerned.
    pub(crate) fn went_out(&self) -> bool {
        self.sighting.direction == Direction::Out
    }
}
