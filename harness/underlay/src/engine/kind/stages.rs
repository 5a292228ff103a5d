//! What a scenario says of Kubernetes, brought about on kind's nodes before Cilium is there: it reads some of it once, at
//! its start.

use std::time::Duration;

use kind::kubernetes::Kubernetes;
use kind::wait::until;
use kind::{Node, api_server, kubelet};

use super::pool::{Site, failed};
use crate::case::Case;
use crate::observed::EngineError;

/// A kubelet registers another address some 12 s after its restart; of a busy machine it takes longer.
const NODE_IP: Duration = Duration::from_secs(120);
/// kubelet looks for changed static pods every 20 s, and the API server takes its time to start.
const API: Duration = Duration::from_secs(180);

/// Has nodes resolve names by the lab, and each other's API server by docker's network.
///
/// # Errors
/// A file can't be written.
pub fn names(site: &Site, case: &Case) -> Result<(), EngineError> {
    let control_plane = site.cluster().control_plane();
    let entry = format!("{}\t{}", control_plane.address, control_plane.name);
    let write = |node: &Node| {
        let hosts = node.read_file("/etc/hosts")?;
        if !hosts.lines().any(|line| line == entry) {
            node.write_file("/etc/hosts", &format!("{}\n{entry}\n", hosts.trim_end()))?;
        }
        // Pods that resolve as their node does, CoreDNS first of all, get this.
        node.write_file("/etc/resolv.conf", &format!("nameserver {}\n", case.cluster.upstream_dns))
    };
    site.nodes.iter().try_for_each(|(_, node)| write(node)).map_err(failed("tell the nodes of names"))
}

/// Gives kubelets the scenario's addresses, and waits until the Node objects have them.
///
/// # Errors
/// A kubelet can't be told, or doesn't get there in time.
pub async fn node_ips(site: &Site, case: &Case) -> Result<(), EngineError> {
    let wanted: Vec<_> =
        site.nodes.iter().filter_map(|(name, node)| Some((node, *case.cluster.node_ips.get(name)?))).collect();
    let setting = wanted.iter().map(|(node, address)| async move {
        let said = node.read_file(kubelet::ARGUMENTS)?;
        if kubelet::with_node_ip(&said, *address)? == said {
            Ok(())
        } else {
            kubelet::set_node_ip(node, *address).await
        }
    });
    futures::future::try_join_all(setting).await.map_err(failed("give kubelets their addresses"))?;
    let kubernetes = Kubernetes::of(site.cluster());
    until("nodes have the scenario's addresses", NODE_IP, || async {
        let nodes = match kubernetes.nodes().await {
            Ok(nodes) => nodes,
            // The API server may be between two lives.
            Err(error) => return Ok(Err(error.to_string())),
        };
        for (node, address) in &wanted {
            match nodes.iter().find(|found| found.name == node.name) {
                Some(found) if found.internal_ip == Some(*address) => {}
                Some(found) => return Ok(Err(format!("{} has {:?}, not {address}", node.name, found.internal_ip))),
                None => return Ok(Err(format!("{} isn't registered", node.name))),
            }
        }
        Ok(Ok(()))
    })
    .await
    .map_err(failed("wait for the nodes' addresses"))
}

/// Has the API server advertise the scenario's address, so that pods reach it by the lab, and waits until the `kubernetes`
/// service leads there.
///
/// # Errors
/// Its manifest can't be written, or it doesn't get there in time.
pub async fn api_server(site: &Site, case: &Case) -> Result<(), EngineError> {
    let address = case.cluster.api_server;
    api_server::advertise(site.cluster().control_plane(), address)
        .map_err(failed("tell the API server its address"))?;
    let kubernetes = Kubernetes::of(site.cluster());
    until("the kubernetes service leads to the lab", API, || async {
        Ok(match kubernetes.endpoints("default", "kubernetes").await {
            Ok(found) if found == [address] => Ok(()),
            Ok(found) => Err(format!("it leads to {found:?}, not to {address}")),
            Err(error) => Err(error.to_string()),
        })
    })
    .await
    .map_err(failed("wait for the API server"))
}
