//! How the source of packets that leave the cluster is translated.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::{AgentConfig, Routing};
use crate::decisions::Masquerade;
use crate::direct_routing::node_port;
use crate::fatal::FatalError;
use crate::first_global::{self, Prefer};
use crate::inputs::{Link, NodeInputs};
use crate::node_address::{FALLBACK, NodeAddress};
use crate::node_ip;
use crate::rules::{AddressSource, Rules};

/// What becomes of `enable-bpf-masquerade`: the agent checks it against the other options (daemon/cmd/daemon.go).
/// `false` where it is off, and where 1.14 falls back to iptables.
///
/// # Errors
/// The options contradict each other.
pub fn check(rules: &Rules, config: &AgentConfig) -> Result<bool, FatalError> {
    let prefix = || rules.options_error_prefix.to_owned();
    if !config.ipv4_masquerade || !config.bpf_masquerade {
        if config.ip_masq_agent.is_some() {
            return Err(FatalError::IpMasqAgent { prefix: prefix() });
        }
        return match config.bpf_masquerade && rules.masquerade_must_work {
            true => Err(FatalError::MasqueradeOff { prefix: prefix() }),
            false => Ok(false),
        };
    }
    let needs_node_port = rules.masquerade_needs_node_port && !node_port(config);
    let interfaces = !config.egress_masquerade_interfaces.is_empty();
    if !rules.masquerade_must_work {
        // 1.14 wants socket load balancing too, which comes with kube-proxy replacement; it only warns.
        let tunnelled = config.routing != Routing::Native;
        let possible = !needs_node_port && !interfaces && (config.replaces_kube_proxy() || !tunnelled);
        return match config.ip_masq_agent.is_some() && !possible {
            true => Err(FatalError::IpMasqAgent { prefix: prefix() }),
            false => Ok(possible),
        };
    }
    if needs_node_port {
        Err(FatalError::MasqueradeNeedsNodePort { prefix: prefix() })
    } else if interfaces {
        Err(FatalError::MasqueradeInterfaces { prefix: prefix() })
    } else if config.masquerade_route_source {
        Err(FatalError::MasqueradeRouteSource { prefix: prefix() })
    } else {
        Ok(true)
    }
}

/// Who translates. iptables goes by `egress-masquerade-interfaces` or takes every device (pkg/datapath/iptables
/// `installMasqueradeRules`); with `enable-masquerade-to-route-source` it takes those interfaces or the selected
/// devices.
pub fn decide(config: &AgentConfig, bpf_masquerade: bool, selected: &[&Link]) -> Masquerade {
    if !config.ipv4_masquerade {
        return Masquerade::Off;
    }
    if bpf_masquerade {
        return Masquerade::Bpf;
    }
    let mut interfaces = config.egress_masquerade_interfaces.clone();
    if interfaces.is_empty() && config.masquerade_route_source {
        interfaces = selected.iter().map(|link| link.name.clone()).collect();
    }
    Masquerade::Iptables { interfaces }
}

/// The source packets get that leave by this device (since 1.16 pkg/datapath/loader `bpfMasqAddrs`: its primary
/// address, else the fallback; before pkg/node/address.go `InitBPFMasqueradeAddrs`).
pub fn source(
    rules: &Rules,
    config: &AgentConfig,
    node: &NodeInputs,
    table: &[NodeAddress],
    device: &Link,
) -> Option<Ipv4Addr> {
    let from = config.derive_masquerade_from.as_deref();
    if rules.masquerade_address == AddressSource::FirstGlobal {
        let (link, preferred) = match from {
            Some(name) => (node.link_named(name), None),
            None => (Some(device), node_ip::from_kubernetes(node)),
        };
        return first_global::address(node, link, preferred, Prefer::Public);
    }
    let primary = |name: &str| table.iter().find(|row| row.primary && row.device == name).map(|row| row.address);
    primary(from.unwrap_or(&device.name)).or_else(|| primary(FALLBACK))
}

/// Destinations that are never masqueraded (pkg/datapath/types/config.go `RemoteSNATDstAddrExclusionCIDRv4`).
pub fn exclusion(config: &AgentConfig, node: &NodeInputs) -> Ipv4Net {
    config.ipv4_native_routing_cidr.unwrap_or(node.pod_cidr).trunc()
}

/// Destinations that pods reach with their own address beside [`exclusion`]: what the ip-masq-agent exempts and, with
/// native routing, the other nodes' IPs. With a tunnel a packet to another node is translated, since it travels outside
/// of it (bpf/lib/nat.h `snat_v4_needs_masquerade`, 1.14 `snat_v4_prepare_state`: `identity_is_remote_node`; iptables:
/// pkg/datapath/iptables/iptables.go `nodeIpsetNATCmds`, 1.14 and 1.15 `installMasqueradeRules`, for
/// pkg/option/config.go `NodeIpsetNeeded`).
pub fn exempt(config: &AgentConfig, node: &NodeInputs) -> Vec<Ipv4Net> {
    let mut exempt = config.ip_masq_agent.clone().unwrap_or_default();
    if config.routing == Routing::Native {
        exempt.extend(node.peers.iter().map(|peer| Ipv4Net::from(peer.node_ip)));
    }
    exempt
}
