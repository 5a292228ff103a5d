//! Steps in words, and as a scenario's file has them.

use std::fmt;
use std::time::Duration;

use cilium::release::Keep;
use serde_json::{Map, Value, json};

use super::{Action, Chart, Condition, Filter, Impairment, Link, Route, Step, Stream};
use crate::case::ExpectedOutcome;

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

/// A map of what is there.
fn map<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    Value::Object(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

impl Step {
    /// The step as a scenario's file has it: a map with one key, read again by [`crate::scenario::steps`]. None for
    /// what is expected in the step itself, which only its file can tell.
    pub fn to_value(&self) -> Option<Value> {
        let (key, value) = match &self.action {
            Action::Install(chart) => ("install", chart.to_value(Keep::AsHelm)),
            Action::Uninstall => ("uninstall", json!("cilium")),
            Action::Upgrade { chart, keep } => ("upgrade", chart.to_value(*keep)),
            Action::RestartAgents => ("restart", json!("agents")),
            Action::RestartCoreDns => ("restart", json!("coredns")),
            Action::RestartKubelet => ("restart", json!("kubelet")),
            Action::NodeIp { node, address } => ("node-ip", json!({node: address})),
            Action::LinkDown(link) => ("link-down", json!(link.to_string())),
            Action::LinkUp(link) => ("link-up", json!(link.to_string())),
            Action::LinkDelete(link) => ("link-delete", json!(link.to_string())),
            Action::DeviceAppears(link) => ("device-appears", json!(link.to_string())),
            Action::AddressAdd { link, address } => ("address-add", json!({link.to_string(): address})),
            Action::AddressRemove { link, address } => ("address-remove", json!({link.to_string(): address})),
            Action::RouteAdd(route) => ("route-add", route.to_value()),
            Action::RouteRemove(route) => ("route-remove", route.to_value()),
            Action::OverlayDown { node } => ("overlay-down", json!(node)),
            Action::OverlayUp { node } => ("overlay-up", json!(node)),
            Action::OverlayRoam { node } => ("overlay-roam", json!(node)),
            Action::Block(filter) => ("block", filter.to_value()),
            Action::Unblock { name, .. } => ("unblock", json!(name)),
            Action::Impair { link, how } => ("impair", how.to_value(link)),
            Action::Repair(link) => ("repair", json!(link.to_string())),
            Action::WaitFor { condition, within } => ("wait-for", condition.to_value(*within)),
            Action::Check { name, .. } => ("check", json!(name.as_ref()?)),
            Action::During { streams, steps } => {
                let probes: Map<_, _> =
                    streams.iter().map(|stream| (stream.probe.clone(), stream.to_value())).collect();
                let steps = steps.iter().map(Self::to_value).collect::<Option<Vec<_>>>()?;
                ("during", json!({"probes": probes, "steps": steps}))
            }
        };
        Some(json!({key: value}))
    }
}

impl Chart {
    fn to_value(&self, keep: Keep) -> Value {
        let values = (!self.values.is_empty()).then(|| Value::Object(self.values.clone()));
        let set = (!self.set.is_empty()).then(|| json!(self.set));
        let is = |which: Keep| (keep == which).then_some(Value::Bool(true));
        map([
            ("cilium", self.version.as_ref().map(|version| json!(version.to_string()))),
            ("values", values),
            ("set", set),
            ("reuse-values", is(Keep::Reuse)),
            ("reset-values", is(Keep::Reset)),
            ("reset-then-reuse-values", is(Keep::ResetThenReuse)),
        ])
    }
}

impl Route {
    /// `default`, or the network.
    fn destination(&self) -> String {
        if self.to.prefix_len() == 0 { "default".to_owned() } else { self.to.to_string() }
    }

    fn to_value(&self) -> Value {
        map([
            ("on", Some(json!(self.node))),
            ("to", Some(json!(self.destination()))),
            ("via", self.via.map(|via| json!(via))),
            ("dev", Some(json!(self.device))),
        ])
    }
}

impl Filter {
    fn to_value(&self) -> Value {
        map([
            ("name", Some(json!(self.name))),
            ("at", Some(json!(format!("vcn/{}", self.vcn)))),
            ("from", self.from.map(|from| json!(from))),
            ("to", self.to.map(|to| json!(to))),
            ("protocol", self.protocol.map(|protocol| json!(protocol_name(protocol)))),
            ("port", self.port.map(|port| json!(port))),
        ])
    }
}

impl Impairment {
    fn to_value(self, link: &Link) -> Value {
        let some = |duration: Duration| (!duration.is_zero()).then(|| json!(time(duration)));
        map([
            ("link", Some(json!(link.to_string()))),
            ("delay", some(self.delay)),
            ("jitter", some(self.jitter)),
            ("loss", (self.loss > 0.0).then(|| json!(self.loss))),
            ("rate", self.rate.map(|rate| json!(rate))),
        ])
    }
}

impl Condition {
    fn to_value(&self, within: Duration) -> Value {
        let mut condition = match self {
            Self::Probe { probe, outcome: ExpectedOutcome::Works } => json!({"probe": probe}),
            Self::Probe { probe, outcome } => json!({"probe": probe, "outcome": outcome.to_string()}),
            Self::Agents => json!({"agents": "running"}),
            Self::DnsReady(count) => json!({"dns-ready": count}),
            Self::Selected(link) => json!({"selected": link.to_string()}),
            Self::NotSelected(link) => json!({"not-selected": link.to_string()}),
            Self::Peer { from, to } => json!({"overlay": [from, to]}),
        };
        condition["within"] = json!(time(within));
        condition
    }
}

impl Stream {
    fn to_value(&self) -> Value {
        map([
            ("every", Some(json!(time(self.every)))),
            ("lost", self.lost.map(|max| json!({"max": max}))),
            ("gap", self.gap.map(|max| json!({"max": time(max)}))),
        ])
    }
}
