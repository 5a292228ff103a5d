//! The machine-readable report, `underlay.report/1`.
//!
//! Its keys only grow: a reader must skip what it doesn't know. A key that changes its meaning makes it
//! `underlay.report/2`.

pub mod steps;
pub mod topology;
pub mod walk;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use probe::Evidence;
use probe::evidence::{OutcomeKind, Silence};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::steps::Step;
use self::topology::Topology;
use self::walk::Walk;
use super::merge::Merge;
use crate::case::{Case as Subject, NodeFact, ProbeKind};
use crate::observed::{Agent, Observed};
use crate::shard::Shard;
use crate::verdict::{self, CaseResult, CheckResult, Provenance, Summary, Verdict};

/// The schema's name and version.
pub const SCHEMA: &str = "underlay.report/1";

/// What all versions' names begin with.
pub const SCHEMA_FAMILY: &str = "underlay.report/";

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it ran.
    pub host: Host,
    /// Each case that finished, in the order of the scenario files.
    pub cases: Vec<Case>,
    /// How many came to what.
    pub summary: Summary,
    /// The signal that ended the run before its time, `SIGINT` or `SIGTERM`: cases are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// The cases that are missing for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<Unfinished>,
    /// From the first case's start to the last one's end, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// What it was joined from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
}

/// A case that a run was to have and didn't come to the end of: what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unfinished {
    /// As [`Case::scenario`].
    pub scenario: String,
    /// As [`Case::variant`].
    pub variant: String,
    /// As [`Case::engine`].
    pub engine: String,
    /// As [`Case::model`].
    pub model: String,
    /// As [`Case::cilium`].
    pub cilium: String,
    /// As [`Case::kubernetes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// As [`Case::kernel_overlay`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_overlay: bool,
}

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Host {
    /// The kernel's name, `Linux`.
    pub os: String,
    /// The kernel's release, `6.12.48-cloud-amd64`.
    pub kernel: String,
    /// The machine's architecture, `x86_64`.
    pub arch: String,
    /// Whether the run was an ordinary user's, root in a namespace of its own only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rootless: bool,
    /// How many processors the run could use.
    pub cpus: usize,
    /// This program's version.
    pub underlay: String,
    /// What it can do for labs and what not, each found by trying. Empty where it wasn't tried: it takes time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// Which share of the cases it was given, where several machines have one each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Something that labs need of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// What it is, `TUN devices`.
    pub name: String,
    /// Whether it works.
    pub works: bool,
    /// The kernel's answer, where it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Capability {
    /// From what came of trying it.
    pub fn of(capability: lab::Capability, tried: &Result<(), lab::Missing>) -> Self {
        let reason = tried.as_ref().err().map(|missing| missing.reason.clone());
        Self { name: capability.name().to_owned(), works: reason.is_none(), reason }
    }
}

impl Host {
    /// What makes hosts differ in what they can come to: `Linux 6.12.48-cloud-amd64 x86_64 rootless`.
    pub fn place(&self) -> String {
        let user = if self.rootless { " rootless" } else { "" };
        format!("{} {} {}{user}", self.os, self.kernel, self.arch)
    }

    /// This one, as the process by now may use it.
    pub fn here() -> Self {
        let names = nix::sys::utsname::uname().ok();
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        Self {
            os: text(names.as_ref().map(|names| names.sysname())).unwrap_or_default(),
            kernel: text(names.as_ref().map(|names| names.release())).unwrap_or_default(),
            arch: text(names.as_ref().map(|names| names.machine())).unwrap_or_default(),
            rootless: lab::sandbox::is_rootless(),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            underlay: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Vec::new(),
            shard: None,
        }
    }
}

/// One variant of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The scenario, `guide/table`.
    pub scenario: String,
    /// The variant, `enp0s6`.
    pub variant: String,
    /// The scenario's file.
    pub file: String,
    /// The engine, `netns`.
    pub engine: String,
    /// Where Cilium's decisions came from.
    pub decisions: Provenance,
    /// Whose rules the model follows: `cilium` or `guide`.
    pub model: String,
    /// The Cilium version.
    pub cilium: String,
    /// Whether the model of this version was checked against a real one's behaviour.
    pub cilium_verified: bool,
    /// The version of Kubernetes, `1.31.4`, where it is a real one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// Whether the overlay, where there is one, was the kernel's WireGuard to carry, not this process's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_overlay: bool,
    /// What it came to.
    pub verdict: Verdict,
    /// Why it was skipped, erred, or is doubtful as a whole.
    pub reason: Option<String>,
    /// What the host lacks, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// Whether it ran a second time, since the machine was too busy for a verdict the first time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// From nothing to nothing, in milliseconds.
    pub duration_ms: u64,
    /// How long each phase took, in order.
    pub phases: Vec<Phase>,
    /// What Helm said.
    pub helm: Option<Helm>,
    /// The network it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// What each node's agent decided.
    pub nodes: IndexMap<String, Node>,
    /// CoreDNS at the end.
    pub dns: Option<Dns>,
    /// How the overlay's nodes reach each other.
    pub overlay_paths: Vec<OverlayPath>,
    /// Packets that drop rules of the lab counted.
    pub drops: Vec<Drops>,
    /// What the capture in each namespace saw and lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<Capture>,
    /// Why the evidence can't be trusted, if it can't.
    pub doubts: Vec<String>,
    /// What was sent and what came of it.
    pub probes: Vec<Probe>,
    /// What was asserted.
    pub checks: Vec<Check>,
    /// What somebody said: measured, not asserted.
    pub claims: Vec<Claim>,
    /// What happened before the probes were sent, step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

impl Case {
    /// Its name in lists and filters, `guide/table::enp0s6`.
    pub fn id(&self) -> String {
        format!("{}::{}", self.scenario, self.variant)
    }

    /// Everything asserted that doesn't hold, or of which that can't be said: of each step, then of the end.
    pub fn unmet(&self) -> impl Iterator<Item = (Option<&Step>, &Check)> {
        let steps = self.steps.iter().flat_map(|step| step.checks.iter().map(move |check| (Some(step), check)));
        let all = steps.chain(self.checks.iter().map(|check| (None, check)));
        all.filter(|(_, check)| check.verdict != Verdict::Pass)
    }

    /// The probe that a check is about, as it was sent for it.
    pub fn probe_of<'a>(&'a self, step: Option<&'a Step>, check: &Check) -> Option<&'a Probe> {
        let probes = step.map_or(&self.probes, |step| &step.probes);
        probes.iter().find(|probe| probe.id == check.id).filter(|_| check.node.is_none())
    }

    /// The probe of that id.
    pub fn probe(&self, id: &str) -> Option<&Probe> {
        self.probes.iter().find(|probe| probe.id == id)
    }
}

/// What a host lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What it is.
    pub capability: String,
    /// The kernel's answer when it was tried.
    pub reason: String,
    /// What a user can do.
    pub remedy: String,
}

impl From<&lab::Missing> for Missing {
    fn from(missing: &lab::Missing) -> Self {
        Self {
            capability: missing.capability.name().to_owned(),
            reason: missing.reason.clone(),
            remedy: missing.capability.remedy().to_owned(),
        }
    }
}

/// A part of a case's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// Microseconds.
    pub us: u64,
}

/// What Helm says to the values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helm {
    /// Whether it takes them.
    pub accepted: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Values that were read but mean nothing to the engine, dotted paths.
    pub not_modelled: Vec<String>,
    /// Values the chart doesn't know, with a suggestion where one is near.
    pub unknown: Vec<String>,
}

/// What a node's agent decided. Of an agent that died, only `agent` is there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Node {
    /// `running`, or what it died of.
    pub agent: String,
    /// CiliumNode's address, the peers' tunnel endpoint.
    pub node_ip: Option<String>,
    /// The selected devices, in link order.
    pub devices: Vec<String>,
    /// The direct routing device.
    pub direct_routing_device: Option<String>,
    /// MTU of the pods in bytes.
    pub pod_mtu: Option<u32>,
    /// Devices left out, with Cilium's reason.
    pub not_selected: IndexMap<String, String>,
    /// The device that pods' packets are bound to without a lookup, where there is one.
    pub skip_fib: Option<String>,
    /// `bpf` or `legacy`.
    pub host_routing: Option<String>,
    /// As `cilium status` words it.
    pub masquerade: Option<String>,
    /// The source that packets masqueraded on a device get, by device.
    pub masquerade_sources: IndexMap<String, String>,
    /// Addresses on which NodePort services answer, by device.
    pub nodeport_addresses: IndexMap<String, Vec<String>>,
    /// Each decision's rule.
    pub because: Vec<Because>,
    /// What it translates, one line for each direction of a connection, as `cilium bpf nat list` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nat: Vec<String>,
}

/// A decision's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// What was decided.
    pub decision: String,
    /// The outcome and its reason.
    pub says: String,
    /// Cilium's file and version, or the guide's section.
    pub source: String,
}

impl Node {
    /// From an agent's decisions.
    pub fn of(agent: &Agent) -> Self {
        let decisions = match agent {
            Agent::Running(decisions) => decisions,
            other => return Self { agent: other.to_string(), ..Self::default() },
        };
        let text = |fact| verdict::measured(fact, decisions).as_str().map(str::to_owned);
        let devices = &decisions.devices;
        Self {
            agent: "running".to_owned(),
            node_ip: Some(decisions.node_ip.to_string()),
            devices: devices.iter().map(|device| device.name.clone()).collect(),
            direct_routing_device: decisions.direct_routing_device.clone(),
            pod_mtu: Some(decisions.pod_mtu),
            not_selected: decisions.not_selected.iter().map(|d| (d.name.clone(), d.reason.clone())).collect(),
            skip_fib: decisions.skip_fib.clone(),
            host_routing: text(NodeFact::HostRouting),
            masquerade: text(NodeFact::Masquerade),
            masquerade_sources: devices
                .iter()
                .filter_map(|device| Some((device.name.clone(), device.masquerade_source?.to_string())))
                .collect(),
            nodeport_addresses: devices
                .iter()
                .map(|device| {
                    (device.name.clone(), device.nodeport_addresses.iter().map(ToString::to_string).collect())
                })
                .collect(),
            because: decisions
                .because
                .iter()
                .map(|rule| Because {
                    decision: rule.decision.clone(),
                    says: rule.says.clone(),
                    source: rule.source.clone(),
                })
                .collect(),
            nat: Vec::new(),
        }
    }
}

/// CoreDNS in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Replicas there should be.
    pub replicas: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Restarts of all replicas together.
    pub restarts: u32,
    /// Why a replica is not ready, by replica.
    pub not_ready: BTreeMap<String, String>,
    /// What replicas logged of the last query their upstream didn't answer, by replica.
    pub upstream_failures: BTreeMap<String, String>,
}

/// How one node of the overlay reaches another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayPath {
    /// From this node.
    pub from: String,
    /// To that one.
    pub to: String,
    /// `direct 168.107.2.61:41641` or `relayed …`.
    pub path: String,
}

/// Packets that a drop rule counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Where the rule is, `vcn a`.
    pub namespace: String,
    /// Its name.
    pub rule: String,
    /// How many packets.
    pub packets: u64,
}

/// What the capture in one namespace saw, by its socket's own count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The namespace.
    pub namespace: String,
    /// Packets it saw, lost ones included.
    pub received: u64,
    /// Packets it had no room for.
    pub lost: u64,
}

/// A probe and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Its name in the scenario.
    pub id: String,
    /// `icmp`, `udp`, `tcp`, `dns`, `http` or `https`.
    pub kind: String,
    /// From where.
    pub from: String,
    /// To where; of DNS the name asked for, of HTTP the URL.
    pub to: String,
    /// What came back; null where it was not sent.
    pub outcome: Option<OutcomeKind>,
    /// The same in a scenario's words: `works`, `silence`, `NXDOMAIN`, `HTTP 503`.
    pub outcome_text: Option<String>,
    /// The source address the far end saw, where it told.
    pub source_seen: Option<String>,
    /// From the first packet to the answer, in microseconds.
    pub rtt_us: Option<u64>,
    /// What was answered: addresses of a name, a body.
    pub answer: Option<String>,
    /// HTTP status code.
    pub status: Option<u16>,
    /// How far it got: `resolve`, `connect`, `handshake`, `exchange`.
    pub stage: Option<String>,
    /// Where it died, where that was witnessed.
    pub death: Option<Death>,
    /// The evidence in words.
    pub detail: String,
    /// Its way, hop by hop, where it was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Walk>,
    /// What the expectations of it came to; null where there are none.
    pub verdict: Option<Verdict>,
}

/// Where a packet died, as witnessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The namespace.
    pub at: String,
    /// The interface, where known.
    pub interface: Option<String>,
    /// Why.
    pub cause: String,
    /// What was seen.
    pub detail: String,
}

/// An expectation and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What it is about: a probe's id, `node-ip`, `dns-ready` …
    pub id: String,
    /// The node, of a node's decision.
    pub node: Option<String>,
    /// Its line in the scenario's file.
    pub line: u32,
    /// What must be.
    pub expected: Value,
    /// What is.
    pub measured: Value,
    /// Whether they agree.
    pub verdict: Verdict,
    /// The evidence, where they don't.
    pub message: String,
}

/// A claim and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Who said it.
    pub by: String,
    /// What it is about.
    pub id: String,
    /// The node, of a node's decision.
    pub node: Option<String>,
    /// Its line in the scenario's file.
    pub line: u32,
    /// What was said.
    pub said: Value,
    /// What is.
    pub measured: Value,
    /// Whether it holds; null where that can't be said.
    pub held: Option<bool>,
    /// The evidence, where it doesn't hold.
    pub message: String,
}

impl From<&CheckResult> for Check {
    fn from(check: &CheckResult) -> Self {
        Self {
            id: check.subject.id().to_owned(),
            node: check.subject.node().map(str::to_owned),
            line: check.line,
            expected: check.expected.clone(),
            measured: check.measured.clone(),
            verdict: check.verdict,
            message: check.message.clone(),
        }
    }
}

impl From<&Observed> for Dns {
    fn from(observed: &Observed) -> Self {
        let dns = &observed.dns;
        Self {
            replicas: dns.replicas,
            ready: dns.ready,
            restarts: dns.restarts,
            not_ready: dns.not_ready.clone(),
            upstream_failures: dns.upstream_failures.clone(),
        }
    }
}

impl From<&CaseResult> for Case {
    fn from(result: &CaseResult) -> Self {
        let case = &*result.case;
        let observed = result.observed.as_ref();
        let checks: Vec<_> = result.checks.iter().map(Check::from).collect();
        let claims = result.claims.iter().map(|claim| Claim {
            by: claim.by.clone(),
            id: claim.subject.id().to_owned(),
            node: claim.subject.node().map(str::to_owned),
            line: claim.line,
            said: claim.said.clone(),
            measured: claim.measured.clone(),
            held: claim.held,
            message: claim.message.clone(),
        });
        Self {
            scenario: case.scenario.clone(),
            variant: case.variant.clone(),
            file: case.file.display().to_string(),
            engine: result.engine.to_owned(),
            decisions: result.provenance,
            model: case.model.to_string(),
            cilium: case.version.to_string(),
            cilium_verified: case.version.checked() == cilium::version::Checked::Measured,
            // Of a run as a whole: known once one of its cases has met it.
            kubernetes: None,
            kernel_overlay: case.kernel_overlay,
            verdict: result.verdict,
            reason: result.reason.clone(),
            missing: result.missing.as_ref().map(Missing::from),
            again: result.again,
            duration_ms: milliseconds(result.duration),
            phases: observed.map(phases).unwrap_or_default(),
            helm: observed.map(helm),
            topology: Some(Topology::with_pods(&case.network)),
            nodes: observed.map(nodes).unwrap_or_default(),
            dns: observed.filter(|observed| observed.helm.is_ok()).map(Dns::from),
            overlay_paths: observed
                .iter()
                .flat_map(|observed| &observed.overlay_paths)
                .map(|(from, to, path)| OverlayPath { from: from.clone(), to: to.clone(), path: path.clone() })
                .collect(),
            drops: observed
                .iter()
                .flat_map(|observed| &observed.drops)
                .map(|(namespace, rule, packets)| Drops {
                    namespace: namespace.clone(),
                    rule: rule.clone(),
                    packets: *packets,
                })
                .collect(),
            capture: observed.map(capture).unwrap_or_default(),
            doubts: observed.map(|observed| observed.doubts.clone()).unwrap_or_default(),
            probes: observed.map(|observed| probes(case, observed, &checks)).unwrap_or_default(),
            checks,
            claims: claims.collect(),
            steps: observed.map(|observed| steps::steps(case, &observed.timeline, &result.steps)).unwrap_or_default(),
        }
    }
}

impl Unfinished {
    /// A case on an engine, with the version of Kubernetes where that is a real one.
    pub fn of(case: &Subject, engine: &str, kubernetes: Option<String>) -> Self {
        Self {
            scenario: case.scenario.clone(),
            variant: case.variant.clone(),
            engine: engine.to_owned(),
            model: case.model.to_string(),
            cilium: case.version.to_string(),
            kubernetes,
            kernel_overlay: case.kernel_overlay,
        }
    }
}

/// Whole milliseconds of a time.
pub fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn phases(observed: &Observed) -> Vec<Phase> {
    observed.phases.iter().map(|(name, time)| Phase { name: (*name).to_owned(), us: microseconds(*time) }).collect()
}

fn helm(observed: &Observed) -> Helm {
    Helm {
        accepted: observed.helm.is_ok(),
        reason: observed.helm.as_ref().err().cloned(),
        not_modelled: observed.values_not_modelled.clone(),
        unknown: observed.values_unknown.clone(),
    }
}

fn probes(case: &Subject, observed: &Observed, checks: &[Check]) -> Vec<Probe> {
    case.probes
        .iter()
        .map(|spec| {
            let evidence = observed.probes.iter().find(|(id, _)| *id == spec.id).map(|(_, evidence)| evidence);
            let about = |check: &&Check| check.id == spec.id && check.node.is_none();
            let kind: &ProbeKind = &spec.kind;
            Probe {
                id: spec.id.clone(),
                kind: kind.name().to_owned(),
                from: spec.from.to_string(),
                to: kind.target(),
                outcome: evidence.map(|evidence| evidence.outcome.kind()),
                outcome_text: evidence.map(verdict::outcome_word),
                source_seen: evidence.and_then(|evidence| evidence.source_seen).map(|seen| seen.to_string()),
                rtt_us: evidence.and_then(|evidence| evidence.rtt).map(microseconds),
                answer: evidence.and_then(|evidence| evidence.answer.clone()),
                status: evidence.and_then(|evidence| evidence.status),
                stage: evidence.and_then(stage),
                death: evidence.and_then(death),
                detail: evidence.map(|evidence| evidence.detail.clone()).unwrap_or_default(),
                walk: observed.trace(&spec.id).and_then(|trace| Walk::of(&trace.walk)),
                verdict: checks.iter().filter(about).map(|check| check.verdict).max(),
            }
        })
        .collect()
}

/// Each node's agent.
fn nodes(observed: &Observed) -> IndexMap<String, Node> {
    let node = |(name, agent): &(String, Agent)| (name.clone(), Node { nat: nat(observed, name), ..Node::of(agent) });
    observed.nodes.iter().map(node).collect()
}

fn nat(observed: &Observed, node: &str) -> Vec<String> {
    let tables = observed.nat.iter();
    tables.filter(|(name, _)| name == node).flat_map(|(_, entries)| entries).map(ToString::to_string).collect()
}

fn capture(observed: &Observed) -> Vec<Capture> {
    let one = |seen: &probe::capture::Statistics| Capture {
        namespace: seen.namespace.clone(),
        received: seen.received,
        lost: seen.lost,
    };
    observed.capture.iter().map(one).collect()
}

fn stage(evidence: &Evidence) -> Option<String> {
    serde_json::to_value(evidence.stage).ok()?.as_str().map(str::to_owned)
}

fn death(evidence: &Evidence) -> Option<Death> {
    let Some(Silence::Death(death)) = &evidence.silence else { return None };
    Some(Death {
        at: death.namespace.clone(),
        interface: death.interface.clone(),
        cause: death.cause.to_string(),
        detail: death.detail.clone(),
    })
}
