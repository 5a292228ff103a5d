//! Expectations and claims: from what is written to what is compared.

use probe::walk::EndReason;
use serde_json::{Value, json};
use topology::Network;
use topology::network::Node;
use topology::source::{Position, Spanned, choices, closest, shown};

use super::file::{
    ClaimFile, DnsExpectationFile, ExpectFile, HostRoutingFile, NodeExpectationFile, ProbeExpectationFile,
};
use super::matrix::glob;
use super::probes::Probes;
use super::report::Report;
use super::terse::Terse;
use super::text::printable;
use super::{cluster, place, text};
use crate::case::{Expected, ExpectedOutcome, ExpectedProbe, NodeFact, ProbeKind, Subject};

/// CoreDNS runs as so many replicas, as kubeadm installs it.
const DNS_REPLICAS: u32 = 2;

/// The smallest MTU IPv4 allows a link, RFC 791.
const LEAST_MTU: u32 = 68;

/// Devices that every node has beside the topology's, and which an agent leaves out.
const ALWAYS: [&str; 4] = ["lo", "cilium_net", "cilium_host", "cilium_vxlan"];

/// One thing that is expected or claimed, and the line it stands on.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) subject: Subject,
    pub(super) expected: Expected,
    pub(super) line: u32,
}

/// What `expect` and `claims` blocks have in common.
pub(super) struct Block<'a> {
    pub(super) variants: Option<&'a Spanned<Vec<Spanned<String>>>>,
    probes: &'a indexmap::IndexMap<Spanned<String>, Spanned<Terse<ProbeExpectationFile>>>,
    nodes: &'a indexmap::IndexMap<Spanned<String>, NodeExpectationFile>,
    dns: &'a DnsExpectationFile,
    helm: Option<&'a Spanned<String>>,
}

impl<'a> From<&'a ExpectFile> for Block<'a> {
    fn from(file: &'a ExpectFile) -> Self {
        Self {
            variants: file.variants.as_ref(),
            probes: &file.probes,
            nodes: &file.nodes,
            dns: &file.dns,
            helm: file.helm.as_ref(),
        }
    }
}

impl<'a> From<&'a ClaimFile> for Block<'a> {
    fn from(file: &'a ClaimFile) -> Self {
        Self {
            variants: file.variants.as_ref(),
            probes: &file.probes,
            nodes: &file.nodes,
            dns: &file.dns,
            helm: file.helm.as_ref(),
        }
    }
}

impl Block<'_> {
    /// Everything the block says, in its order: Helm, nodes, DNS, probes.
    pub(super) fn read(&self, probes: &Probes<'_>, network: &Network, report: &mut Report<'_>) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(helm) = self.helm {
            words(helm, "Helm", &["accepted", "refused"], report);
            items.push(value(Subject::Helm, json!(helm.value), helm.at));
        }
        for (pattern, facts) in self.nodes {
            for node in nodes(pattern, network, report) {
                node_facts(node, facts, network, &mut items, report);
            }
        }
        if let Some(ready) = self.dns.ready {
            if ready.value > DNS_REPLICAS {
                report
                    .add(ready.at, format!("{} replicas can't be ready", ready.value))
                    .help(format!("CoreDNS has {DNS_REPLICAS}"));
            }
            items.push(value(Subject::DnsReady, json!(ready.value), ready.at));
        }
        if let Some(restarts) = self.dns.restarts {
            items.push(value(Subject::DnsRestarts, json!(restarts.value), restarts.at));
        }
        for (name, written) in self.probes {
            if report.is_full() {
                break;
            }
            let Some(spec) = probes.get(name.as_str()) else {
                let help = choices(name, "probes", probes.keys().copied().filter(|known| printable(known)));
                report.add(name.at, format!("there is no probe `{}`", shown(name))).help(help);
                continue;
            };
            let kind = spec.as_ref().map(|spec| &spec.kind);
            if let Some(expected) = probe(written, kind, network, report) {
                items.push(Item {
                    subject: Subject::Probe(name.value.clone()),
                    expected: Expected::Probe(expected),
                    line: written.at.line,
                });
            }
        }
        items
    }
}

fn value(subject: Subject, value: Value, at: Position) -> Item {
    Item { subject, expected: Expected::Value(value), line: at.line }
}

/// One of the words, or a part of an error message, which is told from a slip of the pen by the space in it.
fn words(written: &Spanned<String>, who: &str, known: &[&str], report: &mut Report<'_>) {
    let text = written.trim();
    if !known.contains(&text) && !text.contains(' ') {
        let near =
            closest(text, known.iter().copied()).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        report
            .add(written.at, format!("`{}` is nothing that {who} comes to", shown(text)))
            .help(format!("{near}`{}`, or two words or more of the error", known.join("`, `")));
    }
}

fn nodes<'n>(pattern: &Spanned<String>, network: &'n Network, report: &mut Report<'_>) -> Vec<&'n Node> {
    if !pattern.contains(['*', '?']) {
        return cluster::cluster_node(pattern, network, report).into_iter().collect();
    }
    let found: Vec<&Node> = network.cluster_nodes().filter(|node| glob(pattern, &node.name)).collect();
    if found.is_empty() {
        let names = network.cluster_nodes().map(|node| node.name.as_str());
        report.add(pattern.at, format!("no node of the cluster is named by `{}`", shown(pattern))).help(choices(
            pattern,
            "nodes of the cluster",
            names,
        ));
    }
    found
}

fn node_facts(
    node: &Node,
    facts: &NodeExpectationFile,
    network: &Network,
    items: &mut Vec<Item>,
    report: &mut Report<'_>,
) {
    let mut nat_item = None;
    let mut add = |fact: NodeFact, expected: Value, at: Position| {
        items.push(value(Subject::Node { node: node.name.clone(), fact }, expected, at));
    };
    if let Some(nat) = &facts.nat {
        let patterns = nat.value.iter().map(|pattern| json!(pattern.value.trim())).collect();
        for pattern in nat.value.iter().filter(|pattern| pattern.trim_matches(['!', ' ', '*']).is_empty()) {
            report
                .add(pattern.at, format!("`{}` says nothing of an entry", shown(pattern)))
                .help("such as `ICMP OUT 10.244.0.10:* -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:*`");
        }
        nat_item = Some(value(Subject::Nat { node: node.name.clone() }, patterns, nat.at));
    }
    if let Some(agent) = &facts.agent {
        words(agent, "an agent", &["running", "fatal", "absent"], report);
        add(NodeFact::Agent, json!(agent.trim()), agent.at);
    }
    if let Some(node_ip) = &facts.node_ip
        && let Some(address) = own_address(node_ip, node, "node IP", report)
    {
        add(NodeFact::NodeIp, address, node_ip.at);
    }
    if let Some(devices) = &facts.devices {
        for device in &devices.value {
            known_device(device, node, network, &[], report);
        }
        add(NodeFact::Devices, devices.value.iter().map(|device| json!(device.value)).collect(), devices.at);
    }
    if let Some(left_out) = &facts.not_selected {
        for device in left_out.value.keys() {
            known_device(device, node, network, &ALWAYS, report);
        }
        let reasons = left_out.value.iter().map(|(device, reason)| (device.value.clone(), json!(reason.value)));
        add(NodeFact::NotSelected, Value::Object(reasons.collect()), left_out.at);
    }
    if let Some(device) = &facts.direct_routing_device {
        if device.value == "none" {
            add(NodeFact::DirectRoutingDevice, Value::Null, device.at);
        } else {
            known_device(device, node, network, &[], report);
            add(NodeFact::DirectRoutingDevice, json!(device.value), device.at);
        }
    }
    if let Some(skip_fib) = facts.skip_fib {
        add(NodeFact::SkipFib, json!(skip_fib.value), skip_fib.at);
    }
    if let Some(host_routing) = facts.host_routing {
        let word = match host_routing.value {
            HostRoutingFile::Bpf => "bpf",
            HostRoutingFile::Legacy => "legacy",
        };
        add(NodeFact::HostRouting, json!(word), host_routing.at);
    }
    if let Some(masquerade) = &facts.masquerade
        && let Some(words) = masquerade_words(masquerade, node, network, report)
    {
        add(NodeFact::Masquerade, json!(words), masquerade.at);
    }
    if let Some(mtu) = facts.pod_mtu {
        mtu_in_range(mtu, report);
        add(NodeFact::PodMtu, json!(mtu.value), mtu.at);
    }
    if let Some(addresses) = &facts.nodeport_addresses {
        let own = addresses.value.iter().filter_map(|address| own_address(address, node, "NodePort address", report));
        let own = own.collect();
        add(NodeFact::NodePortAddresses, own, addresses.at);
    }
    items.extend(nat_item);
}

fn mtu_in_range(mtu: Spanned<u32>, report: &mut Report<'_>) {
    if !(LEAST_MTU..=65_535).contains(&mtu.value) {
        report.add(mtu.at, format!("an MTU of {} can't be", mtu.value)).help(format!("{LEAST_MTU} to 65535 bytes"));
    }
}

fn own_address(written: &Spanned<String>, node: &Node, what: &str, report: &mut Report<'_>) -> Option<Value> {
    let address = text::address(written, report)?;
    if !cluster::addresses(node).any(|own| own == address) {
        let own: Vec<String> = cluster::addresses(node).map(|own| own.to_string()).collect();
        report
            .add(written.at, format!("{address} can't be the {what} of `{}`, which doesn't have it", node.name))
            .help(format!("it has {}", own.join(", ")));
    }
    Some(json!(address))
}

fn known_device(
    device: &Spanned<String>,
    node: &Node,
    network: &Network,
    beside: &[&'static str],
    report: &mut Report<'_>,
) {
    let known: Vec<&str> = place::device_names(network, node).chain(beside.iter().copied()).collect();
    if !known.contains(&device.as_str()) {
        report.add(device.at, format!("`{}` has no device `{}`", node.name, shown(device))).help(choices(
            device,
            "its devices",
            known,
        ));
    }
}

/// `BPF [enp0s6, tailscale0]`, `IPTables` or `Disabled`, with one space behind each comma.
fn masquerade_words(
    written: &Spanned<String>,
    node: &Node,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<String> {
    let text = written.trim();
    if matches!(text, "IPTables" | "Disabled") {
        return Some(text.to_owned());
    }
    let Some(list) = text.strip_prefix("BPF").map(str::trim).and_then(|list| list.strip_prefix('[')?.strip_suffix(']'))
    else {
        report
            .add(written.at, format!("`{}` is nothing that `cilium status` says of masquerading", shown(text)))
            .help("`BPF [enp0s6, tailscale0]`, `IPTables` or `Disabled`");
        return None;
    };
    let devices: Vec<&str> = list.split(',').map(str::trim).filter(|device| !device.is_empty()).collect();
    for device in &devices {
        known_device(&Spanned { value: (*device).to_owned(), at: written.at }, node, network, &[], report);
    }
    Some(format!("BPF [{}]", devices.join(", ")))
}

fn probe(
    written: &Spanned<Terse<ProbeExpectationFile>>,
    kind: Option<&ProbeKind>,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<ExpectedProbe> {
    let full = match &written.value {
        Terse::Short(word) => {
            let outcome = outcome(&Spanned { value: word.clone(), at: written.at }, kind, report)?;
            return Some(ExpectedProbe::of(outcome));
        }
        Terse::Full(full) => full,
    };
    let source = full.source.as_ref().map(|source| text::address(source, report));
    if let Some(source) = &full.source
        && matches!(kind, Some(ProbeKind::Dns { .. }))
    {
        report
            .add(source.at, "a DNS server doesn't tell whom it saw")
            .help("`source` goes with `icmp`, `udp`, `tcp` and `http`");
    }
    if let Some(answer) = &full.answer
        && let Some(kind) = kind
    {
        match kind {
            ProbeKind::Dns { .. } => {
                text::address(answer, report);
            }
            ProbeKind::Http { .. } => {}
            _ => {
                report
                    .add(answer.at, format!("a probe of kind `{}` has no answer to look into", kind.name()))
                    .help("`answer` goes with `dns` and `http`");
            }
        }
    }
    let outcome = outcome(&full.outcome, kind, report)?;
    if let Some(answer) = full.answer.as_ref().filter(|_| outcome != ExpectedOutcome::Works) {
        report.add(answer.at, format!("with `{outcome}` there is no answer")).help("`answer` goes with `works`");
    }
    if let Some(mtu) = full.mtu {
        if outcome != ExpectedOutcome::TooBig {
            report.add(mtu.at, format!("with `{outcome}` no MTU is reported")).help("`mtu` goes with `too-big`");
        }
        mtu_in_range(mtu, report);
    }
    let hops = |list: &Option<Spanned<Vec<Spanned<String>>>>, report: &mut Report<'_>| -> Vec<String> {
        let written = list.iter().flat_map(|list| &list.value);
        written.filter_map(|place| place::hop(place, network, report)).collect()
    };
    let (via, silent_on) = (hops(&full.via, report), hops(&full.silent_on, report));
    let dies_at = full.dies_at.as_ref().and_then(|at| place::hop(at, network, report));
    let reason = full.reason.as_ref().and_then(|reason| end_reason(reason, report));
    for (key, at) in
        [("dies-at", full.dies_at.as_ref().map(|at| at.at)), ("reason", full.reason.as_ref().map(|reason| reason.at))]
    {
        if let Some(at) = at.filter(|_| outcome == ExpectedOutcome::Works) {
            report
                .add(at, format!("with `{outcome}` nothing dies"))
                .help(format!("`{key}` goes with the other outcomes"));
        }
    }
    Some(ExpectedProbe {
        outcome,
        source: source.flatten(),
        answer: full.answer.as_ref().map(|answer| answer.value.clone()),
        mtu: full.mtu.map(|mtu| mtu.value),
        via,
        dies_at,
        reason,
        silent_on,
    })
}

fn end_reason(written: &Spanned<String>, report: &mut Report<'_>) -> Option<EndReason> {
    let found = written.parse().ok();
    if found.is_none() {
        report.add(written.at, format!("`{}` is no reason a packet ends for", shown(written))).help(choices(
            written,
            "reasons",
            EndReason::ALL.iter().map(|reason| reason.name()),
        ));
    }
    found
}

pub(super) fn outcome(
    written: &Spanned<String>,
    kind: Option<&ProbeKind>,
    report: &mut Report<'_>,
) -> Option<ExpectedOutcome> {
    const ALL: [ExpectedOutcome; 6] = [
        ExpectedOutcome::Works,
        ExpectedOutcome::Fails,
        ExpectedOutcome::Silence,
        ExpectedOutcome::Refused,
        ExpectedOutcome::Unreachable,
        ExpectedOutcome::TooBig,
    ];
    let Some(outcome) = ALL.into_iter().find(|outcome| outcome.to_string() == written.value) else {
        let names: Vec<String> = ALL.iter().map(ToString::to_string).collect();
        report.add(written.at, format!("`{}` is nothing a probe comes to", shown(written))).help(choices(
            written,
            "outcomes",
            names.iter().map(String::as_str),
        ));
        return None;
    };
    let help = match (outcome, kind) {
        (ExpectedOutcome::Refused, Some(ProbeKind::Icmp { .. })) => {
            "only `udp`, `tcp`, `dns` and `http` meet closed ports"
        }
        (ExpectedOutcome::TooBig, Some(ProbeKind::Icmp { dont_fragment: false, .. })) => {
            "without `df: true` a packet is fragmented, never too big"
        }
        (ExpectedOutcome::TooBig, Some(ProbeKind::Icmp { .. }) | None) => return Some(outcome),
        (ExpectedOutcome::TooBig, Some(_)) => "only `icmp` with `df: true` has a size to be refused for",
        _ => return Some(outcome),
    };
    let kind = kind.map_or("", ProbeKind::name);
    report.add(written.at, format!("a probe of kind `{kind}` can't come to `{outcome}`")).help(help);
    Some(outcome)
}
