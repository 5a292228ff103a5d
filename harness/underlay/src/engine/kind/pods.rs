//! Test pods: of the image that every node has for its sandboxes. What they serve and send, this process does in their
//! network namespaces.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kind::chart;
use kind::kubernetes::{Kubernetes, PodObject};
use kind::wait::until;
use lab::Namespace;
use serde_json::{Value, json};

use super::dns;
use super::node::KindNode;
use super::pool::failed;
use crate::engine::pod::{COREDNS, Pod};
use crate::engine::real::AgentNode;
use crate::engine::wanted::Wanted;
use crate::observed::EngineError;

/// Where test pods go.
const NAMESPACE: &str = "default";
/// Their label, by which they are found and taken away.
const LABEL: &str = "app.kubernetes.io/part-of";
const PART: &str = "underlay";
/// The label of the one behind the echo service.
pub const BACKEND: &str = "dev.underlay/backend";

/// How long pods may take to have their addresses.
const START: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

fn labels() -> String {
    format!("{LABEL}={PART}")
}

/// Takes away test pods and the echo service.
///
/// # Errors
/// Kubernetes' answer.
pub async fn delete(kubernetes: &Kubernetes) -> Result<(), EngineError> {
    let selector = format!("--selector={}", labels());
    let gone = kubernetes.forget(&["pods,services", "--namespace", NAMESPACE, &selector]).await;
    gone.map_err(failed("delete the test pods"))
}

/// A test pod that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Kubernetes' name of it.
    object: String,
    /// Its node's place.
    place: usize,
    /// Its name below its node.
    name: String,
}

/// Makes each node's test pods, in the order wanted. They have their network once an agent runs there.
///
/// # Errors
/// Kubernetes' or a node's answer.
pub async fn make(
    kubernetes: &Kubernetes,
    nodes: &[KindNode],
    wanted: &[Vec<Wanted>],
) -> Result<Vec<Made>, EngineError> {
    let mut objects = Vec::new();
    let mut made = Vec::new();
    // All nodes are of one image.
    let Some(first) = nodes.first() else { return Ok(made) };
    let image = pause_image(first).await?;
    for (place, (node, wanted)) in nodes.iter().zip(wanted).enumerate() {
        let test_pods = wanted.iter().filter(|pod| !pod.name.starts_with(COREDNS));
        for (index, pod) in test_pods.enumerate() {
            let name = format!("{PART}-{place}-{index}");
            objects.push(object(&name, node, &image, place == 0 && index == 0));
            made.push(Made { object: name, place, name: pod.name.to_owned() });
        }
    }
    kubernetes.apply(&objects).await.map_err(failed("make the test pods"))?;
    Ok(made)
}

/// Waits until the pods that were made have addresses, and `replicas` of CoreDNS', wherever Kubernetes has put them; finds
/// each node's, the test pods first.
///
/// # Errors
/// Kubernetes' answer, or pods don't get an address in time.
pub async fn find(
    kubernetes: &Kubernetes,
    nodes: &[KindNode],
    made: &[Made],
    replicas: usize,
) -> Result<Vec<Vec<Pod>>, EngineError> {
    // Kubernetes tells the addresses, once the agents have given them; these are asked for less.
    endpoints_of(nodes, made.len() + replicas).await;
    let with_addresses = |namespace: &'static str, labels: String, least: usize| async move {
        let stage = if namespace == NAMESPACE { "test pods have addresses" } else { "CoreDNS' pods have addresses" };
        let found = until(stage, START, || async {
            let pods = match kubernetes.pods(namespace, &labels).await {
                Ok(pods) => pods.into_iter().filter(|pod| !pod.ends).collect::<Vec<_>>(),
                Err(error) => return Ok(Err(error.to_string())),
            };
            if let Some(pod) = pods.iter().find(|pod| pod.address.is_none()) {
                return Ok(Err(format!("{}: {}", pod.name, pod.reason)));
            }
            let enough = pods.len() >= least;
            Ok(if enough { Ok(pods) } else { Err(format!("only {} are there", pods.len())) })
        });
        found.await.map_err(failed("wait for pods"))
    };
    let (test_pods, dns_pods) = tokio::try_join!(
        with_addresses(NAMESPACE, labels(), made.len()),
        with_addresses(chart::NAMESPACE, dns::LABELS.to_owned(), replicas)
    )?;
    let mut named: Vec<Vec<(String, PodObject)>> = vec![Vec::new(); nodes.len()];
    for Made { object, place, name } in made {
        let pod = test_pods.iter().find(|pod| pod.name == *object).cloned();
        let missing =
            || EngineError::Failed { step: "find the test pods".to_owned(), reason: format!("{object} is gone") };
        named[*place].push((name.clone(), pod.ok_or_else(missing)?));
    }
    for pod in dns_pods {
        let place = nodes.iter().position(|node| Some(&node.node.name) == pod.node.as_ref());
        let Some(on) = place.map(|place| &mut named[place]) else { continue };
        // Kubernetes may put both on one node.
        let before = on.iter().filter(|(name, ..)| name.starts_with(COREDNS)).count();
        let name = if before == 0 { COREDNS.to_owned() } else { format!("{COREDNS}-{}", before + 1) };
        on.push((name, pod));
    }
    let found = nodes.iter().zip(&named).map(|(node, pods)| async move {
        let endpoints = node.api().get("/v1/endpoint").await;
        let endpoints = endpoints.map_err(|error| EngineError::failed("ask an agent for its endpoints", &error))?;
        let found = pods.iter().map(|(name, pod)| found(node, &endpoints, name, pod));
        futures::future::try_join_all(found).await
    });
    futures::future::try_join_all(found).await
}

/// Waits until the nodes' agents have that many pods. Where that takes too long, Kubernetes has the reason.
async fn endpoints_of(nodes: &[KindNode], wanted: usize) {
    let began = Instant::now();
    let is_pods = |endpoint: &&Value| endpoint.pointer("/status/external-identifiers/k8s-pod-name").is_some();
    let count = async |node: &KindNode| {
        let endpoints = node.api().get("/v1/endpoint").await.unwrap_or_default();
        endpoints.as_array().into_iter().flatten().filter(is_pods).count()
    };
    while futures::future::join_all(nodes.iter().map(count)).await.iter().sum::<usize>() < wanted
        && began.elapsed() < START / 2
    {
        tokio::time::sleep(PAUSE).await;
    }
}

fn object(name: &str, node: &KindNode, image: &str, backend: bool) -> Value {
    let mut labels = json!({LABEL: PART});
    if backend {
        labels[BACKEND] = json!("true");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "nodeName": node.node.name,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{"name": "pause", "image": image, "imagePullPolicy": "Never"}],
        },
    })
}

/// The echo service, with the backend above.
pub fn echo(address: Ipv4Addr, port: u16, node_port: Option<u16>, target: u16) -> Value {
    let mut entry = json!({"port": port, "targetPort": target, "protocol": "TCP"});
    if let Some(node_port) = node_port {
        entry["nodePort"] = json!(node_port);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo", "namespace": NAMESPACE, "labels": {LABEL: PART}},
        "spec": {
            "type": if node_port.is_some() { "NodePort" } else { "ClusterIP" },
            "clusterIP": address,
            "selector": {BACKEND: "true"},
            "ports": [entry],
        },
    })
}

/// The image of sandboxes, which is on every node.
async fn pause_image(node: &KindNode) -> Result<String, EngineError> {
    let images = node.node.crictl_json("images", &[]).await.map_err(failed("list a node's images"))?;
    let images = images.get("images").and_then(Value::as_array).into_iter().flatten();
    let mut tags = images.filter_map(|image| image.get("repoTags")?.as_array()).flatten().filter_map(Value::as_str);
    let pause = tags.find(|tag| tag.rsplit('/').next().is_some_and(|name| name.starts_with("pause:")));
    let missing = || EngineError::Failed {
        step: "make the test pods".to_owned(),
        reason: format!("{} has no pause image", node.node.name),
    };
    pause.map(str::to_owned).ok_or_else(missing)
}

/// A pod as the agent has it.
async fn found(node: &KindNode, endpoints: &Value, name: &str, pod: &PodObject) -> Result<Pod, EngineError> {
    let unknown =
        |what: &str| EngineError::Failed { step: format!("find the pod {}", pod.name), reason: what.to_owned() };
    let address = pod.address.ok_or_else(|| unknown("it has no address"))?;
    let endpoint = endpoints.as_array().into_iter().flatten().find(|endpoint| {
        let own = endpoint.pointer("/status/networking/addressing/0/ipv4").and_then(Value::as_str);
        own == Some(address.to_string().as_str())
    });
    let endpoint = endpoint.ok_or_else(|| unknown("its node's agent has no endpoint with its address"))?;
    let text = |path: &str| endpoint.pointer(path).and_then(Value::as_str);
    let mac = |path: &str| text(path).and_then(mac);
    let identity = endpoint.pointer("/status/identity/id").and_then(Value::as_u64);
    Ok(Pod {
        name: name.to_owned(),
        address,
        identity: identity.and_then(|identity| u32::try_from(identity).ok()).ok_or_else(|| unknown("no identity"))?,
        namespace: sandbox(node, name, pod).await?,
        lxc: text("/status/networking/interface-name").ok_or_else(|| unknown("no interface"))?.to_owned(),
        mac: mac("/status/networking/mac").ok_or_else(|| unknown("no hardware address"))?,
        lxc_mac: mac("/status/networking/host-mac").ok_or_else(|| unknown("no hardware address of its node's end"))?,
    })
}

/// The network namespace of a pod.
async fn sandbox(node: &KindNode, name: &str, pod: &PodObject) -> Result<Namespace, EngineError> {
    let step = failed("find a pod's namespace");
    // By its number: one of the same name that was deleted may still be on its way out.
    let label = format!("io.kubernetes.pod.uid={}", pod.uid);
    let listed = node.node.crictl(&["pods", "--quiet", "--state", "Ready", "--label", &label]).await.map_err(&step)?;
    let missing = |reason: String| EngineError::Failed { step: format!("find the namespace of {}", pod.name), reason };
    let id = listed.lines().next().ok_or_else(|| missing("it has no sandbox".to_owned()))?;
    let about = node.node.crictl_json("inspectp", &[id]).await.map_err(&step)?;
    let pid = about.pointer("/info/pid").and_then(Value::as_u64).filter(|pid| *pid != 0);
    let pid = pid.ok_or_else(|| missing("its sandbox has no process".to_owned()))?;
    node.node.namespace_of(&format!("{}/{name}", node.name), pid).map_err(step)
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}
