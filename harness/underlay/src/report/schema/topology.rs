//! The network a case ran on, as far as a picture of it needs to know.

use serde::{Deserialize, Serialize};
use topology::Network;
use topology::network::{Nat, Nic, NicKind, Node, Role};

/// A network. Every reference in it resolves by name; lists keep the topology file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Topology {
    /// Its name, `split-vcn`.
    pub name: String,
    /// Hosts beyond the gateways.
    pub internet: Vec<InternetHost>,
    /// The private networks. Two may have the same range.
    pub vcns: Vec<Vcn>,
    /// The mesh between the nodes, if there is one.
    pub overlay: Option<Overlay>,
    /// The machines.
    pub nodes: Vec<Machine>,
}

/// A host on the internet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetHost {
    /// Its DNS name.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// A private network behind its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vcn {
    /// Its name; its gateway is the place `vcn NAME/gateway`.
    pub name: String,
    /// Its range.
    pub cidr: String,
    /// The gateway's address in it.
    pub gateway: String,
    /// `one-to-one`, `endpoint-independent`, `endpoint-dependent` or `none`.
    pub nat: String,
    /// The public address that all share, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    /// Whether the gateway drops packets whose source is no interface's here.
    pub source_check: bool,
}

/// The mesh between the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Its interface on each node, `tailscale0`.
    pub interface: String,
    /// The range its addresses are from.
    pub cidr: String,
    /// MTU in bytes.
    pub mtu: u32,
}

/// A machine of the cluster, or beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name, and its namespace's.
    pub name: String,
    /// `control-plane`, `worker` or `host`.
    pub role: String,
    /// Its interfaces but the overlay's.
    pub interfaces: Vec<Interface>,
    /// Its address on the overlay, if it is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_address: Option<String>,
    /// Its pods' names below its own: `pod` is the place `NODE/pod`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
}

/// An interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `vcn`, `bridge`, `bond` or `dummy`.
    pub kind: String,
    /// The private network it is plugged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcn: Option<String>,
    /// Of a bridge or bond, the interfaces it is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Its addresses with their prefix length.
    pub addresses: Vec<String>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether a default route leads through it.
    pub default_route: bool,
    /// Its own public address, where the network translates one to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    /// Whether it is up.
    pub up: bool,
}

/// The test pods of each cluster node, as places name them.
const PODS: [&str; 2] = ["pod", "pod-2"];

impl Topology {
    /// The network alone, without pods.
    pub fn bare(network: &Network) -> Self {
        let hosts = network.internet.hosts.iter();
        Self {
            name: network.name.clone(),
            internet: hosts
                .map(|host| InternetHost { name: host.name.clone(), address: host.address.to_string() })
                .collect(),
            vcns: network.vcns.iter().map(vcn).collect(),
            overlay: network.overlay.as_ref().map(|overlay| Overlay {
                interface: overlay.interface.clone(),
                cidr: overlay.cidr.to_string(),
                mtu: overlay.mtu,
            }),
            nodes: network.nodes.iter().map(machine).collect(),
        }
    }

    /// The network with a cluster's test pods on it.
    pub fn with_pods(network: &Network) -> Self {
        let mut topology = Self::bare(network);
        for node in topology.nodes.iter_mut().filter(|node| node.role != role(Role::Host)) {
            node.pods = PODS.map(str::to_owned).to_vec();
        }
        topology
    }
}

fn vcn(vcn: &topology::network::Vcn) -> Vcn {
    let (nat, public_address) = match vcn.nat {
        Nat::OneToOne => ("one-to-one", None),
        Nat::EndpointIndependent { public_address } => ("endpoint-independent", Some(public_address)),
        Nat::EndpointDependent { public_address } => ("endpoint-dependent", Some(public_address)),
        Nat::None => ("none", None),
    };
    Vcn {
        name: vcn.name.clone(),
        cidr: vcn.cidr.to_string(),
        gateway: vcn.gateway.to_string(),
        nat: nat.to_owned(),
        public_address: public_address.map(|address| address.to_string()),
        source_check: vcn.source_check,
    }
}

fn machine(node: &Node) -> Machine {
    Machine {
        name: node.name.clone(),
        role: role(node.role).to_owned(),
        interfaces: node.nics.iter().map(interface).collect(),
        overlay_address: node.overlay_address.map(|address| address.to_string()),
        pods: Vec::new(),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
        Role::Host => "host",
    }
}

fn interface(nic: &Nic) -> Interface {
    let (kind, vcn, ports) = match &nic.kind {
        NicKind::Vcn(vcn) => ("vcn", Some(vcn.clone()), Vec::new()),
        NicKind::Bridge(ports) => ("bridge", None, ports.clone()),
        NicKind::Bond(ports) => ("bond", None, ports.clone()),
        NicKind::Dummy => ("dummy", None, Vec::new()),
    };
    Interface {
        name: nic.name.clone(),
        kind: kind.to_owned(),
        vcn,
        ports,
        addresses: nic.addresses.iter().map(ToString::to_string).collect(),
        mtu: nic.mtu,
        default_route: nic.default_route.is_some(),
        public_address: nic.public_address.map(|address| address.to_string()),
        up: nic.up,
    }
}
