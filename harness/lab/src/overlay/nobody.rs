//! The peer of the kernel's WireGuard that has every address which is no peer's.
//!
//! Without it, WireGuard in the kernel says that it has no peer: the sender gets ENOKEY, or ICMP host unreachable where
//! the packet was forwarded (drivers/net/wireguard/device.c, `wg_xmit`). tailscaled says nothing. So whatever is no
//! peer's goes, encrypted, to a peer that lives behind a socket on the node's `lo`: it opens the packets and reports that
//! they are dropped.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::Packet;
use gotatun::x25519::{PublicKey, StaticSecret};
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Keys;
use super::task::Task;
use crate::drops::{DropLog, DropReason, Dropped};
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How often its timers are looked at: the shortest that concerns it is the ten seconds after which what was received
/// must be acknowledged.
const TIMERS: Duration = Duration::from_secs(1);
/// Handshakes a second before cookies are asked for; there is one every two minutes.
const HANDSHAKE_LIMIT: u64 = 100;
/// The largest datagram.
const LARGEST: usize = 65_535;

/// It lives until this is dropped.
pub(super) struct Nobody {
    public: [u8; 32],
    endpoint: SocketAddrV4,
    task: Task,
}

/// Whose packets it gets, and what for.
pub(super) struct Service {
    /// The node.
    pub(super) namespace: Namespace,
    /// The node's WireGuard device, where packets are said to die.
    pub(super) interface: String,
    /// That device's public key.
    pub(super) public: [u8; 32],
    /// Peers to which there is no way: what is for them is lost, but not because nobody has the address.
    pub(super) lost: HashSet<Ipv4Addr>,
    /// Where drops are reported.
    pub(super) log: DropLog,
}

impl Nobody {
    /// Starts it. Call it within the runtime.
    ///
    /// # Errors
    /// The kernel's answer to a socket on `lo`.
    pub(super) fn start(service: Service) -> Result<Self> {
        let socket = service.namespace.udp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), None)?;
        let endpoint = match socket.local_addr() {
            Ok(SocketAddr::V4(endpoint)) => endpoint,
            Ok(SocketAddr::V6(_)) => return Err(failed(&service.namespace, io::ErrorKind::Unsupported.into())),
            Err(error) => return Err(failed(&service.namespace, error)),
        };
        let keys = Keys::generate();
        let public = keys.public();
        Ok(Self { public, endpoint, task: Task::spawn(run(service, keys, socket)) })
    }

    /// Its public key.
    pub(super) fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Where it listens, on the node's `lo`.
    pub(super) fn endpoint(&self) -> SocketAddrV4 {
        self.endpoint
    }

    /// Ends it and waits until its socket is gone.
    pub(super) async fn stop(self) {
        self.task.stop().await;
    }
}

fn failed(namespace: &Namespace, source: io::Error) -> Error {
    Error::Socket { namespace: namespace.name().to_owned(), step: "read a socket's address".to_owned(), source }
}

async fn run(service: Service, keys: Keys, socket: UdpSocket) {
    let secret = StaticSecret::from(keys.secret());
    let limiter = std::sync::Arc::new(RateLimiter::new(&PublicKey::from(&secret), HANDSHAKE_LIMIT));
    let node = PublicKey::from(service.public);
    let mut tunnel = Tunn::new(secret, node, None, None, IndexTable::from_os_rng(), limiter.clone());
    let mut node = None;
    let mut buffer = vec![0; LARGEST];
    let mut timers = interval_at(Instant::now() + TIMERS, TIMERS);
    timers.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answer = tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An ICMP answer to a datagram of before tells nothing.
                let Ok((length, from)) = received else { continue };
                node = Some(from);
                let datagram = Packet::copy_from(&buffer[..length]);
                match limiter.verify_packet(from, datagram).map(|message| tunnel.handle_incoming_packet(message)) {
                    Ok(TunnResult::WriteToNetwork(message)) | Err(TunnResult::WriteToNetwork(message)) => Some(message),
                    Ok(TunnResult::WriteToTunnel(packet)) => {
                        service.bury(packet);
                        None
                    }
                    _ => None,
                }
            }
            _ = timers.tick() => {
                limiter.try_reset_count();
                tunnel.update_timers().unwrap_or_default()
            }
        };
        if let (Some(message), Some(node)) = (answer, node) {
            let message: Packet = message.into();
            // The device went down: lost, as any datagram can be.
            let _ = socket.send_to(&message, node).await;
        }
    }
}

impl Service {
    /// A packet that is no peer's.
    fn bury(&self, packet: Packet) {
        // Keepalives are empty; IPv6 is nobody's here. The padding is cut off.
        let Some(packet) = packet.try_into_ipvx().ok().and_then(|packet| packet.left()) else { return };
        let destination = packet.header.destination();
        if self.lost.contains(&destination) {
            return;
        }
        self.log.report(Dropped {
            namespace: self.namespace.name().to_owned(),
            interface: Some(self.interface.clone()),
            reason: DropReason::NoPeer(destination),
            packet: packet.into_bytes().to_vec(),
        });
    }
}
