//! Nodes for tests: what the kernel would show of them.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its own part")]

use std::net::{IpAddr, Ipv4Addr};

use cilium::inputs::{Address, Link, NodeInputs, Peer, Route, flags};
use cilium::{AgentConfig, Decisions, FatalError, Model, Values, Version};
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

pub const MAIN: u32 = 254;
pub const LOCAL: u32 = 255;
pub const TAILSCALE: u32 = 52;
const BROADCAST: u32 = 0x2;
const NOARP: u32 = 0x80;
const RUNNING: u32 = 0x40;
const POINT_TO_POINT: u32 = 0x10;
const MULTICAST: u32 = 0x1000;

/// A node under construction, with `lo`.
#[derive(Clone)]
pub struct Builder(pub NodeInputs);

impl Builder {
    pub fn new() -> Self {
        let mut builder = Self(NodeInputs {
            name: "master".to_owned(),
            links: Vec::new(),
            routes: Vec::new(),
            internal_ip: None,
            external_ip: None,
            pod_cidr: net("10.244.0.0/24"),
            router_ip: ip("10.244.0.244"),
            peers: Vec::new(),
        });
        builder.add("lo", "device", 65536, flags::IFF_UP | flags::IFF_LOOPBACK, &["127.0.0.1/8"]);
        builder
    }

    /// Adds a link that is up.
    pub fn up(mut self, name: &str, kind: &str, mtu: u32, addresses: &[&str]) -> Self {
        self.add(name, kind, mtu, flags::IFF_UP | RUNNING | kind_flags(kind), addresses);
        self
    }

    /// Adds a link that is down.
    pub fn down(mut self, name: &str, kind: &str, mtu: u32, addresses: &[&str]) -> Self {
        self.add(name, kind, mtu, kind_flags(kind), addresses);
        self
    }

    /// Puts a link under a master.
    pub fn enslave(mut self, name: &str, master: &str) -> Self {
        let index = self.index(master);
        let bond = self.0.link_named(master).is_some_and(|link| link.kind == "bond");
        let link = self.0.links.iter_mut().find(|link| link.name == name).expect("the link exists");
        link.master = Some(index);
        if bond {
            link.flags |= flags::IFF_SLAVE;
        }
        self
    }

    pub fn route(mut self, table: u32, destination: &str, via: Option<&str>, device: &str) -> Self {
        let destination = if destination == "default" { "0.0.0.0/0" } else { destination };
        let link = self.index(device);
        let gateway = via.map(|via| via.parse().expect("an address"));
        self.0.routes.push(Route { table, destination: destination.parse().expect("a net"), gateway, link });
        self
    }

    pub fn node_ip(mut self, address: &str) -> Self {
        self.0.internal_ip = Some(ip(address));
        self
    }

    pub fn peer(mut self, name: &str, node_ip: &str, pods: &str) -> Self {
        self.0.peers.push(Peer { name: name.to_owned(), node_ip: ip(node_ip), pod_cidr: net(pods) });
        self
    }

    pub fn build(self) -> NodeInputs {
        self.0
    }

    fn index(&self, name: &str) -> u32 {
        self.0.link_named(name).unwrap_or_else(|| panic!("no link {name}")).index
    }

    /// Adds a link with the routes the kernel makes of its addresses: the address itself in table local at any time,
    /// its network in table main while the link is up.
    fn add(&mut self, name: &str, kind: &str, mtu: u32, flags: u32, addresses: &[&str]) {
        let index = u32::try_from(self.0.links.len()).expect("few links") + 1;
        let layer3 = kind == "tuntap" || kind == "wireguard";
        let mut link = Link {
            index,
            name: name.to_owned(),
            mtu,
            flags,
            kind: kind.to_owned(),
            master: None,
            hardware_address: if layer3 { Vec::new() } else { vec![2, 0, 0, 0, 0, index.to_le_bytes()[0]] },
            addresses: Vec::new(),
        };
        for (position, address) in addresses.iter().enumerate() {
            let net: IpNet = address.parse().expect("an address");
            let loopback = net.addr().is_loopback();
            // A second address of the same network is secondary.
            let secondary = addresses[..position]
                .iter()
                .any(|earlier| earlier.parse::<IpNet>().is_ok_and(|earlier| earlier.trunc() == net.trunc()));
            link.addresses.push(Address { net, secondary, scope: if loopback { 254 } else { 0 } });
            let host = IpNet::new(net.addr(), net.max_prefix_len()).expect("a host net");
            let mut route = |table, destination| {
                self.0.routes.push(Route { table, destination, gateway: None, link: index });
            };
            route(LOCAL, host);
            if flags & flags::IFF_UP != 0 && net.prefix_len() < net.max_prefix_len() {
                route(if loopback { LOCAL } else { MAIN }, net.trunc());
            }
        }
        self.0.links.push(link);
    }
}

fn kind_flags(kind: &str) -> u32 {
    match kind {
        "tuntap" | "wireguard" => POINT_TO_POINT | NOARP,
        "dummy" => BROADCAST | NOARP,
        _ => BROADCAST | MULTICAST,
    }
}

pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an IPv4 address")
}

pub fn net(text: &str) -> Ipv4Net {
    text.parse().expect("an IPv4 network")
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A typical node: the guide's master, with a NIC in the cloud's network, tailscaled's TUN, and what Cilium makes of
/// it. `node_ip` is kubelet's; the peer has its like.
pub fn master(node_ip: &str) -> NodeInputs {
    let peer = if node_ip.starts_with("100.") { "100.64.0.2" } else { "10.0.0.24" };
    Builder::new()
        .up("enp0s6", "veth", 9000, &["10.0.0.239/24"])
        .up("tailscale0", "tuntap", 1280, &["100.64.0.1/32"])
        .route(MAIN, "default", Some("10.0.0.1"), "enp0s6")
        .route(TAILSCALE, "100.64.0.2/32", None, "tailscale0")
        .up("cilium_net", "veth", 1500, &[])
        .up("cilium_host", "veth", 1500, &["10.244.0.244/32"])
        .up("cilium_vxlan", "vxlan", 1500, &[])
        .up("lxc12345", "veth", 1500, &[])
        .node_ip(node_ip)
        .peer("worker", peer, "10.244.1.0/24")
        .build()
}

/// The guide's values (its §2).
pub fn guide_values() -> Values {
    values(json!({
        "routingMode": "tunnel",
        "tunnelProtocol": "vxlan",
        "kubeProxyReplacement": true,
        "bpf": {"masquerade": true},
        "enableIPv4Masquerade": true,
        "autoDirectNodeRoutes": false,
    }))
}

pub fn values(tree: Value) -> Values {
    match tree {
        Value::Object(map) => Values::from(map),
        other => panic!("not a map: {other}"),
    }
}

pub fn version(text: &str) -> Version {
    Version::parse(text).expect("a known version")
}

/// The configuration of the guide's values with more on top.
pub fn config(version_text: &str, more: Value) -> AgentConfig {
    let mut all = guide_values();
    all.merge(&values(more));
    AgentConfig::from_values(&version(version_text), &all).expect("readable values")
}

pub fn decide(version_text: &str, more: Value, node: &NodeInputs) -> Result<Decisions, FatalError> {
    Model::Cilium.decide(&version(version_text), &config(version_text, more), node)
}

pub fn decided(version_text: &str, more: Value, node: &NodeInputs) -> Decisions {
    decide(version_text, more, node).expect("the agent lives")
}

pub fn names(decisions: &Decisions) -> Vec<&str> {
    decisions.devices.iter().map(|device| device.name.as_str()).collect()
}

pub fn reason<'a>(decisions: &'a Decisions, name: &str) -> &'a str {
    let entry = decisions.not_selected.iter().find(|entry| entry.name == name);
    &entry.unwrap_or_else(|| panic!("{name} is selected or not there")).reason
}
