//! What happens to a cluster in the course of time: the steps of a scenario.
//!
//! [`Action`] says what, [`words`] how it is told, [`crate::timeline`] takes one after the other.

pub mod words;

use std::net::Ipv4Addr;
use std::time::Duration;

use cilium::Version;
use cilium::release::Keep;
use ipnet::Ipv4Net;
use serde_json::{Map, Value};

use crate::case::{Check, ExpectedOutcome};

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Its line in the scenario's file.
    pub line: u32,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// `helm install` of a cluster without Cilium: the agents start.
    Install(Chart),
    /// `helm uninstall`: the agents end. What they put into the kernel stays, as with any agent that ends, and the
    /// pods go on with it.
    Uninstall,
    /// `helm upgrade`: the ConfigMap changes. Agents go on with the old one until they are restarted, since the chart
    /// doesn't roll them by itself (`rollOutCiliumPods: false`); a new version does restart them.
    Upgrade {
        /// What is given.
        chart: Chart,
        /// What becomes of the values of before.
        keep: Keep,
    },
    /// Every agent is restarted.
    RestartAgents,
    /// Every CoreDNS replica is restarted.
    RestartCoreDns,
    /// Every kubelet is restarted. Pods and the agents don't notice.
    RestartKubelet,
    /// A kubelet is restarted with another `--node-ip`: the Node object's InternalIP changes.
    NodeIp {
        /// The node.
        node: String,
        /// The address.
        address: Ipv4Addr,
    },
    /// An interface is set down; the kernel takes its routes away.
    LinkDown(Link),
    /// An interface is set up, and whoever manages the node's network gives it its default route back.
    LinkUp(Link),
    /// An interface goes, with its addresses and routes.
    LinkDelete(Link),
    /// An interface of the topology that isn't there comes, as the topology describes it: with addresses and default
    /// route, and up if it is up there. The overlay's comes with its program.
    DeviceAppears(Link),
    /// An interface gets one more address.
    AddressAdd {
        /// The interface.
        link: Link,
        /// The address with its prefix length.
        address: Ipv4Net,
    },
    /// An interface loses an address, and the routes that came with it.
    AddressRemove {
        /// The interface.
        link: Link,
        /// The address with its prefix length.
        address: Ipv4Net,
    },
    /// A node gets a route.
    RouteAdd(Route),
    /// A node loses a route.
    RouteRemove(Route),
    /// A node's tailscaled is killed: its overlay interface and the routes through it are gone, its peers aren't
    /// told.
    OverlayDown {
        /// The node.
        node: String,
    },
    /// A node's tailscaled is started again: its interface is back, and it calls its peers.
    OverlayUp {
        /// The node.
        node: String,
    },
    /// A node's endpoint changes, as when its address or its gateway's mapping does: its tailscaled has another UDP
    /// port, its interface stays, and its peers are told by the coordinator.
    OverlayRoam {
        /// The node.
        node: String,
    },
    /// A gateway begins to drop.
    Block(Filter),
    /// A gateway's filter is taken away.
    Unblock {
        /// The VCN.
        vcn: String,
        /// The filter's name.
        name: String,
    },
    /// What leaves by an interface is delayed, lost or slowed down from now on.
    Impair {
        /// The interface.
        link: Link,
        /// How.
        how: Impairment,
    },
    /// What leaves by an interface is no longer impaired.
    Repair(Link),
    /// Nothing happens until something is so.
    WaitFor {
        /// What.
        condition: Condition,
        /// For how long at most; if it isn't so by then, the case fails and no further step is taken.
        within: Duration,
    },
    /// What must be so at this moment. The probes it speaks of are sent.
    Check {
        /// The name of a set of expectations; none of those that stand in the step itself.
        name: Option<String>,
        /// What must be so.
        expectations: Vec<Check>,
    },
    /// Probes run through steps.
    During {
        /// The probes.
        streams: Vec<Stream>,
        /// What happens meanwhile.
        steps: Vec<Step>,
    },
}

/// A chart's version and what values are given with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// A values file.
    pub values: Map<String, Value>,
    /// `--set` arguments after it.
    pub set: Vec<String>,
    /// The version, if it is another than before.
    pub version: Option<Version>,
}

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The node.
    pub node: String,
    /// The interface, one of the topology's; the overlay's too.
    pub interface: String,
}

/// A route of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The node.
    pub node: String,
    /// Where it leads.
    pub to: Ipv4Net,
    /// The next hop.
    pub via: Option<Ipv4Addr>,
    /// The interface it leaves by.
    pub device: String,
}

/// What a gateway drops: packets to which all that is said applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The VCN whose gateway it is.
    pub vcn: String,
    /// Its name, which a packet that dies of it is told by.
    pub name: String,
    /// Source.
    pub from: Option<Ipv4Net>,
    /// Destination.
    pub to: Option<Ipv4Net>,
    /// 1 ICMP, 6 TCP, 17 UDP.
    pub protocol: Option<u8>,
    /// Destination port.
    pub port: Option<u16>,
}

/// What is done to packets that leave by an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// How much later they leave.
    pub delay: Duration,
    /// How much that varies, up and down.
    pub jitter: Duration,
    /// How many are lost, of 100.
    pub loss: f64,
    /// How much leaves at most, in bits a second.
    pub rate: Option<u64>,
}

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A probe comes to this.
    Probe {
        /// Its id.
        probe: String,
        /// The outcome.
        outcome: ExpectedOutcome,
    },
    /// Every agent runs.
    Agents,
    /// So many replicas of CoreDNS are ready.
    DnsReady(u32),
    /// A node's agent has selected a device.
    Selected(Link),
    /// A node's agent has not selected a device, or it is gone.
    NotSelected(Link),
    /// Two nodes have a session over the overlay, begun since the overlay last changed there.
    Peer {
        /// One.
        from: String,
        /// The other.
        to: String,
    },
}

/// A probe sent over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The probe's id.
    pub probe: String,
    /// From one to the next.
    pub every: Duration,
    /// How many may be lost at most.
    pub lost: Option<u64>,
    /// How long no answer may come at most.
    pub gap: Option<Duration>,
    /// The line of what is asserted.
    pub line: u32,
}

/// What is asserted of a stream. Shown as what must be, `at most 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Not more than so many are lost.
    Lost(u64),
    /// Answers don't stay away for longer.
    Gap(Duration),
}

impl Bound {
    /// What it is called where it is a probe's, `lost of pod-to-pod`.
    pub fn of(self, probe: &str) -> String {
        match self {
            Self::Lost(_) => format!("lost of {probe}"),
            Self::Gap(_) => format!("gap of {probe}"),
        }
    }
}

impl Stream {
    /// What is asserted of it.
    pub fn bounds(&self) -> impl Iterator<Item = Bound> {
        self.lost.map(Bound::Lost).into_iter().chain(self.gap.map(Bound::Gap))
    }
}

impl Route {
    /// The interface it leaves by.
    pub fn link(&self) -> Link {
        Link { node: self.node.clone(), interface: self.device.clone() }
    }
}

/// Every step, those that happen during a stream behind it.
pub fn flat(steps: &[Step]) -> Vec<&Step> {
    let mut all = Vec::new();
    for step in steps {
        all.push(step);
        if let Action::During { steps, .. } = &step.action {
            all.extend(flat(steps));
        }
    }
    all
}

/// Whether Cilium is there before the first step: unless a step installs it that nothing was uninstalled before.
pub fn installed_at_start(steps: &[Step]) -> bool {
    let first = flat(steps).into_iter().find(|step| matches!(step.action, Action::Install(_) | Action::Uninstall));
    !matches!(first, Some(Step { action: Action::Install(_), .. }))
}
