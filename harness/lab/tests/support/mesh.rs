//! Nodes around an internet, by hand: what an overlay needs beneath it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::cell::Cell;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use ipnet::Ipv4Net;
use lab::drops::{DropLog, Dropped};
use lab::netlink::{Route, VethEnd, add_veth};
use lab::nft::{Chain, ChainType, ConntrackState, Hook, Statement, Table};
use lab::overlay::{Local, Member, Overlay};
use lab::{Capability, Namespace, Sysctls};
use libtest_mimic::{Arguments, Trial};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use tokio::runtime::Runtime;
use topology::network::{Overlay as Config, OverlayBackend};

/// How long a test waits for what must come. Nothing is expected to take as long.
pub const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    /// Who encrypts in the test on this thread.
    static BACKEND: Cell<OverlayBackend> = const { Cell::new(OverlayBackend::Userspace) };
}

/// tailscaled's defaults.
pub fn config() -> Config {
    Config {
        cidr: Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
        interface: "tailscale0".to_owned(),
        mtu: 1280,
        policy_routing: true,
        backend: BACKEND.get(),
        port: 41641,
    }
}

/// The internet with its machines.
pub struct World {
    pub internet: Namespace,
    pub log: DropLog,
    pub members: Vec<Member>,
    networks: u8,
    gateways: Vec<Namespace>,
}

/// What a gateway does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// One public address, ports kept, only answers let in.
    Easy,
    /// One public address, another random port for each flow, only answers let in.
    Hard,
    /// Lets nothing out.
    Closed,
}

impl World {
    pub fn new() -> Self {
        let internet = Namespace::create("internet", &Sysctls::ROUTER).expect("an internet");
        Self { internet, log: DropLog::default(), members: Vec::new(), networks: 0, gateways: Vec::new() }
    }

    /// A link from the internet: its own address there, and the other end's.
    fn uplink(&mut self, namespace: &Namespace, interface: &str) -> Ipv4Addr {
        self.networks += 1;
        let (here, there) = (Ipv4Addr::new(198, 51, self.networks, 1), Ipv4Addr::new(198, 51, self.networks, 2));
        let link = format!("to{}", self.networks);
        plug((&self.internet, &link, here), (namespace, interface, there));
        namespace.netlink().expect("netlink").add_route(&Route::default_via(here, interface)).expect("default route");
        there
    }

    /// A node with a public address.
    pub fn public_node(&mut self, name: &str) -> Ipv4Addr {
        let namespace = Namespace::create(name, &Sysctls::HOST).expect("a node");
        let address = self.uplink(&namespace, "enp0s6");
        self.join(name, namespace, Vec::new());
        address
    }

    /// Nodes behind a gateway, all in the range 10.0.0.0/24; returns the gateway's public address.
    pub fn private_nodes(&mut self, network: &str, kind: Gateway, names: &[&str]) -> Ipv4Addr {
        let gateway = Namespace::create(network, &Sysctls::ROUTER).expect("a gateway");
        let public = self.uplink(&gateway, "wan");
        gateway.netlink().expect("netlink").add_bridge("lan", 1500).expect("a bridge");
        let router = Ipv4Addr::new(10, 0, 0, 1);
        for (index, name) in names.iter().enumerate() {
            let namespace = Namespace::create(*name, &Sysctls::HOST).expect("a node");
            let port = format!("lan{index}");
            add_veth(VethEnd::new(&gateway, &port, 1500), VethEnd::new(&namespace, "enp0s6", 1500)).expect("a link");
            let mut netlink = gateway.netlink().expect("netlink");
            netlink.set_controller(&port, "lan").expect("a bridge port");
            netlink.link_up(&port).expect("up");
            drop(netlink);
            let address = Ipv4Addr::new(10, 0, 0, 10 + index as u8);
            let mut netlink = namespace.netlink().expect("netlink");
            netlink.add_address("enp0s6", Ipv4Net::new_assert(address, 24)).expect("an address");
            netlink.link_up("enp0s6").expect("up");
            netlink.add_route(&Route::default_via(router, "enp0s6")).expect("default route");
            drop(netlink);
            self.join(name, namespace, vec![Local { network: network.to_owned(), address }]);
        }
        let mut netlink = gateway.netlink().expect("netlink");
        netlink.add_address("lan", Ipv4Net::new_assert(router, 24)).expect("an address");
        netlink.link_up("lan").expect("up");
        drop(netlink);

        let lan = || Statement::Input("lan".to_owned());
        let answers = Statement::Conntrack(ConntrackState::ESTABLISHED.or(ConntrackState::RELATED));
        let drop_all =
            |name| Chain::base(name, ChainType::Filter, if name == "input" { Hook::Input } else { Hook::Forward }, 0);
        let forward = match kind {
            Gateway::Closed => drop_all("forward").rule([Statement::Drop]),
            Gateway::Easy | Gateway::Hard => drop_all("forward")
                .rule([lan(), Statement::Accept])
                .rule([answers.clone(), Statement::Accept])
                .rule([Statement::Drop]),
        };
        let input = drop_all("input")
            .rule([lan(), Statement::Accept])
            .rule([answers, Statement::Accept])
            .rule([Statement::Drop]);
        let nat = Chain::base("nat", ChainType::Nat, Hook::Postrouting, 100)
            .rule([Statement::Output("wan".to_owned()), Statement::Snat { to: public, random: kind == Gateway::Hard }]);
        let table = Table::ipv4("gateway").chain(forward).chain(input).chain(nat);
        gateway.load_nft(&[table]).expect("nftables");
        self.gateways.push(gateway);
        public
    }

    fn join(&mut self, name: &str, namespace: Namespace, locals: Vec<Local>) {
        let address = Ipv4Addr::new(100, 64, 0, 1 + self.members.len() as u8);
        self.members.push(Member { node: name.to_owned(), namespace, address, locals });
    }

    pub async fn start(&self, config: &Config) -> Overlay {
        Overlay::start(config, self.members.clone(), &self.internet, self.log.clone()).await.expect("an overlay")
    }

    /// An overlay in which every pair can talk.
    pub async fn start_ready(&self, config: &Config) -> Overlay {
        let overlay = self.start(config).await;
        overlay.ready(PATIENCE).await.expect("all handshakes");
        overlay
    }
}

fn plug(near: (&Namespace, &str, Ipv4Addr), far: (&Namespace, &str, Ipv4Addr)) {
    add_veth(VethEnd::new(near.0, near.1, 1500), VethEnd::new(far.0, far.1, 1500)).expect("a link");
    for (namespace, interface, address) in [near, far] {
        let mut netlink = namespace.netlink().expect("netlink");
        netlink.add_address(interface, Ipv4Net::new_assert(address, 24)).expect("an address");
        netlink.link_up(interface).expect("up");
    }
}

/// Sends a text over the overlay and back.
pub async fn talk(from: &Member, to: &Member, text: &str) -> Result<(), String> {
    let server = to.namespace.udp(SocketAddrV4::new(to.address, 7000), None).map_err(|error| error.to_string())?;
    let client = from.namespace.udp(SocketAddrV4::new(from.address, 0), None).map_err(|error| error.to_string())?;
    let exchange = async {
        let mut buffer = [0; 2048];
        client.send_to(text.as_bytes(), SocketAddrV4::new(to.address, 7000)).await?;
        let (length, peer) = server.recv_from(&mut buffer).await?;
        assert_eq!(peer.ip(), from.address, "the overlay translates no addresses");
        server.send_to(&buffer[..length], peer).await?;
        let (length, _) = client.recv_from(&mut buffer).await?;
        assert_eq!(&buffer[..length], text.as_bytes(), "the text as it was sent");
        std::io::Result::Ok(())
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{} got no answer from {}", from.node, to.node)),
    }
}

/// The first drop that `wanted` picks.
pub async fn drop_of(
    drops: &mut tokio::sync::broadcast::Receiver<Dropped>,
    wanted: impl Fn(&Dropped) -> bool,
) -> Dropped {
    let search = async {
        loop {
            let dropped = drops.recv().await.expect("the log is open and read in time");
            if wanted(&dropped) {
                return dropped;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the drop is reported")
}

/// Sees every frame in a namespace from now on.
pub struct Tap(OwnedFd);

impl Tap {
    pub fn open(namespace: &Namespace) -> Self {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
        Self(namespace.enter(open).expect("inside").expect("a packet socket"))
    }

    /// The frames seen so far.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        use std::os::fd::AsRawFd;
        let mut frames = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }
}

/// UDP datagrams in an Ethernet frame: source, destination and ports.
pub fn udp(frame: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 15) * 4;
    if frame[12..14] != [8, 0] || packet.get(9) != Some(&17) {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    Some((SocketAddrV4::new(address(12)?, port(header)?), SocketAddrV4::new(address(16)?, port(header + 2)?)))
}

/// The runtime all tests share, as all labs of a process do.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// A test on the shared runtime, encrypted in user space.
pub fn trial<F>(name: &str, missing: Option<&str>, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    trial_by(OverlayBackend::Userspace, name, missing, test)
}

/// The same test, encrypted by the kernel. [`no_wireguard`] says what is missing.
pub fn by_kernel<F>(name: &str, missing: Option<&str>, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    trial_by(OverlayBackend::Kernel, &format!("by the kernel: {name}"), missing, test)
}

fn trial_by<F>(
    backend: OverlayBackend,
    name: &str,
    missing: Option<&str>,
    test: impl FnOnce() -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    let name = missing.map_or(name.to_owned(), |reason| format!("{name} (skipped: {reason})"));
    Trial::test(name, move || {
        BACKEND.set(backend);
        runtime().block_on(test());
        Ok(())
    })
    .with_ignored_flag(missing.is_some())
}

/// What keeps the kernel from encrypting here. Call it in the sandbox.
pub fn no_wireguard() -> Option<String> {
    let tried = runtime().block_on(lab::doctor::try_one(Capability::Wireguard));
    tried.err().map(|missing| format!("{}: {}", missing.capability, missing.reason))
}

/// Enters the sandbox and runs the tests that `tests` gives; it is told what the host lacks. Call it first in `main`.
pub fn run(threads: Option<usize>, tests: impl FnOnce(Option<&str>) -> Vec<Trial>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = threads.or(arguments.test_threads);
    let missing = match lab::sandbox::enter() {
        Err(missing) => Some(missing.to_string()),
        Ok(_) => OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .err()
            .map(|error| format!("/dev/net/tun: {error}")),
    };
    libtest_mimic::run(&arguments, tests(missing.as_deref())).exit();
}
