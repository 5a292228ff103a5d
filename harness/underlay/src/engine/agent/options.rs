//! What agents are told: the chart's options for a case's Helm values, and what it takes to do without Kubernetes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cilium::chart::ConfigMap;
use ipnet::Ipv4Net;
use serde_json::Value;

use super::node;

/// Options that differ from a Kubernetes installation's, and why.
const WITHOUT_KUBERNETES: [(&str, &str); 21] = [
    // Nodes, identities and pod ranges come from a store and from here.
    ("enable-k8s", "false"),
    ("kvstore", "etcd"),
    ("identity-allocation-mode", "kvstore"),
    ("ipam", "cluster-pool"),
    ("cluster-name", "default"),
    ("cluster-id", "0"),
    ("enable-ipv4", "true"),
    ("enable-ipv6", "false"),
    // Programs that aren't there.
    ("enable-l7-proxy", "false"),
    ("enable-envoy-config", "false"),
    ("enable-health-checking", "false"),
    ("enable-endpoint-health-checking", "false"),
    ("enable-hubble", "false"),
    ("enable-gops", "false"),
    ("cni-exclusive", "false"),
    ("agent-health-require-k8s-connectivity", "false"),
    // Labs are small, and many.
    ("preallocate-bpf-maps", "false"),
    ("monitor-aggregation", "medium"),
    ("lb-state-file-interval", "10ms"),
    // Programs for sockets are attached to the node's cgroup, and probes are sent by this process, which is in none:
    // pods' packets are translated at their interface, as `socketLB.hostNamespaceOnly` has it.
    ("bpf-lb-sock-hostns-only", "true"),
    ("enable-policy", "default"),
];

/// What one node's agent is told of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The Node object's InternalIP.
    pub node_ip: Option<Ipv4Addr>,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
    /// The store's endpoint.
    pub store: String,
}

/// A node's options: what `chart` made of the values, `extra` as its `extraConfig` says, and the node's own.
pub fn options(chart: &ConfigMap, extra: Option<&Value>, told: &Told) -> BTreeMap<String, String> {
    let mut options: BTreeMap<String, String> =
        WITHOUT_KUBERNETES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    options.extend(chart.clone());
    if let Some(Value::Object(extra)) = extra {
        let written = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            _ => None,
        };
        options.extend(extra.iter().filter_map(|(name, value)| Some((name.clone(), written(value)?))));
    }
    options.extend(
        [
            ("kvstore-opt", format!("{{\"etcd.address\":\"{}\"}}", told.store)),
            ("ipv4-range", told.pod_cidr.to_string()),
            ("bpf-root", node::BPFFS.to_owned()),
            ("cgroup-root", node::CGROUP.to_owned()),
            ("lib-dir", node::LIBRARY.to_owned()),
            ("lb-state-file", node::SERVICES.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if let Some(node_ip) = told.node_ip {
        options.insert("ipv4-node".to_owned(), node_ip.to_string());
    }
    options
}
