//! The direct routing device: the one native packets take where no lookup is made.

use std::net::Ipv4Addr;

use crate::config::{AgentConfig, Encryption};
use crate::device_filter::{DeviceFilter, Match};
use crate::fatal::FatalError;
use crate::inputs::Link;
use crate::rules::{DeviceNeed, Rules};

/// Whether the agent can't run without devices (pkg/option/config.go `AreDevicesRequired`).
pub fn needed(rules: &Rules, config: &AgentConfig) -> bool {
    let services = match rules.device_need {
        DeviceNeed::NodePort => node_port(config),
        DeviceNeed::KubeProxyReplacementOrMasquerade => config.replaces_kube_proxy() || config.bpf_masquerade,
    };
    services || config.host_firewall || config.l2_announcements || config.encryption != Encryption::None
}

/// Whether NodePort services are handled by eBPF.
pub fn node_port(config: &AgentConfig) -> bool {
    config.replaces_kube_proxy() || config.node_port
}

/// The device and the rule that gave it.
pub type Choice<'a> = (&'a Link, &'static str);

/// Chooses among the selected devices (since 1.17 pkg/datapath/tables/direct_routing_device.go, before
/// pkg/datapath/linux/devices.go): the configured one, else the only one, else the one with the node's address.
///
/// # Errors
/// There is none, and the agent can't do without.
pub fn decide<'a>(
    rules: &Rules,
    config: &AgentConfig,
    selected: &[&'a Link],
    node_ip: Option<Ipv4Addr>,
) -> Result<Option<Choice<'a>>, FatalError> {
    let by_node_ip = || {
        let holder = selected.iter().find(|link| node_ip.is_some_and(|ip| link.has(ip.into())));
        holder.map(|link| (*link, "the selected device that carries the node IP"))
    };
    let choice = match &config.direct_routing_device {
        Some(wanted) => {
            let filter = DeviceFilter(vec![wanted.clone()]);
            let named = selected.iter().find(|link| filter.matches(rules, &link.name) == Match::Wanted);
            let named = named.map(|link| (*link, "the first selected device that direct-routing-device names"));
            if rules.direct_routing_falls_back { named.or_else(by_node_ip) } else { named }
        }
        None => match selected {
            [only] => Some((*only, "the only selected device")),
            _ => by_node_ip(),
        },
    };
    if choice.is_none() && needed(rules, config) {
        return Err(FatalError::NoDirectRoutingDevice { prefix: rules.detection_error_prefix.to_owned() });
    }
    Ok(choice)
}
