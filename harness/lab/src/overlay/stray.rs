//! Which packets the kernel's WireGuard drops at the receiver, because their source isn't the peer's.
//!
//! It counts them and tells nobody which they were (drivers/net/wireguard/receive.c, `wg_packet_consume_data_done`). So
//! the senders' interfaces are looked at: a packet for a peer, from a source that isn't the sender's address, is dead
//! when the receiver's counter says so, and not before.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::Member;
use super::task::Task;
use crate::drops::{DropLog, DropReason, Dropped};
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::sys::async_fd;

/// How long a packet may be on its way; one that takes longer was lost elsewhere.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How often the receiver's counter is read until then.
const POLL: Duration = Duration::from_millis(2);
/// `PACKET_OUTGOING` (linux/if_packet.h).
const OUTGOING: u8 = 4;
/// The largest IP packet.
const LARGEST: usize = 65_535;
/// Smallest IPv4 header.
const IPV4_HEADER: usize = 20;

/// A node, as the one that receives.
struct Receiver {
    namespace: Namespace,
    /// Packets it counted that are accounted for.
    reported: u64,
}

/// What all watches share.
struct Shared {
    interface: String,
    receivers: HashMap<Ipv4Addr, Mutex<Receiver>>,
    log: DropLog,
}

/// Watches what every member sends, until the tasks are dropped. Call it within the runtime, when the interfaces are up.
///
/// # Errors
/// The kernel's answer to a packet socket.
pub(super) fn watch(interface: &str, members: &[Member], log: DropLog) -> Result<Vec<Task>> {
    let receiver = |member: &Member| {
        let receiver = Receiver { namespace: member.namespace.clone(), reported: 0 };
        (member.address, Mutex::new(receiver))
    };
    let receivers = members.iter().map(receiver).collect();
    let shared = Arc::new(Shared { interface: interface.to_owned(), receivers, log });
    members
        .iter()
        .map(|member| {
            let failed = |source| Error::Socket {
                namespace: member.namespace.name().to_owned(),
                step: "watch the overlay's interface".to_owned(),
                source,
            };
            let index = member.namespace.netlink()?.index(interface)?;
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
            let tap = member.namespace.enter(open)?.map_err(|errno| failed(errno.into()))?;
            let tap = async_fd(tap, Interest::READABLE).map_err(failed)?;
            Ok(Task::spawn(run(Arc::clone(&shared), member.address, index, tap)))
        })
        .collect()
}

async fn run(shared: Arc<Shared>, own: Ipv4Addr, index: u32, tap: AsyncFd<OwnedFd>) {
    let mut buffer = vec![0; LARGEST];
    let mut read = |fd: &OwnedFd| -> io::Result<Option<Vec<u8>>> {
        let (length, from) = recvfrom::<LinkAddr>(fd.as_raw_fd(), &mut buffer)?;
        let ours = from.is_some_and(|from| from.ifindex() == index as usize && from.pkttype() == OUTGOING);
        Ok(ours.then(|| buffer[..length].to_vec()))
    };
    loop {
        match tap.async_io(Interest::READABLE, &mut read).await {
            Ok(Some(packet)) => {
                if let Some((source, destination)) = addresses(&packet)
                    && source != own
                {
                    shared.follow(source, destination, packet).await;
                }
            }
            Ok(None) => {}
            // A burst that was too much, or an interface that went down.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOBUFS | nix::libc::ENETDOWN)) => {}
            Err(_) => return,
        }
    }
}

impl Shared {
    /// Waits until the receiver has dropped a packet, or surely hasn't.
    async fn follow(&self, source: Ipv4Addr, destination: Ipv4Addr, packet: Vec<u8>) {
        let Some(receiver) = self.receivers.get(&destination) else { return };
        let deadline = Instant::now() + ON_ITS_WAY;
        while Instant::now() < deadline {
            let namespace = receiver.lock().unwrap_or_else(PoisonError::into_inner).take_drop(&self.interface);
            if let Some(namespace) = namespace {
                self.log.report(Dropped {
                    namespace,
                    interface: Some(self.interface.clone()),
                    reason: DropReason::NotAllowedSource(source),
                    packet,
                });
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Receiver {
    /// The namespace's name, where it dropped a packet that was not accounted for.
    fn take_drop(&mut self, interface: &str) -> Option<String> {
        let read = || fs::read_to_string("/proc/thread-self/net/dev");
        let devices = self.namespace.enter(read).ok()?.ok()?;
        let dropped = frame_errors(&devices, interface)?;
        if dropped <= self.reported {
            return None;
        }
        self.reported += 1;
        Some(self.namespace.name().to_owned())
    }
}

/// What /proc/net/dev (net/core/net-procfs.c) says under `frame`, WireGuard's `rx_frame_errors`.
fn frame_errors(devices: &str, interface: &str) -> Option<u64> {
    let numbers = devices.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    // bytes packets errs drop fifo frame …
    numbers.split_whitespace().nth(5)?.parse().ok()
}

/// Source and destination of an IPv4 packet.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if packet.len() < IPV4_HEADER || packet[0] >> 4 != 4 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some((address(12), address(16)))
}
