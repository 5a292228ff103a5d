//! Steps in words.

use std::fmt;
use std::time::Duration;

use cilium::release::Keep;
use serde_json::{Map, Value};

use super::{Action, Bound, Chart, Condition, Filter, Impairment, Link, Route};

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.node, self.interface)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} on {}", self.destination(), self.node)?;
        if let Some(via) = self.via {
            write!(formatter, " via {via}")?;
        }
        write!(formatter, " dev {}", self.device)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at vcn/{}", self.name, self.vcn)?;
        if let Some(protocol) = self.protocol {
            write!(formatter, ", {}", protocol_name(protocol))?;
        }
        if let Some(from) = self.from {
            write!(formatter, ", from {from}")?;
        }
        if let Some(to) = self.to {
            write!(formatter, ", to {to}")?;
        }
        if let Some(port) = self.port {
            write!(formatter, ", port {port}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.delay.is_zero() {
            parts.push(format!("delay {}", time(self.delay)));
        }
        if !self.jitter.is_zero() {
            parts.push(format!("jitter {}", time(self.jitter)));
        }
        if self.loss > 0.0 {
            parts.push(format!("loss {} %", self.loss));
        }
        if let Some(rate) = self.rate {
            parts.push(format!("rate {rate} bit/s"));
        }
        formatter.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe { probe, outcome } => write!(formatter, "{probe}: {outcome}"),
            Self::Agents => formatter.write_str("every agent running"),
            Self::DnsReady(count) => write!(formatter, "{count} CoreDNS replicas ready"),
            Self::Selected(link) => write!(formatter, "{link} selected"),
            Self::NotSelected(link) => write!(formatter, "{link} not selected"),
            Self::Peer { from, to } => write!(formatter, "overlay between {from} and {to}"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(max) => write!(formatter, "at most {max}"),
            Self::Gap(max) => write!(formatter, "at most {}", time(*max)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install(chart) => write!(formatter, "install{chart}"),
            Self::Uninstall => formatter.write_str("uninstall"),
            Self::Upgrade { chart, keep } => write!(formatter, "upgrade{chart}{}", flag(*keep)),
            Self::RestartAgents => formatter.write_str("restart agents"),
            Self::RestartCoreDns => formatter.write_str("restart coredns"),
            Self::RestartKubelet => formatter.write_str("restart kubelet"),
            Self::NodeIp { node, address } => write!(formatter, "node-ip {node} {address}"),
            Self::LinkDown(link) => write!(formatter, "link-down {link}"),
            Self::LinkUp(link) => write!(formatter, "link-up {link}"),
            Self::LinkDelete(link) => write!(formatter, "link-delete {link}"),
            Self::DeviceAppears(link) => write!(formatter, "device-appears {link}"),
            Self::AddressAdd { link, address } => write!(formatter, "address-add {link} {address}"),
            Self::AddressRemove { link, address } => write!(formatter, "address-remove {link} {address}"),
            Self::RouteAdd(route) => write!(formatter, "route-add {route}"),
            Self::RouteRemove(route) => write!(formatter, "route-remove {route}"),
            Self::OverlayDown { node } => write!(formatter, "overlay-down {node}"),
            Self::OverlayUp { node } => write!(formatter, "overlay-up {node}"),
            Self::OverlayRoam { node } => write!(formatter, "overlay-roam {node}"),
            Self::Block(filter) => write!(formatter, "block {filter}"),
            Self::Unblock { vcn, name } => write!(formatter, "unblock {name} at vcn/{vcn}"),
            Self::Impair { link, how } => write!(formatter, "impair {link}: {how}"),
            Self::Repair(link) => write!(formatter, "repair {link}"),
            Self::WaitFor { condition, .. } => write!(formatter, "wait-for {condition}"),
            Self::Check { name: Some(name), .. } => write!(formatter, "check {name}"),
            Self::Check { name: None, .. } => formatter.write_str("expect"),
            Self::During { streams, .. } => {
                let probes: Vec<_> = streams.iter().map(|stream| stream.probe.as_str()).collect();
                write!(formatter, "during {}", probes.join(", "))
            }
        }
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = &self.version {
            write!(formatter, " {version}")?;
        }
        let mut values = Vec::new();
        flatten("", &self.values, &mut values);
        values.iter().chain(&self.set).try_for_each(|value| write!(formatter, " {value}"))
    }
}

/// `devices=tailscale0`, `bpf.masquerade=true`
fn flatten(path: &str, values: &Map<String, Value>, out: &mut Vec<String>) {
    for (key, value) in values {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) if !map.is_empty() => flatten(&path, map, out),
            Value::String(text) => out.push(format!("{path}={text}")),
            other => out.push(format!("{path}={other}")),
        }
    }
}

fn flag(keep: Keep) -> &'static str {
    match keep {
        Keep::AsHelm => "",
        Keep::Reuse => " --reuse-values",
        Keep::Reset => " --reset-values",
        Keep::ResetThenReuse => " --reset-then-reuse-values",
    }
}

/// `icmp`, `tcp`, `udp`, or the number.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// A length of time as files have it: `20ms`, `2s`.
pub fn time(time: Duration) -> String {
    match time.as_micros() {
        us if us % 1_000_000 == 0 => format!("{}s", us / 1_000_000),
        us if us % 1000 == 0 => format!("{}ms", us / 1000),
        us => format!("{}ms", us as f64 / 1000.0),
    }
}

impl Route {
    /// `default`, or the network.
    fn destination(&self) -> String {
        if self.to.prefix_len() == 0 { "default".to_owned() } else { self.to.to_string() }
    }
}
