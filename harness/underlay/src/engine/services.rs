//! The cluster's services, as every agent knows them.

use std::net::Ipv4Addr;

use lab::serve::{dns, echo, http};

use super::pod::Pod;
use super::workload::API_PORT;
use crate::case::Cluster;

/// IP protocol numbers.
pub const TCP: u8 = 6;
/// UDP's.
pub const UDP: u8 = 17;

/// A service as the agents know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: &'static str,
    /// Its cluster address.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// 6 TCP, 17 UDP.
    pub protocol: u8,
    /// The NodePort, of a service of that type.
    pub node_port: Option<u16>,
    /// Who stands behind it, ready ones only.
    pub backends: Vec<(Ipv4Addr, u16)>,
}

/// All of the cluster's, with these CoreDNS replicas ready, and the test service's backend where there is one. One
/// backend, so that a NodePort on any other node has its backend elsewhere. A service of two protocols is two here.
pub fn of(cluster: &Cluster, dns_ready: &[Ipv4Addr], echo_backend: Option<&Pod>) -> Vec<Service> {
    let dns = |protocol| Service {
        name: "kube-dns",
        namespace: "kube-system",
        address: cluster.dns_service(),
        port: dns::PORT,
        protocol,
        node_port: None,
        backends: dns_ready.iter().map(|address| (*address, dns::PORT)).collect(),
    };
    let tcp = |name, address, port, backends| Service {
        name,
        namespace: "default",
        address,
        port,
        protocol: TCP,
        node_port: None,
        backends,
    };
    let kubernetes = cluster.kubernetes_service();
    let echo_backends = echo_backend.map(|pod| (pod.address, echo::PORT)).into_iter().collect();
    vec![
        tcp("kubernetes", kubernetes, http::TLS_PORT, vec![(cluster.api_server, API_PORT)]),
        dns(UDP),
        dns(TCP),
        Service {
            node_port: Some(cluster.node_port),
            ..tcp("echo", cluster.echo_service(), http::PORT, echo_backends)
        },
    ]
}
