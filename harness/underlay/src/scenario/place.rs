//! Places: where packets are sent from and to.

use topology::Network;
use topology::network::{Node, Role};
use topology::source::{Spanned, choices, closest, shown};

use super::report::Report;
use crate::case::{Place, Service, Workload};

/// Names of places that are not nodes.
const OTHERS: [&str; 5] = ["internet", "kubernetes", "kube-dns", "echo", "api-server"];

/// A place something is sent from.
pub(super) fn source(text: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Place> {
    let place = read(text, text, network, report)?;
    match place {
        Place::Service(_) | Place::ApiServer | Place::Address(_) => {
            report.add(text.at, format!("nothing can be sent from `{}`", shown(text))).help(
                "send from a pod (`master/pod`), a node (`master`, `master/enp0s6`), a gateway (`vcn/a`) or `internet`",
            );
            None
        }
        _ => Some(place),
    }
}

/// A place something is sent to.
pub(super) fn destination(text: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Place> {
    if text.contains(':') {
        report
            .add(text.at, format!("`{}` names a port", shown(text)))
            .help("here it is a place alone; `tcp` and `udp` take ports");
        return None;
    }
    destination_named(text, text, network, report)
}

/// A place something is sent to, with a port behind it if one is written.
pub(super) fn destination_port(
    text: &Spanned<String>,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<(Place, Option<u16>)> {
    let Some((place, port)) = text.rsplit_once(':') else {
        return destination_named(text, text, network, report).map(|place| (place, None));
    };
    let place = destination_named(place, text, network, report);
    match port.parse::<u16>().ok().filter(|port| *port != 0) {
        Some(port) => place.map(|place| (place, Some(port))),
        None => {
            report
                .add(text.at, format!("`{}` is not a port", shown(port)))
                .help("a number from 1 to 65535 behind the colon");
            None
        }
    }
}

fn destination_named(name: &str, whole: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Place> {
    let place = read(name, whole, network, report)?;
    match &place {
        Place::Internet => {
            report
                .add(whole.at, "`internet` is only a source")
                .help("name whom to send to by address, such as 8.8.8.8; probes `dns` and `http` take names");
            None
        }
        Place::Node(node) if network.node(node).is_some_and(|node| node.role == Role::Host) => {
            report
                .add(whole.at, format!("`{node}` is not in the cluster, so it has no node IP"))
                .help(format!("name one of its interfaces: {}", interfaces(network, node)));
            None
        }
        Place::NodeInterface { node, interface } if !has_address(network, node, interface) => {
            report.add(whole.at, format!("`{interface}` of `{node}` has no address to send to"));
            None
        }
        _ => Some(place),
    }
}

fn read(name: &str, whole: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Place> {
    match name {
        "internet" => return Some(Place::Internet),
        "kubernetes" => return Some(Place::Service(Service::Kubernetes)),
        "kube-dns" => return Some(Place::Service(Service::Dns)),
        "echo" => return Some(Place::Service(Service::Echo)),
        "api-server" => return Some(Place::ApiServer),
        _ => {}
    }
    if let Ok(address) = name.parse() {
        return Some(Place::Address(address));
    }
    let Some((first, second)) = name.split_once('/') else {
        if network.node(name).is_some() {
            return Some(Place::Node(name.to_owned()));
        }
        if name.contains('.') && name.chars().all(|c| c.is_ascii_digit() || c == '.') {
            report
                .add(whole.at, format!("`{}` is not an IPv4 address", shown(name)))
                .help("four numbers from 0 to 255 without leading zeros, such as 8.8.8.8");
            return None;
        }
        let nodes = network.nodes.iter().map(|node| node.name.as_str());
        let help = choices(name, "places", nodes.chain(OTHERS));
        report
            .add(whole.at, format!("there is no place `{}`", shown(name)))
            .help(format!("{help}; also NODE/pod, NODE/INTERFACE, vcn/NAME, and an IPv4 address"));
        return None;
    };
    if first == "vcn" {
        if network.vcn(second).is_some() {
            return Some(Place::Vcn(second.to_owned()));
        }
        let help = choices(second, "VCNs", network.vcns.iter().map(|vcn| vcn.name.as_str()));
        report.add(whole.at, format!("there is no VCN `{}`", shown(second))).help(help);
        return None;
    }
    let Some(node) = network.node(first) else {
        let help = choices(first, "nodes", network.nodes.iter().map(|node| node.name.as_str()));
        report.add(whole.at, format!("there is no node `{}`", shown(first))).help(help);
        return None;
    };
    let pod = match second {
        "pod" => Some(0),
        "pod-2" => Some(1),
        _ => None,
    };
    match pod {
        Some(_) if node.role == Role::Host => {
            report
                .add(whole.at, format!("`{first}` runs no pods: it is a machine beside the cluster"))
                .help("give it the role `worker`, or send from another node's pod");
            None
        }
        Some(index) => Some(Place::Pod(Workload { node: first.to_owned(), index })),
        None if device_names(network, node).any(|device| device == second) => {
            Some(Place::NodeInterface { node: first.to_owned(), interface: second.to_owned() })
        }
        None => {
            let there = device_names(network, node).chain(["pod", "pod-2"]);
            let help = choices(second, "there", there);
            report.add(whole.at, format!("`{first}` has no `{}`", shown(second))).help(help);
            None
        }
    }
}

/// What a node has beside the topology's interfaces where packets are seen.
const ON_NODES: [&str; 10] = [
    "pod",
    "pod-2",
    "coredns",
    "lxc-pod",
    "lxc-pod-2",
    "lxc-coredns",
    "cilium_vxlan",
    "cilium_host",
    "cilium_net",
    "lo",
];

/// A place where a packet can be seen, as walks name them; a node or VCN stands for all places of it.
pub(super) fn hop(text: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<String> {
    let (first, second) = text.split_once('/').map_or((text.as_str(), None), |(first, second)| (first, Some(second)));
    // `vcn a/gateway`, or as a place to send to, `vcn/a`.
    let vcn = match (first, second) {
        ("vcn", Some(rest)) => Some(rest.split_once('/').map_or((rest, None), |(name, part)| (name, Some(part)))),
        _ => first.strip_prefix("vcn ").map(|name| (name, second)),
    };
    let known = match vcn {
        Some((name, part)) => {
            network.vcn(name).is_some() && part.is_none_or(|part| matches!(part, "gateway" | "subnet"))
        }
        None if first == "internet" => second.is_none(),
        None => network.node(first).is_some_and(|node| {
            second
                .is_none_or(|part| ON_NODES.contains(&part) || device_names(network, node).any(|device| device == part))
        }),
    };
    if known {
        return Some(text.value.clone());
    }
    let mut all: Vec<String> = vec!["internet".to_owned()];
    all.extend(network.vcns.iter().map(|vcn| format!("vcn {}/gateway", vcn.name)));
    for node in &network.nodes {
        let parts = device_names(network, node).chain(ON_NODES);
        all.extend(parts.map(|part| format!("{}/{part}", node.name)));
    }
    let nodes = network.nodes.iter().map(|node| node.name.as_str());
    let help = match closest(text, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "NODE, NODE/pod, NODE/INTERFACE, vcn NAME/gateway, internet; the nodes are {}",
            nodes.collect::<Vec<_>>().join(", ")
        ),
    };
    report.add(text.at, format!("no packet is ever seen at `{}`", shown(text))).help(help);
    None
}

/// A node's interfaces by name, the overlay's last.
pub(super) fn device_names<'a>(network: &'a Network, node: &'a Node) -> impl Iterator<Item = &'a str> {
    let overlay = network.overlay.as_ref().filter(|_| node.overlay_address.is_some());
    node.nics.iter().map(|nic| nic.name.as_str()).chain(overlay.map(|overlay| overlay.interface.as_str()))
}

fn has_address(network: &Network, node: &str, interface: &str) -> bool {
    network.node(node).is_some_and(|node| match node.nic(interface) {
        Some(nic) => !nic.addresses.is_empty(),
        None => node.overlay_address.is_some(),
    })
}

fn interfaces(network: &Network, node: &str) -> String {
    network.node(node).map_or_else(String::new, |found| {
        device_names(network, found).map(|device| format!("`{node}/{device}`")).collect::<Vec<_>>().join(", ")
    })
}
