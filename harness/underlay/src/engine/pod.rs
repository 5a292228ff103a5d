//! A pod's network: a namespace with one veth to its node, as Cilium's CNI plugin lays it.

use std::net::Ipv4Addr;

use lab::netlink::{Neighbour, Route, Scope, VethEnd, add_veth};
use lab::{Namespace, Sysctls};

/// The pod's end of its veth.
pub const INTERFACE: &str = "eth0";

/// A CoreDNS replica's name below its node, or how it begins where a node has several.
pub const COREDNS: &str = "coredns";

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name below its node, `pod` or `coredns`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its security identity.
    pub identity: u32,
    /// Its namespace, named `NODE/NAME`.
    pub namespace: Namespace,
    /// The node's end of its veth.
    pub lxc: String,
    /// Hardware address of its end.
    pub mac: [u8; 6],
    /// Hardware address of the node's end.
    pub lxc_mac: [u8; 6],
}

/// What pods of one node have in common.
#[derive(Debug, Clone, Copy)]
pub struct PodNetwork<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The node's namespace.
    pub namespace: &'a Namespace,
    /// The agent's own address: the pods' next hop.
    pub router_ip: Ipv4Addr,
    /// MTU of the veth in bytes.
    pub device_mtu: u32,
    /// MTU of the pod's routes in bytes.
    pub route_mtu: u32,
}

impl Pod {
    /// Whether it is a CoreDNS replica.
    pub fn is_coredns(&self) -> bool {
        self.name.starts_with(COREDNS)
    }

    /// Makes the pod and its link to the node; the node's routes to it are the datapath's affair.
    ///
    /// Addresses as Cilium sets them: /32 on the pod, a default route with the route MTU, neighbours known on both
    /// sides (bpf_lxc answers the pod's ARP itself).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn create(network: PodNetwork<'_>, name: &str, address: Ipv4Addr, identity: u32) -> lab::Result<Self> {
        let namespace = Namespace::create(format!("{}/{name}", network.node), &Sysctls::HOST)?;
        let lxc = format!("lxc-{name}");
        let [.., c, d] = address.octets();
        let (mac, lxc_mac) = ([0x02, 0x0a, 0xf4, c, d, 1], [0x02, 0x0a, 0xf4, c, d, 2]);
        add_veth(
            VethEnd { mac: Some(lxc_mac), ..VethEnd::new(network.namespace, &lxc, network.device_mtu) },
            VethEnd { mac: Some(mac), ..VethEnd::new(&namespace, INTERFACE, network.device_mtu) },
        )?;
        let pod = Self { name: name.to_owned(), address, identity, namespace, lxc, mac, lxc_mac };
        pod.plug(network)?;
        Ok(pod)
    }

    fn plug(&self, network: PodNetwork<'_>) -> lab::Result<()> {
        {
            let mut netlink = network.namespace.netlink()?;
            netlink.link_up(&self.lxc)?;
            netlink.add_neighbour(&self.lxc, Neighbour { address: self.address, mac: self.mac })?;
        }
        let mut netlink = self.namespace.netlink()?;
        netlink.add_address(INTERFACE, self.address.into())?;
        netlink.link_up(INTERFACE)?;
        netlink.add_neighbour(INTERFACE, Neighbour { address: network.router_ip, mac: self.lxc_mac })?;
        netlink.add_route(&Route::through(network.router_ip.into(), INTERFACE))?;
        netlink.add_route(&Route { mtu: Some(network.route_mtu), ..Route::default_via(network.router_ip, INTERFACE) })
    }

    /// Gives the pod another MTU, as a running agent does when its devices change (Cilium 1.17 and later, pkg/mtu).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn set_mtu(&self, network: PodNetwork<'_>) -> lab::Result<()> {
        network.namespace.netlink()?.set_mtu(&self.lxc, network.device_mtu)?;
        let mut netlink = self.namespace.netlink()?;
        netlink.set_mtu(INTERFACE, network.device_mtu)?;
        netlink
            .replace_route(&Route { mtu: Some(network.route_mtu), ..Route::default_via(network.router_ip, INTERFACE) })
    }

    /// The node's route to the pod. The node itself talks to pods from the router's address, as by Cilium's route
    /// through `cilium_host`: the only one of its own that a pod's programs know whatever the devices are.
    pub fn route(&self, router_ip: Ipv4Addr) -> Route {
        Route { scope: Scope::Link, source: Some(router_ip), ..Route::through(self.address.into(), &self.lxc) }
    }
}
