//! A cluster on a lab: agents' decisions carried out, pods, services, CoreDNS and API server stand-ins.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use cilium::Decisions;
use cilium::inputs::NodeInputs;
use lab::lab::LINK_PATIENCE;
use lab::serve::Service as Server;
use lab::serve::echo;
use lab::{Lab, Namespace};
use probe::capture::Capture;
use probe::deathwatch::Deathwatch;
use probe::evidence::Outcome;
use probe::spec::{Address, Probe, Request};
use topology::network::Role;

use super::blocking;
use super::datapath::Datapath;
use super::firewall::{Firewall, Service};
use super::inputs::{node_index, router_ip};
use super::pod::{INTERFACE, Pod, PodNetwork};
use super::workload::{self, API_PORT, CoreDns, HEALTH_PORT};
use crate::case::{Case, Workload};
use crate::observed::{DnsState, EngineError};

/// Test pods of a node, by their names below it; in [`Workload`]'s order.
pub const TEST_PODS: [&str; 2] = ["pod", "pod-2"];
/// A CoreDNS replica's name below its node.
const COREDNS: &str = "coredns";
/// kubeadm's Deployment has two replicas (cmd/kubeadm/app/constants), spread over nodes by preferred anti-affinity.
const REPLICAS: usize = 2;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// First host number of a node's pods; the router has 1.
const FIRST_POD: u32 = 10;
/// Identities of pods where a scenario chooses none: low bytes that no other program's mark uses, unlike 0x04 and 0x08
/// (Cilium #36104). CoreDNS has another than test pods, as labels differ.
const TEST_IDENTITY: u32 = 0x5601;
const COREDNS_IDENTITY: u32 = 0x5602;

/// A node whose agent runs.
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// What its agent saw.
    pub inputs: NodeInputs,
    /// What its agent decided.
    pub decisions: Decisions,
    /// Its pods: the test pods, then CoreDNS where a replica is here.
    pub pods: Vec<Pod>,
}

/// A running cluster.
pub struct Cluster {
    /// Nodes whose agents run, in the topology's order.
    pub nodes: Vec<ClusterNode>,
    replicas: Vec<(String, CoreDns)>,
    _servers: Vec<Server>,
}

/// A node and what its agent decided, before anything is carried out.
pub struct Decided {
    /// The node's namespace.
    pub namespace: Namespace,
    /// What its agent saw.
    pub inputs: NodeInputs,
    /// What it decided.
    pub decisions: Decisions,
}

impl Cluster {
    /// Carries the agents' decisions out and starts the workloads. CoreDNS is not behind its service yet.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn start(case: &Case, lab: &Lab, agents: Vec<Decided>, capture: &Capture) -> Result<Self, EngineError> {
        let routers: BTreeMap<String, (usize, Ipv4Addr)> = case
            .network
            .cluster_nodes()
            .map(|node| {
                let index = node_index(&case.network, &node.name);
                (node.name.clone(), (index, router_ip(case.cluster.node_pod_cidr(index))))
            })
            .collect();
        let mut building = Vec::new();
        for (place, agent) in agents.into_iter().enumerate() {
            let (case, routers) = (case.clone(), routers.clone());
            building.push(tokio::spawn(blocking(move || build(&case, agent, place, &routers))));
        }
        let mut nodes = Vec::new();
        for node in building {
            nodes.push(node.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        }
        for node in &nodes {
            for pod in &node.pods {
                node.namespace.operational(&pod.lxc, LINK_PATIENCE).await?;
                pod.namespace.operational(INTERFACE, LINK_PATIENCE).await?;
            }
        }
        let pods: Vec<_> = nodes.iter().flat_map(|node| &node.pods).map(|pod| pod.namespace.clone()).collect();
        capture.add(&pods).map_err(|error| EngineError::failed("capture in pods", &error))?;

        let mut cluster = Self { nodes, replicas: Vec::new(), _servers: Vec::new() };
        cluster.start_workloads(case, lab)?;
        cluster.load(case, &[]).await?;
        Ok(cluster)
    }

    fn start_workloads(&mut self, case: &Case, lab: &Lab) -> lab::Result<()> {
        if let Some(control_plane) = lab.nodes.iter().find(|node| node.config.role == Role::ControlPlane) {
            self._servers.push(workload::api_server(&control_plane.namespace, &case.cluster)?);
        }
        for node in &lab.nodes {
            let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, echo::PORT);
            self._servers.push(echo::tcp(node.namespace.tcp_listener(at)?, Default::default()));
        }
        for pod in self.nodes.iter().flat_map(|node| &node.pods) {
            if pod.name == COREDNS {
                let name = pod.namespace.name().to_owned();
                self.replicas.push((name, CoreDns::start(pod, &case.cluster)?));
            } else {
                self._servers.extend(workload::test_pod(pod)?);
            }
        }
        Ok(())
    }

    /// Loads every node's services and rules; `ready` are the CoreDNS replicas behind the DNS service.
    async fn load(&self, case: &Case, ready: &[Ipv4Addr]) -> Result<(), EngineError> {
        let services = self.services(case, ready);
        let node_ips: Vec<_> = self.nodes.iter().map(|node| node.decisions.node_ip).collect();
        let mut loading = Vec::new();
        for node in &self.nodes {
            let tables = Firewall {
                decisions: &node.decisions,
                pod_cidr: node.inputs.pod_cidr,
                router_ip: node.inputs.router_ip,
                pods: &node.pods,
                services: &services,
                node_ips: &node_ips,
            }
            .tables();
            let namespace = node.namespace.clone();
            loading.push(tokio::spawn(blocking(move || namespace.load_nft(&tables))));
        }
        for loaded in loading {
            loaded.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        Ok(())
    }

    fn services(&self, case: &Case, ready: &[Ipv4Addr]) -> Vec<Service> {
        let cluster = &case.cluster;
        let dns = |protocol| Service {
            name: "kube-dns",
            address: cluster.dns_service(),
            port: 53,
            protocol,
            node_port: None,
            backends: ready.iter().map(|address| (*address, 53)).collect(),
        };
        // One backend, so that a NodePort on any other node has its backend elsewhere.
        let echo_backend = self.nodes.first().and_then(|node| node.pods.first());
        vec![
            Service::tcp("kubernetes", cluster.kubernetes_service(), 443, vec![(cluster.api_server, API_PORT)]),
            dns(UDP),
            dns(TCP),
            Service {
                node_port: Some(cluster.node_port),
                ..Service::tcp(
                    "echo",
                    cluster.echo_service(),
                    80,
                    echo_backend.map(|pod| (pod.address, echo::PORT)).into_iter().collect(),
                )
            },
        ]
    }

    /// Waits until each CoreDNS replica is ready or won't be, and puts the ready ones behind the service.
    ///
    /// A replica is ready once its `kubernetes` plugin has reached the API server (CoreDNS, plugin/ready and
    /// plugin/kubernetes); it would be restarted if its node's kubelet didn't reach its liveness port.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn await_dns(
        &self,
        case: &Case,
        lab: &Lab,
        watch: &dyn Deathwatch,
        deadline: Duration,
    ) -> Result<DnsState, EngineError> {
        let api = Probe::Https {
            request: Request {
                host: case.cluster.kubernetes_service().to_string(),
                port: 443,
                path: "/version".to_owned(),
                address: Address::Fixed(case.cluster.kubernetes_service()),
            },
            root: lab.services.root_certificate(),
        };
        let replicas = self.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| (node, pod)));
        let checks = replicas.filter(|(_, pod)| pod.name == COREDNS).map(|(node, pod)| {
            let api = &api;
            async move {
                let health = Probe::Http(Request {
                    host: pod.address.to_string(),
                    port: HEALTH_PORT,
                    path: "/health".to_owned(),
                    address: Address::Fixed(pod.address),
                });
                let (api, health) = tokio::join!(
                    probe::run(api, &pod.namespace, deadline, watch),
                    probe::run(&health, &node.namespace, deadline, watch)
                );
                (pod, api, health)
            }
        });
        let mut state = DnsState::default();
        let mut ready = Vec::new();
        for (pod, api, health) in futures::future::join_all(checks).await {
            state.replicas += 1;
            if api.outcome == Outcome::Reply {
                state.ready += 1;
                ready.push(pod.address);
            } else {
                let name = pod.namespace.name().to_owned();
                state.not_ready.insert(name, format!("waiting for the Kubernetes API: {}", api.detail));
            }
            state.restarts += u32::from(health.outcome != Outcome::Reply);
        }
        self.load(case, &ready).await?;
        Ok(state)
    }

    /// What each CoreDNS replica logged of its last failed upstream query.
    pub fn dns_failures(&self) -> Vec<(String, String)> {
        self.replicas.iter().filter_map(|(name, replica)| Some((name.clone(), replica.last_failure()?))).collect()
    }

    /// A test pod.
    pub fn pod(&self, workload: &Workload) -> Option<&Pod> {
        self.nodes.iter().find(|node| node.name == workload.node)?.pods.get(workload.index)
    }
}

/// Builds one node's part.
fn build(
    case: &Case,
    agent: Decided,
    place: usize,
    routers: &BTreeMap<String, (usize, Ipv4Addr)>,
) -> lab::Result<ClusterNode> {
    let Decided { namespace, inputs, decisions } = agent;
    let peers: Vec<_> = decisions.tunnels.iter().map(|tunnel| routers[&tunnel.peer]).collect();
    let datapath = Datapath {
        namespace: &namespace,
        inputs: &inputs,
        decisions: &decisions,
        node_index: node_index(&case.network, &inputs.name),
        peers: &peers,
    };
    datapath.install()?;
    let network = PodNetwork {
        node: &inputs.name,
        namespace: &namespace,
        router_ip: inputs.router_ip,
        device_mtu: decisions.device_mtu,
        route_mtu: decisions.pod_mtu,
    };
    let mut names = TEST_PODS.to_vec();
    if place < REPLICAS {
        names.push(COREDNS);
    }
    let mut pods = Vec::new();
    for ((index, name), host) in names.into_iter().enumerate().zip(FIRST_POD..) {
        let address = (u32::from(inputs.pod_cidr.network()) + host).into();
        let chosen = case.cluster.identities.get(&Workload { node: inputs.name.clone(), index });
        let usual = if name == COREDNS { COREDNS_IDENTITY } else { TEST_IDENTITY };
        let pod = Pod::create(network, name, address, chosen.copied().unwrap_or(usual))?;
        datapath.attach(&pod)?;
        pods.push(pod);
    }
    let name = inputs.name.clone();
    Ok(ClusterNode { name, namespace, inputs, decisions, pods })
}
