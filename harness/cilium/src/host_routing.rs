//! Whether pods' packets pass the host's stack, and whether they are looked up at all.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::config::{AgentConfig, Encryption};
use crate::decisions::{Decisions, HostRouting};
use crate::inputs::{Link, NodeInputs};
use crate::rules::Rules;

/// eBPF host routing unless something needs the host's stack (up to 1.18 daemon/cmd/kube_proxy_replacement.go
/// `finishKubeProxyReplacementInit`, since 1.19 pkg/kpr/initializer). The tunnel is no such reason. Gives the reason
/// too, in Cilium's words where it says something. `bpf_masquerade` is what became of the option.
pub fn decide(rules: &Rules, config: &AgentConfig, bpf_masquerade: bool) -> (HostRouting, &'static str) {
    let reason = if config.host_legacy_routing {
        "enable-host-legacy-routing is set"
    } else if rules.ipsec_forces_legacy && config.encryption == Encryption::Ipsec {
        "BPF host routing is incompatible with enable-ipsec."
    } else if config.ipv4_masquerade && !bpf_masquerade {
        "BPF host routing requires enable-bpf-masquerade."
    } else if !config.replaces_kube_proxy() {
        "BPF host routing requires kube-proxy-replacement=true."
    } else {
        return (HostRouting::Bpf, "kube-proxy is replaced and nothing needs the host's stack");
    };
    (HostRouting::Legacy, reason)
}

/// The device all native packets of pods are thrown into without a lookup: with eBPF host routing, one selected device
/// and no endpoint routes (up to 1.18, pkg/datapath/linux/config/config.go `writeTemplateConfig`, ENABLE_SKIP_FIB;
/// cilium #27343, removed by #43277).
pub fn skip_fib(
    rules: &Rules,
    config: &AgentConfig,
    routing: HostRouting,
    selected: &[&Link],
    direct_routing: Option<&Link>,
) -> Option<String> {
    let applies = rules.skip_fib && routing == HostRouting::Bpf && selected.len() == 1 && !config.endpoint_routes;
    direct_routing.filter(|_| applies).map(|link| link.name.clone())
}

/// The kernel's table of local addresses (linux/rtnetlink.h, RT_TABLE_LOCAL).
const LOCAL_TABLE: u32 = 255;

/// The node's own addresses that its pods' packets don't reach though they are looked up, ascending
/// ([`Rules::local_to_stack`]): local ones that the pods' programs don't know as the host's. None where the host's
/// stack routes, which delivers them all.
pub fn dropped(rules: &Rules, node: &NodeInputs, made: &Decisions) -> Vec<Ipv4Addr> {
    if rules.local_to_stack || made.host_routing == HostRouting::Legacy {
        return Vec::new();
    }
    let is_local = |ip: Ipv4Addr| {
        let host = IpNet::V4(ip.into());
        node.routes.iter().any(|route| route.table == LOCAL_TABLE && route.destination == host)
    };
    let own: BTreeSet<_> = node.links.iter().flat_map(Link::ipv4).map(|(ip, _)| ip).collect();
    own.into_iter().filter(|ip| !ip.is_loopback() && !made.host_addresses.contains(ip) && is_local(*ip)).collect()
}
