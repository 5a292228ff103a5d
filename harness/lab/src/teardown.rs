//! When the kernel takes namespaces down.
//!
//! For each bridge and each VXLAN device in them it waits for RCU (Linux 6.18, net/bridge/br_multicast.c,
//! `br_multicast_dev_del`; net/ipv4/udp_tunnel_core.c, `udp_tunnel_sock_release`) and keeps its one lock for links
//! meanwhile: some 80 ms for a lab, in which no other can be built. Whoever builds many of them, one after the other, gets
//! on faster if that waits until the end.
//!
//! So namespaces that nobody uses any more are handed to another process, which takes them down when this one has ended,
//! however that came about. All at once they would keep that lock for seconds, and the whole host waiting for its links:
//! the other process takes those devices away one by one before it lets a namespace go. Namespaces that come faster than it
//! takes the oldest down wait in the line to it; those that find no room there go at once, as they would without it.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit};

use crate::behind;
use crate::error::Result;
use crate::host;
use crate::limits::memory_of_group;
use crate::namespace::Namespace;
use crate::passing;

/// The most namespaces that are kept: of some 300 labs.
const MOST: u64 = 4096;
/// What a namespace takes of the kernel's memory, in bytes.
const SIZE: u64 = 400 << 10;
/// Of what the host has, or the process's cgroup, this part may be taken up by namespaces that nobody uses any more.
const SHARE: u64 = 4;
/// The kinds of links whose end takes the kernel long.
const SLOW: [&str; 2] = ["bridge", "vxlan"];

/// As long as one of these is there, namespaces are taken down later: when the last of them goes; the oldest before that,
/// when too many are kept.
#[derive(Debug)]
pub struct Later(());

struct Kept {
    laters: usize,
    /// To who keeps them; none before somebody wants that.
    line: Option<Line>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { laters: 0, line: None });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Later {
    /// From now on. Call it after [`crate::sandbox::enter`], and the first time while the process has one thread.
    ///
    /// # Errors
    /// The process can't be forked.
    pub fn begin() -> io::Result<Self> {
        let mut kept = kept();
        if kept.line.is_none() {
            let line = behind::start(|line| Backlog { most: most(), namespaces: VecDeque::new() }.live(&line))?;
            kept.line = Some(Line::new(line)?);
        }
        kept.laters += 1;
        Ok(Self(()))
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let mut kept = kept();
        kept.laters -= 1;
        if kept.laters == 0 {
            kept.line = None;
        }
    }
}

/// Takes a namespace that nobody uses any more: it is taken down later, or at once where nobody wants that later.
pub(crate) fn done_with(namespace: &OwnedFd) {
    // Where it isn't taken, it goes as it would have gone.
    let _taken = kept().line.as_ref().is_some_and(|line| line.take(namespace.as_fd()));
}

/// The way to who keeps namespaces. Whoever lets one go may be a thread of the runtime's, so nothing waits for room in it.
struct Line(UnixStream);

impl Line {
    fn new(line: UnixStream) -> io::Result<Self> {
        // Of this end alone: the other one waits for what comes.
        line.set_nonblocking(true)?;
        Ok(Self(line))
    }

    /// Whether the namespace is kept now.
    fn take(&self, namespace: BorrowedFd<'_>) -> bool {
        passing::send(&self.0, b".", &[namespace]).is_ok()
    }
}

/// Those that wait to be taken down, in a process of its own.
struct Backlog {
    most: usize,
    namespaces: VecDeque<Namespace>,
}

impl Backlog {
    fn live(mut self, line: &UnixStream) -> io::Result<()> {
        while let (1.., passed) = passing::receive(line, &mut [0])? {
            for namespace in passed.into_iter().map(|fd| Namespace::of_fd("done with", fd)) {
                // One that knows its neighbours still is not kept.
                match forget_neighbours(&namespace) {
                    Ok(()) => self.namespaces.push_back(namespace),
                    Err(_) => drop(namespace),
                }
            }
            if self.namespaces.len() > self.most {
                self.take_down_oldest();
            }
        }
        while !self.namespaces.is_empty() {
            self.take_down_oldest();
        }
        Ok(())
    }

    fn take_down_oldest(&mut self) {
        // What can't be taken away beforehand goes with the namespace.
        let _ = self.namespaces.pop_front().map(|namespace| take_slow_links(&namespace));
    }
}

/// All namespaces of a host share one table of neighbours, which holds 1024 entries unless somebody raised that (Linux,
/// net/core/neighbour.c, `neigh_alloc`; `gc_thresh3` in net/ipv4/arp.c), and a lab has seven: with 145 labs kept, packets of
/// the next were lost ("neighbor table overflow" in the kernel's log).
fn forget_neighbours(namespace: &Namespace) -> Result<()> {
    namespace.netlink()?.client.forget_neighbours()
}

fn take_slow_links(namespace: &Namespace) -> Result<()> {
    let mut netlink = namespace.netlink()?;
    let links = netlink.links()?;
    let slow = links.iter().filter(|link| link.kind.as_deref().is_some_and(|kind| SLOW.contains(&kind)));
    slow.map(|link| &link.name).try_for_each(|name| netlink.delete_link(name))
}

/// How many may be kept on this host: memory, open files and namespaces have limits (user_namespaces(7)).
fn most() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let namespaces = fs::read_to_string("/proc/sys/user/max_net_namespaces").ok();
    let namespaces = namespaces.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    // Not what is free alone: on a host that has run for a while, files that could go take up most of the rest.
    let memory = host::memory("MemAvailable").unwrap_or(0).min(memory_of_group().unwrap_or(u64::MAX));
    // The socket in each is a file, too.
    let most = MOST.min(memory / SIZE / SHARE).min(files / SHARE / 2).min(namespaces / SHARE);
    usize::try_from(most).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_namespace_that_finds_no_room_is_not_waited_for() {
        // Nobody reads what comes.
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let line = Line::new(ours).unwrap();
        let (done, waits) = mpsc::channel();
        thread::spawn(move || {
            let any = File::open("/dev/null").unwrap();
            let full = (0..1 << 16).any(|_| !line.take(any.as_fd()));
            done.send(full)
        });
        assert_eq!(waits.recv_timeout(Duration::from_secs(60)), Ok(true), "a line is full some time, and says so");
    }
}
