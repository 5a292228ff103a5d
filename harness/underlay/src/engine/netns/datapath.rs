//! An agent's decisions, carried out by the node's kernel: devices, routes and rules. Decides nothing itself.
//!
//! Order of rules is everything: a pod's own table stands before the local one and before tailscaled's (5210 to 5270),
//! since bpf_lxc decides before the host's stack sees the packet.

use std::net::Ipv4Addr;

use cilium::config::AgentConfig;
use cilium::decisions::Egress;
use cilium::inputs::NodeInputs;
use cilium::{Decisions, Rules};
use ipnet::{IpNet, Ipv4Net};
use lab::Namespace;
use lab::netlink::{Neighbour, Route, RouteKind, Rule, Scope, VethEnd, add_veth, table};

use crate::engine::pod::Pod;

/// Cilium's devices.
pub const HOST_DEVICE: &str = "cilium_host";
const HOST_PEER: &str = "cilium_net";
/// Cilium's VXLAN device.
pub const VXLAN_DEVICE: &str = "cilium_vxlan";
/// Its port and network identifier (Cilium 1.18, pkg/datapath/tunnel; the identifier carries the source's identity in
/// real life, here it is the same for all).
const VXLAN_PORT: u16 = 8472;
const VXLAN_ID: u32 = 2;

/// Packets whose destination a service's translation replaced carry this mark on the node.
pub const SERVICE_MARK: u32 = 0x1;

/// Where the local table's rule goes, so that pods' rules can stand before it.
const LOCAL_RULE: u32 = 100;
/// Pods' rules: the first of them.
const POD_RULES: u32 = 10;
/// Table of pods' own packets, and of those a service redirected.
const EGRESS_TABLE: u32 = 2004;
const SERVICE_EGRESS_TABLE: u32 = 2005;
/// All tables that are the agent's.
pub const TABLES: [u32; 2] = [EGRESS_TABLE, SERVICE_EGRESS_TABLE];

/// The hardware address of a node's VXLAN device, by the node's place in the cluster.
pub fn vxlan_mac(node_index: usize) -> [u8; 6] {
    let [high, low] = (node_index as u16).to_be_bytes();
    [0x02, 0x76, 0x78, 0, high, low]
}

/// What pods' programs know beside what their agent's [`Decisions`] say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// Whether peers' own IPs are reached through the tunnel ([`cilium::tunnel::carries_nodes`]).
    pub carries_nodes: bool,
    /// The node's addresses that a lookup doesn't lead to ([`cilium::host_routing::dropped`]).
    pub dropped: Vec<Ipv4Addr>,
}

impl Beside {
    /// What it is with these rules and options.
    pub fn of(rules: &Rules, config: &AgentConfig, inputs: &NodeInputs, decisions: &Decisions) -> Self {
        Self {
            carries_nodes: cilium::tunnel::carries_nodes(config),
            dropped: cilium::host_routing::dropped(rules, inputs, decisions),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A node's datapath to be.
pub struct Datapath<'a> {
    /// The node.
    pub namespace: &'a Namespace,
    /// What its agent saw.
    pub inputs: &'a NodeInputs,
    /// What its agent decided.
    pub decisions: &'a Decisions,
    /// What its pods' programs know beside.
    pub beside: &'a Beside,
    /// The node's place in the cluster.
    pub node_index: usize,
    /// Each peer's place in the cluster and the address of its router, in the order of [`Decisions::tunnels`].
    pub peers: &'a [(usize, Ipv4Addr)],
}

impl Datapath<'_> {
    /// Makes Cilium's own devices.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_devices(&self) -> lab::Result<()> {
        let mtu = self.decisions.device_mtu;
        let end = |name| VethEnd::new(self.namespace, name, mtu);
        add_veth(end(HOST_DEVICE), end(HOST_PEER))?;
        let mut netlink = self.namespace.netlink()?;
        netlink.add_address(HOST_DEVICE, self.inputs.router_ip.into())?;
        netlink.link_up(HOST_DEVICE)?;
        netlink.link_up(HOST_PEER)?;
        netlink.add_vxlan(VXLAN_DEVICE, VXLAN_ID, VXLAN_PORT, mtu, vxlan_mac(self.node_index))?;
        netlink.link_up(VXLAN_DEVICE)?;
        netlink.move_local_rule(LOCAL_RULE)
    }

    /// Lays the ways to the peers' pods and out of the node, in place of any of before.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn install(&self) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        for (tunnel, (peer_index, peer_router)) in self.decisions.tunnels.iter().zip(self.peers) {
            let Some(endpoint) = tunnel.endpoint else { continue };
            let mac = vxlan_mac(*peer_index);
            netlink.add_fdb(VXLAN_DEVICE, mac, endpoint.into())?;
            netlink.add_neighbour(VXLAN_DEVICE, Neighbour { address: *peer_router, mac })?;
            netlink.replace_route(&Route {
                source: Some(self.inputs.router_ip),
                mtu: Some(self.decisions.pod_mtu),
                ..self.to_peer_pods(tunnel.pod_cidr, *peer_router)
            })?;
        }
        for route in &self.decisions.node_routes {
            // The kernel finds the device by the next hop. One that isn't on a link of the node's is refused, and the
            // agent goes on without the route (Cilium 1.18, pkg/datapath/linux/node.go, createDirectRouteSpec).
            let route = Route { device: None, ..Route::through(route.pod_cidr, "").via(route.via) };
            match netlink.replace_route(&route) {
                Err(error) if error.raw_os_error() == Some(nix::libc::ENETUNREACH) => {}
                added => added?,
            }
        }
        drop(netlink);
        self.fill(EGRESS_TABLE, &self.decisions.egress)?;
        self.fill(SERVICE_EGRESS_TABLE, &self.decisions.service_egress)
    }

    fn to_peer_pods(&self, pod_cidr: Ipv4Net, router: Ipv4Addr) -> Route {
        Route { onlink: true, ..Route::through(pod_cidr, VXLAN_DEVICE).via(router) }
    }

    /// A table of pods' own: what bpf_lxc knows before anything is looked up.
    fn fill(&self, table: u32, egress: &Egress) -> lab::Result<()> {
        if let Egress::Device { device } = egress {
            self.fill_to_device(table, device)?;
        }
        self.fill_beside(table, egress)
    }

    /// What holds wherever the rest goes, in place of the device's own routes to the same.
    fn fill_beside(&self, table: u32, egress: &Egress) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        for (tunnel, (_, router)) in self.decisions.tunnels.iter().zip(self.peers) {
            if let (Some(endpoint), true) = (tunnel.endpoint, self.beside.carries_nodes) {
                netlink.replace_route(&self.to_peer_pods(endpoint.into(), *router).in_table(table))?;
            }
        }
        // What is thrown at a device unasked isn't looked up, and leaves by it.
        if *egress == Egress::Fib {
            for address in &self.beside.dropped {
                netlink.replace_route(&nowhere((*address).into()).in_table(table))?;
            }
        }
        Ok(())
    }

    /// The host addresses the agent knows, the peers' pods, and then everything to one device (ENABLE_SKIP_FIB).
    fn fill_to_device(&self, table: u32, device: &str) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        for address in &self.decisions.host_addresses {
            // The interface is of no consequence to a local route; `lo` is always there.
            netlink.add_route(&Route::local(*address, "lo").in_table(table))?;
        }
        for (tunnel, (_, router)) in self.decisions.tunnels.iter().zip(self.peers) {
            if tunnel.endpoint.is_some() {
                netlink.add_route(&self.to_peer_pods(tunnel.pod_cidr, *router).in_table(table))?;
            }
        }
        drop(netlink);
        match self.fill_by_device(table, device) {
            // A device that is down since the agent decided: what is redirected to it is dropped by the kernel unseen,
            // and no route can lead there.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENETDOWN) => {
                self.namespace.netlink()?.replace_route(&nowhere(Ipv4Net::default()).in_table(table))
            }
            filled => filled,
        }
    }

    fn fill_by_device(&self, table: u32, device: &str) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        // redirect_neigh() looks up the next hop with the device fixed: the device's own routes count, no others.
        let index = self.inputs.links.iter().find(|link| link.name == device).map(|link| link.index);
        let mut default = false;
        let mut done: Vec<Ipv4Net> = Vec::new();
        for route in &self.inputs.routes {
            let IpNet::V4(destination) = route.destination else { continue };
            if Some(route.link) != index || route.table == table::LOCAL || done.contains(&destination) {
                continue;
            }
            let gateway = match route.gateway {
                Some(std::net::IpAddr::V4(gateway)) => Some(gateway),
                _ => None,
            };
            done.push(destination);
            default |= destination.prefix_len() == 0;
            let on_link = Route { scope: Scope::Link, ..Route::through(destination, device) };
            let copied = gateway.map_or(on_link.clone(), |gateway| Route { onlink: true, ..on_link.via(gateway) });
            netlink.replace_route(&copied.in_table(table))?;
        }
        // The agent's own routes to peers' pods count too, as far as they leave by the device.
        let networks: Vec<_> = self.inputs.link_named(device).map(|link| link.addresses.clone()).unwrap_or_default();
        for route in &self.decisions.node_routes {
            let is_near = networks.iter().any(|address| address.net.contains(&std::net::IpAddr::V4(route.via)));
            if is_near && !done.contains(&route.pod_cidr) {
                let own = Route { onlink: true, ..Route::through(route.pod_cidr, device).via(route.via) };
                netlink.replace_route(&own.in_table(table))?;
            }
        }
        if !default {
            // No route: the kernel takes the destination to be on the link.
            netlink.add_route(&Route::through(Ipv4Net::default(), device).in_table(table))?;
        }
        Ok(())
    }

    /// Lets a pod in: the node's route to it, and the pod's own way out.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn attach(&self, pod: &Pod) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        netlink.replace_route(&pod.route(self.inputs.router_ip))?;
        for (priority, table, mark, egress) in self.classes() {
            if self.has_table(egress) {
                netlink.add_route(&pod.route(self.inputs.router_ip).in_table(table))?;
                netlink.add_rule(&pod_rule(pod, priority, mark, table))?;
            }
        }
        Ok(())
    }

    /// Takes away the pods' own ways out, so that nothing of these decisions is left but the devices.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn withdraw(&self, pods: &[Pod]) -> lab::Result<()> {
        let mut netlink = self.namespace.netlink()?;
        for (priority, table, mark, egress) in self.classes() {
            if self.has_table(egress) {
                for pod in pods {
                    netlink.delete_rule(&pod_rule(pod, priority, mark, table))?;
                }
                netlink.flush_table(table)?;
            }
        }
        Ok(())
    }

    /// Whether such packets have a table of their own. Without one the kernel's routing decides; with one, on all that
    /// the table doesn't know.
    fn has_table(&self, egress: &Egress) -> bool {
        matches!(egress, Egress::Device { .. }) || !self.beside.is_empty()
    }

    /// The two kinds of packets a pod sends: (priority of its rule, table, mark, decision).
    fn classes(&self) -> [(u32, u32, u32, &Egress); 2] {
        [
            (POD_RULES, SERVICE_EGRESS_TABLE, SERVICE_MARK, &self.decisions.service_egress),
            (POD_RULES + 1, EGRESS_TABLE, 0, &self.decisions.egress),
        ]
    }
}

/// Drops what is for there without a word, as an eBPF program does.
fn nowhere(destination: Ipv4Net) -> Route {
    Route { device: None, kind: RouteKind::Blackhole, ..Route::through(destination, "") }
}

fn pod_rule(pod: &Pod, priority: u32, mark: u32, table: u32) -> Rule {
    Rule {
        priority,
        input: Some(pod.lxc.clone()),
        mark: Some((mark, SERVICE_MARK)),
        table: Some(table),
        ..Rule::default()
    }
}
