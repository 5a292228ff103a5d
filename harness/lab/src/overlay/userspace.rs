//! WireGuard in this process, on a TUN device: what tailscaled is.
//!
//! The protocol is gotatun's (`noise::Tunn`: handshakes, sessions, timers, cookies). Its `Device` isn't used, for three
//! reasons: it drops a packet from a source the peer may not use without a way to see it, where a packet's death is
//! what this lab is about; it takes seven tasks and three queues a device where one task does; and its end is not
//! awaited when it is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519::{PublicKey, StaticSecret};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::task::Task;
use super::tun::Tun;
use super::{Counters, KEEPALIVE, Keys, PeerConfig};
use crate::drops::{DropLog, DropReason, Dropped};

/// How often WireGuard's timers are looked at: its shortest one is five seconds.
const TIMERS: Duration = Duration::from_millis(250);
/// Handshakes a second from one address before cookies are asked for, as in gotatun's own device.
const HANDSHAKE_LIMIT: u64 = 100;
/// Packets taken from one side before the other side is looked at.
const BURST: usize = 64;
/// The largest IP packet.
const LARGEST_PACKET: usize = 65_535;
/// Smallest IPv4 header.
const IPV4_HEADER: usize = 20;

/// A running device.
pub(super) struct Device {
    shared: Arc<Shared>,
    task: Task,
}

/// What a device is made of.
pub(super) struct Parts {
    /// Name of the namespace, for the drop log.
    pub(super) namespace: String,
    /// Name of the interface, for the drop log.
    pub(super) interface: String,
    /// The interface's MTU in bytes.
    pub(super) mtu: u16,
    /// The interface.
    pub(super) tun: Tun,
    /// The socket for encrypted packets.
    pub(super) socket: UdpSocket,
    /// The node's keys.
    pub(super) keys: Keys,
    /// Its peers, in the members' order.
    pub(super) peers: Vec<PeerConfig>,
    /// Where drops are reported.
    pub(super) log: DropLog,
    /// Told when a session begins.
    pub(super) established: Arc<Notify>,
}

struct Shared {
    namespace: String,
    interface: String,
    tun: Tun,
    socket: UdpSocket,
    log: DropLog,
    established: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    secret: StaticSecret,
    public: PublicKey,
    mtu: MtuWatcher,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
    peers: Vec<Peer>,
    by_key: HashMap<[u8; 32], usize>,
    by_address: HashMap<Ipv4Addr, usize>,
    by_index: HashMap<u32, usize>,
}

struct Peer {
    tunnel: Tunn,
    endpoint: Option<SocketAddrV4>,
}

/// What becomes of a packet.
enum Output {
    /// It goes to a peer, encrypted.
    Network(Packet, SocketAddrV4),
    /// It came from a peer and goes to the interface.
    Interface(Packet),
    /// It dies here.
    Drop(DropReason, Packet),
}

impl Device {
    /// Starts it. Call it within the runtime.
    pub(super) fn start(parts: Parts) -> Self {
        let secret = StaticSecret::from(parts.keys.secret());
        let public = PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKE_LIMIT));
        let indices = IndexTable::from_os_rng();
        let position = |(index, peer): (usize, &PeerConfig)| (peer.address, index);
        let state = State {
            by_key: parts.peers.iter().enumerate().map(|(index, peer)| (peer.public, index)).collect(),
            by_address: parts.peers.iter().enumerate().map(position).collect(),
            by_index: HashMap::new(),
            peers: parts
                .peers
                .iter()
                .map(|peer| Peer {
                    tunnel: Tunn::new(
                        secret.clone(),
                        PublicKey::from(peer.public),
                        None,
                        Some(KEEPALIVE),
                        indices.clone(),
                        Arc::clone(&limiter),
                    ),
                    endpoint: peer.endpoint,
                })
                .collect(),
            secret,
            public,
            mtu: MtuWatcher::new(parts.mtu),
            limiter,
            indices,
        };
        let shared = Arc::new(Shared {
            namespace: parts.namespace,
            interface: parts.interface,
            tun: parts.tun,
            socket: parts.socket,
            log: parts.log,
            established: parts.established,
            state: Mutex::new(state),
        });
        let task = Task::spawn(run(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Begins a handshake with the peer at this position, unless there is a session or one is under way.
    pub(super) async fn initiate(&self, peer: usize) {
        let output = self.shared.state().initiate(peer);
        if let Some(output) = output {
            self.shared.put(output).await;
        }
    }

    /// Whether packets to the peer at this position go out at once.
    pub(super) fn has_session(&self, peer: usize) -> bool {
        self.shared.state().peers.get(peer).is_some_and(|peer| peer.tunnel.has_active_session())
    }

    /// What went to and came from the peer at this position.
    pub(super) fn counters(&self, peer: usize) -> Option<Counters> {
        let state = self.shared.state();
        let peer = state.peers.get(peer)?;
        let (last_handshake, sent, received, _, _) = peer.tunnel.stats();
        Some(Counters {
            endpoint: peer.endpoint,
            sent_bytes: sent as u64,
            received_bytes: received as u64,
            last_handshake,
        })
    }

    /// Goes on with another socket. Sessions, and the interface, stay.
    pub(super) async fn rebind(self, socket: UdpSocket) -> Option<Self> {
        self.task.stop().await;
        // The task was the only other one that had it.
        let shared = Arc::new(Shared { socket, ..Arc::into_inner(self.shared)? });
        let task = Task::spawn(run(Arc::clone(&shared)));
        Some(Self { shared, task })
    }

    /// Sends to the peer at this position from now on here.
    pub(super) fn set_endpoint(&self, peer: usize, endpoint: SocketAddrV4) {
        if let Some(peer) = self.shared.state().peers.get_mut(peer) {
            peer.endpoint = Some(endpoint);
        }
    }

    /// Sends the peer at this position a datagram that says nothing, so that gateways on the way know the flow.
    pub(super) async fn knock(&self, peer: usize) {
        let endpoint = self.shared.state().peers.get(peer).and_then(|peer| peer.endpoint);
        if let Some(endpoint) = endpoint {
            // What can't be sent opens nothing; the handshake will tell.
            let _ = self.shared.socket.send_to(&[0], endpoint).await;
        }
    }

    /// Begins a handshake with the peer at this position, whatever there is between them.
    pub(super) async fn begin_anew(&self, peer: usize) {
        let output = self.shared.state().begin_anew(peer);
        if let Some(output) = output {
            self.shared.put(output).await;
        }
    }

    /// Ends it and waits until the interface is gone.
    pub(super) async fn stop(self) {
        self.task.stop().await;
        drop(self.shared);
    }
}

/// Moves packets until the interface is gone.
async fn run(shared: Arc<Shared>) {
    let mut buffer = vec![0; LARGEST_PACKET];
    let mut timers = interval_at(Instant::now() + TIMERS, TIMERS);
    timers.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = shared.tun.readable() => {
                if ready.is_err() || shared.take_from_interface(&mut buffer).await.is_err() {
                    return;
                }
            }
            ready = shared.socket.readable() => {
                if ready.is_err() {
                    return;
                }
                shared.take_from_network(&mut buffer).await;
            }
            _ = timers.tick() => {
                let outputs = shared.state().tick();
                for output in outputs {
                    shared.put(output).await;
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_from_interface(&self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BURST {
            let length = match self.tun.try_read(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let output = self.state().outgoing(&buffer[..length]);
            if let Some(output) = output {
                self.put(output).await;
            }
        }
        Ok(())
    }

    async fn take_from_network(&self, buffer: &mut [u8]) {
        for _ in 0..BURST {
            let (length, from) = match self.socket.try_recv_from(buffer) {
                Ok((length, SocketAddr::V4(from))) => (length, from),
                Ok(_) => continue,
                // Nothing left, or an ICMP answer to a datagram of before, which tells WireGuard nothing it trusts.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let (outputs, established) = self.state().incoming(&buffer[..length], from);
            for output in outputs {
                self.put(output).await;
            }
            if established {
                self.established.notify_waiters();
            }
        }
    }

    async fn put(&self, output: Output) {
        match output {
            // No route, or no gateway there: lost, as any datagram can be.
            Output::Network(packet, to) => drop(self.socket.send_to(&packet, to).await),
            // The interface is down: lost, as it would be by tailscaled.
            Output::Interface(packet) => drop(self.tun.write(&packet)),
            Output::Drop(reason, packet) => self.log.report(Dropped {
                namespace: self.namespace.clone(),
                interface: Some(self.interface.clone()),
                reason,
                packet: packet.to_vec(),
            }),
        }
    }
}

impl State {
    /// Remembers whose answers to a handshake message belong to.
    fn register(&mut self, peer: usize, message: &WgKind) {
        let index = match message {
            WgKind::HandshakeInit(message) => message.sender_idx.get(),
            WgKind::HandshakeResp(message) => message.sender_idx.get(),
            WgKind::CookieReply(_) | WgKind::Data(_) => return,
        };
        self.by_index.insert(index, peer);
    }

    fn sealed(&mut self, peer: usize, message: WgKind) -> Option<Output> {
        let endpoint = self.peers[peer].endpoint?;
        self.register(peer, &message);
        Some(Output::Network(message.into(), endpoint))
    }

    fn initiate(&mut self, peer: usize) -> Option<Output> {
        let tunnel = &mut self.peers.get_mut(peer)?.tunnel;
        if tunnel.has_active_session() {
            return None;
        }
        let message = tunnel.format_handshake_initiation(false)?;
        self.sealed(peer, message.into())
    }

    fn begin_anew(&mut self, peer: usize) -> Option<Output> {
        let message = self.peers.get_mut(peer)?.tunnel.format_handshake_initiation(true)?;
        self.sealed(peer, message.into())
    }

    /// A packet that came out of the interface.
    fn outgoing(&mut self, packet: &[u8]) -> Option<Output> {
        let destination = destination(packet)?;
        let packet = Packet::copy_from(packet);
        let Some(&peer) = self.by_address.get(&destination) else {
            return Some(Output::Drop(DropReason::NoPeer(destination), packet));
        };
        let message = self.peers[peer].tunnel.handle_outgoing_packet(packet, Some(&mut self.mtu))?;
        self.sealed(peer, message)
    }

    /// A datagram from the network: what follows from it, and whether a session began.
    fn incoming(&mut self, datagram: &[u8], from: SocketAddrV4) -> (Vec<Output>, bool) {
        let message = match self.limiter.verify_packet(from.into(), Packet::copy_from(datagram)) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => return (vec![Output::Network(cookie.into(), from)], false),
            Err(_) => return (Vec::new(), false),
        };
        let Some(index) = self.peer_of(&message) else { return (Vec::new(), false) };
        let peer = &mut self.peers[index];
        let had_session = peer.tunnel.has_active_session();
        let result = peer.tunnel.handle_incoming_packet(message);
        let outputs = match result {
            TunnResult::Done | TunnResult::Err(_) => Vec::new(),
            TunnResult::WriteToNetwork(message) => {
                peer.endpoint = Some(from);
                let waiting: Vec<_> = peer.tunnel.get_queued_packets(&mut self.mtu).collect();
                let messages = std::iter::once(message).chain(waiting);
                messages.filter_map(|message| self.sealed(index, message)).collect()
            }
            TunnResult::WriteToTunnel(packet) => {
                peer.endpoint = Some(from);
                self.opened(index, packet).into_iter().collect()
            }
        };
        (outputs, !had_session && self.peers[index].tunnel.has_active_session())
    }

    /// Whom a message is from, as far as it can be told before it is authenticated.
    fn peer_of(&self, message: &WgKind) -> Option<usize> {
        let index = match message {
            WgKind::HandshakeInit(message) => {
                let half = parse_handshake_anon(&self.secret, &self.public, message).ok()?;
                return self.by_key.get(&half.peer_static_public).copied();
            }
            WgKind::HandshakeResp(message) => message.receiver_idx.get(),
            WgKind::CookieReply(message) => message.receiver_idx.get(),
            WgKind::Data(message) => message.header.receiver_idx.get(),
        };
        self.by_index.get(&index).copied()
    }

    /// A packet that a peer sent: for the interface, if its source is the peer's.
    fn opened(&self, peer: usize, packet: Packet) -> Option<Output> {
        // Keepalives are empty; IPv6 is nobody's here. The padding is cut off.
        let packet = packet.try_into_ipvx().ok()?.left()?;
        let source = packet.header.source();
        let packet = packet.into_bytes();
        Some(if self.by_address.get(&source) == Some(&peer) {
            Output::Interface(packet)
        } else {
            Output::Drop(DropReason::NotAllowedSource(source), packet)
        })
    }

    /// Keepalives, renewed handshakes, forgotten sessions.
    fn tick(&mut self) -> Vec<Output> {
        let indices = &self.indices;
        self.by_index.retain(|index, _| indices.in_use(*index));
        self.limiter.try_reset_count();
        let mut outputs = Vec::new();
        for peer in 0..self.peers.len() {
            // A peer without an endpoint waits to be called.
            if self.peers[peer].endpoint.is_some()
                && let Ok(Some(message)) = self.peers[peer].tunnel.update_timers()
            {
                outputs.extend(self.sealed(peer, message));
            }
        }
        outputs
    }
}

/// The destination of an IPv4 packet; none for anything else.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    if packet.len() < IPV4_HEADER || packet[0] >> 4 != 4 {
        return None;
    }
    Some(Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]))
}
