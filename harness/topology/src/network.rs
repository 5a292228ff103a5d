//! A validated topology, as the lab builds it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A whole network: the internet, the private networks (VCNs) behind their gateways, the overlay, the nodes.
///
/// Every reference in it resolves: a node's interface names a VCN that is there, a bridge's port an interface of the
/// same node. Lists keep the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The name people call it by: the file's `name`, or the file's stem.
    pub name: String,
    /// What is to be found beyond the gateways.
    pub internet: Internet,
    /// The private networks. Two may have the same CIDR.
    pub vcns: Vec<Vcn>,
    /// The mesh between the nodes, if there is one.
    pub overlay: Option<Overlay>,
    /// The machines.
    pub nodes: Vec<Node>,
}

/// The internet: hosts with public addresses, each answering what it says it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Internet {
    /// The hosts, each name once, each address once.
    pub hosts: Vec<InternetHost>,
}

/// One host on the internet. Every host answers ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternetHost {
    /// The DNS name that resolves to it, `api.ipify.org`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What it serves beside ping.
    pub serves: Vec<InternetService>,
}

/// What an internet host serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InternetService {
    /// DNS on UDP and TCP port 53: an A record for each of the internet's hosts, NXDOMAIN for all else.
    Dns,
    /// HTTP on port 80: a Debian mirror's `InRelease`, and the caller's address on every other path.
    Http,
    /// HTTPS on port 443 with a certificate of the lab's own authority: the caller's address in plain text, as
    /// api.ipify.org gives it.
    Https,
}

/// A private network in a cloud: one subnet, one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vcn {
    /// The name it is referred to by.
    pub name: String,
    /// The subnet.
    pub cidr: Ipv4Net,
    /// The gateway's address in the subnet.
    pub gateway: Ipv4Addr,
    /// How the gateway translates addresses on the way to the internet.
    pub nat: Nat,
    /// Drop, and count, what enters the gateway from a source that is no interface's address in this network: the
    /// check of source and destination that clouds make on a virtual NIC.
    pub source_check: bool,
    /// What becomes of new traffic from the internet.
    pub ingress: Ingress,
}

/// How a gateway translates addresses. Behaviours as RFC 4787 names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Each interface has a public address of its own ([`Nic::public_address`]); ports stay as they are.
    OneToOne,
    /// One public address for all; a port is kept where it is free. Endpoint-independent mapping ("easy" NAT).
    EndpointIndependent {
        /// The gateway's public address.
        public_address: Ipv4Addr,
    },
    /// One public address for all; another random port for each destination: endpoint-dependent mapping
    /// ("symmetric", "hard" NAT), which no hole punching gets through.
    EndpointDependent {
        /// The gateway's public address.
        public_address: Ipv4Addr,
    },
    /// No way to the internet at all.
    None,
}

/// What a gateway does with new traffic from the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// Dropped: only answers get in.
    Deny,
    /// Let in, where the translation knows whom it is for.
    Allow,
}

/// A Tailscale-like mesh: WireGuard between all nodes that have an overlay address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The range its addresses are from, 100.64.0.0/10.
    pub cidr: Ipv4Net,
    /// Name of the interface on every node, `tailscale0`.
    pub interface: String,
    /// MTU of that interface in bytes, 1280.
    pub mtu: u32,
    /// Whether nodes get tailscaled's policy rules (5210 to 5270), table 52 and filter chains; if not, a route to
    /// `cidr` in table main is all.
    pub policy_routing: bool,
    /// Who does the encryption.
    pub backend: OverlayBackend,
    /// UDP port the nodes listen on, 41641.
    pub port: u16,
}

/// Who does the overlay's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub enum OverlayBackend {
    /// This process, on a TUN device: what tailscaled does. A packet that is for no peer is dropped without a word.
    #[default]
    Userspace,
    /// The kernel's WireGuard. A packet that is for no peer is dropped without a word all the same.
    Kernel,
}

/// A machine of the cluster, or beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its host name.
    pub name: String,
    /// What it does in the cluster.
    pub role: Role,
    /// Its interfaces in the order they are made; the overlay's is not among them.
    pub nics: Vec<Nic>,
    /// Its address on the overlay.
    pub overlay_address: Option<Ipv4Addr>,
}

/// What a node does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs the API server too. At most one in this version.
    ControlPlane,
    /// Runs pods.
    Worker,
    /// A machine beside the cluster: no agent, no pods; a place to probe from or to.
    Host,
}

/// A network interface of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name in the node, `enp0s6`; at most 15 bytes.
    pub name: String,
    /// What it is and where it leads.
    pub kind: NicKind,
    /// Its addresses with their prefix; the first is the primary one.
    pub addresses: Vec<Ipv4Net>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The next hop of a default route through it (table main), if it carries one: the VCN's gateway.
    pub default_route: Option<Ipv4Addr>,
    /// Its public address under [`Nat::OneToOne`].
    pub public_address: Option<Ipv4Addr>,
    /// Whether it is up.
    pub up: bool,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicKind {
    /// Plugged into a VCN (by name).
    Vcn(String),
    /// A bridge over other interfaces of the node (by name; may be none).
    Bridge(Vec<String>),
    /// A bond over other interfaces of the node (by name; may be none).
    Bond(Vec<String>),
    /// An interface that leads nowhere, as a cloud image's `dummy0`.
    Dummy,
}

impl Network {
    /// The VCN of that name.
    pub fn vcn(&self, name: &str) -> Option<&Vcn> {
        self.vcns.iter().find(|vcn| vcn.name == name)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The interfaces that lead to a VCN, with their nodes: those plugged into it, and bridges and bonds over them.
    /// The addresses of these are what is to be found in it.
    pub fn members<'a>(&'a self, vcn: &'a str) -> impl Iterator<Item = (&'a Node, &'a Nic)> {
        self.nodes
            .iter()
            .flat_map(|node| node.nics.iter().map(move |nic| (node, nic)))
            .filter(move |(node, nic)| node.vcn_of(&nic.name) == Some(vcn))
    }

    /// The nodes that run pods, the control plane among them, in the file's order.
    pub fn cluster_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role != Role::Host)
    }
}

impl Node {
    /// The interface of that name.
    pub fn nic(&self, name: &str) -> Option<&Nic> {
        self.nics.iter().find(|nic| nic.name == name)
    }

    /// The VCN an interface leads to, by itself or through the ports of a bridge or bond.
    pub fn vcn_of(&self, nic: &str) -> Option<&str> {
        self.lead(nic, 3)
    }

    /// `levels` is how many interfaces may lie on each other: bridge, bond, NIC. It ends the search in a network that
    /// wasn't validated.
    fn lead(&self, nic: &str, levels: usize) -> Option<&str> {
        match &self.nic(nic).filter(|_| levels > 0)?.kind {
            NicKind::Vcn(vcn) => Some(vcn),
            NicKind::Bridge(ports) | NicKind::Bond(ports) => ports.iter().find_map(|port| self.lead(port, levels - 1)),
            NicKind::Dummy => None,
        }
    }
}
