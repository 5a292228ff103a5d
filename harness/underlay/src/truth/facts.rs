//! What a case came to on an engine, without anything that another run would change.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::case::NodeFact;
use crate::compare;
use crate::report::schema::walk::{DELIVERED, Hop, Walk};
use crate::report::schema::{self, Case};

/// What stands where the evidence was doubtful.
pub const UNCLEAR: &str = "?";

/// The facts of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Facts {
    /// Whether Helm takes the values.
    pub helm: Option<bool>,
    /// Each node's agent.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub nodes: IndexMap<String, Node>,
    /// Replicas of CoreDNS that are ready, `2 of 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ready: Option<String>,
    /// Each probe that was sent.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub probes: IndexMap<String, Probe>,
}

/// What a node's agent decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Whether it runs. Of one that died nothing else is known.
    pub runs: bool,
    /// Its decisions in words, `devices`: `enp0s6, tailscale0`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub decisions: IndexMap<String, String>,
    /// What it translates for the pods that probes were sent from: `ICMP 10.244.0.10 → 8.8.8.8`, and the source it gets.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub nat: IndexMap<String, String>,
}

/// What became of a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Probe {
    /// In a scenario's words, `works`; `HTTP 503`.
    pub outcome: String,
    /// The source that the far end saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The device by which it left its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// Where and why it ended, or its answer, unless it arrived: `internet: no-route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Its way, `master/enp0s6 out`. No cell: shown, not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<String>,
}

/// What a cell is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A decision of an agent.
    Decision,
    /// An entry of a NAT table.
    Nat,
    /// What became of a probe, or of CoreDNS.
    Outcome,
    /// The source a far end saw.
    Source,
    /// The device a probe left its node by.
    Exit,
    /// Where and why a probe ended.
    End,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] = [Self::Decision, Self::Nat, Self::Outcome, Self::Source, Self::Exit, Self::End];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decision => "decisions of agents",
            Self::Nat => "NAT entries",
            Self::Outcome => "outcomes",
            Self::Source => "sources seen at the far end",
            Self::Exit => "devices that packets left by",
            Self::End => "places and reasons of an end",
        }
    }

    /// Whether an engine that has no such cell says something by that. A far end that isn't reached tells no source, and a
    /// redirect that passes by the taps shows no device.
    pub(super) fn is_always_told(self) -> bool {
        matches!(self, Self::Decision | Self::Nat | Self::Outcome)
    }
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name, `pod-to-pod source`, `devices of master`.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// What is said there, or [`UNCLEAR`].
    pub value: String,
}

impl Facts {
    /// From a result. Where the evidence is doubtful, silence proves nothing; and where pods of different nodes don't
    /// reach each other, chance decides what comes of a name, by the replica of CoreDNS that is asked.
    pub fn of(case: &Case) -> Self {
        let is_doubtful = !case.doubts.is_empty();
        let is_split = case.probes.iter().any(is_cut_between_pods);
        let senders: BTreeSet<&str> = case.probes.iter().filter_map(sender).collect();
        let is_probed = case.probes.iter().any(|probe| probe.outcome.is_some());
        let probes = case.probes.iter().filter_map(|probe| Some((probe.id.clone(), Probe::of(probe, is_split)?)));
        Self {
            helm: case.helm.as_ref().map(|helm| helm.accepted),
            nodes: case.nodes.iter().map(|(name, node)| (name.clone(), Node::of(node, &senders, is_probed))).collect(),
            dns_ready: case.dns.as_ref().filter(|_| is_probed).map(|dns| match is_doubtful {
                true => UNCLEAR.to_owned(),
                false => format!("{} of {}", dns.ready, dns.replicas),
            }),
            probes: probes.map(|(id, probe)| (id, probe.in_doubt(is_doubtful))).collect(),
        }
    }

    /// Its cells: decisions, then what follows from them.
    pub fn cells(&self) -> Vec<Cell> {
        let cell = |name: String, kind, value: &str| Cell { name, kind, value: value.to_owned() };
        let word = |holds: bool, yes: &'static str, no: &'static str| if holds { yes } else { no };
        let mut cells = Vec::new();
        if let Some(accepted) = self.helm {
            cells.push(cell("helm".to_owned(), Kind::Decision, word(accepted, "accepted", "refused")));
        }
        for (name, node) in &self.nodes {
            cells.push(cell(format!("agent of {name}"), Kind::Decision, word(node.runs, "running", "dies")));
            let decisions = node.decisions.iter();
            cells.extend(decisions.map(|(what, value)| cell(format!("{what} of {name}"), Kind::Decision, value)));
            cells.extend(node.nat.iter().map(|(flow, by)| cell(format!("nat of {name}: {flow}"), Kind::Nat, by)));
        }
        cells.extend(self.dns_ready.iter().map(|ready| cell("dns-ready".to_owned(), Kind::Outcome, ready)));
        for (id, probe) in &self.probes {
            cells.push(cell(id.clone(), Kind::Outcome, &probe.outcome));
            let more = [
                ("source", Kind::Source, &probe.source),
                ("exit", Kind::Exit, &probe.exit),
                ("end", Kind::End, &probe.end),
            ];
            for (what, kind, value) in more {
                cells.extend(value.iter().map(|value| cell(format!("{id} {what}"), kind, value)));
            }
        }
        cells
    }
}

impl Node {
    fn of(node: &schema::Node, senders: &BTreeSet<&str>, has_pods: bool) -> Self {
        let runs = node.agent == compare::RUNNING;
        let mut decisions = if runs { compare::decided(node) } else { IndexMap::new() };
        if !has_pods {
            // A real agent tells it by the programs of its pods.
            decisions.shift_remove(NodeFact::SkipFib.name());
        }
        let nat = node.nat.iter().filter_map(|line| translation(line, senders)).collect();
        Self { runs, decisions, nat }
    }
}

/// The flow and its new source of a NAT table's line of the way out, without ports: other runs have others.
fn translation(line: &str, senders: &BTreeSet<&str>) -> Option<(String, String)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, "OUT", source, "->", destination, "XLATE_SRC", translated] = words.as_slice() else { return None };
    let (source, destination) = (address(source), address(destination));
    senders.contains(source).then(|| (format!("{protocol} {source} → {destination}"), address(translated).to_owned()))
}

/// An address without its port.
fn address(text: &str) -> &str {
    text.split_once(':').map_or(text, |(address, _)| address)
}

/// The address of the pod that a probe was sent from.
fn sender(probe: &schema::Probe) -> Option<&str> {
    let is_pod = probe.from.contains('/');
    let first = probe.walk.as_ref()?.hops.first()?;
    (is_pod && first.at == probe.from).then(|| address(&first.src))
}

impl Probe {
    fn of(probe: &schema::Probe, is_split: bool) -> Option<Self> {
        let outcome = probe.outcome_text.clone()?;
        // Which replica of CoreDNS a query meets, chance decides.
        let (asks, by_chance) = match probe.kind.as_str() {
            "dns" => (true, true),
            "http" | "https" => (true, probe.stage.as_deref() == Some("resolve")),
            _ => (false, false),
        };
        if asks && is_split {
            return Some(Self { outcome: UNCLEAR.to_owned(), ..Self::default() });
        }
        let walk = probe.walk.as_ref().filter(|_| !by_chance);
        Some(Self {
            outcome,
            source: probe.source_seen.clone(),
            exit: walk.and_then(|walk| exit(walk, &probe.from)),
            end: walk.and_then(end),
            hops: walk.map(|walk| walk.hops.iter().map(hop).collect()).unwrap_or_default(),
        })
    }
}

/// Whether a probe between pods of different nodes failed.
fn is_cut_between_pods(probe: &schema::Probe) -> bool {
    let node = |place: &str| place.split_once("/pod").map(|(node, _)| node.to_owned());
    let (Some(from), Some(to)) = (node(&probe.from), node(&probe.to)) else { return false };
    from != to && probe.outcome_text.as_deref().is_some_and(|outcome| outcome != "works")
}

impl Probe {
    /// What is left of it where packets may have gone unseen, or too late: an answer that came.
    fn in_doubt(self, is_doubtful: bool) -> Self {
        match self.outcome.as_str() {
            "silence" if is_doubtful => Self { outcome: UNCLEAR.to_owned(), ..Self::default() },
            _ => self,
        }
    }
}

/// The node's own device by which a packet left it first. Ends of pods' links and Cilium's devices are none.
fn exit(walk: &Walk, from: &str) -> Option<String> {
    let node = from.split('/').next()?;
    let devices = walk.hops.iter().filter(|hop| hop.direction == "out").filter_map(|hop| {
        let (place, device) = hop.at.split_once('/')?;
        (place == node).then_some(device)
    });
    let own = |device: &&str| !["pod", "lxc", "cilium_"].iter().any(|prefix| device.starts_with(prefix));
    devices.into_iter().find(own).map(str::to_owned)
}

fn end(walk: &Walk) -> Option<String> {
    let end = walk.last_end();
    (walk.complete && end.reason != DELIVERED).then(|| format!("{}: {}", end.at, end.reason))
}

fn hop(hop: &Hop) -> String {
    let outer = hop.outer.as_ref();
    let outer = outer.map(|outer| format!(" in {} → {}", address(&outer.src), address(&outer.dst))).unwrap_or_default();
    format!("{} {}: {} → {}{outer}", hop.at, hop.direction, address(&hop.src), address(&hop.dst))
}
