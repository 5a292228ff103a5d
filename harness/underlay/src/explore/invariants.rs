//! What has to hold in every network, whatever its shape: between what the model decides, what packets did, and what the
//! topology allows.

use std::net::{IpAddr, Ipv4Addr};

use cilium::Decisions;
use cilium::decisions::{Egress, Masquerade};
use probe::Evidence;
use probe::capture::sighting::{Direction, Kind, Sighting};
use probe::evidence::{Outcome, OutcomeKind, Silence};
use probe::walk::{Hop, Walk, Way, place};
use topology::network::{Nat, Network, NicKind, Node};

use crate::case::{Case, Place, ProbeKind, ProbeSpec};
use crate::engine::netns::agents;
use crate::engine::{inputs, install};
use crate::observed::{Agent, Observed, Trace};
use crate::verdict::CaseResult;

/// A thing that has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// What agents decide by what they see is what was foretold from the topology.
    Foretold,
    /// A pod's packet for the internet leaves its node by the device that was decided, if one was.
    Egress,
    /// It leaves with the source that was decided for that device.
    Source,
    /// VXLAN's outer packet goes to the endpoint that was decided for the peer.
    Tunnel,
    /// A pod's packet larger than the pods' MTU, not to be cut up, is refused, with that MTU.
    Mtu,
    /// The source that the internet sees is the gateway's for the interface that the packet came from.
    Gateway,
    /// Of two nodes that are configured alike, either's pods reach the other's or neither's do.
    Symmetric,
    /// No packet is seen in the clear where neither its sender nor its receiver has an interface.
    Business,
    /// An answer to a ping or a datagram came if and only if one was seen to reach who had asked.
    Delivered,
}

/// How it came out, of one probe or node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of what.
    pub invariant: Invariant,
    /// What is wrong; none where it holds.
    pub violation: Option<String>,
}

impl Invariant {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Foretold,
        Self::Egress,
        Self::Source,
        Self::Tunnel,
        Self::Mtu,
        Self::Gateway,
        Self::Symmetric,
        Self::Business,
        Self::Delivered,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Foretold => "foretold",
            Self::Egress => "egress",
            Self::Source => "source",
            Self::Tunnel => "tunnel",
            Self::Mtu => "mtu",
            Self::Gateway => "gateway",
            Self::Symmetric => "symmetric",
            Self::Business => "business",
            Self::Delivered => "delivered",
        }
    }

    /// Whether it is about packets that did not come, too.
    fn needs_silence(self) -> bool {
        matches!(self, Self::Mtu | Self::Symmetric | Self::Delivered)
    }

    /// It in a sentence.
    pub fn says(self) -> &'static str {
        match self {
            Self::Foretold => "agents decide what was foretold from the topology",
            Self::Egress => "a pod's packet leaves by the device that was decided",
            Self::Source => "it leaves with the source that was decided for that device",
            Self::Tunnel => "VXLAN goes to the endpoint that was decided for the peer",
            Self::Mtu => "what is larger than the pods' MTU is refused, with that MTU",
            Self::Gateway => "the internet sees the gateway's address for the interface",
            Self::Symmetric => "between nodes configured alike pods reach each other both ways or neither",
            Self::Business => "no packet is seen where neither sender nor receiver has an interface",
            Self::Delivered => "an answer came exactly where the captured way says so",
        }
    }
}

/// Everything that was put to the test by a result. Where its evidence is in doubt, what was seen counts, and what was
/// not seen proves nothing. Where packets of a probe went unseen, nobody knows which hop was its first or last.
pub fn findings(result: &CaseResult) -> Vec<Finding> {
    let case = &*result.case;
    let Some(observed) = &result.observed else { return Vec::new() };
    let mut all = of(case, observed);
    if !observed.doubts.is_empty() {
        all.retain(|finding| !finding.invariant.needs_silence());
    }
    all
}

fn of(case: &Case, observed: &Observed) -> Vec<Finding> {
    let mut all = foretold(case, observed);
    for spec in &case.probes {
        let evidence = observed.probes.iter().find(|(id, _)| *id == spec.id).map(|(_, evidence)| evidence);
        let (Some(evidence), Some(trace)) = (evidence, observed.trace(&spec.id)) else { continue };
        let probe = Probe { case, observed, spec, evidence, trace };
        all.extend(probe.findings());
        all.extend(probe.mtu());
    }
    all.extend(symmetric(case, observed));
    all
}

fn finding(invariant: Invariant, holds: bool, wrong: impl FnOnce() -> String) -> Finding {
    Finding { invariant, violation: (!holds).then(wrong) }
}

/// Reasons aside, which name what was seen.
fn foretold(case: &Case, observed: &Observed) -> Vec<Finding> {
    let Ok(installed) = install::install(case) else { return Vec::new() };
    let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(case, node)).collect();
    let bare = |decisions: &Decisions| Decisions { because: Vec::new(), ..decisions.clone() };
    agents::decide(case, &installed.config, &seen)
        .into_iter()
        .zip(&observed.nodes)
        .map(|((name, foretold), (_, decided))| {
            let foretold = match foretold {
                Ok(decisions) => format!("{:?}", bare(&decisions)),
                Err(fatal) => fatal.to_string(),
            };
            let decided = match decided {
                Agent::Running(decisions) => format!("{:?}", bare(decisions)),
                other => other.to_string(),
            };
            let holds = foretold == decided;
            finding(Invariant::Foretold, holds, || format!("{name}: foretold {foretold}, decided {decided}"))
        })
        .collect()
}

/// A probe that was sent, and what came of it.
struct Probe<'a> {
    case: &'a Case,
    observed: &'a Observed,
    spec: &'a ProbeSpec,
    evidence: &'a Evidence,
    trace: &'a Trace,
}

impl Probe<'_> {
    fn findings(&self) -> Vec<Finding> {
        let mut all = vec![self.business()];
        if self.trace.gaps {
            return all;
        }
        all.extend(self.delivered());
        let from_pod = matches!(self.spec.from, Place::Pod(_));
        if from_pod && self.is_for_internet() {
            all.extend(self.egress());
            all.extend(self.source());
        }
        if self.is_for_internet() {
            all.extend(self.gateway());
        }
        all.extend(self.tunnel());
        all
    }

    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.spec.id)
    }

    fn to(&self) -> Option<&Place> {
        match &self.spec.kind {
            ProbeKind::Icmp { to, .. } | ProbeKind::Udp { to, .. } | ProbeKind::Tcp { to, .. } => Some(to),
            ProbeKind::Dns { .. } | ProbeKind::Http { .. } => None,
        }
    }

    fn is_for_internet(&self) -> bool {
        matches!(self.to(), Some(Place::Address(_)))
    }

    fn sender(&self) -> Option<&str> {
        node_of(&self.spec.from)
    }

    fn decisions(&self) -> Option<&Decisions> {
        let sender = self.sender()?;
        match &self.observed.nodes.iter().find(|(name, _)| name == sender)?.1 {
            Agent::Running(decisions) => Some(decisions),
            Agent::Fatal(_) | Agent::Absent => None,
        }
    }

    fn walk(&self) -> &Walk {
        &self.trace.walk
    }

    /// Where it leaves its node: the first hop out of an interface of the node that is not one of Cilium's own.
    fn leaves(&self) -> Option<(&str, &Hop)> {
        let node = self.sender()?;
        self.walk().hops.iter().find_map(|hop| {
            let interface = hop.at.strip_prefix(node)?.strip_prefix('/')?;
            let pods = ["pod", "pod-2"].contains(&interface);
            let own = interface.starts_with("cilium") || interface.starts_with("lxc") || interface == "lo";
            (!pods && !own && hop.direction == Way::Out).then_some((interface, hop))
        })
    }

    fn egress(&self) -> Option<Finding> {
        let Egress::Device { device } = &self.decisions()?.egress else { return None };
        let (interface, _) = self.leaves()?;
        Some(finding(Invariant::Egress, interface == device, || {
            self.wrong(&format!("decided was {device}, it left by {interface}"))
        }))
    }

    fn source(&self) -> Option<Finding> {
        let decisions = self.decisions()?;
        let (interface, hop) = self.leaves()?;
        let source = match decisions.masquerade {
            Masquerade::Bpf => decisions.device(interface)?.masquerade_source?,
            Masquerade::Off | Masquerade::Iptables { .. } => return None,
        };
        Some(finding(Invariant::Source, hop.src.address == IpAddr::V4(source), || {
            self.wrong(&format!("decided was {source} on {interface}, it left as {}", hop.src.address))
        }))
    }

    fn tunnel(&self) -> Option<Finding> {
        let (Place::Pod(_), Place::Pod(to)) = (&self.spec.from, self.to()?) else { return None };
        let endpoint = self.decisions()?.tunnels.iter().find(|tunnel| tunnel.peer == to.node)?.endpoint?;
        let outer = self.walk().hops.iter().find_map(|hop| hop.outer)?;
        Some(finding(Invariant::Tunnel, outer.dst.address == IpAddr::V4(endpoint), || {
            self.wrong(&format!("decided was the endpoint {endpoint}, VXLAN went to {}", outer.dst.address))
        }))
    }

    fn mtu(&self) -> Option<Finding> {
        let (Place::Pod(_), ProbeKind::Icmp { to: Place::Pod(to), size, dont_fragment: true }) =
            (&self.spec.from, &self.spec.kind)
        else {
            return None;
        };
        let mtu = self.decisions()?.pod_mtu;
        // With the headers of IP and ICMP.
        if size + 28 <= mtu as usize || self.sender() == Some(&to.node) {
            return None;
        }
        let outcome = &self.evidence.outcome;
        let told = match outcome {
            Outcome::TooBig { mtu, .. } => Some(u64::from(*mtu)),
            _ => None,
        };
        Some(finding(Invariant::Mtu, told == Some(u64::from(mtu)), || {
            self.wrong(&format!("{} bytes with an MTU of {mtu}: {:?}, told {told:?}", size + 28, outcome.kind()))
        }))
    }

    /// The gateway it came by, and what the internet saw.
    fn gateway(&self) -> Option<Finding> {
        let hops = &self.walk().hops;
        let internet = hops.iter().position(|hop| hop.at == "internet")?;
        let network = &self.case.network;
        let at =
            |hop: &Hop| hop.at.strip_prefix("vcn ").and_then(|place| place.strip_suffix("/gateway")).map(str::to_owned);
        let before = &hops[..internet];
        let name = before.iter().rev().find_map(at)?;
        let inside = before.iter().find(|hop| at(hop).as_deref() == Some(name.as_str()))?.src.address;
        let expected = public(network, &name, inside);
        let seen = hops[internet].src.address;
        Some(finding(Invariant::Gateway, expected.map(IpAddr::V4) == Some(seen), || {
            let expected =
                expected.map_or("nothing, it has no translation for that".to_owned(), |address| address.to_string());
            self.wrong(&format!("{inside} by the gateway of {name}: expected {expected}, the internet saw {seen}"))
        }))
    }

    /// Seen only where its sender or receiver has an interface.
    fn business(&self) -> Finding {
        let network = &self.case.network;
        let ends: Vec<&str> = self.sender().into_iter().chain(self.to().and_then(node_of)).collect();
        let same_node = ends.len() == 2 && ends[0] == ends[1];
        let vcns: Vec<&str> = ends
            .iter()
            .filter_map(|end| network.node(end))
            .flat_map(|node| node.nics.iter().filter_map(|nic| node.vcn_of(&nic.name)))
            .collect();
        let stranger = self.trace.places.iter().find(|place| match place.strip_prefix("vcn ") {
            _ if place.as_str() == "internet" => same_node,
            Some(vcn) => same_node || !vcns.contains(&vcn.split('/').next().unwrap_or(vcn)),
            None => !ends.contains(&place.split('/').next().unwrap_or(place)),
        });
        finding(Invariant::Business, stranger.is_none(), || {
            self.wrong(&format!("from {} it was seen at {}", self.spec.from, stranger.map_or("", String::as_str)))
        })
    }

    /// Of a connection later packets decide, and of a name what the answer says.
    fn delivered(&self) -> Option<Finding> {
        let (ProbeKind::Icmp { .. } | ProbeKind::Udp { .. }) = &self.spec.kind else { return None };
        let outcome = self.evidence.outcome.kind();
        let arrived = self.answer_arrived();
        Some(finding(Invariant::Delivered, (outcome == OutcomeKind::Reply) == arrived, || {
            let (word, end) = (if arrived { "an" } else { "no" }, self.walk().last_end());
            let from = &self.spec.from;
            self.wrong(&format!(
                "it came to {outcome:?}, and {word} answer was seen to reach {from}; its way ends at {} ({})",
                end.at, end.reason
            ))
        }))
    }

    /// Whether the way back ends with who asked, by where the answer was seen last: the end that a walk tells is made
    /// from the outcome. An ICMP error that came back is no answer, nor is one that was witnessed to die there.
    fn answer_arrived(&self) -> bool {
        let from = namespace_of(&self.spec.from);
        let died_there = match &self.evidence.silence {
            Some(Silence::Death(death)) => death.answer && death.namespace == from,
            _ => false,
        };
        let Some(last) = self.walk().answer.as_ref().and_then(|answer| answer.hops.last()) else { return false };
        let is_it = |seen: &Sighting| {
            (seen.kind, seen.direction) == (Kind::Answer, Direction::In)
                && seen.outer.is_empty()
                && *seen.namespace == *from
                && place::name(&seen.namespace, Some(&seen.interface)) == last.at
        };
        !died_there && last.direction == Way::In && self.trace.sightings.iter().any(is_it)
    }
}

/// The namespace that a place's packets leave from, by its name in the lab.
fn namespace_of(place: &Place) -> String {
    match place {
        Place::Node(node) | Place::NodeInterface { node, .. } => node.clone(),
        Place::Vcn(vcn) => format!("vcn {vcn}"),
        other => other.to_string(),
    }
}

/// The node a place belongs to.
fn node_of(place: &Place) -> Option<&str> {
    match place {
        Place::Pod(pod) => Some(&pod.node),
        Place::Node(node) | Place::NodeInterface { node, .. } => Some(node),
        _ => None,
    }
}

/// What a VCN's gateway makes of a source.
fn public(network: &Network, vcn: &str, inside: IpAddr) -> Option<Ipv4Addr> {
    match network.vcn(vcn)?.nat {
        Nat::OneToOne => {
            let mut members = network.members(vcn);
            let is_it = |address: Option<&ipnet::Ipv4Net>| address.is_some_and(|net| IpAddr::V4(net.addr()) == inside);
            members.find(|(_, nic)| is_it(nic.addresses.first()))?.1.public_address
        }
        Nat::EndpointIndependent { public_address } | Nat::EndpointDependent { public_address } => Some(public_address),
        Nat::None => None,
    }
}

/// Pods of two nodes, there and back.
fn symmetric(case: &Case, observed: &Observed) -> Vec<Finding> {
    let ping = |from: &str, to: &str| {
        let is_it = |spec: &&ProbeSpec| match (&spec.from, &spec.kind) {
            (Place::Pod(a), ProbeKind::Icmp { to: Place::Pod(b), size: 56, .. }) => {
                (a.index, b.index) == (0, 0) && a.node == from && b.node == to
            }
            _ => false,
        };
        let id = &case.probes.iter().find(is_it)?.id;
        let evidence = &observed.probes.iter().find(|(probe, _)| probe == id)?.1;
        Some(evidence.outcome.kind() == OutcomeKind::Reply)
    };
    let nodes: Vec<_> = case.network.cluster_nodes().collect();
    let mut all = Vec::new();
    for (index, a) in nodes.iter().enumerate() {
        for b in nodes[index + 1..].iter().filter(|b| alike(case, a, b)) {
            let (Some(there), Some(back)) = (ping(&a.name, &b.name), ping(&b.name, &a.name)) else { continue };
            all.push(finding(Invariant::Symmetric, there == back, || {
                let word = |works: bool| if works { "works" } else { "fails" };
                format!("{} to {} {}, back it {}", a.name, b.name, word(there), word(back))
            }));
        }
    }
    all
}

/// Whether two nodes differ in nothing but names and addresses.
fn alike(case: &Case, a: &Node, b: &Node) -> bool {
    let network = &case.network;
    let vcn = |name: &str| {
        network.vcn(name).map(|vcn| {
            let nat = std::mem::discriminant(&vcn.nat);
            (nat, vcn.source_check, vcn.ingress, vcn.cidr.prefix_len())
        })
    };
    let shape = |node: &Node| -> Vec<_> {
        let nics = node.nics.iter().map(|nic| {
            let kind = match &nic.kind {
                NicKind::Vcn(name) => format!("{:?}", vcn(name)),
                other => format!("{other:?}"),
            };
            (nic.name.clone(), kind, nic.mtu, nic.default_route.is_some(), nic.up, nic.addresses.len())
        });
        nics.collect()
    };
    let node_ip = |node: &Node| {
        let address = case.cluster.node_ips.get(&node.name);
        let nic = node.nics.iter().find(|nic| nic.addresses.iter().any(|net| Some(&net.addr()) == address));
        nic.map(|nic| nic.name.clone())
    };
    shape(a) == shape(b)
        && a.overlay_address.is_some() == b.overlay_address.is_some()
        && node_ip(a) == node_ip(b)
        // Where second NICs lead to each other's networks, alike is not the same from both sides.
        && a.nics.iter().zip(&b.nics).all(|(a, b)| (a.kind == b.kind) || a.default_route.is_some())
}
