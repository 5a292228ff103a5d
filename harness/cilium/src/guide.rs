//! The rules of the field guide this project examines, to the letter (its §4). They are not Cilium's.
//!
//! Where the guide is silent, Cilium's rule holds. Its three rules:
//! - Node IP: of the listed devices, the one that carries kubelet's `--node-ip` is primary, its address the node IP and
//!   the VXLAN endpoint; if none does, the first listed device's address is forced.
//! - Masquerading: to a pod, by the interface that leads to its node; to a service, load balancing without translation;
//!   to anything else, by the default route's interface if it is among the devices, else by the one there is. The
//!   interface that masquerades is also the one the packet leaves by.
//! - Auto-detection: every interface that is up and not loopback.

use std::net::{IpAddr, Ipv4Addr};

use crate::agent::{self, Assembly};
use crate::config::AgentConfig;
use crate::decisions::{Because, Decisions, Egress, Masquerade, NotSelected};
use crate::device_filter::Match;
use crate::devices::Selection;
use crate::fatal::FatalError;
use crate::inputs::{Link, NodeInputs, flags};
use crate::rules::Rules;
use crate::version::Version;
use crate::{masquerade, node_ip};

/// What the guide says an agent decides on this node. `version` gives Cilium's rules where the guide has none.
///
/// # Errors
/// No device has an address to force, or Cilium refuses the options; the guide knows no other fatal error.
pub fn decide_by_guide(version: &Version, config: &AgentConfig, node: &NodeInputs) -> Result<Decisions, FatalError> {
    agent::check_options(version, config)?;
    let rules = Rules::of(version);
    let bpf_masquerade = masquerade::check(&rules, config)?;
    let selection = select(&rules, config, node);
    let selected = selection.links(node);
    let kubelet_ip = node_ip::from_kubernetes(node);
    let primary = selected.iter().copied().find(|link| kubelet_ip.is_some_and(|ip| link.has(ip.into())));
    let (primary, node_ip, why) = match (primary, first_listed(&rules, config, &selected)) {
        (Some(link), _) => {
            let ip = kubelet_ip.ok_or(FatalError::NoNodeIp)?;
            (Some(link), ip, format!("{} carries kubelet's --node-ip", link.name))
        }
        (None, Some((link, ip))) => {
            (Some(link), ip, format!("no listed device carries kubelet's --node-ip, so {}'s is forced", link.name))
        }
        (None, None) => {
            let ip = kubelet_ip.ok_or(FatalError::NoNodeIp)?;
            (None, ip, "no device has an address, on which the guide is silent".to_owned())
        }
    };
    let direct_routing = primary.map(|link| (link, "the guide's primary device"));
    let assembly = Assembly {
        version,
        rules: &rules,
        config,
        node,
        selection: &selection,
        direct_routing,
        bpf_masquerade,
        node_ip,
        known_mtu: None,
    };
    let mut decisions = assembly.finish();
    let mut overrule = |decision: &str, says: String| {
        decisions.because.retain(|because| because.decision != decision);
        decisions.because.push(Because { decision: decision.to_owned(), says, source: "the guide, §4".to_owned() });
    };
    overrule("node-ip", format!("{node_ip}: {why}"));
    let names = selected.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
    let how = if config.devices.is_empty() { "every interface that is up and not loopback" } else { "as listed" };
    overrule("devices", format!("[{names}], {how}"));
    if decisions.masquerade != Masquerade::Off
        && let Some((link, why)) = masquerading_interface(node, &selected)
    {
        overrule("egress", format!("{}: {why}", link.name));
        decisions.egress = Egress::Device { device: link.name.clone() };
    }
    Ok(decisions)
}

/// The devices by the guide's rule. Cilium's own (`cilium_`, `lxc`) are no candidates: the guide's result for its own
/// nodes, on which they exist, does not hold them. An interface without an IPv4 address has nothing the guide's rules
/// could use, so it is none either.
fn select(rules: &Rules, config: &AgentConfig, node: &NodeInputs) -> Selection {
    let mut selection = Selection { selected: Vec::new(), not_selected: Vec::new() };
    let mut links: Vec<_> = node.links.iter().collect();
    links.sort_by_key(|link| link.index);
    for link in links {
        let verdict = if config.devices.is_empty() {
            detect(link).map(|()| "up and not loopback")
        } else {
            match config.devices.matches(rules, &link.name) {
                Match::Wanted => Ok("listed"),
                Match::Excluded | Match::None => Err(format!("not listed in {}", config.devices)),
            }
        };
        match verdict {
            Ok(reason) => selection.selected.push((link.index, reason.to_owned())),
            Err(reason) => selection.not_selected.push(NotSelected { name: link.name.clone(), reason }),
        }
    }
    selection
}

fn detect(link: &Link) -> Result<(), String> {
    if link.flags & flags::IFF_LOOPBACK != 0 {
        Err("loopback".to_owned())
    } else if !link.is_up() {
        Err("down".to_owned())
    } else if link.name.starts_with("cilium_") || link.name.starts_with("lxc") {
        Err("Cilium's own".to_owned())
    } else if link.ipv4().next().is_none() {
        Err("no address".to_owned())
    } else {
        Ok(())
    }
}

/// The first device in the order of the list, not of the node, that has an address, and that address.
fn first_listed<'a>(rules: &Rules, config: &AgentConfig, selected: &[&'a Link]) -> Option<(&'a Link, Ipv4Addr)> {
    let rank = |link: &Link| {
        let one = |entry: &String| {
            let filter = crate::device_filter::DeviceFilter(vec![entry.clone()]);
            filter.matches(rules, &link.name) == Match::Wanted
        };
        config.devices.0.iter().position(one).unwrap_or(usize::MAX)
    };
    let mut ranked: Vec<_> = selected.to_vec();
    ranked.sort_by_key(|link| (rank(link), link.index));
    ranked.into_iter().find_map(|link| link.ipv4().next().map(|(ip, _)| (link, ip)))
}

/// The interface for everything that is neither pod nor service.
fn masquerading_interface<'a>(node: &NodeInputs, selected: &[&'a Link]) -> Option<(&'a Link, &'static str)> {
    let default = |link: &Link| {
        node.routes.iter().any(|route| {
            let destination = route.destination;
            let any = destination.prefix_len() == 0 && matches!(destination.addr(), IpAddr::V4(_));
            any && route.link == link.index && route.table == 254
        })
    };
    match selected.iter().find(|link| default(link)) {
        Some(link) => Some((*link, "the default route's interface is among the devices")),
        None => selected.first().map(|link| (*link, "the default route's interface is not among the devices")),
    }
}
