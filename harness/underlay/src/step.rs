//! What happens to a cluster between its installation and the probes.

use std::fmt;
use std::net::Ipv4Addr;

use cilium::Version;
use serde_json::{Map, Value};

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
    /// A node's tailscaled is killed: its overlay interface and the routes through it are gone, its peers aren't told.
    OverlayDown {
        /// The node.
        node: String,
    },
    /// An interface is set down; the kernel takes its routes away.
    LinkDown {
        /// The node.
        node: String,
        /// The interface, one of the topology's.
        interface: String,
    },
    /// An interface is set up, and whoever manages the node's network gives it its default route back.
    LinkUp {
        /// The node.
        node: String,
        /// The interface, one of the topology's.
        interface: String,
    },
    /// `helm upgrade`: the ConfigMap changes. Agents go on with the old one until they are restarted, since the chart
    /// doesn't roll them by itself (`rollOutCiliumPods: false`); a new version does restart them.
    Upgrade {
        /// Values laid over those of before (`--reuse-values`), or over none.
        values: Map<String, Value>,
        /// `--set` arguments after them.
        set: Vec<String>,
        /// Whether the values of before are kept.
        reuse_values: bool,
        /// Another Cilium version.
        version: Option<Version>,
    },
    /// Every agent is restarted.
    RestartAgents,
    /// Every CoreDNS replica is restarted.
    RestartCoreDns,
    /// A kubelet is restarted with another `--node-ip`: the Node object's InternalIP changes.
    NodeIp {
        /// The node.
        node: String,
        /// The address.
        address: Ipv4Addr,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverlayDown { node } => write!(formatter, "overlay-down {node}"),
            Self::LinkDown { node, interface } => write!(formatter, "link-down {node}/{interface}"),
            Self::LinkUp { node, interface } => write!(formatter, "link-up {node}/{interface}"),
            Self::Upgrade { version: Some(version), .. } => write!(formatter, "upgrade to {version}"),
            Self::Upgrade { version: None, .. } => formatter.write_str("upgrade"),
            Self::RestartAgents => formatter.write_str("restart agents"),
            Self::RestartCoreDns => formatter.write_str("restart coredns"),
            Self::NodeIp { node, address } => write!(formatter, "node-ip {node} {address}"),
        }
    }
}
