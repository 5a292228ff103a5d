//! What an agent sees when it decides: its node's links, addresses and routes, and the cluster around it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

/// One node as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeInputs {
    /// The node's name in Kubernetes.
    pub name: String,
    /// Every link of the node's namespace, in index order, `lo` included.
    pub links: Vec<Link>,
    /// Every route of every table, `local` (255) included.
    pub routes: Vec<Route>,
    /// The Node object's InternalIP: kubelet's `--node-ip`, or what kubelet picked.
    pub internal_ip: Option<Ipv4Addr>,
    /// The Node object's ExternalIP, if a cloud provider set one.
    pub external_ip: Option<Ipv4Addr>,
    /// The pods' range on this node.
    pub pod_cidr: Ipv4Net,
    /// The agent's own address in that range, on `cilium_host`: the pods' next hop.
    pub router_ip: Ipv4Addr,
    /// The other nodes of the cluster, this one not among them.
    pub peers: Vec<Peer>,
}

impl NodeInputs {
    /// The link of that index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The link of that name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The first link that carries this address.
    pub fn link_with(&self, address: IpAddr) -> Option<&Link> {
        self.links.iter().find(|link| link.has(address))
    }
}

/// Another node, as CiliumNode tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its node IP, as *its* agent decided.
    pub node_ip: Ipv4Addr,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
}

/// A network interface as netlink describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name, empty if it was not seen yet.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// IFF_* flags as the kernel gives them.
    pub flags: u32,
    /// The `IFLA_INFO_KIND` string as Cilium's netlink library spells it: `veth`, `bridge`, `bond`, `dummy`, `tuntap`
    /// (a TUN or TAP), `wireguard`, `vxlan`, `openvswitch`, `ipoib`; `device` for one without a kind.
    pub kind: String,
    /// Index of the bridge, bond or VRF it belongs to.
    pub master: Option<u32>,
    /// Its hardware address; empty for a layer 3 device such as a TUN.
    pub hardware_address: Vec<u8>,
    /// Its addresses with their prefix length, in netlink's order, link-local ones included.
    pub addresses: Vec<Address>,
}

impl Link {
    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags & flags::IFF_UP != 0
    }

    /// Whether it carries this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|known| known.net.addr() == address)
    }

    /// Its IPv4 addresses.
    pub fn ipv4(&self) -> impl Iterator<Item = (Ipv4Addr, &Address)> {
        self.addresses.iter().filter_map(|address| match address.net.addr() {
            IpAddr::V4(ip) => Some((ip, address)),
            IpAddr::V6(_) => None,
        })
    }
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The address and its prefix length.
    pub net: IpNet,
    /// Whether the kernel marks it secondary.
    pub secondary: bool,
    /// RT_SCOPE_*: 0 global, 253 link, 254 host.
    pub scope: u8,
}

/// A route of any table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Table number: 254 main, 255 local, 52 tailscaled's.
    pub table: u32,
    /// Destination; `0.0.0.0/0` is a default route.
    pub destination: IpNet,
    /// Next hop, if there is one.
    pub gateway: Option<IpAddr>,
    /// Index of the link it leaves by.
    pub link: u32,
}

/// Flags of [`Link::flags`], as in linux/if.h.
pub mod flags {
    /// Interface is administratively up.
    pub const IFF_UP: u32 = 0x1;
    /// Is a loopback net.
    pub const IFF_LOOPBACK: u32 = 0x8;
    /// Slave of a load balancer (bond).
    pub const IFF_SLAVE: u32 = 0x800;
}
