//! From what was read to a topology and a scenario in the making: every guess is made here, and noted where it was made.

mod cluster;
mod networks;
mod nics;
mod overlay;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cilium::Values;
use indexmap::IndexMap;
use ipnet::Ipv4Net;
use topology::validate::MAX_NODES;

use crate::Options;
use crate::evidence::Evidence;
use crate::ip::Seen;
use crate::kube;
use crate::public::Renamer;

/// What is to be said of a part: it becomes comments there, and lines of the summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// What can't be known, with what was assumed.
    pub(crate) unknown: Vec<String>,
    /// What is there and has no place in the files.
    pub(crate) left_out: Vec<String>,
}

/// So many remarks of a kind are made; there may be a route or a node for each of thousands.
const OF_A_KIND: usize = 20;
/// The longest remark, in characters: names may be of any length where they come from.
const LONGEST: usize = 400;

impl Remarks {
    /// Says what is assumed, of one kind: the first of it, and how much more there is.
    pub(crate) fn assume(&mut self, all: impl IntoIterator<Item = String>) {
        Self::first(&mut self.unknown, all);
    }

    /// Says what is left out, the same way.
    pub(crate) fn leave_out(&mut self, all: impl IntoIterator<Item = String>) {
        Self::first(&mut self.left_out, all);
    }

    fn first(list: &mut Vec<String>, all: impl IntoIterator<Item = String>) {
        let mut all = all.into_iter();
        list.extend(all.by_ref().take(OF_A_KIND));
        match all.count() {
            0 => {}
            more => list.push(format!("and {more} more like the one before")),
        }
    }

    /// Keeps it to what a file may hold, whatever was said.
    fn bound(&mut self) {
        for list in [&mut self.unknown, &mut self.left_out] {
            for text in list.iter_mut() {
                if let Some((end, _)) = text.char_indices().nth(LONGEST) {
                    text.truncate(end);
                    text.push('…');
                }
            }
            let most = 3 * OF_A_KIND;
            if list.len() > most {
                let more = list.len() - most;
                list.truncate(most);
                list.push(format!("and {more} more"));
            }
        }
    }
}

/// Everything that will be written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) vcns: Vec<VcnDraft>,
    pub(crate) overlay: Option<OverlayDraft>,
    pub(crate) nodes: Vec<NodeDraft>,
    pub(crate) cluster: ClusterDraft,
    /// About the whole.
    pub(crate) remarks: Remarks,
}

/// A VCN.
#[derive(Debug)]
pub(crate) struct VcnDraft {
    pub(crate) name: String,
    pub(crate) cidr: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) preset: Option<&'static str>,
    pub(crate) nat: Option<&'static str>,
    pub(crate) public_address: Option<Ipv4Addr>,
    /// By the node's index: the addresses it has there.
    pub(crate) members: Vec<(usize, Vec<Ipv4Addr>)>,
    pub(crate) remarks: Remarks,
}

/// The overlay.
#[derive(Debug)]
pub(crate) struct OverlayDraft {
    pub(crate) interface: String,
    pub(crate) cidr: Ipv4Net,
    pub(crate) mtu: u32,
    pub(crate) policy_routing: bool,
    pub(crate) kernel: bool,
    pub(crate) remarks: Remarks,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct NodeDraft {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) nics: Vec<NicDraft>,
    pub(crate) overlay_address: Option<Ipv4Addr>,
    pub(crate) remarks: Remarks,
    /// Its object, if it is one of the cluster's.
    pub(crate) object: Option<kube::Node>,
    /// What its agent calls its address.
    pub(crate) agent_ip: Option<Ipv4Addr>,
    pub(crate) masquerading: Option<String>,
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ControlPlane,
    Worker,
    Host,
}

/// An interface.
#[derive(Debug, Clone)]
pub(crate) struct NicDraft {
    pub(crate) name: String,
    pub(crate) kind: NicKind,
    pub(crate) addresses: Vec<Ipv4Net>,
    pub(crate) mtu: Option<u32>,
    pub(crate) default_route: bool,
    pub(crate) public_address: Option<Ipv4Addr>,
    pub(crate) up: bool,
    pub(crate) remarks: Remarks,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NicKind {
    /// Plugged into the VCN of that index; none as long as nobody knows which.
    Vcn(Option<usize>),
    Bridge(Vec<String>),
    Bond(Vec<String>),
    Dummy,
}

/// What the scenario says.
#[derive(Debug)]
pub(crate) struct ClusterDraft {
    pub(crate) version: String,
    pub(crate) version_remarks: Remarks,
    /// The same word for each node, or one each; none: kubelet's own choice.
    pub(crate) node_ips: NodeIps,
    pub(crate) pod_cidr: Option<Ipv4Net>,
    pub(crate) service_cidr: Option<Ipv4Net>,
    pub(crate) api_server: Option<String>,
    pub(crate) cluster_remarks: Remarks,
    pub(crate) values: Values,
    pub(crate) values_remarks: Remarks,
}

/// kubelet's `--node-ip`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NodeIps {
    Default,
    All(String),
    Each(IndexMap<String, String>),
}

impl Draft {
    /// Puts a draft together. None if no node of the cluster is left.
    pub(crate) fn of(mut evidence: Evidence, options: &Options, renamer: &mut Renamer) -> Option<Self> {
        let mut remarks = Remarks::default();
        let mut seen = std::mem::take(&mut evidence.nodes);
        // Nodes of which nothing is written have no new names.
        let mut called = |name: &str| match options.anonymize {
            true => "a node".to_owned(),
            false => format!("`{}`", renamer.host_name(name)),
        };
        let mut without = Vec::new();
        seen.retain(|name, seen| {
            let links = !seen.links.is_empty();
            if !links {
                without.push(format!("{}: there are routes or rules of it, but no `ip addr`", called(name)));
            }
            links
        });
        remarks.leave_out(without);
        let mut order = cluster::order(&seen, &evidence.objects);
        if order.len() > MAX_NODES {
            remarks.left_out.push(format!("{} nodes: {MAX_NODES} is the most there can be", order.len() - MAX_NODES));
            order.truncate(MAX_NODES);
        }
        let without = evidence.objects.nodes.iter().filter(|node| !seen.contains_key(&node.name));
        let without = without.map(|node| called(&node.name));
        remarks.leave_out(
            without.map(|node| format!("{node}: it is a node of the cluster, but there is no `ip addr` of it")),
        );
        let mut sights: Vec<Seen> = order.iter().filter_map(|name| seen.remove(name)).collect();
        for link in sights.iter_mut().flat_map(|seen| &mut seen.links) {
            link.addresses.retain(nics::usable);
        }
        let overlay = overlay::find(&sights);
        let mut meshed = BTreeSet::new();
        let mut nodes = cluster::nodes(&order, &evidence, options, renamer, &mut remarks);
        for (node, seen) in nodes.iter_mut().zip(&sights) {
            let interface = overlay.as_ref().map(|overlay| overlay.interface.as_str());
            node.nics = nics::read(seen, interface, &mut node.remarks);
            let address = overlay.as_ref().and_then(|overlay| overlay::address(seen, overlay));
            node.overlay_address = address.filter(|address| meshed.insert(*address));
            if let (Some(address), None) = (address, node.overlay_address) {
                node.remarks.left_out.push(format!("{address} on the overlay: another node has it"));
            }
            nics::routes(seen, node, interface);
        }
        let vcns = networks::guess(&mut nodes, &sights, overlay.as_ref().map(|overlay| overlay.cidr), options, renamer);
        nodes.iter_mut().for_each(nics::drop_unplugged);
        // A machine in no VCN can't be built.
        let (kept, dropped): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| node.nics.iter().any(|nic| matches!(nic.kind, NicKind::Vcn(Some(_)))));
        remarks.leave_out(
            dropped
                .into_iter()
                .map(|node| format!("`{}`: it has no interface that could be plugged into a network", node.name)),
        );
        let mut nodes = kept;
        cluster::one_control_plane(&mut nodes);
        let overlay = overlay.filter(|_| nodes.iter().any(|node| node.overlay_address.is_some()));
        let cluster = cluster::draft(&nodes, &vcns, overlay.as_ref(), evidence, options);
        let any = nodes.iter().any(|node| node.role != Role::Host);
        let mut draft = Self { vcns, overlay, nodes, cluster, remarks };
        draft.bound_remarks();
        any.then_some(draft)
    }

    fn bound_remarks(&mut self) {
        self.remarks.bound();
        self.vcns.iter_mut().for_each(|vcn| vcn.remarks.bound());
        self.overlay.iter_mut().for_each(|overlay| overlay.remarks.bound());
        for node in &mut self.nodes {
            node.remarks.bound();
            node.nics.iter_mut().for_each(|nic| nic.remarks.bound());
        }
        let cluster = &mut self.cluster;
        [&mut cluster.version_remarks, &mut cluster.cluster_remarks, &mut cluster.values_remarks]
            .into_iter()
            .for_each(Remarks::bound);
    }

    /// All remarks, each with the place it is about.
    pub(crate) fn all_remarks(&self) -> Remarks {
        let mut all = Remarks::default();
        let mut take = |place: String, remarks: &Remarks| {
            let with = |text: &String| if place.is_empty() { text.clone() } else { format!("{place}: {text}") };
            all.unknown.extend(remarks.unknown.iter().map(with));
            all.left_out.extend(remarks.left_out.iter().map(with));
        };
        take(String::new(), &self.remarks);
        self.vcns.iter().for_each(|vcn| take(format!("VCN {}", vcn.name), &vcn.remarks));
        self.overlay.iter().for_each(|overlay| take("overlay".to_owned(), &overlay.remarks));
        for node in &self.nodes {
            take(node.name.clone(), &node.remarks);
            node.nics.iter().for_each(|nic| take(format!("{}/{}", node.name, nic.name), &nic.remarks));
        }
        take("version".to_owned(), &self.cluster.version_remarks);
        take("cluster".to_owned(), &self.cluster.cluster_remarks);
        take("values".to_owned(), &self.cluster.values_remarks);
        all
    }
}

impl NodeDraft {
    pub(crate) fn nic(&self, name: &str) -> Option<&NicDraft> {
        self.nics.iter().find(|nic| nic.name == name)
    }

    /// The bridge or bond an interface is part of.
    pub(crate) fn master(&self, name: &str) -> Option<usize> {
        self.nics.iter().position(|nic| match &nic.kind {
            NicKind::Bridge(parts) | NicKind::Bond(parts) => parts.iter().any(|part| part == name),
            _ => false,
        })
    }

    /// What carries the addresses of an interface: itself, or what lies over it.
    pub(crate) fn top(&self, index: usize) -> usize {
        let mut top = index;
        // Bond, bridge, and no further.
        for _ in 0..3 {
            match self.nics.get(top).and_then(|nic| self.master(&nic.name)) {
                Some(master) => top = master,
                None => break,
            }
        }
        top
    }
}
