//! Whether an agent decided what is expected.

use cilium::Decisions;
use cilium::decisions::HostRouting;
use serde_json::{Map, Value, json};

use super::{Finding, not_installed};
use crate::case::NodeFact;
use crate::observed::{Agent, Observed};

pub(super) fn compare(observed: &Observed, node: &str, fact: NodeFact, expected: &Value) -> Finding {
    let agent = observed.nodes.iter().find(|(name, _)| name == node).map(|(_, agent)| agent);
    let decisions = match (agent, &observed.helm) {
        (Some(Agent::Running(decisions)), _) => decisions,
        (Some(Agent::Fatal(error)), _) if fact == NodeFact::Agent => {
            let holds = expected.as_str().is_some_and(|asked| asked == "fatal" || error.contains(asked));
            return Finding::of(json!(error), holds, || format!("the agent of {node} died: {error}"));
        }
        (Some(Agent::Fatal(error)), _) => {
            return Finding::missing(format!("the agent of {node} died: {error}"));
        }
        (Some(Agent::Absent), _) if fact == NodeFact::Agent => {
            let holds = expected.as_str() == Some("absent");
            return Finding::of(json!("absent"), holds, || format!("there is no agent on {node}"));
        }
        (Some(Agent::Absent), _) => return Finding::missing(format!("there is no agent on {node}")),
        (None, Err(reason)) => return Finding::missing(not_installed(reason)),
        (None, Ok(())) => return Finding::missing(format!("no agent was seen on {node}")),
    };
    if let Some(reason) = decisions.unread.get(fact.name()) {
        return Finding::missing(format!("the agent of {node} doesn't tell: {reason}"));
    }
    let measured = measured_for(fact, decisions, expected);
    let holds = match fact {
        NodeFact::NotSelected => contains_reasons(&measured, expected),
        _ => loosely_equal(&measured, expected),
    };
    let because = || {
        let about = |rule: &&cilium::decisions::Because| rule.decision == fact.name();
        match decisions.because.iter().find(about) {
            Some(rule) => format!("{} ({})", rule.says, rule.source),
            None => String::new(),
        }
    };
    Finding::of(measured, holds, because)
}

/// A decision as reports give it.
pub fn measured(fact: NodeFact, decisions: &Decisions) -> Value {
    match fact {
        NodeFact::Agent => json!("running"),
        NodeFact::NodeIp => json!(decisions.node_ip),
        NodeFact::Devices => decisions.devices.iter().map(|device| device.name.as_str()).collect(),
        NodeFact::NotSelected => {
            let reasons = decisions.not_selected.iter().map(|device| (device.name.clone(), json!(device.reason)));
            Value::Object(reasons.collect())
        }
        NodeFact::DirectRoutingDevice => json!(decisions.direct_routing_device),
        NodeFact::SkipFib => json!(decisions.skip_fib.is_some()),
        NodeFact::HostRouting => match decisions.host_routing {
            HostRouting::Bpf => json!("bpf"),
            HostRouting::Legacy => json!("legacy"),
        },
        NodeFact::Masquerade => json!(decisions.masquerading()),
        NodeFact::PodMtu => json!(decisions.pod_mtu),
        NodeFact::NodePortAddresses => decisions
            .devices
            .iter()
            .flat_map(|device| &device.nodeport_addresses)
            .map(|address| json!(address))
            .collect(),
    }
}

/// The same in the shape that was asked for, where there are two.
fn measured_for(fact: NodeFact, decisions: &Decisions, expected: &Value) -> Value {
    match (fact, expected) {
        (NodeFact::SkipFib, Value::String(_)) => json!(decisions.skip_fib),
        (NodeFact::NodePortAddresses, Value::Object(_)) => nodeport_by_device(decisions),
        _ => measured(fact, decisions),
    }
}

/// Addresses on which NodePort services answer, by device.
pub fn nodeport_by_device(decisions: &Decisions) -> Value {
    let devices = decisions.devices.iter();
    Value::Object(devices.map(|device| (device.name.clone(), json!(device.nodeport_addresses))).collect())
}

/// Equal, or a lone value where a list of one is: `devices: enp0s6`.
pub(super) fn loosely_equal(measured: &Value, expected: &Value) -> bool {
    match (measured, expected) {
        (Value::Array(list), Value::String(_)) => matches!(list.as_slice(), [only] if only == expected),
        (Value::Null, Value::String(word)) => word == "none",
        _ => measured == expected,
    }
}

fn contains_reasons(measured: &Value, expected: &Value) -> bool {
    let none = Map::new();
    let measured = measured.as_object().unwrap_or(&none);
    match expected {
        Value::Object(expected) => expected.iter().all(|(device, part)| {
            let reason = measured.get(device).and_then(Value::as_str);
            reason.is_some_and(|reason| reason.contains(part.as_str().unwrap_or_default()))
        }),
        // Only the names.
        Value::Array(names) => names.iter().all(|name| name.as_str().is_some_and(|name| measured.contains_key(name))),
        _ => false,
    }
}
