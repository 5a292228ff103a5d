//! Three namespaces in a row: a client, a router, a server that answers as an internet would.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::time::Duration;

use lab::internet::Internet;
use lab::netlink::{Neighbour, Route, RouteKind, Scope, VethEnd, add_veth};
use lab::{Namespace, Sysctls};
use libtest_mimic::Failed;
use probe::deathwatch::{Cause, Death, Deathwatch, NoDeathwatch, Watch};
use probe::mark::Mark;
use probe::{Evidence, Probe};
use topology::network::{Internet as Hosts, InternetHost, InternetService};

pub(crate) type Verdict = Result<(), Failed>;

/// The client's address and its router's on the first link, the router's and the server's on the second.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const FAR_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// The router believes that it knows this one's hardware address.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 3);

/// The server's hosts.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
pub(crate) const IPIFY: Ipv4Addr = Ipv4Addr::new(104, 26, 12, 205);
pub(crate) const MIRROR: Ipv4Addr = Ipv4Addr::new(151, 101, 2, 132);

/// The router answers for this address that there is no way.
pub(crate) const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Packets to this address are swallowed: the router sends them to a hardware address that nobody has.
pub(crate) const SWALLOWED: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
/// Packets to this address go to and fro between router and server.
pub(crate) const LOOPED: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// The client's own routing table refuses this address.
pub(crate) const REFUSED_AT_HOME: Ipv4Addr = Ipv4Addr::new(10, 6, 0, 1);
/// The client's route to this address, which the server has, has an MTU of 1230.
pub(crate) const NARROW_AT_HOME: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);

/// Long enough for anything that comes.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// For what doesn't come.
pub(crate) const SHORT: Duration = Duration::from_millis(120);

/// MTU of the first link and of the second.
const MTU: u32 = 1500;
pub(crate) const NARROW: u32 = 1280;

pub(crate) struct World {
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
    pub(crate) internet: Internet,
}

fn net(address: Ipv4Addr, prefix: u8) -> ipnet::Ipv4Net {
    ipnet::Ipv4Net::new(address, prefix).expect("a prefix length")
}

impl World {
    pub(crate) async fn new() -> lab::Result<Self> {
        let client = Namespace::create("client", &Sysctls::HOST)?;
        let router = Namespace::create("router", &Sysctls::ROUTER)?;
        let server = Namespace::create("server", &Sysctls::ROUTER)?;
        let mac = |last| [2, 0, 0, 0, 0, last];
        let end = |namespace, name, mtu, last| VethEnd { mac: Some(mac(last)), ..VethEnd::new(namespace, name, mtu) };
        add_veth(end(&client, "eth0", MTU, 1), end(&router, "near", MTU, 2))?;
        add_veth(end(&router, "far", NARROW, 3), end(&server, "eth0", NARROW, 4))?;
        for (namespace, link, address) in [
            (&client, "eth0", CLIENT),
            (&router, "near", ROUTER),
            (&router, "far", FAR_ROUTER),
            (&server, "eth0", SERVER),
        ] {
            let mut netlink = namespace.netlink()?;
            netlink.add_address(link, net(address, 24))?;
            netlink.link_up(link)?;
        }
        let unreachable = |destination| Route {
            device: None,
            kind: RouteKind::Unreachable,
            scope: Scope::Universe,
            ..Route::through(destination, "")
        };
        client.netlink()?.add_route(&Route::default_via(ROUTER, "eth0"))?;
        client.netlink()?.add_route(&unreachable(net(REFUSED_AT_HOME, 32)))?;
        let narrow = Route::through(net(NARROW_AT_HOME, 32), "eth0").via(ROUTER);
        client.netlink()?.add_route(&Route { mtu: Some(1230), ..narrow })?;
        let mut netlink = router.netlink()?;
        netlink.add_neighbour("far", Neighbour { address: SERVER, mac: mac(4) })?;
        netlink.add_route(&Route::default_via(SERVER, "far"))?;
        netlink.add_route(&unreachable(net(FORBIDDEN, 32)))?;
        netlink.add_neighbour("far", Neighbour { address: NOBODY, mac: mac(5) })?;
        netlink.add_route(&Route::through(net(SWALLOWED, 32), "far").via(NOBODY))?;
        drop(netlink);
        server.netlink()?.add_address("lo", net(NARROW_AT_HOME, 32))?;
        server.netlink()?.add_route(&Route::default_via(FAR_ROUTER, "eth0"))?;
        for (namespace, link) in [(&client, "eth0"), (&router, "near"), (&router, "far"), (&server, "eth0")] {
            namespace.operational(link, LONG).await?;
        }
        let internet = Internet::start(&server, &hosts())?;
        Ok(Self { client, router, server, internet })
    }

    /// Sends a probe from the client without anybody watching.
    pub(crate) async fn run(&self, probe: &Probe, deadline: Duration) -> Evidence {
        probe::run(probe, &self.client, deadline, &NoDeathwatch).await
    }
}

fn hosts() -> Hosts {
    let host = |name: &str, address, serves: &[InternetService]| InternetHost {
        name: name.to_owned(),
        address,
        serves: serves.to_vec(),
    };
    Hosts {
        hosts: vec![
            host("dns.google", RESOLVER, &[InternetService::Dns]),
            host("api.ipify.org", IPIFY, &[InternetService::Https]),
            host("deb.debian.org", MIRROR, &[InternetService::Http]),
        ],
    }
}

pub(crate) fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

/// Says of every mark at once that it is dead.
pub(crate) struct Grim;

pub(crate) fn death() -> Death {
    Death {
        answer: false,
        namespace: "router".to_owned(),
        interface: Some("near".to_owned()),
        cause: Cause::NoNeighbour(SWALLOWED),
        detail: String::new(),
    }
}

impl Deathwatch for Grim {
    fn watch(&self, _mark: Mark) -> Watch<'_> {
        Box::pin(std::future::ready(death()))
    }
}

/// Fails with what was expected, why, and what was found.
pub(crate) fn expect(holds: bool, why: &str, evidence: &Evidence) -> Verdict {
    if holds { Ok(()) } else { Err(format!("{why}; found {evidence:?}").into()) }
}

/// A test, given a world of its own.
type Test = Box<dyn FnOnce(World) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send>;

/// A test by its name.
pub(crate) type Named = (&'static str, Test);

pub(crate) fn trial<F>(name: &'static str, test: fn(World) -> F) -> Named
where
    F: Future<Output = Verdict> + Send + 'static,
{
    (name, Box::new(move |world| Box::pin(test(world))))
}
