//! Which of the node's addresses Cilium knows, and what each is for.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::config::AgentConfig;
use crate::devices::Selection;
use crate::first_global::{self, Prefer, is_public};
use crate::inputs::{Link, NodeInputs};
use crate::node_ip;
use crate::rules::Rules;

/// The name of the row that stands for devices without an address.
pub const FALLBACK: &str = "*";
/// Cilium's own device in the host's namespace.
pub const HOST_DEVICE: &str = "cilium_host";
const SCOPE_LINK: u8 = 253;

/// A row of the table of node addresses (pkg/datapath/tables/node_address.go).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NodeAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The device it is on, or [`FALLBACK`].
    pub device: String,
    /// Whether NodePort services answer on it.
    pub nodeport: bool,
    /// Whether it is the device's address for masquerading.
    pub primary: bool,
}

/// The table, sorted by address as Cilium shows it.
///
/// Local routes that are no device's address (GCE's load balancer addresses) add rows since 1.19; the inputs don't
/// tell them from others, so the model leaves them out.
pub fn table(rules: &Rules, config: &AgentConfig, node: &NodeInputs, selection: &Selection) -> Vec<NodeAddress> {
    if !rules.address_table {
        return Vec::new();
    }
    let node_ip = node_ip::from_kubernetes(node);
    let mut rows = Vec::new();
    for link in node.links.iter().filter(|link| is_used(rules, link, selection)) {
        rows.extend(rows_of(rules, config, link, node_ip));
    }
    // The agent makes cilium_host itself; the inputs may be from before.
    if !rows.iter().any(|row| row.address == node.router_ip) {
        let device = HOST_DEVICE.to_owned();
        rows.push(NodeAddress { address: node.router_ip, device, nodeport: false, primary: true });
    }
    if rules.fallback_addresses
        && let Some(address) = fallback(rules, node, selection)
    {
        rows.push(NodeAddress { address, device: FALLBACK.to_owned(), nodeport: false, primary: true });
    }
    rows.sort();
    rows
}

/// Whether a device's addresses count: selected ones, Cilium's own, `lo` and, since 1.17, dummies even when down
/// (`shouldUseDeviceForNodeAddress`).
fn is_used(rules: &Rules, link: &Link, selection: &Selection) -> bool {
    let dummy = rules.dummy_addresses && link.kind == "dummy";
    (link.is_up() || dummy)
        && (dummy || link.name == HOST_DEVICE || link.name == "lo" || selection.contains(link.index))
}

/// The rows of one device (`getAddressesFromDevice`).
fn rows_of(rules: &Rules, config: &AgentConfig, link: &Link, node_ip: Option<Ipv4Addr>) -> Vec<NodeAddress> {
    let own = link.name == HOST_DEVICE;
    let mut addresses: Vec<_> = link
        .ipv4()
        .filter(|(ip, address)| {
            let counts = address.scope <= rules.max_scope && !ip.is_loopback();
            counts || (own && address.scope == SCOPE_LINK)
        })
        .collect();
    addresses.sort_by_key(|(ip, address)| (address.secondary, address.scope, Reverse(is_public(*ip)), *ip));
    let addresses: Vec<_> = addresses.into_iter().map(|(ip, _)| ip).collect();

    let mut public = addresses.iter().copied().find(|ip| is_public(*ip));
    let mut private = addresses.iter().copied().find(|ip| !is_public(*ip));
    // The node's own address comes first; up to 1.18 it counts as both public and private, and so wins throughout.
    if let Some(ip) = node_ip.filter(|ip| addresses.contains(ip)) {
        if rules.node_ip_always_primary {
            (public, private) = (Some(ip), Some(ip));
        } else if is_public(ip) {
            public = Some(ip);
        } else {
            private = Some(ip);
        }
    }
    let primary = public.or(private);
    let nodeport = private.or(public).filter(|_| link.is_up());
    let serves = |ip: &Ipv4Addr| match config.nodeport_addresses.as_slice() {
        _ if own => false,
        [] => Some(*ip) == nodeport,
        ranges => ranges.iter().any(|range| range.contains(ip)),
    };
    addresses
        .iter()
        .map(|ip| NodeAddress {
            address: *ip,
            device: link.name.clone(),
            nodeport: serves(ip),
            primary: Some(*ip) == primary,
        })
        .collect()
}

/// The address used where a device has none (`fallbackAddresses.update`): of a selected device rather than not,
/// public rather than private, wide rather than narrow scope, low index, low address.
fn fallback(rules: &Rules, node: &NodeInputs, selection: &Selection) -> Option<Ipv4Addr> {
    node.links
        .iter()
        .filter(|link| !link.name.starts_with("lxc") && link.name != HOST_DEVICE)
        .filter(|link| !rules.fallback_from_used || is_used(rules, link, selection))
        .flat_map(|link| {
            let chosen = selection.contains(link.index);
            let usable = link.ipv4().filter(|(_, address)| !address.secondary);
            usable.map(move |(ip, address)| (Reverse(chosen), Reverse(is_public(ip)), address.scope, link.index, ip))
        })
        .min()
        .map(|(.., ip)| ip)
}

/// The addresses pods' programs know to be the host's (daemon/cmd/hostips-sync.go), ascending. 1.14 takes every
/// address of every device (pkg/datapath/linux/node_addressing.go `LocalAddresses`) and the ExternalIP.
pub fn of_host(rules: &Rules, node: &NodeInputs, table: &[NodeAddress]) -> Vec<Ipv4Addr> {
    let mut known: BTreeSet<_> = [node.router_ip].into();
    if rules.address_table {
        known.extend(table.iter().filter(|row| row.device != FALLBACK).map(|row| row.address));
    } else {
        for link in node.links.iter().filter(|link| !first_global::is_idle_docker(link)) {
            let all = link.ipv4().filter(|(ip, address)| address.scope <= rules.max_scope && !ip.is_loopback());
            known.extend(all.map(|(ip, _)| ip));
        }
        known.extend(node.external_ip);
    }
    known.into_iter().collect()
}

/// The addresses on which NodePort services answer through this device. 1.14 has one each (pkg/node/address.go
/// `InitNodePortAddrs`).
pub fn node_port(rules: &Rules, node: &NodeInputs, table: &[NodeAddress], link: &Link) -> Vec<Ipv4Addr> {
    if rules.address_table {
        return table.iter().filter(|row| row.nodeport && row.device == link.name).map(|row| row.address).collect();
    }
    let preferred = node_ip::from_kubernetes(node);
    first_global::address(node, Some(link), preferred, Prefer::Preferred).into_iter().collect()
}
