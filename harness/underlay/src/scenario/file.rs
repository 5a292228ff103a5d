//! What a person writes: the scenario file. Turned into [`Case`](crate::case::Case)s by [`load`](super::load).
//!
//! The doc comments of this module are the descriptions in the JSON Schema; they speak to the file's author.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use topology::file::TopologyFile;
use topology::source::Spanned;

use super::steps::file::StepFile;
use super::terse::{Full, OneOrMany, Terse};

/// A cluster on a network, what is sent through it, and what must come of that.
///
/// Its name is its path below the nearest folder called `scenarios`, without the ending: `guide/table`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "underlay scenario")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a scenario: a map with `topology` and `probes`")]
pub struct ScenarioFile {
    /// What it shows and why anybody would ask, in a sentence or two. For people only.
    pub description: Option<String>,
    /// The topology: its file, relative to this file; or the topology itself, as such a file has it.
    pub topology: Spanned<Terse<TopologyFile>>,
    /// Whose rules decide on the `netns` engine. Left out: cilium.
    pub model: Option<ModelFile>,
    /// The Cilium version, `1.18.2`. Needed here, or in every variant.
    pub cilium: Option<Spanned<String>>,
    /// How kubelet runs.
    #[serde(default)]
    pub kubelet: KubeletFile,
    /// Addresses of the cluster. Each has a default.
    #[serde(default)]
    pub cluster: ClusterFile,
    /// Helm values, verbatim. `null` takes a value away, as in Helm.
    #[serde(default, deserialize_with = "topology::values::read")]
    pub values: Map<String, Value>,
    /// Arguments of `helm --set`, as typed after the shell took its quotes: `devices={enp0s6,tailscale0}`. They are
    /// applied after `values`.
    #[serde(default)]
    pub set: Vec<String>,
    /// The variants by name, each with what it changes; `{}` changes nothing. A list of such maps is a matrix: every
    /// combination, named by joining the names with `/`. Left out: one, named `default`.
    pub variants: Option<Spanned<OneOrMany<Axis>>>,
    /// What is sent, by name. It is sent in every variant, in this order.
    #[serde(default)]
    pub probes: IndexMap<Spanned<String>, ProbeFile>,
    /// What must be so, in blocks. Of two that speak of the same thing in the same variant, the later holds.
    #[serde(default)]
    pub expect: Vec<ExpectFile>,
    /// What somebody said is so: measured and reported as held or refuted, never asserted.
    #[serde(default)]
    pub claims: Vec<ClaimFile>,
    /// How long a probe waits for its answer where its death was not witnessed: `2s`, `500ms`. Left out: 2s.
    pub deadline: Option<Spanned<String>>,
    /// What happens once the cluster runs and before the probes are sent, in this order.
    #[serde(default)]
    pub steps: Vec<Spanned<StepFile>>,
    /// Sets of expectations by name, for the step `check`: a map as in `expect`, or a list of such maps.
    #[serde(default)]
    pub checks: IndexMap<Spanned<String>, OneOrMany<ExpectFile>>,
}

impl Full for TopologyFile {
    const EXPECTED: &'static str = "a topology's file, or a topology: a map with `vcns` and `nodes`";
}

/// Variants by name: letters, digits and `.,:_+!=-`. `{}` changes nothing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Axis(pub IndexMap<Spanned<String>, Option<OverrideFile>>);

impl Full for Axis {
    const EXPECTED: &'static str = "variants: a map by name, or a list of such maps for a matrix";
}

/// What a variant changes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a variant: a map such as {values: {devices: enp0s6}}; {} changes nothing"
)]
pub struct OverrideFile {
    /// Helm values, laid over the scenario's: maps are merged, all else is replaced, `null` takes away.
    #[serde(default, deserialize_with = "topology::values::read")]
    pub values: Map<String, Value>,
    /// More arguments of `helm --set`, after the scenario's.
    #[serde(default)]
    pub set: Vec<String>,
    /// How kubelet runs, in place of what the scenario says.
    pub kubelet: Option<KubeletFile>,
    /// Addresses of the cluster, in place of those the scenario gives.
    pub cluster: Option<ClusterFile>,
    /// Another Cilium version.
    pub cilium: Option<Spanned<String>>,
    /// Whose rules decide on the `netns` engine.
    pub model: Option<ModelFile>,
    /// Steps, in place of the scenario's.
    pub steps: Option<Vec<Spanned<StepFile>>>,
}

/// Whose rules decide on the `netns` engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelFile {
    /// Cilium's own, of the version asked for.
    Cilium,
    /// Those of the field guide that this project measures.
    Guide,
}

/// How kubelet runs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "kubelet's settings: a map such as {node-ip: overlay}"
)]
pub struct KubeletFile {
    /// `--node-ip`: `overlay`, the name of an interface that each node has, or a map from node to `overlay`, an
    /// interface or an address. Of a node without one, kubelet takes the address its default route leaves from.
    pub node_ip: Option<Spanned<Terse<NodeIpsFile>>>,
}

/// `--node-ip` by node: `overlay`, an interface of the node, or an address of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NodeIpsFile(pub IndexMap<Spanned<String>, Spanned<String>>);

impl Full for NodeIpsFile {
    const EXPECTED: &'static str = "`overlay`, an interface's name, or a map such as {master: 100.64.0.1}";
}

/// Addresses of the cluster.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "the cluster's addresses: a map such as {pod-cidr: 10.244.0.0/16}"
)]
pub struct ClusterFile {
    /// The pods' range; each node gets a /24 of it, in the topology's order. Left out: 10.244.0.0/16.
    pub pod_cidr: Option<Spanned<String>>,
    /// The services' range: its first address is the `kubernetes` service's, its tenth cluster DNS's. Left out:
    /// 10.96.0.0/16.
    pub service_cidr: Option<Spanned<String>>,
    /// Where the API server is reached (port 6443): `overlay`, an interface of the control plane's node, or an address
    /// of it. Left out: that node's address on the overlay; without an overlay, its node IP.
    pub api_server: Option<Spanned<String>>,
    /// Where cluster DNS forwards what is not the cluster's. Left out: 8.8.8.8.
    pub upstream_dns: Option<Spanned<String>>,
    /// The NodePort of the service `echo`, 30000 to 32767. Left out: 30080.
    #[schemars(range(min = 30000, max = 32767))]
    pub node_port: Option<Spanned<u16>>,
    /// Security identities of pods, 256 to 65535, by pod: {master/pod: 264}. Left out: as Cilium hands them out.
    #[serde(default)]
    pub identities: IndexMap<Spanned<String>, Spanned<u32>>,
}

/// A packet, or a conversation: from where, and one of `icmp`, `udp`, `tcp`, `dns`, `http`.
///
/// Places: `master/pod` and `master/pod-2`, the test pods of a node; `master`, the node (as a destination: its node
/// IP); `master/enp0s6`, the node by the address of an interface; `vcn/a` (in reports `vcn a`), a VCN's gateway;
/// `internet`, a machine on the internet (only a source). Only destinations: `kubernetes`, `kube-dns` and `echo`, the
/// services; `api-server`; an IPv4 address.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a probe: a map such as {icmp: worker/pod, from: master/pod}"
)]
pub struct ProbeFile {
    /// Where it is sent from.
    pub from: Spanned<String>,
    /// An ICMP echo request: to where, or a map.
    pub icmp: Option<Spanned<Terse<IcmpFile>>>,
    /// A datagram to a service that echoes it: to where, or a map. `worker/pod:5353` names a port.
    pub udp: Option<Spanned<Terse<PortFile>>>,
    /// A TCP connection: to where, or a map. `master/enp0s6:30080` names a port.
    pub tcp: Option<Spanned<Terse<PortFile>>>,
    /// A DNS query for an A record: the name, or a map.
    pub dns: Option<Spanned<Terse<DnsFile>>>,
    /// An HTTP or HTTPS request: the URL, or a map.
    pub http: Option<Spanned<Terse<HttpFile>>>,
    /// Its own deadline, in place of the scenario's.
    pub deadline: Option<Spanned<String>>,
}

/// An ICMP echo request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IcmpFile {
    /// To where.
    pub to: Spanned<String>,
    /// Payload in bytes, 0 to 65507. Left out: 56.
    #[schemars(range(max = 65507))]
    pub size: Option<Spanned<u32>>,
    /// Whether the don't-fragment bit is set. Left out: false.
    #[serde(default)]
    pub df: bool,
}

impl Full for IcmpFile {
    const EXPECTED: &'static str = "a place, or a map such as {to: worker/pod, size: 1202, df: true}";
}

/// A datagram or connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortFile {
    /// To where; `master/enp0s6:30080` names a port too.
    pub to: Spanned<String>,
    /// Port. Left out: that of the service, 6443 of the API server, elsewhere that of the test pods' server.
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
}

impl Full for PortFile {
    const EXPECTED: &'static str = "a place, or a map such as {to: worker/pod, port: 80}";
}

/// A DNS query for an A record.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DnsFile {
    /// The name.
    pub name: Spanned<String>,
    /// Whom to ask: a place. Left out: cluster DNS.
    pub server: Option<Spanned<String>>,
}

impl Full for DnsFile {
    const EXPECTED: &'static str = "a name, or a map such as {name: google.com, server: 8.8.8.8}";
}

/// An HTTP or HTTPS request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpFile {
    /// The URL, with `http://` or `https://`.
    pub url: Spanned<String>,
    /// Who resolves its name: a place. Left out: cluster DNS.
    pub server: Option<Spanned<String>>,
}

impl Full for HttpFile {
    const EXPECTED: &'static str = "a URL, or a map such as {url: \"https://api.ipify.org\", server: 8.8.8.8}";
}

/// Things that must be so.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a map such as {in: [enp0s6], probes: {pod-to-pod: works}}"
)]
pub struct ExpectFile {
    /// The variants it holds in: names, or globs (`*`, `?`); of a matrix the name on one axis, or names joined by `/`.
    /// Left out: all.
    #[serde(rename = "in")]
    pub variants: Option<Spanned<Vec<Spanned<String>>>>,
    /// What becomes of probes, by name.
    #[serde(default)]
    pub probes: IndexMap<Spanned<String>, Spanned<Terse<ProbeExpectationFile>>>,
    /// What the nodes' agents decide, by node; `"*"` is every node of the cluster, and other globs do too.
    #[serde(default)]
    pub nodes: IndexMap<Spanned<String>, NodeExpectationFile>,
    /// What becomes of CoreDNS.
    #[serde(default)]
    pub dns: DnsExpectationFile,
    /// What Helm says to the values and `--set` arguments: `accepted`, `refused`, or some of the words it refuses with.
    pub helm: Option<Spanned<String>>,
}

/// Things that somebody said are so.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a map such as {by: guide §3, in: [enp0s6], probes: {pod-to-pod: fails}}"
)]
pub struct ClaimFile {
    /// Who said it, and where.
    pub by: Spanned<String>,
    /// The variants it was said of, as in `expect`. Left out: all.
    #[serde(rename = "in")]
    pub variants: Option<Spanned<Vec<Spanned<String>>>>,
    /// What becomes of probes, by name.
    #[serde(default)]
    pub probes: IndexMap<Spanned<String>, Spanned<Terse<ProbeExpectationFile>>>,
    /// What the nodes' agents decide, by node; `"*"` is every node of the cluster, and other globs do too.
    #[serde(default)]
    pub nodes: IndexMap<Spanned<String>, NodeExpectationFile>,
    /// What becomes of CoreDNS.
    #[serde(default)]
    pub dns: DnsExpectationFile,
    /// What Helm says to the values and `--set` arguments: `accepted`, `refused`, or some of the words it refuses with.
    pub helm: Option<Spanned<String>>,
}

/// What a probe comes to, and what comes with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeExpectationFile {
    /// `works`; `fails`, in whatever way; `silence`; `refused` (TCP reset, ICMP port unreachable); `unreachable`
    /// (another ICMP unreachable, or no route); `too-big`.
    pub outcome: Spanned<String>,
    /// The source address the far end saw: of the packet as it arrived there. With any outcome, since a packet may
    /// arrive and its answer not; of one that didn't arrive, the source it had where it was last seen. Not with `dns`,
    /// whose server doesn't tell.
    pub source: Option<Spanned<String>>,
    /// What the answer holds, with `works`: of `dns` an address, of `http` text in the body.
    pub answer: Option<Spanned<String>>,
    /// The MTU that was reported, with `too-big`.
    pub mtu: Option<Spanned<u32>>,
    /// Places it came by, in this order, and by others too: `master/cilium_vxlan`, `master/tailscale0`, `worker/pod`,
    /// `vcn a/gateway`, `internet`. The way there first, then the answer's. A node's or VCN's name alone is any place of
    /// it.
    pub via: Option<Spanned<Vec<Spanned<String>>>>,
    /// The place where its way ended: the last one where it was seen, or the interface it couldn't leave by.
    pub dies_at: Option<Spanned<String>>,
    /// Why it ended there: `no-arp-reply`, `source-check`, `overlay-no-peer`, `no-route`, `firewall`, …
    pub reason: Option<Spanned<String>>,
    /// Places where none of its packets was seen, in the clear. Proves nothing where packets went unseen.
    pub silent_on: Option<Spanned<Vec<Spanned<String>>>>,
}

impl Full for ProbeExpectationFile {
    const EXPECTED: &'static str =
        "an outcome such as `works`, or a map such as {outcome: works, source: 168.107.2.60}";
}

/// What a node's agent decides.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a map such as {node-ip: 100.64.0.1, devices: [enp0s6]}"
)]
pub struct NodeExpectationFile {
    /// `running`; `absent`, where Cilium is not installed; `fatal`, or some of the words of the error it dies of.
    pub agent: Option<Spanned<String>>,
    /// The node IP, which is the VXLAN endpoint the peers use.
    pub node_ip: Option<Spanned<String>>,
    /// The selected devices, all of them, in the order of their indices.
    pub devices: Option<Spanned<Vec<Spanned<String>>>>,
    /// Devices left out, each with some of the words of the reason. Others may be left out too.
    pub not_selected: Option<Spanned<IndexMap<Spanned<String>, Spanned<String>>>>,
    /// The direct routing device; `none` if there is none.
    pub direct_routing_device: Option<Spanned<String>>,
    /// Whether pods' packets go to the one device without a routing lookup (up to 1.18).
    pub skip_fib: Option<Spanned<bool>>,
    /// Whether pods' packets pass the host's stack (`legacy`) or not (`bpf`).
    pub host_routing: Option<Spanned<HostRoutingFile>>,
    /// How sources are translated, in `cilium status`'s words: `BPF [enp0s6, tailscale0]`, `IPTables`, `Disabled`.
    pub masquerade: Option<Spanned<String>>,
    /// The pods' MTU in bytes.
    pub pod_mtu: Option<Spanned<u32>>,
    /// The addresses on which NodePort services answer.
    pub nodeport_addresses: Option<Spanned<Vec<Spanned<String>>>>,
    /// Lines of the node's NAT table after the probes, as `cilium bpf nat list` shows them, pods' flows only; `*` and `?`
    /// stand for anything: `ICMP OUT 10.244.0.10:* -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:*`. Each must be there, among
    /// others; one that begins with `!` must not.
    pub nat: Option<Spanned<Vec<Spanned<String>>>>,
}

/// How pods' packets leave their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostRoutingFile {
    /// By eBPF, past the host's stack.
    Bpf,
    /// Through the host's stack, its rules and its netfilter.
    Legacy,
}

/// What becomes of CoreDNS.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a map such as {ready: 2, restarts: 0}")]
pub struct DnsExpectationFile {
    /// Replicas that are ready, 0 to 2.
    #[schemars(range(max = 2))]
    pub ready: Option<Spanned<u32>>,
    /// Restarts of both replicas together.
    pub restarts: Option<Spanned<u32>>,
}
