//! Which interface is the mesh's, and how it is routed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::nics::bad_name;
use super::{OverlayDraft, Remarks};
use crate::ip::{Link, MAIN, Seen};

/// Tailscale's range (RFC 6598).
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
/// tailscaled's table and the rule that leads there.
const TAILSCALE: (u32, u32) = (5270, 52);

/// The overlay, if some interface looks like one: `tailscale0`, else the TUN or WireGuard interface that most nodes
/// have.
pub(super) fn find(nodes: &[Seen]) -> Option<OverlayDraft> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for link in nodes.iter().flat_map(|seen| &seen.links).filter(|link| is_candidate(link)) {
        *count.entry(&link.name).or_default() += 1;
    }
    let (interface, _) = count.iter().max_by_key(|(name, count)| (**name == "tailscale0", **count))?;
    let interface = (*interface).to_owned();
    let members = || nodes.iter().filter_map(|seen| Some((seen, of_name(seen, &interface)?)));
    let mut remarks = Remarks::default();
    let addresses: Vec<Ipv4Net> = members().filter_map(|(_, link)| link.addresses.first().copied()).collect();
    let rules = members().any(|(seen, _)| !seen.rules.is_empty());
    let tailscales = members().any(|(seen, _)| {
        seen.rules.iter().any(|rule| (rule.priority, rule.table) == (TAILSCALE.0, Some(TAILSCALE.1)))
            || seen.routes.iter().any(|route| route.table == TAILSCALE.1 && route.device.as_deref() == Some(&interface))
    });
    let policy_routing = tailscales || (!rules && interface == "tailscale0");
    if !tailscales && policy_routing {
        remarks.unknown.push("whether tailscaled's rules are there, for want of `ip rule`: assumed so".to_owned());
    }
    let mut mtus: Vec<u32> = members().filter_map(|(_, link)| link.mtu).collect();
    let mtu = mtus.first().copied().filter(|mtu| (576..=65_535).contains(mtu)).unwrap_or(1280);
    mtus.retain(|other| *other != mtu);
    if let Some(other) = mtus.first() {
        remarks.left_out.push(format!("an MTU of {other} on some nodes: here it is the same on all"));
    }
    if interface != "tailscale0" {
        remarks.unknown.push(format!("what `{interface}` leads to: assumed a mesh between all nodes that have it"));
    }
    Some(OverlayDraft {
        cidr: range(&addresses, nodes, &interface, &mut remarks),
        kernel: members().any(|(_, link)| link.kind.as_deref() == Some("wireguard")),
        interface,
        mtu,
        policy_routing,
        remarks,
    })
}

/// A node's address on the overlay.
pub(super) fn address(seen: &Seen, overlay: &OverlayDraft) -> Option<Ipv4Addr> {
    let own = of_name(seen, &overlay.interface)?.addresses.first()?.addr();
    overlay.cidr.contains(&own).then_some(own)
}

fn of_name<'a>(seen: &'a Seen, name: &str) -> Option<&'a Link> {
    seen.links.iter().find(|link| link.name == name)
}

fn is_candidate(link: &Link) -> bool {
    let kind = match link.kind.as_deref() {
        Some(kind) => matches!(kind, "tun" | "wireguard"),
        None => link.point_to_point || link.name == "tailscale0",
    };
    let taken = link.name == "lo" || link.name.starts_with("cilium_");
    kind && !taken && bad_name(&link.name).is_none() && !link.addresses.is_empty()
}

/// The range: Tailscale's, or what main routes to the interface, or the addresses' own network.
fn range(addresses: &[Ipv4Net], nodes: &[Seen], interface: &str, remarks: &mut Remarks) -> Ipv4Net {
    let holds = |range: &Ipv4Net| addresses.iter().all(|net| range.contains(&net.addr()));
    let fits = |range: &Ipv4Net| (8..=30).contains(&range.prefix_len()) && holds(range);
    let to_it = nodes
        .iter()
        .flat_map(|seen| &seen.routes)
        .filter(|route| route.table == MAIN && route.kind == "unicast" && route.device.as_deref() == Some(interface));
    if let Some(routed) = to_it.map(|route| route.destination).filter(fits).min_by_key(Ipv4Net::prefix_len) {
        return routed;
    }
    if holds(&SHARED) {
        return SHARED;
    }
    if let Some(own) = addresses.iter().map(Ipv4Net::trunc).find(fits) {
        return own;
    }
    let first = addresses.first().map_or(Ipv4Addr::UNSPECIFIED, Ipv4Net::addr);
    let ranges = (8..=24).rev().map(|length| Ipv4Net::new_assert(first, length).trunc());
    let range = ranges.into_iter().find(holds).unwrap_or(SHARED);
    remarks.unknown.push(format!("the overlay's range: assumed the smallest that holds all addresses, {range}"));
    range
}
