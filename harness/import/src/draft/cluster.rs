//! The cluster on the network: its nodes and their roles, addresses, version, values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cilium::{Version, chart};
use indexmap::IndexMap;
use ipnet::Ipv4Net;

use super::{ClusterDraft, NodeDraft, NodeIps, OverlayDraft, Remarks, Role, VcnDraft};
use crate::Options;
use crate::evidence::Evidence;
use crate::ip::Seen;
use crate::kube::Objects;
use crate::public::Renamer;

/// Taken where nothing tells the version: one whose model was held against real agents.
const VERSION: &str = "1.18.2";

/// The nodes' names, in the order the file will have: that of their pods' ranges, by which a scenario hands these out;
/// then those of which none is known; machines that are no nodes of the cluster last.
pub(super) fn order(seen: &BTreeMap<String, Seen>, objects: &Objects) -> Vec<String> {
    let mut names: Vec<String> = seen.keys().cloned().collect();
    let beside = |name: &String| !objects.nodes.is_empty() && !objects.nodes.iter().any(|node| node.name == *name);
    names.sort_by_key(|name| {
        let range = pod_cidr(name, objects);
        (beside(name), range.is_none(), range.map(|range| range.network()), name.clone())
    });
    names
}

/// What the agent has, else what Kubernetes gave.
fn pod_cidr(name: &str, objects: &Objects) -> Option<Ipv4Net> {
    let agents = objects.cilium_nodes.iter().find(|node| node.name == name).and_then(|node| node.pod_cidr);
    agents.or_else(|| objects.nodes.iter().find(|node| node.name == name)?.pod_cidr)
}

/// The nodes as yet without interfaces.
pub(super) fn nodes(
    order: &[String],
    evidence: &Evidence,
    options: &Options,
    renamer: &mut Renamer,
    remarks: &mut Remarks,
) -> Vec<NodeDraft> {
    let objects = &evidence.objects;
    let mut taken = BTreeSet::new();
    let mut nodes: Vec<NodeDraft> = Vec::new();
    for (index, original) in order.iter().enumerate() {
        let name = match options.anonymize {
            true => format!("node-{}", index + 1),
            false => label(&renamer.host_name(original), index),
        };
        let name = if taken.insert(name.clone()) { name } else { format!("node-{}-again", index + 1) };
        taken.insert(name.clone());
        let agent = objects.cilium_nodes.iter().find(|node| node.name == *original);
        // A CiliumNode tells of a node what its own object would.
        let object = objects.nodes.iter().find(|node| node.name == *original).cloned().or_else(|| {
            let agent = agent?;
            Some(crate::kube::Node {
                name: agent.name.clone(),
                internal_ip: agent.internal_ip,
                external_ip: agent.external_ip,
                pod_cidr: agent.pod_cidr,
                ..crate::kube::Node::default()
            })
        });
        let mut own = Remarks::default();
        if name != *original && !options.anonymize {
            let original = renamer.host_name(original);
            own.left_out
                .push(format!("its name, {}: here names are single labels", topology::source::shown(&original)));
        }
        let role = match &object {
            Some(object) if object.control_plane => Role::ControlPlane,
            None if !objects.nodes.is_empty() => Role::Host,
            _ => Role::Worker,
        };
        nodes.push(NodeDraft {
            name,
            role,
            nics: Vec::new(),
            overlay_address: None,
            remarks: own,
            object,
            agent_ip: agent.and_then(|agent| agent.internal_ip),
            masquerading: evidence.masquerading.get(original).cloned(),
        });
    }
    if objects.nodes.is_empty() && !nodes.is_empty() {
        remarks.unknown.push("roles and kubelet's addresses, for want of `kubectl get nodes`".to_owned());
    }
    nodes
}

/// One node is the control plane: the first that is, or that its name speaks for, or the first.
pub(super) fn one_control_plane(nodes: &mut [NodeDraft]) {
    let mut planes: Vec<usize> = (0..nodes.len()).filter(|index| nodes[*index].role == Role::ControlPlane).collect();
    if planes.is_empty() {
        let speaks =
            |node: &NodeDraft| ["master", "control", "cp", "server"].iter().any(|word| node.name.contains(word));
        let workers = || nodes.iter().enumerate().filter(|(_, node)| node.role == Role::Worker);
        let chosen = workers().find(|(_, node)| speaks(node)).or(workers().next()).map(|(index, _)| index);
        if let Some(chosen) = chosen {
            nodes[chosen].role = Role::ControlPlane;
            nodes[chosen]
                .remarks
                .unknown
                .push("the control plane: assumed here (is it managed by a provider?)".to_owned());
            planes.push(chosen);
        }
    }
    for index in planes.into_iter().skip(1) {
        nodes[index].role = Role::Worker;
        nodes[index].remarks.left_out.push("that it is a control plane too: a topology has one".to_owned());
    }
}

/// A DNS label: what a topology takes for a name.
fn label(name: &str, index: usize) -> String {
    let first = name.split('.').next().unwrap_or_default().to_lowercase();
    let clean: String =
        first.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    let clean = clean.trim_matches('-');
    let clean = clean.get(..clean.len().min(63)).unwrap_or_default().trim_matches('-');
    if clean.is_empty() { format!("node-{}", index + 1) } else { clean.to_owned() }
}

/// What the scenario says of the cluster.
pub(super) fn draft(
    nodes: &[NodeDraft],
    vcns: &[VcnDraft],
    overlay: Option<&OverlayDraft>,
    evidence: Evidence,
    options: &Options,
) -> ClusterDraft {
    let mut version_remarks = Remarks::default();
    let version = version(&evidence, options, &mut version_remarks);
    let mut cluster_remarks = Remarks::default();
    let ranges = Ranges { nodes, vcns, overlay };
    let service_cidr = ranges.services(&evidence.objects, &mut cluster_remarks);
    let pod_cidr = ranges.pods(&evidence, service_cidr, &mut cluster_remarks);
    let api_server = api_server(nodes, overlay, &evidence.objects, &mut cluster_remarks);
    let mut values_remarks = Remarks::default();
    let objects = evidence.objects;
    let values = match (objects.config, evidence.helm) {
        (Some(config), _) => {
            let known =
                config.keys().filter(|option| cilium::values::MODELLED_OPTIONS.contains(&option.as_str())).count();
            if config.len() > known {
                let more = config.len() - known;
                values_remarks.left_out.push(format!("{more} options of cilium-config that the model doesn't know"));
            }
            chart::values_of(&version, &config)
        }
        (None, Some(helm)) => modelled(&helm, &version, &mut values_remarks),
        (None, None) => {
            values_remarks.unknown.push("all of them, for want of cilium-config: assumed the chart's own".to_owned());
            cilium::Values::new()
        }
    };
    if values.get("ipMasqAgent.enabled") == Some(&true.into()) {
        values_remarks.unknown.push("which destinations the ip-masq-agent exempts: assumed its defaults".to_owned());
    }
    ClusterDraft {
        node_ips: node_ips(nodes, overlay, &mut cluster_remarks),
        version: version.to_string(),
        version_remarks,
        pod_cidr,
        service_cidr,
        api_server,
        cluster_remarks,
        values,
        values_remarks,
    }
}

fn version(evidence: &Evidence, options: &Options, remarks: &mut Remarks) -> Version {
    let fallback = || VERSION.parse().expect("a version the model knows");
    if let Some(version) = &options.version {
        return version.clone();
    }
    match evidence.objects.version.as_deref() {
        None => {
            remarks.unknown.push(format!("Cilium's version: assumed {VERSION}; `--cilium` names another"));
            fallback()
        }
        Some(found) => found.parse().unwrap_or_else(|error| {
            remarks.left_out.push(format!("{error}; {VERSION} is written instead"));
            fallback()
        }),
    }
}

/// Values that the model takes into account: of the others some are secrets.
fn modelled(helm: &cilium::Values, version: &Version, remarks: &mut Remarks) -> cilium::Values {
    let sorted = helm.sort(version);
    let mut kept = serde_json::Map::new();
    for path in &sorted.modelled {
        let (parent, key) = path.split_once('.').map_or((None, path.as_str()), |(parent, key)| (Some(parent), key));
        let Some(value) = helm.get(path).cloned() else { continue };
        match parent {
            None => {
                kept.insert(key.to_owned(), value);
            }
            Some(parent) => {
                let parent = kept.entry(parent).or_insert_with(|| serde_json::Map::new().into());
                if let Some(parent) = parent.as_object_mut() {
                    parent.insert(key.to_owned(), value);
                }
            }
        }
    }
    let more = sorted.not_modelled.len() + sorted.unknown.len();
    if more > 0 {
        remarks.left_out.push(format!("{more} Helm values that the model doesn't know"));
    }
    kept.into()
}

/// What calls an address of a node: `overlay`, an interface's name if it is that one's first, or the address.
fn word(node: &NodeDraft, address: Ipv4Addr, overlay: Option<&OverlayDraft>) -> Option<String> {
    if overlay.is_some() && node.overlay_address == Some(address) {
        return Some("overlay".to_owned());
    }
    let nic = node.nics.iter().find(|nic| nic.addresses.iter().any(|net| net.addr() == address))?;
    let first = nic.addresses.first().is_some_and(|net| net.addr() == address);
    Some(if first { nic.name.clone() } else { address.to_string() })
}

fn node_ips(nodes: &[NodeDraft], overlay: Option<&OverlayDraft>, remarks: &mut Remarks) -> NodeIps {
    let mut each = IndexMap::new();
    let (mut assumed, mut nowhere) = (Vec::new(), Vec::new());
    let cluster: Vec<&NodeDraft> = nodes.iter().filter(|node| node.role != Role::Host).collect();
    for node in &cluster {
        let Some(address) = node.object.as_ref().and_then(|object| object.internal_ip) else {
            // Who has an overlay and says nothing most likely uses it; without, kubelet finds its address itself.
            if let Some(own) = node.overlay_address.and_then(|address| word(node, address, overlay)) {
                assumed.push(format!("kubelet's --node-ip on {}: assumed the overlay's", node.name));
                each.insert(node.name.clone(), own);
            }
            continue;
        };
        match word(node, address, overlay) {
            Some(word) => {
                each.insert(node.name.clone(), word);
            }
            None => {
                nowhere.push(format!("the node IP of {}, {address}: no interface here has it", node.name));
            }
        }
    }
    remarks.assume(assumed);
    remarks.leave_out(nowhere);
    let same: BTreeSet<&String> = each.values().collect();
    match same.first() {
        None => NodeIps::Default,
        Some(word) if same.len() == 1 && each.len() == cluster.len() && word.parse::<Ipv4Addr>().is_err() => {
            NodeIps::All((*word).clone())
        }
        Some(_) => NodeIps::Each(each),
    }
}

fn api_server(
    nodes: &[NodeDraft],
    overlay: Option<&OverlayDraft>,
    objects: &Objects,
    remarks: &mut Remarks,
) -> Option<String> {
    let plane = nodes.iter().find(|node| node.role == Role::ControlPlane)?;
    match objects.api_server {
        None => {
            let own = match plane.overlay_address {
                Some(_) => "on the overlay",
                None => "at that node's node IP",
            };
            remarks.unknown.push(format!("where the API server is reached: assumed {own}"));
            None
        }
        Some(address) => {
            let found = word(plane, address, overlay);
            if found.is_none() {
                let message = format!("the API server's address {address}: `{}` doesn't have it", plane.name);
                remarks.left_out.push(message);
            }
            found
        }
    }
}

/// Ranges that must not meet what the network uses.
struct Ranges<'a> {
    nodes: &'a [NodeDraft],
    vcns: &'a [VcnDraft],
    overlay: Option<&'a OverlayDraft>,
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

impl Ranges<'_> {
    fn free(&self, range: Ipv4Net) -> bool {
        let addresses = self.nodes.iter().flat_map(|node| &node.nics).flat_map(|nic| &nic.addresses);
        let used = self.vcns.iter().map(|vcn| vcn.cidr).chain(self.overlay.map(|overlay| overlay.cidr));
        !used.chain(addresses.map(Ipv4Net::trunc)).any(|used| overlap(range, used))
    }

    /// The range of the address of the service `kubernetes`, which is the first of it.
    fn services(&self, objects: &Objects, remarks: &mut Remarks) -> Option<Ipv4Net> {
        let Some(first) = objects.kubernetes_service else {
            let default = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
            remarks.unknown.push("the services' range, for want of the services".to_owned());
            return (!self.free(default)).then(|| self.other(172, None)).flatten();
        };
        let base = Ipv4Addr::from(u32::from(first).saturating_sub(1));
        let ranges = (12..=24).map(|length| Ipv4Net::new_assert(base, length));
        // A service is not at a network's first address: the widest range that begins there may be too wide.
        let found = ranges
            .into_iter()
            .filter(|net| net.prefix_len() >= 16)
            .find(|net| net.addr() == net.network() && self.free(*net));
        match found {
            Some(range) => {
                remarks.unknown.push(format!("the size of the services' range: assumed a /{}", range.prefix_len()));
                if objects.dns_service.is_some_and(|dns| u32::from(dns) != u32::from(base) + 10) {
                    remarks
                        .left_out
                        .push("cluster DNS's address: here it is the tenth of the services' range".to_owned());
                }
            }
            None => remarks.left_out.push(format!("the services' range: none that begins at {base} is free here")),
        }
        found
    }

    /// The pods' range: the ConfigMap's pool, or one that holds the nodes' ranges.
    fn pods(&self, evidence: &Evidence, services: Option<Ipv4Net>, remarks: &mut Remarks) -> Option<Ipv4Net> {
        let own: Vec<(&NodeDraft, Option<Ipv4Net>)> = self
            .nodes
            .iter()
            .filter(|node| node.role != Role::Host)
            .map(|node| (node, node.object.as_ref().and_then(|object| pod_cidr(&object.name, &evidence.objects))))
            .collect();
        let services = services.unwrap_or(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16));
        let fits = |range: &Ipv4Net| {
            let room = range.prefix_len() <= 24 && 1_usize << (24 - range.prefix_len()) >= own.len();
            room && self.free(*range) && !overlap(*range, services)
        };
        let first = own.iter().filter_map(|(_, range)| *range).min();
        let config = evidence.objects.config.as_ref();
        let pool = config.and_then(|config| config.get("cluster-pool-ipv4-cidr"));
        let pool = pool.and_then(|text| text.split([' ', ',']).find_map(|part| part.parse::<Ipv4Net>().ok()));
        // The nodes' ranges are handed out from the first on.
        let around = |first: Ipv4Net| (8..=24).map(move |length| Ipv4Net::new_assert(first.network(), length));
        let beginning = first.and_then(|first| {
            around(first).filter(|net| net.prefix_len() >= 16).find(|net| net.addr() == net.network() && fits(net))
        });
        let found = beginning.or(pool.map(|pool| pool.trunc()).filter(fits));
        let Some(range) = found else {
            remarks.unknown.push("the pods' range, for want of nodes or ciliumnodes".to_owned());
            let default = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
            return (!fits(&default)).then(|| self.other(172, Some(services))).flatten();
        };
        let others = own.iter().enumerate().filter_map(|(index, (node, own))| {
            let given = Ipv4Addr::from(u32::from(range.network()) + ((index as u32) << 8));
            let own = own.filter(|own| own.network() != given || own.prefix_len() != 24)?;
            Some(format!("the pods' range {own} of {}: here it is {given}/24", node.name))
        });
        remarks.leave_out(others);
        Some(range)
    }

    /// A /16 that nobody uses.
    fn other(&self, first: u8, taken: Option<Ipv4Net>) -> Option<Ipv4Net> {
        let ranges = (16..32).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(first, second, 0, 0), 16));
        ranges.into_iter().find(|net| self.free(*net) && !taken.is_some_and(|taken| overlap(*net, taken)))
    }
}
