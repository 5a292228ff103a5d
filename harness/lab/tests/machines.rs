//! Machines that somebody else made: a lab plugs itself in, and leaves them as they were.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::machine::{MANAGEMENT, Management};
use lab::netlink::{LinkInfo, Route, RouteInfo, Rule, VethEnd, add_veth, table};
use lab::nft::{Chain, ChainType, Hook, Statement, Table};
use lab::overlay::{BYPASS_MARK, MARK_MASK};
use lab::{Lab, Machine, Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use topology::Network;

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what must not come is waited for; rules that drop are counted beside.
const SILENCE: Duration = Duration::from_millis(100);

const KEEPER: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
const ALLOWED_PORT: u16 = 6443;
const OTHER_PORT: u16 = 8472;
const ARP_IGNORE: &str = "/proc/sys/net/ipv4/conf/all/arp_ignore";
/// Other values than that of `all`, which writes them too.
const NO_IPV6: [&str; 2] =
    ["/proc/sys/net/ipv6/conf/default/disable_ipv6", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"];

fn main() {
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let trial = |name: &str, test: fn() -> futures::future::BoxFuture<'static, Result<(), Failed>>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || runtime.block_on(test())).with_ignored_flag(sandbox.is_err())
    };
    let tests = vec![
        trial("is_part_of_the_lab_and_then_as_it_was", || Box::pin(in_and_out())),
        trial("what_a_killed_lab_left_is_no_hindrance", || Box::pin(after_a_kill())),
        trial("a_link_of_its_own_with_a_name_of_the_labs_stays", || Box::pin(name_taken())),
        trial("its_programs_talk_to_themselves_by_ipv6_meanwhile", || Box::pin(loopback())),
        trial("its_own_interface_carries_what_is_allowed_and_nothing_else", || Box::pin(management())),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn network() -> Arc<Network> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/split-vcn.yaml");
    Arc::new(topology::load(&file).unwrap_or_else(|wrong| panic!("{wrong}")))
}

/// A container as somebody else's program makes it: `eth0` on a bridge of that program's, with the default route.
struct Container {
    keeper: Namespace,
    namespace: Namespace,
}

impl Container {
    fn start() -> Result<Self, Failed> {
        let made = std::thread::spawn(|| -> Result<Namespace, String> {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| errno.to_string())?;
            Namespace::open("master", Path::new("/proc/thread-self/ns/net")).map_err(|error| error.to_string())
        });
        let namespace = made.join().map_err(|_| "the thread should end")??;
        let keeper = Namespace::create("keeper", &Sysctls::HOST)?;
        add_veth(VethEnd::new(&keeper, "to-master", 1500), VethEnd::new(&namespace, "eth0", 1500))?;
        for (namespace, link, address) in [(&keeper, "to-master", KEEPER), (&namespace, "eth0", CONTAINER)] {
            let mut netlink = namespace.netlink()?;
            netlink.add_address(link, ipnet::Ipv4Net::new(address, 16)?)?;
            netlink.link_up(link)?;
        }
        namespace.netlink()?.link_up("lo")?;
        namespace.netlink()?.add_route(&Route::default_via(KEEPER, "eth0"))?;
        if Path::new(NO_IPV6[0]).exists() {
            namespace.enter(|| NO_IPV6.iter().try_for_each(|path| std::fs::write(path, "1")))??;
        }
        Ok(Self { keeper, namespace })
    }

    fn machines(&self) -> BTreeMap<String, Machine> {
        let allowed = [Statement::DestinationPort, Statement::SourcePort]
            .map(|port| vec![Statement::Protocol(17), port(ALLOWED_PORT)])
            .to_vec();
        let management = Some(Management { interface: "eth0".to_owned(), allowed });
        BTreeMap::from([("master".to_owned(), Machine { namespace: self.namespace.clone(), management })])
    }

    fn looks(&self) -> Result<Looks, Failed> {
        let mut netlink = self.namespace.netlink()?;
        let (links, mut routes) = (netlink.links()?, netlink.routes()?);
        drop(netlink);
        routes.retain(|route| matches!(route.destination, ipnet::IpNet::V4(_)));
        let sysctls = self
            .namespace
            .enter(|| [ARP_IGNORE, NO_IPV6[0], NO_IPV6[1]].map(|path| std::fs::read_to_string(path).ok()))?;
        Ok(Looks { links, routes, counters: self.namespace.nft_counters()?.len(), sysctls })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Looks {
    links: Vec<LinkInfo>,
    routes: Vec<RouteInfo>,
    counters: usize,
    /// None where the kernel has no such thing.
    sysctls: [Option<String>; 3],
}

async fn in_and_out() -> Result<(), Failed> {
    let container = Container::start()?;
    let before = container.looks()?;
    for _ in 0..2 {
        let lab = Lab::build_on(network(), container.machines()).await?;
        let (Some(master), Some(worker)) = (lab.node("master"), lab.node("worker")) else {
            return Err("both machines should be there".into());
        };
        let overlay = Ipv4Addr::new(100, 64, 0, 1);
        let seen = datagram(&worker.namespace, &master.namespace, overlay, OTHER_PORT, PATIENCE).await?;
        if seen != Some(Ipv4Addr::new(100, 64, 0, 2)) {
            return Err(
                format!("the machine should be reached over the overlay, by its peer's address: {seen:?}").into()
            );
        }
        let routes = container.looks()?.routes;
        let defaults = routes.iter().filter(|route| route.destination.prefix_len() == 0 && route.table == table::MAIN);
        let gateways: Vec<_> = defaults.map(|route| route.gateway).collect();
        if gateways != [Some(Ipv4Addr::new(10, 0, 0, 1).into())] {
            return Err(format!("the only default route should be the lab's: {gateways:?}").into());
        }
        drop(lab);
        let after = container.looks()?;
        if after != before {
            return Err(format!("it should be as it was\nbefore: {before:#?}\nafter: {after:#?}").into());
        }
    }
    // Refused where such a rule is there already.
    Ok(container.namespace.netlink()?.add_rule(&tailscaled_rule())?)
}

async fn after_a_kill() -> Result<(), Failed> {
    let container = Container::start()?;
    container.namespace.netlink()?.add_rule(&tailscaled_rule())?;
    let everything = Chain::base("FORWARD", ChainType::Filter, Hook::Input, 0).drop_rule("left", []);
    container.namespace.load_nft(&[Table::ipv4("tailscale-filter").chain(everything)])?;
    let lab = Lab::build_on(network(), container.machines()).await?;
    drop(lab);
    if container.looks()?.counters > 0 {
        return Err("rules an earlier lab left should be gone".into());
    }
    Ok(container.namespace.netlink()?.add_rule(&tailscaled_rule())?)
}

async fn name_taken() -> Result<(), Failed> {
    let container = Container::start()?;
    container.namespace.netlink()?.add_bridge("enp0s6", 1500)?;
    let before = container.looks()?;
    let error = match Lab::build_on(network(), container.machines()).await {
        Ok(_) => return Err("the lab can't have an interface whose name is taken".into()),
        Err(error) => error.to_string(),
    };
    if !error.contains("plug enp0s6 in") {
        return Err(format!("the error should name the interface: {error}").into());
    }
    let after = container.looks()?;
    if after == before { Ok(()) } else { Err(format!("before: {before:#?}\nafter: {after:#?}").into()) }
}

async fn loopback() -> Result<(), Failed> {
    let container = Container::start()?;
    let listen = || TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    let listener = match container.namespace.enter(listen)? {
        // A kernel without IPv6.
        Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => return Ok(()),
        other => other?,
    };
    let address = listener.local_addr()?;
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    let mut before = container.namespace.enter(connect)??;
    let (mut own_end, _) = listener.accept()?;
    let lab = Lab::build_on(network(), container.machines()).await?;
    own_end.set_read_timeout(Some(PATIENCE))?;
    before.write_all(b"still there")?;
    own_end.read_exact(&mut [0; 11])?;
    container.namespace.enter(connect)??;
    drop(lab);
    container.namespace.enter(connect)??;
    Ok(())
}

async fn management() -> Result<(), Failed> {
    let container = Container::start()?;
    let lab = Lab::build_on(network(), container.machines()).await?;
    let (keeper, machine) = (&container.keeper, &container.namespace);
    let seen = datagram(keeper, machine, CONTAINER, ALLOWED_PORT, PATIENCE).await?;
    if seen != Some(KEEPER) {
        return Err(format!("what is allowed should pass: {seen:?}").into());
    }
    for (from, to, address) in [(keeper, machine, CONTAINER), (machine, keeper, KEEPER)] {
        if datagram(from, to, address, OTHER_PORT, SILENCE).await?.is_some() {
            return Err(format!("nothing else should pass from {} to {}", from.name(), to.name()).into());
        }
    }
    let counters = machine.nft_counters()?;
    let dropped: u64 =
        counters.iter().filter(|counter| counter.rule == MANAGEMENT).map(|counter| counter.packets).sum();
    drop(lab);
    if dropped == 2 { Ok(()) } else { Err(format!("both should be counted, and nothing else: {dropped}").into()) }
}

/// The first of tailscaled's.
fn tailscaled_rule() -> Rule {
    Rule { priority: 5210, mark: Some((BYPASS_MARK, MARK_MASK)), table: Some(table::MAIN), ..Rule::default() }
}

/// From which address a datagram came, if it did.
async fn datagram(
    from: &Namespace,
    to: &Namespace,
    address: Ipv4Addr,
    port: u16,
    patience: Duration,
) -> Result<Option<Ipv4Addr>, Failed> {
    let receiver: UdpSocket = to.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), None)?;
    let sender = from.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None)?;
    // A rule at the sender's own end refuses aloud.
    if sender.send_to(b"hello", SocketAddrV4::new(address, port)).await.is_err() {
        return Ok(None);
    }
    let received = timeout(patience, receiver.recv_from(&mut [0; 16])).await;
    Ok(received.ok().and_then(Result::ok).and_then(|(_, source)| match source.ip() {
        std::net::IpAddr::V4(source) => Some(source),
        std::net::IpAddr::V6(_) => None,
    }))
}
