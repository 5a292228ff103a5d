//! What a person writes for a step.
//!
//! The doc comments of this module are the descriptions in the JSON Schema; they speak to the file's author.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use topology::source::Spanned;

use crate::scenario::file::ExpectFile;
use crate::scenario::terse::{Full, OneOrMany};

/// Something that happens before the probes are sent; in this order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "a step: a map with one key, such as {overlay-down: worker}")]
pub enum StepFile {
    /// `helm install`. Where it is the first step about Cilium, there is none until then: what stands before it
    /// happens to a network without agents and pods. After an `uninstall` it installs again.
    Install(InstallFile),
    /// `helm uninstall`: write `cilium`. The agents end; what they put into the kernel stays, and pods go on with it.
    Uninstall(Spanned<String>),
    /// `helm upgrade`. New values are in effect once the agents are restarted, as with the real chart; a new version
    /// restarts them.
    Upgrade(UpgradeFile),
    /// `agents`, `coredns` or `kubelet`: every one of them is restarted.
    Restart(Spanned<String>),
    /// Kubelet is restarted with another `--node-ip`: a map from node to address. Agents read it at their start.
    NodeIp(IndexMap<Spanned<String>, Spanned<String>>),
    /// An interface is set down, `master/enp0s6`.
    LinkDown(Spanned<String>),
    /// An interface is set up again and gets its default route back, `master/enp0s6`.
    LinkUp(Spanned<String>),
    /// An interface goes, with its addresses and routes, `master/enp0s6`.
    LinkDelete(Spanned<String>),
    /// An interface that was deleted before comes, as the topology has it, `master/enp0s6`; the overlay's, with its
    /// program.
    DeviceAppears(Spanned<String>),
    /// Interfaces get one more address: {master/enp0s6: 10.0.0.77/24}.
    AddressAdd(IndexMap<Spanned<String>, Spanned<String>>),
    /// Interfaces lose an address, and the routes that came with it: {master/enp0s6: 10.0.0.77/24}.
    AddressRemove(IndexMap<Spanned<String>, Spanned<String>>),
    /// A node gets a route, in its main table.
    RouteAdd(RouteFile),
    /// A node loses a route: a default route of the topology's, or one that was added.
    RouteRemove(RouteFile),
    /// The node's tailscaled is killed: its overlay interface is gone, its peers aren't told.
    OverlayDown(Spanned<String>),
    /// The node's tailscaled is started again: its interface is back, and it calls its peers.
    OverlayUp(Spanned<String>),
    /// The node's endpoint changes, as when it gets another address or mapping: its tailscaled has another UDP port,
    /// its interface stays, its peers are told by the coordinator.
    OverlayRoam(Spanned<String>),
    /// A VCN's gateway begins to drop what passes it.
    Block(BlockFile),
    /// A gateway's filter is taken away: its name.
    Unblock(Spanned<String>),
    /// What leaves by an interface is delayed, lost or slowed down from now on. Needs the kernel's netem.
    Impair(ImpairFile),
    /// An interface is no longer impaired, `master/enp0s6`.
    Repair(Spanned<String>),
    /// Nothing happens until something is so. If it isn't in time, the case fails there.
    WaitFor(WaitFile),
    /// A set of expectations from `checks`, by name, must hold now. The probes it speaks of are sent.
    Check(Spanned<String>),
    /// The same with the expectations in their place.
    Expect(Spanned<OneOrMany<ExpectFile>>),
    /// Probes run through steps: how many are lost, and for how long?
    During(DuringFile),
}

/// A `helm install`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an installation: a map such as {values: {devices: enp0s6}}; {} is as the scenario has it"
)]
pub struct InstallFile {
    /// Helm values, laid over the scenario's and the variant's: those are the values file that is still there.
    #[serde(default, deserialize_with = "topology::values::read")]
    pub values: Map<String, Value>,
    /// More arguments of `helm --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Another Cilium version.
    pub cilium: Option<Spanned<String>>,
}

/// A `helm upgrade`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an upgrade: a map such as {values: {devices: enp0s6}, reuse-values: true}"
)]
pub struct UpgradeFile {
    /// Helm values. Without a flag they are all there is, as with Helm; without values and a flag all stay.
    #[serde(default, deserialize_with = "topology::values::read")]
    pub values: Map<String, Value>,
    /// More arguments of `helm --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// `--reuse-values`: values of before stay, new ones are laid over them. A `null` takes nothing away the first
    /// time, since Helm makes the values of before the chart's defaults.
    #[serde(default)]
    pub reuse_values: Option<Spanned<bool>>,
    /// `--reset-values`: the values of before are lost.
    #[serde(default)]
    pub reset_values: Option<Spanned<bool>>,
    /// `--reset-then-reuse-values`: values of before stay, over the new chart's defaults. A `null` takes away.
    #[serde(default)]
    pub reset_then_reuse_values: Option<Spanned<bool>>,
    /// Another Cilium version, which restarts the agents. It must be newer.
    pub cilium: Option<Spanned<String>>,
    /// Whether the version may be older. Left out: false.
    #[serde(default)]
    pub downgrade: bool,
}

/// A route.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a route: a map such as {on: master, to: 10.9.0.0/16, via: 10.0.0.1, dev: enp0s6}"
)]
pub struct RouteFile {
    /// The node.
    pub on: Spanned<String>,
    /// Where it leads: a network, or `default`.
    pub to: Spanned<String>,
    /// The next hop. Left out: what it leads to is on the link.
    pub via: Option<Spanned<String>>,
    /// The interface.
    pub dev: Spanned<String>,
}

/// What a gateway drops: packets to which all that is said applies, whichever way they pass it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a filter: a map such as {name: no-wireguard, at: vcn/a, protocol: udp, port: 41641}"
)]
pub struct BlockFile {
    /// Its name: a packet that dies of it is told by it, and `unblock` takes it.
    pub name: Spanned<String>,
    /// The gateway, `vcn/a`.
    pub at: Spanned<String>,
    /// Source: an address or a network.
    pub from: Option<Spanned<String>>,
    /// Destination: an address or a network.
    pub to: Option<Spanned<String>>,
    /// `icmp`, `tcp` or `udp`.
    pub protocol: Option<Spanned<String>>,
    /// Destination port, of `tcp` and `udp`.
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
}

/// What is done to packets that leave by an interface.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an impairment: a map such as {link: master/enp0s6, delay: 50ms, loss: 1}"
)]
pub struct ImpairFile {
    /// The interface, `master/enp0s6`.
    pub link: Spanned<String>,
    /// How much later they leave: `50ms`.
    pub delay: Option<Spanned<String>>,
    /// How much the delay varies, up and down.
    pub jitter: Option<Spanned<String>>,
    /// How many are lost, of 100.
    #[schemars(range(min = 0, max = 100))]
    pub loss: Option<Spanned<f64>>,
    /// Bits a second that leave at most.
    pub rate: Option<Spanned<u64>>,
}

/// Something to wait for: one of `probe`, `agents`, `dns-ready`, `selected`, `not-selected`, `overlay`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "something to wait for: a map such as {probe: pod-to-pod, within: 10s}"
)]
pub struct WaitFile {
    /// A probe, sent until it comes to `outcome`.
    pub probe: Option<Spanned<String>>,
    /// What the probe is to come to, as in `expect`. Left out: works.
    pub outcome: Option<Spanned<String>>,
    /// `running`: every agent runs.
    pub agents: Option<Spanned<String>>,
    /// So many replicas of CoreDNS are ready.
    #[schemars(range(max = 2))]
    pub dns_ready: Option<Spanned<u32>>,
    /// A device that its node's agent has selected, `master/tailscale0`.
    pub selected: Option<Spanned<String>>,
    /// A device that its node's agent has not selected.
    pub not_selected: Option<Spanned<String>>,
    /// Two nodes that have a session over the overlay: [master, worker].
    pub overlay: Option<Spanned<Vec<Spanned<String>>>>,
    /// For how long at most. Left out: 30s.
    pub within: Option<Spanned<String>>,
}

/// Probes that run through steps.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a map such as {probes: {pod-to-pod: {lost: {max: 0}}}, steps: [{restart: agents}]}"
)]
pub struct DuringFile {
    /// The probes by name, each with what is asserted of it; `{}` asserts nothing.
    pub probes: IndexMap<Spanned<String>, Option<StreamFile>>,
    /// What happens meanwhile.
    pub steps: Spanned<Vec<Spanned<StepFile>>>,
}

/// A probe that is sent over and over.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a map such as {every: 20ms, lost: {max: 0}, gap: {max: 2s}}"
)]
pub struct StreamFile {
    /// From one to the next, 5ms to 10s. Left out: 20ms.
    pub every: Option<Spanned<String>>,
    /// How many may be lost.
    pub lost: Option<Spanned<CountFile>>,
    /// How long no answer may come: from the last one answered before a loss to the first one after it.
    pub gap: Option<Spanned<TimeFile>>,
}

/// A number that has a bound.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a bound: a map such as {max: 0}")]
pub struct CountFile {
    /// The most there may be.
    pub max: u64,
}

/// A time that has a bound.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a bound: a map such as {max: 2s}")]
pub struct TimeFile {
    /// The longest it may be.
    pub max: Spanned<String>,
}

impl Full for ExpectFile {
    const EXPECTED: &'static str = "expectations: a map such as {probes: {pod-to-pod: works}}, or a list of such maps";
}
