//! What kind is told of a cluster.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api_server::ADVERTISE;

/// A node's part in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It runs the API server.
    ControlPlane,
    /// It runs pods.
    Worker,
}

/// What a cluster is to be: two of the same are one as good as the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The nodes, the one with the API server first, as kind makes them.
    pub nodes: Vec<Role>,
    /// The pods' range.
    pub pods: Ipv4Net,
    /// The services' range.
    pub services: Ipv4Net,
    /// The node image; kind's own where there is none.
    pub image: Option<String>,
    /// Addresses under which the API server shall be reached, beside docker's: its certificate names them.
    pub api_addresses: Vec<Ipv4Addr>,
}

impl Spec {
    /// kind's configuration: no network plugin, no kube-proxy (kind 0.30, pkg/apis/config/v1alpha4/types.go), and an API
    /// server that tells this address from the start: one that is told of another later is away for up to a minute.
    pub fn config(&self, advertised: Ipv4Addr) -> Value {
        let nodes: Vec<_> = self.nodes.iter().map(|role| json!({"role": role})).collect();
        // A patch takes the place of a whole list: the first two are kind's own
        // (pkg/cluster/internal/kubeadm/config.go).
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let names: Vec<_> = names.into_iter().chain(self.api_addresses.iter().map(Ipv4Addr::to_string)).collect();
        let patch = |version: Option<&str>, api_server: Value| {
            let mut patch = json!({"kind": "ClusterConfiguration", "apiServer": api_server});
            if let Some(version) = version {
                patch["apiVersion"] = format!("kubeadm.k8s.io/{version}").into();
            }
            patch.to_string()
        };
        // Of several kinds of configuration a patch changes its own (pkg/internal/patch/resource.go): kind takes v1beta4 from
        // Kubernetes 1.36 on (kind 0.33, pkg/cluster/internal/kubeadm/config.go), where arguments are a list.
        let map = json!({"extraArgs": {ADVERTISE: advertised}});
        let list = json!({"extraArgs": [{"name": ADVERTISE, "value": advertised}]});
        let patches = [
            patch(None, json!({"certSANs": names})),
            patch(Some("v1beta2"), map.clone()),
            patch(Some("v1beta3"), map),
            patch(Some("v1beta4"), list),
        ];
        json!({
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": {
                "disableDefaultCNI": true,
                "kubeProxyMode": "none",
                "podSubnet": self.pods,
                "serviceSubnet": self.services,
            },
            "kubeadmConfigPatches": patches,
            "nodes": nodes,
        })
    }

    /// Whether a cluster that was made as this will do for what `wanted` needs: its certificate may name more addresses.
    pub fn serves(&self, wanted: &Self) -> bool {
        let without = |spec: &Self| Self { api_addresses: Vec::new(), ..spec.clone() };
        let named = wanted.api_addresses.iter().all(|address| self.api_addresses.contains(address));
        named && without(self) == without(wanted)
    }

    /// What kind calls the nodes' containers, in the nodes' order (kind 0.30, pkg/cluster/internal/providers/common,
    /// `MakeNodeNamer`).
    pub fn containers(&self, cluster: &str) -> Vec<String> {
        let mut counts = [0_usize; 2];
        let name = |role: &Role| {
            let (index, word) = match role {
                Role::ControlPlane => (0, "control-plane"),
                Role::Worker => (1, "worker"),
            };
            counts[index] += 1;
            match counts[index] {
                1 => format!("{cluster}-{word}"),
                number => format!("{cluster}-{word}{number}"),
            }
        };
        self.nodes.iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(nodes: &[Role]) -> Spec {
        Spec {
            nodes: nodes.to_vec(),
            pods: "10.244.0.0/16".parse().expect("a range"),
            services: "10.96.0.0/16".parse().expect("a range"),
            image: None,
            api_addresses: vec![Ipv4Addr::new(100, 64, 0, 1)],
        }
    }

    #[test]
    fn containers_are_called_as_kind_calls_them() {
        let names = spec(&[Role::ControlPlane, Role::Worker, Role::Worker]).containers("c");
        assert_eq!(names, ["c-control-plane", "c-worker", "c-worker2"]);
    }

    #[test]
    fn a_cluster_with_more_addresses_serves_too() {
        let (small, mut large) = (spec(&[Role::ControlPlane]), spec(&[Role::ControlPlane]));
        large.api_addresses.push(Ipv4Addr::new(10, 0, 0, 1));
        assert!(large.serves(&small) && !small.serves(&large));
        assert!(!large.serves(&spec(&[Role::ControlPlane, Role::Worker])));
    }

    #[test]
    fn the_certificate_names_the_addresses_beside_kinds_own() {
        let patches = patches();
        assert_eq!(patches[0]["apiServer"]["certSANs"], json!(["localhost", "127.0.0.1", "100.64.0.1"]));
        assert_eq!(patches[0].get("apiVersion"), None, "it is for every version's");
    }

    #[test]
    fn arguments_are_given_as_each_version_of_kubeadm_takes_them() {
        for patch in &patches()[1..] {
            let arguments = match patch["apiVersion"].as_str().expect("a text") {
                "kubeadm.k8s.io/v1beta4" => json!([{"name": "advertise-address", "value": "100.64.0.1"}]),
                _ => json!({"advertise-address": "100.64.0.1"}),
            };
            assert_eq!(patch["apiServer"], json!({"extraArgs": arguments}));
        }
    }

    fn patches() -> Vec<Value> {
        let config = spec(&[Role::ControlPlane]).config(Ipv4Addr::new(100, 64, 0, 1));
        let patches = config["kubeadmConfigPatches"].as_array().expect("a list").iter();
        patches.map(|patch| serde_json::from_str(patch.as_str().expect("a text")).expect("JSON")).collect()
    }
}
