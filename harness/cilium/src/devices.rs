//! Which devices Cilium manages, and why it leaves out the others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::config::AgentConfig;
use crate::decisions::NotSelected;
use crate::device_filter::{DeviceFilter, Match};
use crate::direct_routing;
use crate::fatal::FatalError;
use crate::inputs::{Link, NodeInputs, flags};
use crate::rules::{Detection, Rules};

/// Name prefixes detection never takes (pkg/defaults/node.go `ExcludedDevicePrefixes`, 1.15 to 1.20; 1.14 keeps the
/// same list in devices.go). `lo` also hits `local0`.
pub const EXCLUDED_PREFIXES: [&str; 5] = ["cilium_", "lo", "lxc", "cni", "docker"];

/// The main routing table.
const TABLE_MAIN: u32 = 254;

/// The outcome of device selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Index of each selected link with the reason it was selected, in the order Cilium lists them: by index, by name
    /// in 1.14.
    pub selected: Vec<(u32, String)>,
    /// The others, in index order.
    pub not_selected: Vec<NotSelected>,
}

impl Selection {
    /// Whether this link is selected.
    pub fn contains(&self, index: u32) -> bool {
        self.selected.iter().any(|(selected, _)| *selected == index)
    }

    /// The selected links.
    pub fn links<'a>(&self, node: &'a NodeInputs) -> Vec<&'a Link> {
        self.selected.iter().filter_map(|(index, _)| node.link(*index)).collect()
    }
}

/// Selects as an agent does that starts now.
///
/// A running agent looks at a device again when the device or its addresses change, or while it is unselected; the
/// loss of a route alone does not unselect it (devices_controller.go, `processBatch`). [`select_again`] has that.
///
/// # Errors
/// The agent dies: 1.14 and 1.15 of wildcards that match nothing, 1.14 of a listed device that is missing, or of a
/// node IP no device carries.
pub fn select(
    rules: &Rules,
    config: &AgentConfig,
    node: &NodeInputs,
    node_ip: Option<Ipv4Addr>,
) -> Result<Selection, FatalError> {
    match rules.detection {
        Detection::Routes => from_routes(rules, config, node, node_ip),
        Detection::Table => {
            let selection = from_table(rules, config, node, |_| false);
            if rules.wildcard_must_match && selection.selected.is_empty() && config.devices.has_wildcard() {
                return Err(FatalError::NothingMatches {
                    prefix: rules.detection_error_prefix.to_owned(),
                    filter: config.devices.to_string(),
                });
            }
            Ok(selection)
        }
    }
}

/// Selects as a running agent does after something changed: a device that was selected and looks as before stays
/// selected, whatever became of its routes. `before` are the links and the selection of then. Since 1.15; not 1.14's
/// rule, which never unselects a device that exists.
pub fn select_again(
    rules: &Rules,
    config: &AgentConfig,
    before: (&[Link], &Selection),
    node: &NodeInputs,
) -> Selection {
    let unchanged = |link: &Link| before.1.contains(link.index) && before.0.contains(link);
    from_table(rules, config, node, unchanged)
}

fn from_table(rules: &Rules, config: &AgentConfig, node: &NodeInputs, stays: impl Fn(&Link) -> bool) -> Selection {
    let mut selection = Selection { selected: Vec::new(), not_selected: Vec::new() };
    for link in in_order(node) {
        let verdict = if stays(link) {
            Ok("selected before and unchanged since".to_owned())
        } else {
            judge(rules, config, node, link)
        };
        match verdict {
            Ok(reason) => selection.selected.push((link.index, reason)),
            Err(reason) => selection.not_selected.push(NotSelected { name: link.name.clone(), reason }),
        }
    }
    selection
}

fn in_order(node: &NodeInputs) -> Vec<&Link> {
    let mut links: Vec<_> = node.links.iter().collect();
    links.sort_by_key(|link| link.index);
    links
}

/// Judges one device: why it is selected, or Cilium's `NotSelectedReason` (devices_controller.go
/// `isSelectedDevice`). The order of the checks shows in the reason of a device that fails several.
fn judge(rules: &Rules, config: &AgentConfig, node: &NodeInputs, link: &Link) -> Result<String, String> {
    if link.name.is_empty() {
        return Err("link not seen yet".to_owned());
    }
    if !rules.listed_first {
        present(link)?;
    }
    if !config.devices.is_empty() {
        match config.devices.matches(rules, &link.name) {
            Match::Wanted => return Ok(format!("named by devices {}", config.devices)),
            // Cilium leaves the reason empty here; so does the model.
            Match::Excluded => return Err(String::new()),
            Match::None if !config.force_device_detection => {
                return Err(format!("not matching user filter {}", config.devices));
            }
            Match::None => {}
        }
    }
    if rules.listed_first {
        present(link)?;
    }
    detect(rules, &config.devices, node, link)?;
    Ok("detected: it is up and has an address with a global unicast route".to_owned())
}

fn present(link: &Link) -> Result<(), String> {
    if link.addresses.is_empty() {
        return Err("device has no addresses".to_owned());
    }
    if link.flags & flags::IFF_UP == 0 {
        return Err(format!("missing required flag (mask={:#x}, flags={:#x})", flags::IFF_UP, link.flags));
    }
    Ok(())
}

/// The checks of auto-detection.
fn detect(rules: &Rules, filter: &DeviceFilter, node: &NodeInputs, link: &Link) -> Result<(), String> {
    let excluded = flags::IFF_SLAVE | flags::IFF_LOOPBACK;
    if link.flags & excluded != 0 {
        return Err(format!("excluded flag set (mask={excluded:#x}, flags={:#x})", link.flags));
    }
    if let Some(master) = link.master.filter(|master| *master != 0) {
        match node.link(master) {
            None if rules.vrf_members => {
                return Err(format!("device has parent but parent device could not be found: {master}"));
            }
            Some(parent) if rules.vrf_members && parent.kind == "vrf" => {}
            _ => return Err(format!("bridged or bonded to ifindex {master}")),
        }
    }
    if let Some(prefix) = EXCLUDED_PREFIXES.iter().find(|prefix| link.name.starts_with(*prefix)) {
        return Err(format!("excluded prefix {prefix:?}"));
    }
    match link.kind.as_str() {
        "veth" if filter.is_empty() && !has_default_route(node, link.index, Some(TABLE_MAIN)) => {
            return Err("veth without default route".to_owned());
        }
        "bridge" | "openvswitch" => return Err("bridge-like device, use --devices to override".to_owned()),
        "ipoib" if rules.skip_ipoib => return Err("IPoIB device, use --devices to override".to_owned()),
        _ => {}
    }
    let global = |destination: &IpNet| is_global_unicast(destination.addr());
    if !node.routes.iter().any(|route| route.link == link.index && global(&route.destination)) {
        return Err("no global unicast routes".to_owned());
    }
    Ok(())
}

fn has_default_route(node: &NodeInputs, link: u32, table: Option<u32>) -> bool {
    node.routes.iter().any(|route| {
        route.link == link && table.is_none_or(|table| route.table == table) && is_default(&route.destination)
    })
}

fn is_default(destination: &IpNet) -> bool {
    destination.prefix_len() == 0 && destination.addr().is_unspecified()
}

/// Go's `IsGlobalUnicast`: neither unspecified, loopback, multicast, link-local nor the IPv4 broadcast address.
/// Private ranges and 100.64.0.0/10 are global in this sense.
pub fn is_global_unicast(address: IpAddr) -> bool {
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return false;
    }
    match address {
        IpAddr::V4(address) => !address.is_broadcast() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// 1.14 (devices.go `Detect`): a list is taken as it is, without any check; without a list the routes decide; in both
/// cases the direct routing device and the node IP's device are added.
fn from_routes(
    rules: &Rules,
    config: &AgentConfig,
    node: &NodeInputs,
    node_ip: Option<Ipv4Addr>,
) -> Result<Selection, FatalError> {
    let expand = |filter: &DeviceFilter, option| -> Result<BTreeSet<String>, FatalError> {
        let mut names = BTreeSet::new();
        for entry in &filter.0 {
            if entry.ends_with('+') {
                let prefix = entry.trim_end_matches('+');
                let hits = node.links.iter().filter(|link| link.name.starts_with(prefix));
                names.extend(hits.map(|link| link.name.clone()));
            } else {
                names.insert(entry.clone());
            }
        }
        if names.is_empty() && !filter.is_empty() {
            let prefix = rules.detection_error_prefix.to_owned();
            return Err(FatalError::WildcardExpansion { prefix, option });
        }
        Ok(names)
    };
    let mut reasons: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, reason: &str| {
        if !reasons.iter().any(|(known, _)| known == name) {
            reasons.push((name.to_owned(), reason.to_owned()));
        }
    };
    let listed = expand(&config.devices, "devices")?;
    for name in &listed {
        add(name, &format!("named by devices {}", config.devices));
    }
    let mut left_out = Vec::new();
    if listed.is_empty() && direct_routing::needed(rules, config) {
        for link in in_order(node) {
            match viable(node, link) {
                Ok(()) => add(&link.name, "detected: it has a global unicast or default route"),
                Err(reason) => left_out.push((link.name.clone(), reason)),
            }
        }
    }
    match &config.direct_routing_device {
        Some(device) => {
            if let Some(name) = expand(&DeviceFilter(vec![device.clone()]), "direct-routing-device")?.first() {
                add(name, "named by direct-routing-device");
            }
        }
        None => match node_ip.and_then(|ip| node.link_with(ip.into()).filter(|link| link.name != "cilium_host")) {
            Some(link) => add(&link.name, "added since it carries the node IP"),
            None => {
                return Err(FatalError::NoNodeIpDevice { prefix: rules.detection_error_prefix.to_owned() });
            }
        },
    }
    reasons.sort();
    let mut selected = Vec::new();
    for (name, reason) in reasons {
        match node.links.iter().find(|link| link.name == name) {
            Some(link) => selected.push((link.index, reason)),
            None => return Err(FatalError::NoSuchDevice { device: name }),
        }
    }
    let not_selected = in_order(node)
        .into_iter()
        .filter(|link| !selected.iter().any(|(index, _)| *index == link.index))
        .map(|link| {
            let why = left_out.iter().find(|(name, _)| *name == link.name).map(|(_, reason)| reason.clone());
            let reason = why.unwrap_or_else(|| format!("not matching user filter {}", config.devices));
            NotSelected { name: link.name.clone(), reason }
        })
        .collect();
    Ok(Selection { selected, not_selected })
}

/// 1.14's `isViableDevice`. It only logs its reasons; the words here are those later versions keep for the same
/// check. Neither flags nor addresses are looked at: routes imply both.
fn viable(node: &NodeInputs, link: &Link) -> Result<(), String> {
    let counts = |destination: &IpNet| is_default(destination) || is_global_unicast(destination.addr());
    if !node.routes.iter().any(|route| route.link == link.index && counts(&route.destination)) {
        return Err("no global unicast routes".to_owned());
    }
    if let Some(prefix) = EXCLUDED_PREFIXES.iter().find(|prefix| link.name.starts_with(*prefix)) {
        return Err(format!("excluded prefix {prefix:?}"));
    }
    let excluded = flags::IFF_SLAVE | flags::IFF_LOOPBACK;
    if link.flags & excluded != 0 {
        return Err(format!("excluded flag set (mask={excluded:#x}, flags={:#x})", link.flags));
    }
    match link.kind.as_str() {
        // Any table counts here.
        "veth" if !has_default_route(node, link.index, None) => return Err("veth without default route".to_owned()),
        "bridge" | "openvswitch" => return Err("bridge-like device, use --devices to override".to_owned()),
        _ => {}
    }
    match link.master.and_then(|master| node.link(master)) {
        Some(master) if matches!(master.kind.as_str(), "bridge" | "openvswitch" | "bond" | "team") => {
            Err(format!("bridged or bonded to ifindex {}", master.index))
        }
        _ => Ok(()),
    }
}
