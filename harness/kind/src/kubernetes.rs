//! The cluster's API, asked by the kubectl of its control plane's node: it has the cluster's version, and docker's command
//! line reaches it without a network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::node::Node;

/// The cluster administrator's configuration on the control plane's node.
const KUBECONFIG: &str = "--kubeconfig=/etc/kubernetes/admin.conf";
/// The API server may be between two lives.
const TIMEOUT: &str = "--request-timeout=20s";

/// For all that is deleted.
const DELETE: [&str; 2] = ["--ignore-not-found", "--timeout=50s"];

/// A Node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// The address its kubelet registered.
    pub internal_ip: Option<Ipv4Addr>,
    /// Its pods' range.
    pub pod_cidr: Option<Ipv4Net>,
    /// kubelet's version.
    pub version: String,
}

/// A Pod object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodObject {
    /// Its name.
    pub name: String,
    /// Its unique number.
    pub uid: String,
    /// The node it is on, if it is on one.
    pub node: Option<String>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is about to end.
    pub ends: bool,
    /// Restarts of its containers, all together.
    pub restarts: u32,
    /// Restarts of those that come before them.
    pub init_restarts: u32,
    /// Why it isn't ready, in Kubernetes' words.
    pub reason: String,
}

/// A cluster's API.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    node: Node,
}

impl Kubernetes {
    /// That cluster's.
    pub fn of(cluster: &Cluster) -> Self {
        Self::on(cluster.control_plane().clone())
    }

    /// By a node of the control plane.
    pub fn on(node: Node) -> Self {
        Self { node }
    }

    /// Gets objects: `get(&["nodes"])`.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["kubectl", KUBECONFIG, TIMEOUT, "get", "-o", "json"], arguments].concat();
        self.node.json(&arguments).await
    }

    /// Makes objects, or changes them to this.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let arguments = ["kubectl", KUBECONFIG, TIMEOUT, "apply", "-f", "-"];
        self.node.run_with(&list.to_string(), &arguments).await.map(drop)
    }

    /// Deletes objects and waits until they have ended: `delete(&["pods", "--selector=app=x"])`.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn delete(&self, arguments: &[&str]) -> Result<()> {
        let arguments = [&["kubectl", KUBECONFIG, "delete"], &DELETE[..], arguments].concat();
        self.node.run(&arguments).await.map(drop)
    }

    /// The same, of pods that nobody waits for: their containers may go on for a while.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn forget(&self, arguments: &[&str]) -> Result<()> {
        const AT_ONCE: [&str; 2] = ["--grace-period=0", "--force"];
        let arguments = [&["kubectl", KUBECONFIG, "delete"], &DELETE[..], &AT_ONCE[..], arguments].concat();
        self.node.run(&arguments).await.map(drop)
    }

    /// The Node objects.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn nodes(&self) -> Result<Vec<NodeObject>> {
        items(&self.get(&["nodes"]).await?, "a Node object", node)
    }

    /// Pods of a namespace that have these labels, by name.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<PodObject>> {
        let selector = format!("--selector={labels}");
        let mut pods = items(&self.get(&["pods", "--namespace", namespace, &selector]).await?, "a Pod object", pod)?;
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Namespaces that are on their way out: nothing can be made in them, nor they themselves anew.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn ending_namespaces(&self) -> Result<Vec<String>> {
        let ends = |namespace: &Value| {
            let ends = namespace.pointer("/metadata/deletionTimestamp").is_some();
            Some((name(namespace)?, ends))
        };
        let namespaces = items(&self.get(&["namespaces"]).await?, "a Namespace object", ends)?;
        Ok(namespaces.into_iter().filter(|(_, ends)| *ends).map(|(name, _)| name).collect())
    }

    /// The addresses behind a service, ready ones.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn endpoints(&self, namespace: &str, service: &str) -> Result<Vec<Ipv4Addr>> {
        let endpoints = self.get(&["endpoints", "--namespace", namespace, service]).await?;
        let subsets = endpoints.get("subsets").and_then(Value::as_array).into_iter().flatten();
        let addresses = subsets.filter_map(|subset| subset.get("addresses")?.as_array()).flatten();
        Ok(addresses.filter_map(|address| address.get("ip")?.as_str()?.parse().ok()).collect())
    }

    /// A ConfigMap's entries; none where there is no such.
    ///
    /// # Errors
    /// kubectl's answer.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let found = self.get(&["configmap", "--namespace", namespace, "--ignore-not-found", name]).await;
        let map = match found {
            Ok(map) => map,
            // Nothing at all, which isn't JSON.
            Err(Error::Unread { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let entries = map.get("data").and_then(Value::as_object).into_iter().flatten();
        Ok(Some(entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()))
    }
}

fn items<T>(list: &Value, what: &'static str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
    let items =
        list.get("items").and_then(Value::as_array).ok_or_else(|| Error::unread("a list of objects", "no items"))?;
    items.iter().map(|item| read(item).ok_or_else(|| Error::unread(what, item))).collect()
}

fn name(object: &Value) -> Option<String> {
    Some(object.pointer("/metadata/name")?.as_str()?.to_owned())
}

fn node(object: &Value) -> Option<NodeObject> {
    let addresses = object.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let internal = addresses.filter(|address| address.get("type").and_then(Value::as_str) == Some("InternalIP"));
    let mut internal = internal.filter_map(|address| address.get("address")?.as_str()?.parse().ok());
    let pod_cidr = object.pointer("/spec/podCIDR").and_then(Value::as_str).and_then(|cidr| cidr.parse().ok());
    let version = object.pointer("/status/nodeInfo/kubeletVersion").and_then(Value::as_str).unwrap_or_default();
    Some(NodeObject { name: name(object)?, internal_ip: internal.next(), pod_cidr, version: version.to_owned() })
}

fn pod(object: &Value) -> Option<PodObject> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let conditions: Vec<_> = conditions.collect();
    let is = |condition: &Value, name: &str| condition.get("type").and_then(Value::as_str) == Some(name);
    let holds = |condition: &Value| condition.get("status").and_then(Value::as_str) == Some("True");
    let ready = conditions.iter().any(|condition| is(condition, "Ready") && holds(condition));
    let statuses = |path: &str| {
        let statuses = object.pointer(path).and_then(Value::as_array).into_iter().flatten();
        statuses.cloned().collect::<Vec<_>>()
    };
    let (before, main) = (statuses("/status/initContainerStatuses"), statuses("/status/containerStatuses"));
    let restarts = |of: &[Value]| {
        let restarts = of.iter().filter_map(|status| status.get("restartCount")?.as_u64()).sum::<u64>();
        u32::try_from(restarts).unwrap_or(u32::MAX)
    };
    // Containers wait for those before them, which say why.
    let waiting = before.iter().chain(&main).find_map(|status| {
        if status.pointer("/state/terminated/reason").and_then(Value::as_str) == Some("Completed") {
            return None;
        }
        let waiting = status.pointer("/state/waiting")?;
        let reason = waiting.get("reason")?.as_str()?;
        let message = waiting.get("message").and_then(Value::as_str);
        Some(message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
    });
    let unmet = || {
        let unmet = conditions.iter().find(|condition| !holds(condition))?;
        let reason = unmet.get("reason").or_else(|| unmet.get("type"))?.as_str()?;
        let message = unmet.get("message").and_then(Value::as_str);
        Some(message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
    };
    let reason =
        if ready { String::new() } else { waiting.or_else(unmet).unwrap_or_else(|| "not ready yet".to_owned()) };
    Some(PodObject {
        name: name(object)?,
        uid: text("/metadata/uid")?.to_owned(),
        node: text("/spec/nodeName").map(str::to_owned),
        address: text("/status/podIP").and_then(|address| address.parse().ok()),
        ready,
        ends: object.pointer("/metadata/deletionTimestamp").is_some(),
        restarts: restarts(&main),
        init_restarts: restarts(&before),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_tells_why_it_is_not_ready() {
        let waiting = json!({
            "metadata": {"name": "coredns-1", "uid": "u"},
            "spec": {"nodeName": "c-worker"},
            "status": {
                "podIP": "10.244.1.5",
                "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady",
                                "message": "containers with unready status: [coredns]"}],
                "containerStatuses": [{"restartCount": 2, "state": {"running": {}}}],
            },
        });
        let read = pod(&waiting).expect("it is a pod");
        assert_eq!((read.ready, read.restarts), (false, 2));
        assert_eq!(read.reason, "ContainersNotReady: containers with unready status: [coredns]");
        assert_eq!(read.address, Some(Ipv4Addr::new(10, 244, 1, 5)));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for odd in [json!(null), json!({}), json!({"items": 3})] {
            assert!(items(&odd, "a Pod object", pod).is_err(), "{odd}");
        }
        assert!(items(&json!({"items": [{"metadata": {}}]}), "a Pod object", pod).is_err());
    }
}
