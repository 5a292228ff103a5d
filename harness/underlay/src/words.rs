//! What the parts of a case are called in scenario files, messages and reports. One spelling for all three.

use std::fmt;

use serde_json::Value;

use crate::case::{Expected, ExpectedOutcome, ExpectedProbe, NodeFact, Place, ProbeKind, Service, Subject, Workload};

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => write!(formatter, "{}/pod", self.node),
            index => write!(formatter, "{}/pod-{}", self.node, index + 1),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Dns => "kube-dns",
            Self::Echo => "echo",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(workload) => workload.fmt(formatter),
            Self::Node(node) => formatter.write_str(node),
            Self::NodeInterface { node, interface } => write!(formatter, "{node}/{interface}"),
            Self::Vcn(vcn) => write!(formatter, "vcn/{vcn}"),
            Self::Internet => formatter.write_str("internet"),
            Self::Service(service) => service.fmt(formatter),
            Self::ApiServer => formatter.write_str("api-server"),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

impl ProbeKind {
    /// `icmp`, `udp`, `tcp`, `dns`, `http` or `https`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Icmp { .. } => "icmp",
            Self::Udp { .. } => "udp",
            Self::Tcp { .. } => "tcp",
            Self::Dns { .. } => "dns",
            Self::Http { url, .. } if url.starts_with("https:") => "https",
            Self::Http { .. } => "http",
        }
    }

    /// Where it goes, or what it asks for: a place, a place and port, a name, a URL.
    pub fn target(&self) -> String {
        match self {
            Self::Icmp { to, .. } | Self::Udp { to, port: None } | Self::Tcp { to, port: None } => to.to_string(),
            Self::Udp { to, port: Some(port) } | Self::Tcp { to, port: Some(port) } => format!("{to}:{port}"),
            Self::Dns { name, .. } => name.clone(),
            Self::Http { url, .. } => url.clone(),
        }
    }
}

impl NodeFact {
    /// Every fact, in the order reports give them.
    pub const ALL: [Self; 10] = [
        Self::Agent,
        Self::NodeIp,
        Self::Devices,
        Self::NotSelected,
        Self::DirectRoutingDevice,
        Self::SkipFib,
        Self::HostRouting,
        Self::Masquerade,
        Self::PodMtu,
        Self::NodePortAddresses,
    ];

    /// Its key in a scenario file, `node-ip`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::NodeIp => "node-ip",
            Self::Devices => "devices",
            Self::NotSelected => "not-selected",
            Self::DirectRoutingDevice => "direct-routing-device",
            Self::SkipFib => "skip-fib",
            Self::HostRouting => "host-routing",
            Self::Masquerade => "masquerade",
            Self::PodMtu => "pod-mtu",
            Self::NodePortAddresses => "nodeport-addresses",
        }
    }
}

impl fmt::Display for NodeFact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Subject {
    /// Its key in a scenario file, without the node: the name of its column.
    pub fn id(&self) -> &str {
        match self {
            Self::Probe(id) | Self::Step(id) => id,
            Self::Node { fact, .. } => fact.name(),
            Self::Nat { .. } => "nat",
            Self::DnsReady => "dns-ready",
            Self::DnsRestarts => "dns-restarts",
            Self::Helm => "helm",
        }
    }

    /// The node it is about, if it is about one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Node { node, .. } | Self::Nat { node } => Some(node),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node() {
            Some(node) => write!(formatter, "{} of {node}", self.id()),
            None => formatter.write_str(self.id()),
        }
    }
}

impl fmt::Display for ExpectedOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Works => "works",
            Self::Fails => "fails",
            Self::Silence => "silence",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TooBig => "too-big",
        })
    }
}

impl fmt::Display for ExpectedProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome.fmt(formatter)?;
        if let Some(source) = self.source {
            write!(formatter, ", source {source}")?;
        }
        if let Some(answer) = &self.answer {
            write!(formatter, ", answer {answer}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(formatter, ", mtu {mtu}")?;
        }
        if let Some(at) = &self.dies_at {
            write!(formatter, ", dies at {at}")?;
        }
        if let Some(reason) = self.reason {
            write!(formatter, ", reason {reason}")?;
        }
        if !self.via.is_empty() {
            write!(formatter, ", via {}", self.via.join(" → "))?;
        }
        if !self.silent_on.is_empty() {
            write!(formatter, ", silent on {}", self.silent_on.join(", "))?;
        }
        Ok(())
    }
}

impl Expected {
    /// As reports give it: a phrase for a probe, else the value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Probe(expected) => Value::String(expected.to_string()),
            Self::Value(value) => value.clone(),
        }
    }
}
