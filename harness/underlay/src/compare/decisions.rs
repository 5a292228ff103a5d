//! Which of the agents' decisions changed.
//!
//! What counts is the outcome. A rule that comes to the same by another way, or says it in other words, is no change.

use cilium::{Rules, Version};
use indexmap::IndexMap;

use super::moment::Moment;
use super::{Decided, DecisionChange};
use crate::case::NodeFact;
use crate::report::schema::{Because, Case, Node};
use crate::verdict::Provenance;

/// What an agent that lives is said to be.
pub const RUNNING: &str = "running";

/// A decision of a node: its name, the name of its rule among the node's, and its outcome.
struct Fact {
    fact: NodeFact,
    rule: &'static str,
    value: fn(&Node) -> String,
}

/// Decisions that results give only in words: the outcome stands before the colon.
const TOLD: [&str; 3] = ["snat-exclusion", "host-addresses", "tunnels"];

/// Told only where it is no consequence of skip-FIB: by the guide's rules.
const EGRESS: &str = "egress";

const FACTS: [Fact; 8] = [
    Fact { fact: NodeFact::Devices, rule: "devices", value: |node| list(&node.devices) },
    Fact { fact: NodeFact::NodeIp, rule: "node-ip", value: |node| text(node.node_ip.as_deref()) },
    Fact {
        fact: NodeFact::DirectRoutingDevice,
        rule: "direct-routing-device",
        value: |node| text(node.direct_routing_device.as_deref()),
    },
    Fact { fact: NodeFact::HostRouting, rule: "host-routing", value: |node| text(node.host_routing.as_deref()) },
    Fact {
        fact: NodeFact::SkipFib,
        rule: "skip-fib",
        value: |node| node.skip_fib.as_ref().map_or_else(|| "off".to_owned(), |device| format!("all to {device}")),
    },
    Fact { fact: NodeFact::Masquerade, rule: "masquerade", value: masquerade },
    Fact {
        fact: NodeFact::PodMtu,
        rule: "mtu",
        value: |node| node.pod_mtu.map_or_else(|| "none".to_owned(), |mtu| mtu.to_string()),
    },
    // NodePort's addresses have no rule of their own in results.
    Fact { fact: NodeFact::NodePortAddresses, rule: "nodeport-addresses", value: node_port },
];

/// Every decision of a node's agent that runs, in words, by its name in scenarios.
pub fn decided(node: &Node) -> IndexMap<String, String> {
    FACTS.iter().map(|Fact { fact, value, .. }| (fact.name().to_owned(), value(node))).collect()
}

/// Every decision that came out otherwise, those of several nodes together where they are the same.
pub(super) fn changed(before: Moment<'_>, after: Moment<'_>) -> Vec<DecisionChange> {
    let mut all: Vec<DecisionChange> = Vec::new();
    for (name, was) in before.nodes {
        let Some(is) = after.nodes.get(name) else { continue };
        let asserted = [before, after].into_iter().any(|moment| asserts_reasons(moment, name));
        let mut changes = of_node(was, is, asserted);
        if was.agent == RUNNING && is.agent == RUNNING {
            changes.extend(mark(before.case, after.case));
        }
        changes.iter_mut().for_each(|change| change.nodes.push(name.clone()));
        join(&mut all, changes);
    }
    all
}

/// Adds changes to others: one that is among them in another place is told once, of all its nodes.
pub(super) fn join(all: &mut Vec<DecisionChange>, more: Vec<DecisionChange>) {
    for change in more {
        let same = |known: &&mut DecisionChange| {
            (&known.decision, &known.before, &known.after) == (&change.decision, &change.before, &change.after)
        };
        let Some(known) = all.iter_mut().find(same) else {
            all.push(change);
            continue;
        };
        let new: Vec<_> = change.nodes.into_iter().filter(|node| !known.nodes.contains(node)).collect();
        known.nodes.extend(new);
    }
}

fn of_node(was: &Node, is: &Node, reasons_count: bool) -> Vec<DecisionChange> {
    let mut all = Vec::new();
    let mut note = |decision: &str, rule: &str, before: String, after: String| {
        if before != after {
            let (before, after) = (as_decided(was, rule, before), as_decided(is, rule, after));
            all.push(DecisionChange { decision: decision.to_owned(), nodes: Vec::new(), before, after });
        }
    };
    note(NodeFact::Agent.name(), NodeFact::Agent.name(), was.agent.clone(), is.agent.clone());
    // Of an agent that died nothing else is known.
    if was.agent != RUNNING || is.agent != RUNNING {
        return all;
    }
    for Fact { fact, rule, value } in &FACTS {
        note(fact.name(), rule, value(was), value(is));
    }
    if was.devices == is.devices && reasons_count {
        // A device that came or went has lost or found its reason with that.
        let name = NodeFact::NotSelected.name();
        note(name, "devices", reasons(was, is), reasons(is, was));
    }
    if [was, is].iter().any(|node| rule(node, EGRESS).is_some()) {
        note(EGRESS, EGRESS, egress(was), egress(is));
    }
    for name in TOLD {
        note(name, name, told(was, name), told(is, name));
    }
    all
}

fn rule<'a>(node: &'a Node, decision: &str) -> Option<&'a Because> {
    node.because.iter().find(|because| because.decision == decision)
}

fn as_decided(node: &Node, name: &str, value: String) -> Decided {
    let rule = rule(node, name);
    Decided { value, says: rule.map(|rule| rule.says.clone()), source: rule.map(|rule| rule.source.clone()) }
}

/// The outcome of a decision that is only told.
fn told(node: &Node, decision: &str) -> String {
    let says = rule(node, decision).map_or("not told", |because| because.says.as_str());
    says.split_once(": ").map_or(says, |(outcome, _)| outcome).to_owned()
}

fn masquerade(node: &Node) -> String {
    let mut value = text(node.masquerade.as_deref());
    let sources: Vec<_> =
        node.masquerade_sources.iter().map(|(device, source)| format!("{source} on {device}")).collect();
    if !sources.is_empty() {
        value = format!("{value}: {}", sources.join(", "));
    }
    value
}

fn node_port(node: &Node) -> String {
    let devices: Vec<_> =
        node.nodeport_addresses.iter().map(|(device, addresses)| format!("{device}: {}", list(addresses))).collect();
    list(&devices)
}

/// Whether a scenario asks why devices are left out. Where nobody does, other words for that are no change.
fn asserts_reasons(moment: Moment<'_>, node: &str) -> bool {
    let name = NodeFact::NotSelected.name();
    moment.checks.iter().any(|check| check.id == name && check.node.as_deref() == Some(node))
}

/// Whether VXLAN's outer packets carry the sender's identity in their mark: of all the model decides the one thing that
/// results have no rule of. It follows from the version alone.
fn mark(before: &Case, after: &Case) -> Option<DecisionChange> {
    let decided = |case: &Case| {
        let version = Version::parse(&case.cilium).ok().filter(|_| case.decisions == Provenance::Model)?;
        let carries = Rules::of(&version).mark_carries_identity;
        let (value, says) = match carries {
            true => ("identity", "VXLAN's outer packets carry the sending pod's identity in their mark"),
            false => ("no identity", "VXLAN's outer packets have a mark that is the same for all"),
        };
        let file = if carries { "bpf/bpf_overlay.c (cil_to_overlay)" } else { "bpf/lib/overloadable_skb.h" };
        let source = Some(format!("Cilium {}, {file}", version.minor()));
        Some(Decided { value: value.to_owned(), says: Some(says.to_owned()), source })
    };
    let (before, after) = (decided(before)?, decided(after)?);
    let changed = before.value != after.value;
    changed.then(|| DecisionChange { decision: "overlay-mark".to_owned(), nodes: Vec::new(), before, after })
}

/// The reasons of devices left out, of those that have another one there.
fn reasons(node: &Node, other: &Node) -> String {
    let changed = node.not_selected.iter().filter(|(device, reason)| other.not_selected.get(*device) != Some(reason));
    changed.map(|(device, reason)| format!("{device}: {reason}")).collect::<Vec<_>>().join("; ")
}

/// Where pods' packets go that are for nobody the agent knows.
fn egress(node: &Node) -> String {
    match (rule(node, EGRESS), &node.skip_fib) {
        (Some(_), _) => told(node, EGRESS),
        (None, Some(device)) => device.clone(),
        (None, None) => "by the kernel's routes".to_owned(),
    }
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or("none").to_owned()
}

fn list(values: &[String]) -> String {
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}
