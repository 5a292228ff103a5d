//! Services, as agents are told of them: a file in Kubernetes' notation (Cilium 1.18 and later, `lb-state-file`,
//! pkg/loadbalancer/reflectors/file.go).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::engine::services::{Service, UDP};

fn protocol(service: &Service) -> &'static str {
    if service.protocol == UDP { "UDP" } else { "TCP" }
}

/// The file.
pub fn file(services: &[Service]) -> Value {
    let names: Vec<_> = services.iter().map(|service| (service.namespace, service.name)).collect();
    let mut seen = BTreeSet::new();
    let (mut objects, mut slices) = (Vec::new(), Vec::new());
    for name in names.into_iter().filter(|name| seen.insert(*name)) {
        let ports: Vec<_> = services.iter().filter(|service| (service.namespace, service.name) == name).collect();
        let Some(first) = ports.first() else { continue };
        objects.push(object(first, &ports));
        if !first.backends.is_empty() {
            slices.push(slice(first, &ports));
        }
    }
    json!({"services": objects, "endpoints": slices})
}

fn object(first: &Service, ports: &[&Service]) -> Value {
    let kind = if first.node_port.is_some() { "NodePort" } else { "ClusterIP" };
    let ports: Vec<_> = ports
        .iter()
        .map(|port| {
            let mut entry =
                json!({"name": protocol(port).to_lowercase(), "port": port.port, "protocol": protocol(port)});
            if let Some(node_port) = port.node_port {
                entry["nodePort"] = json!(node_port);
            }
            entry
        })
        .collect();
    json!({
        "metadata": {"name": first.name, "namespace": first.namespace},
        "spec": {"type": kind, "clusterIP": first.address, "clusterIPs": [first.address], "ports": ports},
    })
}

fn slice(first: &Service, ports: &[&Service]) -> Value {
    let backends: Vec<_> = first
        .backends
        .iter()
        .map(|(address, _)| {
            json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}})
        })
        .collect();
    let ports: Vec<_> = ports
        .iter()
        .filter_map(|port| {
            let (_, backend_port) = port.backends.first()?;
            Some(json!({"name": protocol(port).to_lowercase(), "port": backend_port, "protocol": protocol(port)}))
        })
        .collect();
    json!({
        "metadata": {
            "name": format!("{}-1", first.name),
            "namespace": first.namespace,
            "labels": {"kubernetes.io/service-name": first.name},
        },
        "addressType": "IPv4",
        "endpoints": backends,
        "ports": ports,
    })
}
