//! A Tailscale-like mesh: WireGuard between all nodes, with real keys, real handshakes and real encryption.
//!
//! A coordinator (in [`Overlay::start`]) makes keys, hands out addresses, public keys and endpoints, and lets each pair
//! find its way: directly where NAT allows, else by a relay in the internet ([`Path`]). Servers live at addresses of
//! TEST-NET-1 (RFC 5737) on the internet namespace's `lo`: [`REFLECTORS`] and [`RELAY`].

mod discovery;
mod firewall;
mod kernel;
mod nobody;
mod ping;
mod reflector;
mod rejoin;
mod relay;
mod routing;
mod stray;
mod stun;
mod task;
mod tun;
mod userspace;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;
use topology::network::{Overlay as Config, OverlayBackend};
use wireguard_control::{Key, KeyPair};

use crate::drops::DropLog;
use crate::error::{Error, Result};
use crate::namespace::Namespace;

use discovery::{Attempt, Found, PATIENCE, Search, Seeker};
use reflector::Reflector;
use relay::Relay;
use task::Task;

pub use discovery::Mapping;
pub use firewall::firewall;
pub(crate) use routing::forget;
pub use routing::{BYPASS_MARK, MARK_MASK, SERVICE_ADDRESS, SUBNET_ROUTE_MARK, TABLE};

/// Where nodes ask how their address looks from outside; two, since NAT may answer differently for each.
pub const REFLECTORS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// Where pairs meet that find no direct way.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Seconds between packets that keep NAT mappings: below the 30 seconds after which Linux forgets a flow that got no
/// answer (nf_conntrack_udp_timeout).
const KEEPALIVE: u16 = 25;

/// WireGuard's own share of a datagram, with the padding it may add: 16 bytes header, 16 bytes tag, up to 15 bytes.
const WIREGUARD_OVERHEAD: usize = 47;

/// How often the kernel's WireGuard is asked whether it is ready; it doesn't tell by itself.
const KERNEL_POLL: Duration = Duration::from_millis(2);
/// How long the port of a lab that is over may take to be free, on a machine that is busy.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
const PORT_PAUSE: Duration = Duration::from_millis(5);

/// A node that takes part.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its address on the overlay.
    pub address: Ipv4Addr,
    /// Its addresses in private networks.
    pub locals: Vec<Local>,
}

/// An address in a private network.
///
/// A node tries another's local address only where both are in the same network by name: with equal ranges in
/// different networks, the address would be somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The network's name.
    pub network: String,
    /// The address there.
    pub address: Ipv4Addr,
}

/// How a node's packets get to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// To the peer's own address, or its gateway's.
    Direct(SocketAddrV4),
    /// By the relay, at the port it has for this direction.
    Relayed(SocketAddrV4),
    /// Not at all: neither way came through.
    None,
}

/// What a node knows of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer's name.
    pub node: String,
    /// Its address on the overlay.
    pub address: Ipv4Addr,
    /// How packets get there now.
    pub path: Path,
    /// Bytes sent to it, WireGuard's own included.
    pub sent_bytes: u64,
    /// Bytes received from it, WireGuard's own included.
    pub received_bytes: u64,
    /// How long ago the last handshake was.
    pub last_handshake: Option<Duration>,
}

/// A node's keys.
#[derive(Clone)]
struct Keys(KeyPair);

impl Keys {
    fn generate() -> Self {
        Self(KeyPair::generate())
    }

    fn secret(&self) -> [u8; 32] {
        self.0.private.0
    }

    fn public(&self) -> [u8; 32] {
        self.0.public.0
    }
}

/// What the coordinator tells a node about a peer.
#[derive(Debug, Clone)]
struct PeerConfig {
    public: [u8; 32],
    address: Ipv4Addr,
    endpoint: Option<SocketAddrV4>,
}

/// What a device counts for a peer.
struct Counters {
    endpoint: Option<SocketAddrV4>,
    sent_bytes: u64,
    received_bytes: u64,
    last_handshake: Option<Duration>,
}

enum Device {
    Userspace(userspace::Device),
    Kernel(kernel::Device),
}

/// The half of a device that is there before endpoints are known.
enum Interface {
    Userspace(tun::Tun),
    Kernel(kernel::Device),
}

struct Node {
    member: Member,
    mapping: Mapping,
    keys: Keys,
    /// What it was told about its peers, in the members' order.
    peers: Vec<PeerConfig>,
    /// UDP port it listens on.
    port: u16,
    device: Option<Device>,
}

/// A running mesh. Dropping it ends every device and server; [`Overlay::stop`] waits until they are gone.
///
/// What is left in the nodes' namespaces is what a killed tailscaled leaves: its rules, without the device and the
/// routes through it.
pub struct Overlay {
    config: Config,
    log: DropLog,
    nodes: Vec<Node>,
    reflectors: [Reflector; 2],
    relay: Relay,
    servers: ServerAddresses,
    established: Arc<Notify>,
    strays: Vec<Task>,
}

/// The servers' addresses; dropping it takes them away.
struct ServerAddresses(Namespace);

impl ServerAddresses {
    fn add(internet: &Namespace) -> Result<Self> {
        let mut netlink = internet.netlink()?;
        for address in Self::all() {
            netlink.add_address("lo", address)?;
        }
        drop(netlink);
        Ok(Self(internet.clone()))
    }

    fn all() -> impl Iterator<Item = Ipv4Net> {
        REFLECTORS.into_iter().chain([RELAY]).map(Ipv4Net::from)
    }
}

impl Drop for ServerAddresses {
    fn drop(&mut self) {
        if let Ok(mut netlink) = self.0.netlink() {
            for address in Self::all() {
                let _ = netlink.delete_address("lo", address);
            }
        }
    }
}

impl Overlay {
    /// Builds the mesh: interfaces with addresses and routes, keys, ways between all pairs; handshakes are begun, and
    /// [`Overlay::ready`] waits for them. The nodes' other interfaces and routes and the gateways must be there before.
    /// `internet` must have no other overlay's servers. Call it within the runtime that is to carry the packets.
    ///
    /// A node that reaches no reflector costs three seconds: only then it is known to be offline. tailscaled's filter
    /// chains are the caller's to load ([`firewall()`]), together with what else the namespace needs.
    ///
    /// # Errors
    /// [`crate::Missing`] where the host has no TUN or no WireGuard in the kernel; otherwise the step that failed.
    pub async fn start(config: &Config, members: Vec<Member>, internet: &Namespace, log: DropLog) -> Result<Self> {
        let keys: Vec<_> = members.iter().map(|_| Keys::generate()).collect();
        let mut interfaces = Vec::with_capacity(members.len());
        for (member, keys) in members.iter().zip(&keys) {
            interfaces.push(add_interface(config, member, keys)?);
        }

        let servers = ServerAddresses::add(internet)?;
        let reflectors = [Reflector::start(internet, REFLECTORS[0])?, Reflector::start(internet, REFLECTORS[1])?];
        let mut relay = Relay::start(internet, RELAY, members.len())?;

        let sockets = members.iter().map(|member| own_socket(&member.namespace, config.port));
        let sockets = futures::future::try_join_all(sockets).await?;
        let seekers: Vec<_> = sockets.into_iter().map(|socket| Seeker { socket }).collect();
        let mappings = reflect(&seekers, [reflectors[0].address(), reflectors[1].address()]).await;
        let endpoints = find_ways(config, &members, &seekers, &mappings, &mut relay).await?;

        let peers = peer_configs(&members, &keys, &endpoints);
        let kernels = if config.backend == OverlayBackend::Kernel { members.clone() } else { Vec::new() };

        let established = Arc::new(Notify::new());
        let mut nodes = Vec::with_capacity(members.len());
        let parts = members.into_iter().zip(keys).zip(peers).zip(mappings).zip(seekers).zip(interfaces);
        for (((((member, keys), peers), mapping), seeker), interface) in parts {
            let mut node = Node { member, mapping, keys, peers, port: config.port, device: None };
            node.start(config, interface, seeker.socket, &log, &established)?;
            routing::install(&node.member.namespace, config, &node.peer_addresses())?;
            nodes.push(node);
        }
        let strays = stray::watch(&config.interface, &kernels, log.clone())?;
        let overlay = Self { config: config.clone(), log, nodes, reflectors, relay, servers, established, strays };
        overlay.initiate().await?;
        Ok(overlay)
    }

    /// Begins every handshake, each from one side: two that cross cost twice the work, or the kernel five seconds.
    async fn initiate(&self) -> Result<()> {
        for (me, node) in self.nodes.iter().enumerate() {
            match &node.device {
                Some(Device::Userspace(device)) => {
                    for peer in me + 1..self.nodes.len() {
                        device.initiate(slot(me, peer)).await;
                    }
                }
                Some(Device::Kernel(device)) => device.keep_alive(slot(me, me + 1)..)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Waits until each node has a session with each of its peers to which there is a way.
    ///
    /// # Errors
    /// [`Error::Timeout`] with a pair that has none by then.
    pub async fn ready(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let established = self.established.notified();
            tokio::pin!(established);
            // From here on no session goes unnoticed.
            established.as_mut().enable();
            let Some((from, to)) = self.first_without_session()? else { return self.keep_alive() };
            let kernel = matches!(from.device, Some(Device::Kernel(_)));
            let wake = if kernel { deadline.min(Instant::now() + KERNEL_POLL) } else { deadline };
            if tokio::time::timeout_at(wake, established).await.is_err() && Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: format!("the overlay's handshake between {} and {}", from.member.node, to.member.node),
                    waited_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                });
            }
        }
    }

    /// The kernel's devices keep their sessions alive from both sides from now on; those in user space always did.
    fn keep_alive(&self) -> Result<()> {
        let mut devices = self.nodes.iter().filter_map(|node| match &node.device {
            Some(Device::Kernel(device)) => Some(device),
            _ => None,
        });
        devices.try_for_each(|device| device.keep_alive(0..))
    }

    fn first_without_session(&self) -> Result<Option<(&Node, &Node)>> {
        for (me, node) in self.nodes.iter().enumerate() {
            let peers = self.nodes.iter().enumerate().filter(|(peer, other)| *peer != me && other.device.is_some());
            match &node.device {
                Some(Device::Userspace(device)) => {
                    for (peer, other) in peers {
                        let slot = slot(me, peer);
                        let reachable = device.counters(slot).is_some_and(|counters| counters.endpoint.is_some());
                        if reachable && !device.has_session(slot) {
                            return Ok(Some((node, other)));
                        }
                    }
                }
                Some(Device::Kernel(device)) => {
                    let counters = device.all_counters()?;
                    for (peer, other) in peers {
                        let counters = counters.get(slot(me, peer)).and_then(Option::as_ref);
                        if counters
                            .is_some_and(|counters| counters.endpoint.is_some() && counters.last_handshake.is_none())
                        {
                            return Ok(Some((node, other)));
                        }
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// How `node`'s address looks from outside; none for a name that isn't a member's.
    pub fn mapping(&self, node: &str) -> Option<Mapping> {
        self.nodes.iter().find(|other| other.member.node == node).map(|node| node.mapping)
    }

    /// How packets get from one node to another now; none for names that aren't two members', or left.
    ///
    /// # Errors
    /// The kernel's answer, where it does the encryption.
    pub fn path(&self, from: &str, to: &str) -> Result<Option<Path>> {
        Ok(self.peers(from)?.into_iter().find(|peer| peer.node == to).map(|peer| peer.path))
    }

    /// What a node knows of its peers, in the members' order; empty for a name that isn't a member's, or left.
    ///
    /// # Errors
    /// The kernel's answer, where it does the encryption.
    pub fn peers(&self, node: &str) -> Result<Vec<PeerStatus>> {
        let Some((me, node)) = self.nodes.iter().enumerate().find(|(_, other)| other.member.node == node) else {
            return Ok(Vec::new());
        };
        let counters = match &node.device {
            Some(Device::Userspace(device)) => {
                (0..self.nodes.len().saturating_sub(1)).map(|slot| device.counters(slot)).collect()
            }
            Some(Device::Kernel(device)) => device.all_counters()?,
            None => return Ok(Vec::new()),
        };
        let peers = self.nodes.iter().enumerate().filter(|(peer, _)| *peer != me);
        Ok(peers
            .filter_map(|(peer, other)| {
                let counters = counters.get(slot(me, peer))?.as_ref()?;
                Some(PeerStatus {
                    node: other.member.node.clone(),
                    address: other.member.address,
                    path: match counters.endpoint {
                        Some(endpoint) if *endpoint.ip() == self.relay.address() => Path::Relayed(endpoint),
                        Some(endpoint) => Path::Direct(endpoint),
                        None => Path::None,
                    },
                    sent_bytes: counters.sent_bytes,
                    received_bytes: counters.received_bytes,
                    last_handshake: counters.last_handshake,
                })
            })
            .collect())
    }

    /// Ends one node's part, as when its tailscaled is killed: the interface and the routes through it go, its peers
    /// aren't told. Does nothing for a name that isn't a member's, or left.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn leave(&mut self, node: &str) -> Result<()> {
        match self.nodes.iter_mut().find(|other| other.member.node == node) {
            Some(node) => node.stop().await,
            None => Ok(()),
        }
    }

    /// Ends it and waits until interfaces, sockets and tasks are gone.
    ///
    /// # Errors
    /// The first of the kernel's answers; the rest is taken down all the same.
    pub async fn stop(mut self) -> Result<()> {
        for stray in self.strays {
            stray.stop().await;
        }
        let mut result = Ok(());
        for node in &mut self.nodes {
            result = result.and(node.stop().await);
        }
        let [first, second] = self.reflectors;
        first.stop().await;
        second.stop().await;
        self.relay.stop().await;
        drop(self.servers);
        result
    }
}

impl Node {
    /// Sets its interface up, with the program behind it.
    fn start(
        &mut self,
        config: &Config,
        interface: Interface,
        socket: UdpSocket,
        log: &DropLog,
        established: &Arc<Notify>,
    ) -> Result<()> {
        let namespace = &self.member.namespace;
        self.device = Some(match interface {
            Interface::Userspace(tun) => {
                namespace.netlink()?.link_up(&config.interface)?;
                Device::Userspace(userspace::Device::start(userspace::Parts {
                    namespace: namespace.name().to_owned(),
                    interface: config.interface.clone(),
                    mtu: u16::try_from(config.mtu).unwrap_or(u16::MAX),
                    tun,
                    socket,
                    keys: self.keys.clone(),
                    peers: self.peers.clone(),
                    log: log.clone(),
                    established: Arc::clone(established),
                }))
            }
            Interface::Kernel(mut device) => {
                // The kernel binds the port when the device comes up.
                drop(socket);
                device.configure(self.port, &self.peers, log.clone())?;
                namespace.netlink()?.link_up(&config.interface)?;
                Device::Kernel(device)
            }
        });
        Ok(())
    }

    fn peer_addresses(&self) -> Vec<Ipv4Addr> {
        self.peers.iter().map(|peer| peer.address).collect()
    }

    async fn stop(&mut self) -> Result<()> {
        match self.device.take() {
            Some(Device::Userspace(device)) => {
                device.stop().await;
                Ok(())
            }
            Some(Device::Kernel(device)) => device.delete().await,
            None => Ok(()),
        }
    }
}

/// Where a peer stands in a node's list of peers, which leaves the node itself out.
fn slot(me: usize, peer: usize) -> usize {
    if peer < me { peer } else { peer - 1 }
}

/// The socket that carries a member's traffic. That of a lab that was on the same machine a moment ago is closed when its
/// task has ended, which nobody waits for who drops a lab.
async fn own_socket(namespace: &Namespace, port: u16) -> Result<UdpSocket> {
    let began = Instant::now();
    loop {
        match namespace.udp(any(port), Some(BYPASS_MARK)) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EADDRINUSE) && began.elapsed() < PORT_PATIENCE => {
                tokio::time::sleep(PORT_PAUSE).await;
            }
            bound => return bound,
        }
    }
}

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

/// Makes a node's interface, with its address; it is down. Down, it has no packets to lose while ways are looked for.
fn add_interface(config: &Config, member: &Member, keys: &Keys) -> Result<Interface> {
    let interface = match config.backend {
        OverlayBackend::Userspace => Interface::Userspace(tun::Tun::open(&member.namespace, &config.interface)?),
        OverlayBackend::Kernel => {
            Interface::Kernel(kernel::Device::create(&member.namespace, &config.interface, keys)?)
        }
    };
    let mut netlink = member.namespace.netlink()?;
    netlink.set_mtu(&config.interface, config.mtu)?;
    netlink.add_address(&config.interface, member.address.into())?;
    Ok(interface)
}

/// Bytes nobody can guess.
fn random<const N: usize>() -> [u8; N] {
    const { assert!(N <= 32, "a key has 32 bytes") };
    let key = Key::generate_preshared();
    let mut bytes = [0; N];
    bytes.copy_from_slice(&key.as_bytes()[..N]);
    bytes
}

async fn reflect(seekers: &[Seeker], reflectors: [SocketAddrV4; 2]) -> Vec<Mapping> {
    let deadline = Instant::now() + PATIENCE;
    let ask = |seeker| discovery::reflect(seeker, reflectors, [random(), random()], deadline);
    futures::future::join_all(seekers.iter().map(ask)).await
}

/// Lets all pairs find their ways: first directly, then, for those that found none, by ports of the relay. What comes
/// back at `[i][j]` is where node i sends what is for node j.
async fn find_ways(
    config: &Config,
    members: &[Member],
    seekers: &[Seeker],
    mappings: &[Mapping],
    relay: &mut Relay,
) -> Result<Vec<Vec<Option<SocketAddrV4>>>> {
    let count = members.len();
    let mut secrets = vec![vec![ping::Secret::default(); count]; count];
    for (one, other) in pairs(count) {
        let secret = random();
        secrets[one][other] = secret;
        secrets[other][one] = secret;
    }
    let search = |number| Search { number, seekers, secrets: &secrets, switchboard: relay.switchboard() };

    let mut attempts = vec![vec![None; count]; count];
    for (one, other) in pairs(count) {
        for (from, to) in [(one, other), (other, one)] {
            let shared = shared_addresses(&members[from], &members[to]);
            attempts[from][to] = discovery::attempt(mappings[from], mappings[to], &shared, config.port);
        }
    }
    let direct = search(0).run(attempts, Instant::now() + PATIENCE).await;

    let mut ways = vec![vec![None; count]; count];
    let mut attempts = vec![vec![None; count]; count];
    let mut relayed = false;
    let datagram = config.mtu as usize + WIREGUARD_OVERHEAD;
    let search = search(1);
    for (one, other) in pairs(count) {
        match (direct[one][other], direct[other][one]) {
            (Found::At(there), Found::At(here)) => {
                ways[one][other] = Some(there);
                ways[other][one] = Some(here);
            }
            (Found::Nothing, _) | (_, Found::Nothing) => {}
            _ => {
                let ports = relay.join(datagram)?;
                for (from, to, port) in [(one, other, ports[0]), (other, one, ports[1])] {
                    attempts[from][to] = Some(Attempt { candidates: vec![port], learn: false, switchboard: false });
                }
                relayed = true;
            }
        }
    }
    if relayed {
        let found = search.run(attempts, Instant::now() + PATIENCE).await;
        for (one, other) in pairs(count) {
            for (from, to) in [(one, other), (other, one)] {
                if let Found::At(port) = found[from][to] {
                    ways[from][to] = Some(port);
                }
            }
        }
    }
    Ok(ways)
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (one + 1..count).map(move |other| (one, other)))
}

/// The addresses at which `to` is in a private network that `from` is in too.
fn shared_addresses(from: &Member, to: &Member) -> Vec<Ipv4Addr> {
    let shared = |local: &&Local| from.locals.iter().any(|own| own.network == local.network);
    to.locals.iter().filter(shared).map(|local| local.address).collect()
}

/// What each node is told about its peers.
fn peer_configs(members: &[Member], keys: &[Keys], endpoints: &[Vec<Option<SocketAddrV4>>]) -> Vec<Vec<PeerConfig>> {
    let of = |me: usize| {
        let peers = members.iter().zip(keys).enumerate().filter(move |(peer, _)| *peer != me);
        peers
            .map(|(peer, (member, keys))| PeerConfig {
                public: keys.public(),
                address: member.address,
                endpoint: endpoints[me][peer],
            })
            .collect()
    };
    (0..members.len()).map(of).collect()
}
