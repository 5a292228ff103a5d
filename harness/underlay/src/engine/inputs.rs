//! What an agent sees of its node: read from the kernel, or foretold from the topology where nothing is built.

use std::net::Ipv4Addr;

use cilium::inputs::{Address, Link, NodeInputs, Peer, Route, flags};
use ipnet::{IpNet, Ipv4Net};
use lab::Namespace;
use lab::netlink::{LinkInfo, RouteInfo, table};
use topology::network::{Network, NicKind, Node, OverlayBackend};

use crate::case::Case;

/// tailscaled's routing table (tailscale, wgengine/router/router_linux.go).
const TAILSCALE_TABLE: u32 = 52;
/// Its resolver's address, which it routes to itself (tailscale, net/tsaddr).
const TAILSCALE_RESOLVER: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 100);
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_HOST: u8 = 254;
const LO: u32 = 1;
/// Flags beside those the model reads (linux/if.h); reasons quote all of them.
const IFF_BROADCAST: u32 = 0x2;
const IFF_POINTOPOINT: u32 = 0x10;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;
const IFF_MASTER: u32 = 0x400;
const IFF_MULTICAST: u32 = 0x1000;
const IFF_LOWER_UP: u32 = 0x1_0000;
/// Of a link that is up and has a carrier.
const RUNNING: u32 = flags::IFF_UP | IFF_RUNNING | IFF_LOWER_UP;

/// The node's index among the cluster's nodes, which decides its pods' range.
///
/// # Panics
/// The node is none of the cluster's.
pub fn node_index(network: &Network, node: &str) -> usize {
    network.cluster_nodes().position(|other| other.name == node).expect("a node of the cluster")
}

/// What is the same however the links are known.
fn frame(case: &Case, node: &Node) -> NodeInputs {
    let pod_cidr = case.cluster.node_pod_cidr(node_index(&case.network, &node.name));
    NodeInputs {
        name: node.name.clone(),
        links: Vec::new(),
        routes: Vec::new(),
        internal_ip: case.cluster.node_ips.get(&node.name).copied(),
        external_ip: None,
        pod_cidr,
        router_ip: router_ip(pod_cidr),
        peers: Vec::new(),
    }
}

/// The agent's own address in its pods' range: the first. A real agent takes any that is free, where none ran before.
pub fn router_ip(pod_cidr: Ipv4Net) -> Ipv4Addr {
    (u32::from(pod_cidr.network()) + 1).into()
}

/// The other nodes as CiliumNode objects show them; `node_ips` as their own agents decided.
pub fn peers(case: &Case, node: &str, node_ips: &[(String, Ipv4Addr)]) -> Vec<Peer> {
    node_ips
        .iter()
        .filter(|(name, _)| name != node)
        .map(|(name, node_ip)| Peer {
            name: name.clone(),
            node_ip: *node_ip,
            pod_cidr: case.cluster.node_pod_cidr(node_index(&case.network, name)),
        })
        .collect()
}

/// Reads the node's links, addresses and routes from the kernel.
///
/// # Errors
/// The kernel's answer.
pub fn read(case: &Case, node: &Node, namespace: &Namespace) -> lab::Result<NodeInputs> {
    let (links, routes) = seen(namespace)?;
    Ok(NodeInputs { links, routes, ..frame(case, node) })
}

/// A namespace's links with their addresses, and its routes of all tables, as an agent there sees them.
///
/// # Errors
/// The kernel's answer.
pub fn seen(namespace: &Namespace) -> lab::Result<(Vec<Link>, Vec<Route>)> {
    let mut netlink = namespace.netlink()?;
    let links = netlink.links()?.into_iter().map(link).collect();
    let routes = netlink.routes()?.into_iter().map(route).collect();
    Ok((links, routes))
}

fn link(info: LinkInfo) -> Link {
    Link {
        index: info.index,
        name: info.name,
        mtu: info.mtu,
        flags: info.flags,
        // vishvananda/netlink, which Cilium uses, calls a TUN "tuntap" and hardware "device".
        kind: match info.kind.as_deref() {
            Some("tun") => "tuntap".to_owned(),
            Some(kind) => kind.to_owned(),
            None => "device".to_owned(),
        },
        master: info.controller,
        hardware_address: info.mac,
        addresses: info
            .addresses
            .into_iter()
            .map(|address| Address { net: address.net, secondary: address.secondary, scope: address.scope })
            .collect(),
    }
}

fn route(info: RouteInfo) -> Route {
    Route { table: info.table, destination: info.destination, gateway: info.gateway, link: info.link }
}

/// Foretells what [`read`] would find once the topology is built: for plans without a kernel. A test holds the two
/// against each other.
pub fn predict(case: &Case, node: &Node) -> NodeInputs {
    let mut inputs = frame(case, node);
    let mut prediction = Prediction::default();
    prediction.link("lo", "device", 65536, RUNNING | flags::IFF_LOOPBACK, vec![0; 6]);
    prediction.address(LO, "127.0.0.1/8".parse().expect("an address"), SCOPE_HOST, true);
    for nic in &node.nics {
        // The flags each driver gives its devices at birth: ether_setup, bond_setup, dummy_setup.
        let (kind, born) = match &nic.kind {
            NicKind::Vcn(_) => ("veth", IFF_BROADCAST | IFF_MULTICAST),
            NicKind::Bridge(_) => ("bridge", IFF_BROADCAST | IFF_MULTICAST),
            NicKind::Bond(_) => ("bond", IFF_BROADCAST | IFF_MULTICAST | IFF_MASTER),
            NicKind::Dummy => ("dummy", IFF_BROADCAST | IFF_NOARP),
        };
        let carrier = !matches!(&nic.kind, NicKind::Bridge(members) | NicKind::Bond(members) if members.is_empty());
        let up = match nic.up {
            true if carrier => RUNNING,
            true => flags::IFF_UP,
            false => 0,
        };
        let index = prediction.link(&nic.name, kind, nic.mtu, born | up, vec![2; 6]);
        for address in &nic.addresses {
            prediction.address(index, *address, SCOPE_GLOBAL, nic.up);
        }
        if let (Some(gateway), true) = (nic.default_route, nic.up) {
            prediction.route(table::MAIN, Ipv4Net::default(), Some(gateway), index);
        }
    }
    for nic in &node.nics {
        let (NicKind::Bridge(members) | NicKind::Bond(members)) = &nic.kind else { continue };
        let master = prediction.index_of(&nic.name);
        for member in members {
            let Some(link) = prediction.links.iter_mut().find(|link| link.name == *member) else { continue };
            link.master = master;
            if matches!(nic.kind, NicKind::Bond(_)) {
                // A bond sets its members up and gives them its MTU (drivers/net/bonding/bond_main.c, bond_enslave).
                link.flags |= flags::IFF_SLAVE | RUNNING;
                link.mtu = nic.mtu;
            }
        }
    }
    if let (Some(overlay), Some(address)) = (&case.network.overlay, node.overlay_address) {
        // drivers/net/tun.c, tun_net_initialize; drivers/net/wireguard/device.c, wg_setup.
        let (kind, born) = match overlay.backend {
            OverlayBackend::Userspace => ("tuntap", IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST),
            OverlayBackend::Kernel => ("wireguard", IFF_POINTOPOINT | IFF_NOARP),
        };
        let index = prediction.link(&overlay.interface, kind, overlay.mtu, born | RUNNING, Vec::new());
        prediction.address(index, address.into(), SCOPE_GLOBAL, true);
        if overlay.policy_routing {
            let peers = case.network.nodes.iter().filter(|other| other.name != node.name);
            for peer in peers.filter_map(|other| other.overlay_address) {
                prediction.route(TAILSCALE_TABLE, peer.into(), None, index);
            }
            prediction.route(TAILSCALE_TABLE, TAILSCALE_RESOLVER.into(), None, index);
        } else {
            prediction.route(table::MAIN, overlay.cidr, None, index);
        }
    }
    (inputs.links, inputs.routes) = (prediction.links, prediction.routes);
    inputs
}

#[derive(Default)]
struct Prediction {
    links: Vec<Link>,
    routes: Vec<Route>,
}

impl Prediction {
    fn link(&mut self, name: &str, kind: &str, mtu: u32, flags: u32, hardware_address: Vec<u8>) -> u32 {
        let index = self.links.len() as u32 + 1;
        self.links.push(Link {
            index,
            name: name.to_owned(),
            mtu,
            flags,
            kind: kind.to_owned(),
            master: None,
            hardware_address,
            addresses: Vec::new(),
        });
        index
    }

    fn index_of(&self, name: &str) -> Option<u32> {
        self.links.iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// An address brings its routes with it, as in the kernel (net/ipv4/fib_frontend.c, `fib_add_ifaddr`): to itself in
    /// the local table, to its range in main, and to the range's broadcast address in the local table.
    fn address(&mut self, index: u32, address: Ipv4Net, scope: u8, up: bool) {
        let link = &mut self.links[index as usize - 1];
        let secondary = link.addresses.iter().any(|other| match other.net {
            IpNet::V4(other) => other.prefix_len() == address.prefix_len() && other.contains(&address.addr()),
            IpNet::V6(_) => false,
        });
        link.addresses.push(Address { net: address.into(), secondary, scope });
        self.route(table::LOCAL, address.addr().into(), None, index);
        if !up || secondary || address.prefix_len() == 32 {
            return;
        }
        let ranges = if scope == SCOPE_HOST { table::LOCAL } else { table::MAIN };
        self.route(ranges, address.trunc(), None, index);
        if address.prefix_len() < 31 {
            self.route(table::LOCAL, address.broadcast().into(), None, index);
        }
    }

    fn route(&mut self, table: u32, destination: Ipv4Net, gateway: Option<Ipv4Addr>, link: u32) {
        self.routes.push(Route { table, destination: destination.into(), gateway: gateway.map(Into::into), link });
    }
}
