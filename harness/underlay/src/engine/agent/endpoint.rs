//! Pods, as an agent is told of them: what the CNI plugin does, in the same order.

use std::net::Ipv4Addr;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::node::{self, NodeAgent};
use crate::engine::pod::{INTERFACE, Pod, PodNetwork};
use crate::engine::real::api::{Api, ApiError};
use crate::engine::real::{AgentNode, start};
use crate::engine::wanted::Wanted;
use crate::observed::EngineError;

/// Gives a pod to the agent: an address, an interface, an identity. Done when its programs are in place.
///
/// # Errors
/// The kernel's answer, or the agent's.
pub async fn admit(node: &NodeAgent, wanted: &Wanted) -> Result<Pod, EngineError> {
    let failed = |error: ApiError| EngineError::failed(&format!("tell the agent on {} of a pod", node.name), &error);
    let config = node.api.get("/v1/config").await.map_err(failed)?;
    let unknown = |what: &str| EngineError::Failed {
        step: format!("ask the agent on {} what a pod's network is", node.name),
        reason: format!("it doesn't say {what}"),
    };
    let mtu = |name: &str| -> Result<u32, EngineError> {
        let value = config.pointer(&format!("/status/{name}")).and_then(Value::as_u64);
        value.and_then(|mtu| u32::try_from(mtu).ok()).ok_or_else(|| unknown(name))
    };
    let network = PodNetwork {
        node: &node.name,
        namespace: &node.namespace,
        router_ip: start::router(&config).ok_or_else(|| unknown("its own address"))?,
        device_mtu: mtu("deviceMTU")?,
        route_mtu: mtu("routeMTU")?,
    };
    let address = address(&node.api, wanted, &format!("{}/{}", node.name, wanted.name)).await.map_err(failed)?;
    let pod = Pod::create(network, wanted.name, address, wanted.identity)?;
    node.surroundings.pin(&pod.namespace, Path::new(node::PODS).join(wanted.name)).await?;
    let links = node.namespace.netlink()?.links()?;
    let index = links.iter().find(|link| link.name == pod.lxc).map(|link| link.index);
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let id = format!("{}-{}", node.name, wanted.name);
    let request = json!({
        "container-id": id,
        "container-interface-name": INTERFACE,
        "interface-name": pod.lxc,
        "interface-index": index,
        "mac": mac(pod.mac),
        "host-mac": mac(pod.lxc_mac),
        "addressing": {"ipv4": address.to_string(), "ipv4-pool-name": "default"},
        "datapath-configuration": {},
        "k8s-namespace": "default",
        "k8s-pod-name": id,
        "labels": [label(wanted.identity)],
        "state": "waiting-for-identity",
        "sync-build-endpoint": true,
    });
    let path = format!("/v1/endpoint/container-id:{id}");
    node.api.send(Method::PUT, &path, &request).await.map_err(failed)?;
    Ok(pod)
}

/// The address the pod is to have; where the agent took it for itself, whichever is free.
async fn address(api: &Api, wanted: &Wanted, owner: &str) -> Result<Ipv4Addr, ApiError> {
    let path = format!("/v1/ipam/{}?owner={owner}&pool=default", wanted.address);
    match api.send(Method::POST, &path, &Value::Null).await {
        Ok(_) => return Ok(wanted.address),
        Err(ApiError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let path = format!("/v1/ipam?family=ipv4&owner={owner}&pool=default");
    let given = api.send(Method::POST, &path, &Value::Null).await?;
    let address = given.pointer("/address/ipv4").and_then(Value::as_str).and_then(|text| text.parse().ok());
    address.ok_or_else(|| ApiError::Unanswered { method: Method::POST, path, reason: format!("no address in {given}") })
}

/// The label that stands for an identity: pods of one identity have the same.
fn label(identity: u32) -> String {
    format!("k8s:app=identity-{identity}")
}

/// Settles which label has which identity, before any agent hands one out: both of the store's keys for it (Cilium 1.18,
/// pkg/kvstore/allocator: `id` and `value`).
///
/// # Errors
/// The store can't be written to.
pub async fn choose(node: &NodeAgent, identity: u32) -> Result<(), EngineError> {
    const IDENTITIES: &str = "cilium/state/identities/v1";
    let labels = format!("{};", label(identity));
    let by_id = format!("{IDENTITIES}/id/{identity}");
    let by_labels = format!("{IDENTITIES}/value/{labels}/lab");
    node.ask(&["kvstore", "set", "--key", &by_id, "--value", &labels]).await?;
    node.ask(&["kvstore", "set", "--key", &by_labels, "--value", &identity.to_string()]).await?;
    Ok(())
}
