//! A node's links as a topology's interfaces.

use std::collections::HashSet;

use ipnet::Ipv4Net;
use topology::validate::{MAX_ADDRESSES, MAX_INTERFACES};

use super::{NicDraft, NicKind, NodeDraft, Remarks};
use crate::ip::{LOCAL, Link, MAIN, Route, Rule, Seen};

/// What Cilium makes on every node.
const CILIUMS: [&str; 2] = ["cilium_", "lxc"];
/// How the host's ends of containers' links are called by those that make them.
const CONTAINERS: [&str; 4] = ["veth", "cali", "cni", "nodelink"];
/// Bridges that hold containers.
const CONTAINER_BRIDGES: [&str; 6] = ["docker", "br-", "cni", "cbr", "lxcbr", "podman"];
/// Tables of Cilium (pkg/datapath/linux/linux_defaults) and of tailscaled, whose rules the lab lays itself.
const KNOWN_TABLES: [u32; 9] = [52, 200, 202, 253, 254, 255, 2004, 2005, 2006];

/// The interfaces, in the order of their indices. `overlay` is the overlay's, which topologies don't list.
pub(super) fn read(seen: &Seen, overlay: Option<&str>, remarks: &mut Remarks) -> Vec<NicDraft> {
    let mut nics = Vec::new();
    let mut strange = Vec::new();
    for link in seen.links.iter().filter(|link| link.name != "lo" && Some(link.name.as_str()) != overlay) {
        if CILIUMS.iter().any(|prefix| link.name.starts_with(prefix)) || containers_end(link) {
            continue;
        }
        let mut nic = NicDraft {
            name: link.name.clone(),
            kind: NicKind::Vcn(None),
            addresses: link.addresses.clone(),
            mtu: link.mtu.filter(|mtu| (68..=65_535).contains(mtu)),
            default_route: false,
            public_address: None,
            up: link.up,
            remarks: Remarks::default(),
        };
        match kind(link, seen, &mut nic.remarks) {
            Ok(kind) => nic.kind = kind,
            Err(what) => {
                strange.push(format!("{}: {what}, which topologies don't have", link.name));
                continue;
            }
        }
        if let Some(problem) = bad_name(&link.name) {
            strange.push(format!("an interface whose name {problem}"));
            continue;
        }
        if nic.addresses.len() > MAX_ADDRESSES {
            nic.remarks.left_out.push(format!("{} addresses more", nic.addresses.len() - MAX_ADDRESSES));
            nic.addresses.truncate(MAX_ADDRESSES);
        }
        nics.push(nic);
    }
    remarks.leave_out(strange);
    if nics.len() > MAX_INTERFACES {
        let more = nics.len() - MAX_INTERFACES;
        remarks.left_out.push(format!("{more} interfaces: {MAX_INTERFACES} is the most there can be"));
        nics.truncate(MAX_INTERFACES);
    }
    sound_parts(&mut nics, remarks);
    let addresses: Vec<Ipv4Net> = nics.iter().flat_map(|nic| nic.addresses.clone()).collect();
    one_of_each(&mut nics, &addresses);
    nics
}

/// Leaves of bridges' ports and bonds' members those that a topology takes: no part of itself or of two, no bridge in
/// anything, no bond in a bond, and one port that leads to a network (two would be a loop, which spanning trees break).
fn sound_parts(nics: &mut [NicDraft], remarks: &mut Remarks) {
    let kinds: Vec<(String, NicKind)> = nics.iter().map(|nic| (nic.name.clone(), nic.kind.clone())).collect();
    let mut taken: Vec<String> = Vec::new();
    for nic in nics.iter_mut() {
        let bridge = matches!(nic.kind, NicKind::Bridge(_));
        let name = &nic.name;
        let (NicKind::Bridge(parts) | NicKind::Bond(parts)) = &mut nic.kind else { continue };
        let mut leads = false;
        parts.retain(|part| {
            let kind = kinds.iter().find(|(other, _)| other == part).map(|(_, kind)| kind);
            let fits = match kind {
                // Of containers' ends there is nothing to tell.
                None => return false,
                Some(NicKind::Bridge(_)) => false,
                Some(NicKind::Bond(_)) => bridge && !std::mem::replace(&mut leads, true),
                Some(NicKind::Vcn(_)) => !bridge || !std::mem::replace(&mut leads, true),
                Some(NicKind::Dummy) => true,
            };
            let fits = fits && part != name && !taken.contains(part);
            if fits {
                taken.push(part.clone());
            } else {
                remarks.left_out.push(format!("that {part} is part of {name}"));
            }
            fits
        });
    }
    for nic in nics.iter_mut().filter(|nic| taken.contains(&nic.name)) {
        let own = std::mem::take(&mut nic.addresses);
        nic.remarks.leave_out(own.iter().map(|net| format!("{net}: what it is part of has the addresses")));
    }
}

/// Leaves out interfaces for which no network was found.
pub(super) fn drop_unplugged(node: &mut NodeDraft) {
    let (kept, dropped): (Vec<_>, Vec<_>) =
        std::mem::take(&mut node.nics).into_iter().partition(|nic| nic.kind != NicKind::Vcn(None));
    node.nics = kept;
    for gone in dropped {
        for nic in &mut node.nics {
            if let NicKind::Bridge(parts) | NicKind::Bond(parts) = &mut nic.kind {
                parts.retain(|part| *part != gone.name);
            }
        }
        node.remarks.left_out.push(format!("{}: there is no network that it could be plugged into", gone.name));
    }
}

/// An address that stands on two interfaces stays on the first.
fn one_of_each(nics: &mut [NicDraft], addresses: &[Ipv4Net]) {
    for net in addresses {
        let mut first = true;
        for nic in nics.iter_mut() {
            nic.addresses.retain(|other| other.addr() != net.addr() || std::mem::take(&mut first));
        }
    }
}

/// Addresses a topology takes (`topology::validate`).
pub(super) fn usable(net: &Ipv4Net) -> bool {
    let address = net.addr();
    let first = address.octets()[0];
    let host = net.prefix_len() >= 31 || (address != net.network() && address != net.broadcast());
    host && !address.is_loopback() && first != 0 && first < 224
}

/// Names that the kernel takes and topologies don't.
pub(super) fn bad_name(name: &str) -> Option<&'static str> {
    let odd = name.chars().any(|c| !c.is_ascii_graphic() || "/:%".contains(c));
    match name {
        "" | "." | ".." | "all" | "default" => Some("the kernel keeps for itself"),
        _ if name.len() > 15 => Some("has more than 15 bytes"),
        _ if odd => Some("has characters that topologies don't take"),
        _ => None,
    }
}

fn containers_end(link: &Link) -> bool {
    let veth = match (&link.kind, link.detailed) {
        (Some(kind), _) => kind == "veth",
        (None, true) => false,
        (None, false) => link.peer.is_some(),
    };
    let starts = |name: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    veth && (starts(&link.name, &CONTAINERS)
        || link.master.as_ref().is_some_and(|master| starts(master, &CONTAINER_BRIDGES)))
}

/// What it is; or what it is that has no place in a topology.
fn kind(link: &Link, seen: &Seen, remarks: &mut Remarks) -> Result<NicKind, String> {
    let parts = || {
        let members = seen.links.iter().filter(|other| other.master.as_deref() == Some(&link.name));
        members.map(|other| other.name.clone()).collect()
    };
    if let Some(kind) = link.kind.as_deref() {
        return match kind {
            "veth" => Ok(NicKind::Vcn(None)),
            "bridge" => Ok(NicKind::Bridge(parts())),
            "bond" => Ok(NicKind::Bond(parts())),
            "dummy" if link.name.starts_with("kube-ipvs") => {
                Err("kube-proxy's, with the services' addresses".to_owned())
            }
            "dummy" => Ok(NicKind::Dummy),
            "vlan" => {
                let under = link.peer.as_deref().unwrap_or("another interface");
                remarks.unknown.push(format!("a VLAN over {under} in the cluster: here a NIC in a network of its own"));
                Ok(NicKind::Vcn(None))
            }
            other => Err(format!("of the kind {other}")),
        };
    }
    if link.detailed {
        return if link.point_to_point { Err("a point-to-point link".to_owned()) } else { Ok(NicKind::Vcn(None)) };
    }
    // Without `-d` no kind is printed: names and what hangs on it tell.
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| link.name.starts_with(prefix));
    let over_it: Vec<String> = parts();
    let guessed = if starts(&CONTAINER_BRIDGES) || starts(&["vmbr", "virbr", "br0", "br1", "bridge"]) {
        NicKind::Bridge(over_it)
    } else if starts(&["bond"]) {
        NicKind::Bond(over_it)
    } else if starts(&["dummy", "nodelocaldns"]) {
        NicKind::Dummy
    } else if link.point_to_point || starts(&["flannel", "vxlan", "wg", "tun", "tap", "kube-ipvs", "sit", "ip6tnl"]) {
        return Err("a tunnel by its name".to_owned());
    } else if !over_it.is_empty() {
        NicKind::Bridge(over_it)
    } else {
        return Ok(NicKind::Vcn(None));
    };
    remarks.unknown.push("its kind, for want of `ip -d link`: assumed by its name".to_owned());
    Ok(guessed)
}

/// Default routes, and what of other routes and rules has no place in a topology.
pub(super) fn routes(seen: &Seen, node: &mut NodeDraft, overlay: Option<&str>) {
    let taken = seen.default_route();
    let mut others = Vec::new();
    for route in seen.defaults() {
        let device = route.device.as_deref().unwrap_or_default();
        let nic = node.nics.iter_mut().find(|nic| nic.name == device);
        match nic {
            Some(nic) if Some(route) == taken && route.gateway.is_some() => nic.default_route = true,
            _ => others.push(words(route)),
        }
    }
    let gateways: HashSet<Ipv4Net> = seen.defaults().filter_map(|route| Some(route.gateway?.into())).collect();
    let extra = seen.routes.iter().filter(|route| is_extra(route, &gateways, node, overlay)).map(words);
    others.extend(extra);
    node.remarks.leave_out(others);
    let ours = |priority: u32| matches!(priority, 0 | 100 | 5210..=5270 | 32_766 | 32_767);
    let known = |rule: &&Rule| rule.table.is_some_and(|table| KNOWN_TABLES.contains(&table));
    let rules = seen.rules.iter().filter(|rule| !ours(rule.priority) && !known(rule));
    node.remarks.leave_out(rules.map(|rule| format!("rule {}: {}", rule.priority, rule.text)));
}

/// Whether a route is there that neither addresses nor Cilium nor the overlay bring along, nor the way to one of the
/// default routes' gateways.
fn is_extra(route: &Route, gateways: &HashSet<Ipv4Net>, node: &NodeDraft, overlay: Option<&str>) -> bool {
    let device = route.device.as_deref().unwrap_or_default();
    let known_device = device == "lo" || Some(device) == overlay || CILIUMS.iter().any(|own| device.starts_with(own));
    let to_gateway = gateways.contains(&route.destination);
    let connected = node.nics.iter().flat_map(|nic| &nic.addresses).any(|net| net.trunc() == route.destination);
    let kernels = route.protocol.as_deref() == Some("kernel") || route.table == LOCAL;
    let known_table = route.table != MAIN && KNOWN_TABLES.contains(&route.table);
    let of_container = route.destination.prefix_len() == 32 && node.nic(device).is_none() && !device.is_empty();
    let kind = matches!(route.kind.as_str(), "unicast" | "unreachable" | "prohibit" | "blackhole");
    let default = route.table == MAIN && route.destination.prefix_len() == 0 && route.kind == "unicast";
    kind && !default && !kernels && !known_device && !known_table && !connected && !to_gateway && !of_container
}

/// A route in the words of `ip route`.
fn words(route: &Route) -> String {
    let mut text = "route ".to_owned();
    if route.kind != "unicast" {
        text += &format!("{} ", route.kind);
    }
    text += &match route.destination.prefix_len() {
        0 => "default".to_owned(),
        _ => route.destination.to_string(),
    };
    if let Some(gateway) = route.gateway {
        text += &format!(" via {gateway}");
    }
    if let Some(device) = &route.device {
        text += &format!(" dev {device}");
    }
    if route.metric > 0 {
        text += &format!(" metric {}", route.metric);
    }
    match route.table {
        MAIN => text,
        table => format!("{text} table {table}"),
    }
}
