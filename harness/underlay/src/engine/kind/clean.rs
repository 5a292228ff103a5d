//! From one case to the next: Cilium goes, and what it left on the nodes, until nothing of it is to be found there.
//!
//! A case that comes second must find what a case that comes first finds, or its result would depend on the order.

use std::fs;
use std::time::Duration;

use kind::chart;
use kind::kubernetes::Kubernetes;
use kind::wait::until;
use kind::{Cluster, Node};

use super::pool::failed;
use super::setup::CILIUM;
use super::{agents, dns, pods};
use crate::observed::EngineError;

/// How long its pods and namespaces may take to end.
const END: Duration = Duration::from_secs(90);

/// Where it keeps what outlives its pods, and what its programs are attached by: the pins of their links.
const FOLDERS: [&str; 3] = ["/run/cilium/state", "/sys/fs/bpf/cilium", "/sys/fs/bpf/tc"];
/// Where it puts its configuration for the container runtime.
const CNI: &str = "/etc/cni/net.d";

/// Takes Cilium and the test pods off a cluster.
///
/// # Errors
/// Helm's, Kubernetes' or the kernel's answer; something of it is still there.
pub async fn clean(cluster: &Cluster) -> Result<(), EngineError> {
    let kubernetes = Kubernetes::of(cluster);
    // While there are agents that let go of their network.
    pods::delete(&kubernetes).await?;
    uninstall(cluster).await?;
    cluster.nodes.iter().try_for_each(sweep)?;
    // They get their network and resolv.conf anew with the next agents.
    let selector = format!("--selector={}", dns::LABELS);
    let forgotten = kubernetes.forget(&["pods", "--namespace", chart::NAMESPACE, &selector]).await;
    forgotten.map_err(failed("delete CoreDNS' pods"))
}

/// Uninstalls Cilium, and waits until its pods and namespaces have ended: nothing can be installed into one that ends.
///
/// # Errors
/// Helm's or Kubernetes' answer; something is still there.
pub async fn uninstall(cluster: &Cluster) -> Result<(), EngineError> {
    let kubernetes = Kubernetes::of(cluster);
    chart::uninstall(cluster, CILIUM).await.map_err(failed("uninstall Cilium"))?;
    until("Cilium's objects are gone", END, || async {
        Ok(match left(&kubernetes).await {
            Ok(None) => Ok(()),
            Ok(Some(what)) => Err(format!("{what} is there")),
            Err(error) => Err(error.to_string()),
        })
    })
    .await
    .map_err(failed("uninstall Cilium"))
}

/// Something that is still on its way out.
async fn left(kubernetes: &Kubernetes) -> kind::Result<Option<String>> {
    for labels in [agents::LABELS, agents::OPERATOR] {
        if let Some(pod) = kubernetes.pods(chart::NAMESPACE, labels).await?.first() {
            return Ok(Some(pod.name.clone()));
        }
    }
    Ok(kubernetes.ending_namespaces().await?.into_iter().next())
}

/// Takes away what Cilium left on a node, and looks whether it is gone.
fn sweep(node: &Node) -> Result<(), EngineError> {
    let failure = |what: &str, reason: String| EngineError::Failed {
        step: format!("sweep {}", node.name),
        reason: format!("{what}: {reason}"),
    };
    for folder in FOLDERS {
        match fs::remove_dir_all(node.file(folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failure(folder, error.to_string()));
            }
            _ => {}
        }
    }
    for file in fs::read_dir(node.file(CNI)).into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().contains(CILIUM) {
            fs::remove_file(file.path()).map_err(|error| failure(CNI, error.to_string()))?;
        }
    }
    // Programs on links of its own go with them; those on the lab's went with the lab.
    let namespace = node.namespace(&node.name).map_err(failed("enter a node"))?;
    let own = |name: &str| name.starts_with("cilium_") || name.starts_with("lxc");
    let mut netlink = namespace.netlink()?;
    for link in netlink.links()?.iter().filter(|link| own(&link.name)) {
        netlink.clear_link(&link.name)?;
    }
    match netlink.links()?.into_iter().find(|link| own(&link.name)) {
        Some(link) => Err(failure("a link is still there", link.name)),
        None => Ok(()),
    }
}
