//! When the kernel takes namespaces down.
//!
//! For each bridge and each VXLAN device in them it waits for RCU (Linux 6.18, net/bridge/br_multicast.c,
//! `br_multicast_dev_del`; net/ipv4/udp_tunnel_core.c, `udp_tunnel_sock_release`) and keeps its one lock for links
//! meanwhile: some 80 ms for a lab, in which no other can be built. Whoever builds many of them, one after the other, gets
//! on faster if that waits until the end. Killed or not, the process's end is theirs, since nothing but its descriptors
//! holds them.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::sysinfo::sysinfo;

use crate::netlink::Client;

/// The most namespaces that are kept: of some 300 labs.
const MOST: u64 = 4096;
/// What a namespace takes of the kernel's memory, in bytes.
const SIZE: u64 = 400 << 10;
/// Of what the host has, this part may be taken up by namespaces that nobody uses any more.
const SHARE: u64 = 4;

/// As long as one of these is there, namespaces are taken down later: when the last of them goes; the oldest before that,
/// when too many are kept.
#[derive(Debug)]
pub struct Later(());

struct Kept {
    laters: usize,
    most: usize,
    namespaces: VecDeque<OwnedFd>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { laters: 0, most: 0, namespaces: VecDeque::new() });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Later {
    /// From now on.
    pub fn begin() -> Self {
        let mut kept = kept();
        kept.laters += 1;
        kept.most = most();
        Self(())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let mut kept = kept();
        kept.laters -= 1;
        if kept.laters == 0 {
            kept.namespaces = VecDeque::new();
        }
    }
}

/// Takes a namespace that nobody uses any more, with what talks to the routing subsystem in it: it is taken down when it
/// is dropped, at once where nobody wants that later.
///
/// What is kept forgets its neighbours. All namespaces of a host share one table of them, which holds 1024 entries unless
/// somebody raised that (Linux, net/core/neighbour.c, `neigh_alloc`; `gc_thresh3` in net/ipv4/arp.c), and a lab has seven:
/// with 145 labs kept, packets of the next were lost ("neighbor table overflow" in the kernel's log).
pub(crate) fn done_with(namespace: &OwnedFd, netlink: Option<&mut Client>) {
    if kept().laters == 0 {
        return;
    }
    // One that knows them still is not kept.
    let forgotten = netlink.is_none_or(|netlink| netlink.forget_neighbours().is_ok());
    let namespace = namespace.try_clone().ok().filter(|_| forgotten);
    let mut kept = kept();
    if kept.laters == 0 {
        return;
    }
    kept.namespaces.extend(namespace);
    let oldest = (kept.namespaces.len() > kept.most).then(|| kept.namespaces.pop_front());
    drop(kept);
    drop(oldest);
}

/// How many may be kept on this host: memory, open files and namespaces have limits (user_namespaces(7)).
fn most() -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let namespaces = fs::read_to_string("/proc/sys/user/max_net_namespaces").ok();
    let namespaces = namespaces.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let memory = sysinfo().map_or(0, |host| host.ram_unused());
    let most = MOST.min(memory / SIZE / SHARE).min(files / SHARE).min(namespaces / SHARE);
    usize::try_from(most).unwrap_or(usize::MAX)
}
