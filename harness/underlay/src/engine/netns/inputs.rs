//! What an agent sees of its node: read from the kernel, or foretold from the topology where nothing is built.

use std::net::Ipv4Addr;

use cilium::inputs::{Address, Link, NodeInputs, Peer, Route, flags};
use ipnet::{IpNet, Ipv4Net};
use lab::Namespace;
use lab::netlink::{LinkInfo, RouteInfo, table};
use topology::network::{Network, NicKind, Node};

use crate::case::Case;

/// tailscaled's routing table (tailscale, wgengine/router/router_linux.go).
const TAILSCALE_TABLE: u32 = 52;
/// Its resolver's address, which it routes to itself (tailscale, net/tsaddr).
const TAILSCALE_RESOLVER: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 100);
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_HOST: u8 = 254;
const LO: u32 = 1;

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

/// The agent's own address in its pods' range: the first. A real agent takes any that is free.
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
    let mut netlink = namespace.netlink()?;
    let links = netlink.links()?.into_iter().map(link).collect();
    let routes = netlink.routes()?.into_iter().map(route).collect();
    drop(netlink);
    Ok(NodeInputs { links, routes, ..frame(case, node) })
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
    prediction.link("lo", "device", 65536, flags::IFF_UP | flags::IFF_LOOPBACK, vec![0; 6]);
    prediction.address(LO, "127.0.0.1/8".parse().expect("an address"), SCOPE_HOST, true);
    for nic in &node.nics {
        let kind = match nic.kind {
            NicKind::Vcn(_) => "veth",
            NicKind::Bridge(_) => "bridge",
            NicKind::Bond(_) => "bond",
            NicKind::Dummy => "dummy",
        };
        let up = if nic.up { flags::IFF_UP } else { 0 };
        let index = prediction.link(&nic.name, kind, nic.mtu, up, vec![2; 6]);
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
            let slave = if matches!(nic.kind, NicKind::Bond(_)) { flags::IFF_SLAVE } else { 0 };
            if let Some(link) = prediction.links.iter_mut().find(|link| link.name == *member) {
                link.master = master;
                link.flags |= slave;
            }
        }
    }
    if let (Some(overlay), Some(address)) = (&case.network.overlay, node.overlay_address) {
        let kind = match overlay.backend {
            topology::network::OverlayBackend::Userspace => "tuntap",
            topology::network::OverlayBackend::Kernel => "wireguard",
        };
        let index = prediction.link(&overlay.interface, kind, overlay.mtu, flags::IFF_UP, Vec::new());
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

    /// An address brings its routes with it, as in the kernel: to itself in the local table, to its range in main.
    fn address(&mut self, index: u32, address: Ipv4Net, scope: u8, up: bool) {
        let link = &mut self.links[index as usize - 1];
        let secondary = link.addresses.iter().any(|other| match other.net {
            IpNet::V4(other) => other.prefix_len() == address.prefix_len() && other.contains(&address.addr()),
            IpNet::V6(_) => false,
        });
        link.addresses.push(Address { net: address.into(), secondary, scope });
        self.route(table::LOCAL, address.addr().into(), None, index);
        if scope == SCOPE_HOST {
            self.route(table::LOCAL, address.trunc(), None, index);
        } else if up && address.prefix_len() < 32 {
            self.route(table::MAIN, address.trunc(), None, index);
        }
    }

    fn route(&mut self, table: u32, destination: Ipv4Net, gateway: Option<Ipv4Addr>, link: u32) {
        self.routes.push(Route { table, destination: destination.into(), gateway: gateway.map(Into::into), link });
    }
}
