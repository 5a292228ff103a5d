//! The pods that every case has, whoever makes them.

use std::net::Ipv4Addr;

use super::pod::COREDNS;
use crate::case::{Case, Workload};

/// Test pods of a node, by their names below it; in [`Workload`]'s order.
const TEST_PODS: [&str; 2] = ["pod", "pod-2"];
/// kubeadm's Deployment has two replicas (cmd/kubeadm/app/constants), spread over nodes by preferred anti-affinity.
const REPLICAS: usize = 2;
/// First host number of a node's pods; the router has 1.
const FIRST_POD: u32 = 10;

/// Identities of pods where a scenario chooses none: low bytes that no other program's mark uses, unlike 0x04 and 0x08
/// (Cilium #36104). CoreDNS has another than test pods, as labels differ.
const TEST_IDENTITY: u32 = 0x5601;
const COREDNS_IDENTITY: u32 = 0x5602;

/// A pod to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its name below its node, `pod` or `coredns`.
    pub name: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its security identity.
    pub identity: u32,
}

/// The pods of each cluster node, in the topology's order.
pub fn pods(case: &Case) -> Vec<Vec<Wanted>> {
    let nodes = case.network.cluster_nodes().enumerate();
    nodes.map(|(place, node)| of_node(case, place, &node.name)).collect()
}

/// Those of the cluster's `place`th node.
fn of_node(case: &Case, place: usize, node: &str) -> Vec<Wanted> {
    let first = u32::from(case.cluster.node_pod_cidr(place).network());
    let coredns = (place < REPLICAS).then_some(COREDNS);
    TEST_PODS
        .into_iter()
        .chain(coredns)
        .zip(FIRST_POD..)
        .enumerate()
        .map(|(index, (name, host))| {
            let chosen = case.cluster.identities.get(&Workload { node: node.to_owned(), index });
            let usual = if name == COREDNS { COREDNS_IDENTITY } else { TEST_IDENTITY };
            Wanted { name, address: (first + host).into(), identity: chosen.copied().unwrap_or(usual) }
        })
        .collect()
}
