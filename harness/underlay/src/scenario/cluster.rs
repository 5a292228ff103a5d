//! The cluster's addresses: kubelet's node IPs, the ranges of pods and services, the API server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use topology::Network;
use topology::network::{Node, Role};
use topology::source::{Position, Spanned, choices, shown};

use super::file::{ClusterFile, KubeletFile, NodeIpsFile};
use super::report::Report;
use super::terse::Terse;
use super::{place, text};
use crate::case::{Cluster, Place, Workload};

/// What a combination says about kubelet and the cluster: of several layers, the last that speaks of kubelet, and of the
/// cluster's addresses the last that gives each.
#[derive(Default, Clone)]
pub(super) struct Layers<'a> {
    node_ip: Option<&'a Spanned<Terse<NodeIpsFile>>>,
    pod_cidr: Option<&'a Spanned<String>>,
    service_cidr: Option<&'a Spanned<String>>,
    api_server: Option<&'a Spanned<String>>,
    upstream_dns: Option<&'a Spanned<String>>,
    node_port: Option<&'a Spanned<u16>>,
    identities: Vec<(&'a Spanned<String>, &'a Spanned<u32>)>,
}

impl<'a> Layers<'a> {
    /// In place of what layers before it say: without `--node-ip` kubelet takes the default.
    pub(super) fn kubelet(&mut self, file: &'a KubeletFile) {
        self.node_ip = file.node_ip.as_ref();
    }

    pub(super) fn cluster(&mut self, file: &'a ClusterFile) {
        self.pod_cidr = file.pod_cidr.as_ref().or(self.pod_cidr);
        self.service_cidr = file.service_cidr.as_ref().or(self.service_cidr);
        self.api_server = file.api_server.as_ref().or(self.api_server);
        self.upstream_dns = file.upstream_dns.as_ref().or(self.upstream_dns);
        self.node_port = file.node_port.as_ref().or(self.node_port);
        self.identities.extend(&file.identities);
    }

    /// The cluster these layers describe. `at` is where to point for what no layer says.
    pub(super) fn resolve(&self, network: &Network, at: Position, report: &mut Report<'_>) -> Option<Cluster> {
        let node_ips = self.node_ips(network, at, report);
        let api_server = self.api_server(network, node_ips.as_ref(), at, report);
        let ranges = self.ranges(network, at, report);
        let upstream_dns = match self.upstream_dns {
            Some(written) => text::address(written, report),
            None => Some(Ipv4Addr::new(8, 8, 8, 8)),
        };
        let node_port = self.node_port.map_or(30080, |port| port.value);
        if let Some(port) = self.node_port.filter(|port| !(30_000..=32_767).contains(&port.value)) {
            report.add(port.at, format!("{} can't be a NodePort", port.value)).help("from 30000 to 32767");
        }
        let identities = self.identities(network, report);
        let (pod_cidr, service_cidr) = ranges?;
        Some(Cluster {
            pod_cidr,
            service_cidr,
            api_server: api_server?,
            node_ips: node_ips?,
            upstream_dns: upstream_dns?,
            node_port,
            identities,
        })
    }

    fn node_ips(&self, network: &Network, at: Position, report: &mut Report<'_>) -> Option<BTreeMap<String, Ipv4Addr>> {
        let mut all = Some(BTreeMap::new());
        let mut keep = |node: &Node, address: Option<Ipv4Addr>| match (&mut all, address) {
            (Some(addresses), Some(address)) => {
                addresses.insert(node.name.clone(), address);
            }
            _ => all = None,
        };
        match self.node_ip.map(|written| (&written.value, written.at)) {
            Some((Terse::Short(word), word_at)) => {
                let word = Spanned { value: word.clone(), at: word_at };
                for node in network.cluster_nodes() {
                    keep(node, node_ip(&word, node, network, report));
                }
            }
            Some((Terse::Full(by_node), _)) => {
                for name in by_node.0.keys() {
                    cluster_node(name, network, report);
                }
                for node in network.cluster_nodes() {
                    let written = by_node.0.iter().find(|(name, _)| name.value == node.name);
                    keep(
                        node,
                        match written {
                            Some((_, written)) => node_ip(written, node, network, report),
                            None => default_node_ip(node, at, report),
                        },
                    );
                }
            }
            None => {
                for node in network.cluster_nodes() {
                    keep(node, default_node_ip(node, at, report));
                }
            }
        }
        all
    }

    fn api_server(
        &self,
        network: &Network,
        node_ips: Option<&BTreeMap<String, Ipv4Addr>>,
        at: Position,
        report: &mut Report<'_>,
    ) -> Option<Ipv4Addr> {
        let Some(node) = network.nodes.iter().find(|node| node.role == Role::ControlPlane) else {
            report
                .add(at, format!("no node of `{}` has the role `control-plane`", network.name))
                .help("the API server needs one: `role: control-plane`");
            return None;
        };
        match self.api_server {
            Some(written) => own_address(written, "the API server", node, network, report),
            None => node.overlay_address.or_else(|| node_ips?.get(&node.name).copied()),
        }
    }

    fn ranges(&self, network: &Network, at: Position, report: &mut Report<'_>) -> Option<(Ipv4Net, Ipv4Net)> {
        let read = |written: Option<&Spanned<String>>, default: [u8; 4], report: &mut Report<'_>| match written {
            Some(written) => text::range(written, report),
            None => Ipv4Net::new(default.into(), 16).ok(),
        };
        let pods = read(self.pod_cidr, [10, 244, 0, 0], report);
        let services = read(self.service_cidr, [10, 96, 0, 0], report);
        let (pods, services) = (pods?, services?);
        let pods_at = self.pod_cidr.map_or(at, |written| written.at);
        let services_at = self.service_cidr.map_or(at, |written| written.at);
        let nodes = network.cluster_nodes().count();
        let room = 1_usize << 24_u8.saturating_sub(pods.prefix_len());
        if pods.prefix_len() > 24 || room < nodes {
            let needed = 24 - nodes.next_power_of_two().trailing_zeros();
            let has = match pods.prefix_len() {
                25.. => "not even one".to_owned(),
                _ => room.to_string(),
            };
            report
                .add(pods_at, format!("{pods} has no room for {nodes} nodes: each gets a /24, and it holds {has}"))
                .help(format!("a /{needed} or larger: {}/{needed}", pods.network()));
            return None;
        }
        if !(12..=24).contains(&services.prefix_len()) {
            report
                .add(services_at, format!("a /{} can't be the services' range", services.prefix_len()))
                .help("from /12, Kubernetes' largest, to /24, which has room for the services there are");
            return None;
        }
        if overlap(pods, services) {
            let (later, help) = match (self.pod_cidr, self.service_cidr) {
                (Some(_), None) => (pods_at, "the services' range is the default here: choose another for the pods"),
                _ => (services_at, "choose two that have no address in common"),
            };
            report.add(later, format!("the services' range {services} overlaps the pods' range {pods}")).help(help);
        }
        for (range, whose, range_at) in [(pods, "pods'", pods_at), (services, "services'", services_at)] {
            for (other, what) in used(network) {
                if overlap(range, other) {
                    report
                        .add(range_at, format!("the {whose} range {range} overlaps {what}"))
                        .help("packets to the one would go to the other: choose a range that nobody uses");
                }
            }
        }
        Some((pods, services))
    }

    fn identities(&self, network: &Network, report: &mut Report<'_>) -> BTreeMap<Workload, u32> {
        let mut identities = BTreeMap::new();
        for (pod, identity) in &self.identities {
            if !(256..=65_535).contains(&identity.value) {
                report
                    .add(identity.at, format!("{} can't be a pod's identity", identity.value))
                    .help("from 256 to 65535: what is below is Cilium's own, what is above belongs to CIDRs");
            }
            match place::destination(pod, network, report) {
                Some(Place::Pod(workload)) => {
                    identities.insert(workload, identity.value);
                }
                Some(_) => {
                    report
                        .add(pod.at, format!("`{}` is not a pod", shown(pod)))
                        .help("only pods have identities to choose: `master/pod`");
                }
                None => {}
            }
        }
        identities
    }
}

/// What the network uses, with what it is.
fn used(network: &Network) -> impl Iterator<Item = (Ipv4Net, String)> {
    let vcns = network.vcns.iter().map(|vcn| (vcn.cidr, format!("{} of VCN `{}`", vcn.cidr, vcn.name)));
    let overlay = network.overlay.iter().map(|overlay| (overlay.cidr, format!("{} of the overlay", overlay.cidr)));
    let nics = network.nodes.iter().flat_map(|node| {
        node.nics.iter().flat_map(move |nic| {
            nic.addresses.iter().map(move |net| (net.trunc(), format!("{} on `{}/{}`", net, node.name, nic.name)))
        })
    });
    let hosts = network
        .internet
        .hosts
        .iter()
        .map(|host| (Ipv4Net::from(host.address), format!("{} of `{}` on the internet", host.address, host.name)));
    // A NIC's network is its VCN's, told once.
    let in_vcn = |net: &Ipv4Net| network.vcns.iter().any(|vcn| vcn.cidr == *net);
    let nics: Vec<_> = nics.filter(|(net, _)| !in_vcn(net)).collect();
    vcns.chain(overlay).chain(nics).chain(hosts)
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The node of the cluster that is named, or a mistake.
pub(super) fn cluster_node<'a>(
    name: &Spanned<String>,
    network: &'a Network,
    report: &mut Report<'_>,
) -> Option<&'a Node> {
    match network.node(name) {
        Some(node) if node.role != Role::Host => Some(node),
        Some(_) => {
            report.add(
                name.at,
                format!("`{}` is a machine beside the cluster: it has no kubelet and no agent", shown(name)),
            );
            None
        }
        None => {
            let nodes = network.cluster_nodes().map(|node| node.name.as_str());
            let help = choices(name, "nodes of the cluster", nodes);
            report.add(name.at, format!("there is no node `{}`", shown(name))).help(help);
            None
        }
    }
}

/// What kubelet takes without `--node-ip`: the address its default route leaves from
/// (kubernetes/pkg/kubelet/nodestatus/setters.go, `NodeAddress`, by way of `utilnet.ResolveBindAddress`).
fn default_node_ip(node: &Node, at: Position, report: &mut Report<'_>) -> Option<Ipv4Addr> {
    let found = node.nics.iter().find(|nic| nic.default_route.is_some()).and_then(|nic| nic.addresses.first());
    if found.is_none() {
        report
            .add(at, format!("`{}` has no default route, so kubelet finds no address by itself", node.name))
            .help("say which it takes: `kubelet: {node-ip: …}`");
    }
    found.map(Ipv4Net::addr)
}

fn node_ip(written: &Spanned<String>, node: &Node, network: &Network, report: &mut Report<'_>) -> Option<Ipv4Addr> {
    own_address(written, "kubelet", node, network, report)
}

/// `overlay`, an interface or an address, as an address the node has. `who` binds to it, and can't to another.
fn own_address(
    written: &Spanned<String>,
    who: &str,
    node: &Node,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<Ipv4Addr> {
    let name = &node.name;
    if let Ok(address) = written.parse::<Ipv4Addr>() {
        if addresses(node).any(|own| own == address) {
            return Some(address);
        }
        let own: Vec<String> = addresses(node).map(|own| own.to_string()).collect();
        report
            .add(written.at, format!("`{name}` doesn't have the address {address}: {who} would refuse it"))
            .help(format!("it has {}", own.join(", ")));
        return None;
    }
    let interface = match &network.overlay {
        Some(overlay) if written.value == "overlay" => &overlay.interface,
        _ => &written.value,
    };
    let overlay = network.overlay.as_ref().filter(|overlay| overlay.interface == *interface);
    let found = match node.nic(interface) {
        Some(nic) => nic.addresses.first().map(Ipv4Net::addr),
        None => overlay.and(node.overlay_address),
    };
    if found.is_none() {
        let there = place::device_names(network, node).any(|device| device == interface);
        let message = match (there, written.value == "overlay") {
            (true, _) => format!("`{interface}` of `{name}` has no address"),
            (false, true) if network.overlay.is_none() => "the network has no overlay".to_owned(),
            (false, true) => format!("`{name}` has no part in the overlay"),
            (false, false) => format!("`{name}` has no interface `{}`", shown(interface)),
        };
        let own: Vec<&str> =
            place::device_names(network, node).chain(node.overlay_address.map(|_| "overlay")).collect();
        let diagnostic = report.add(written.at, message);
        if !there {
            diagnostic.help(choices(written, "here", own));
        }
    }
    found
}

/// All addresses of a node.
pub(super) fn addresses(node: &Node) -> impl Iterator<Item = Ipv4Addr> {
    node.nics.iter().flat_map(|nic| nic.addresses.iter().map(Ipv4Net::addr)).chain(node.overlay_address)
}
