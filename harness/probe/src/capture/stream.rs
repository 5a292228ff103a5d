//! Every packet of some namespaces, as they pass, for whoever writes them down: no marks, nothing kept.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::SystemTime;

use lab::Namespace;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::decode::LinkLayer;
use super::sighting::Direction;
use super::tap::{Tap, stamps_work};
use super::{Error, Result};

/// Bytes kept of a packet: what tcpdump keeps, which is more than any link of a lab carries.
const SNAP: usize = 256 << 10;

/// Room for packets that wait to be read, in bytes for each namespace.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Packets read from one socket before the others get their turn.
const TURN: usize = 1024;

/// A packet that passed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The namespace's name in the lab.
    pub namespace: Arc<str>,
    /// The interface.
    pub interface: Arc<str>,
    /// What it begins with.
    pub layer: LinkLayer,
    /// Which way it went.
    pub direction: Direction,
    /// When it passed.
    pub time: SystemTime,
    /// Its length in bytes.
    pub length: usize,
    /// As much of it as was kept.
    pub bytes: Box<[u8]>,
}

/// The packets of some namespaces. Readable where some wait.
#[derive(Debug)]
pub struct Stream {
    taps: Vec<Tap>,
    ready: Epoll,
    held: Vec<Seen>,
    buffer: Vec<u8>,
    control: Vec<u8>,
}

impl Stream {
    /// Begins to see packets. The process has to be where it may enter the namespaces, and inside a runtime.
    ///
    /// # Errors
    /// A socket can't be opened: no privileges in the namespace, or too many open files.
    pub fn open(namespaces: &[Namespace]) -> Result<Self> {
        let reader = |errno: nix::Error| Error::Reader(errno.into());
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(reader)?;
        let mut taps = Vec::new();
        for namespace in namespaces {
            taps.push(Tap::open(namespace, RECEIVE_BUFFER)?);
        }
        if let Some(first) = taps.first() {
            stamps_work(&first.namespace)?;
        }
        for (index, tap) in taps.iter().enumerate() {
            tap.begin()?;
            ready.add(&tap.socket, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(reader)?;
        }
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        Ok(Self { taps, ready, held: Vec::new(), buffer: vec![0; SNAP], control })
    }

    /// Those that wait, in the order in which they passed, also from one call to the next. The latest may be held back:
    /// while they were read, an earlier one may have come to a socket that was read before.
    pub fn read(&mut self) -> Vec<Seen> {
        // What was stamped before now is in its socket by now.
        let mut settled = SystemTime::now();
        for tap in &mut self.taps {
            for read in 1..=TURN {
                let Some(frame) = tap.receive(&mut self.buffer, &mut self.control) else { break };
                let Some(frame) = frame else { continue };
                if read == TURN {
                    settled = settled.min(frame.time);
                }
                self.held.push(Seen {
                    namespace: Arc::clone(&tap.name),
                    interface: tap.name_of(frame.link),
                    layer: frame.layer,
                    direction: frame.direction,
                    time: frame.time,
                    length: frame.length,
                    bytes: frame.bytes,
                });
            }
        }
        self.held.sort_by_key(|packet| packet.time);
        let later = self.held.split_off(self.held.partition_point(|packet| packet.time <= settled));
        std::mem::replace(&mut self.held, later)
    }

    /// Whether packets are held back that another [`Stream::read`] would give.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// How many passed unseen, since they came faster than they were read.
    pub fn lost(&mut self) -> u64 {
        self.taps.iter_mut().for_each(Tap::count);
        self.taps.iter().map(|tap| tap.lost).sum()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }
}
