//! A cluster on a lab: agents' decisions carried out, pods, services, CoreDNS and API server stand-ins.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use cilium::Decisions;
use cilium::inputs::NodeInputs;
use lab::lab::{LINK_PATIENCE, blocking};
use lab::serve::Service as Server;
use lab::serve::echo;
use lab::{Lab, Namespace};
use probe::capture::Capture;
use probe::deathwatch::Deathwatch;
use probe::evidence::Outcome;
use probe::spec::{Address, Probe, Request};
use topology::network::Role;

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

/// Nodes' places in the cluster and their routers' addresses, by name.
type Routers = BTreeMap<String, (usize, Ipv4Addr)>;

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
    /// CoreDNS replicas behind the DNS service.
    ready: Vec<Ipv4Addr>,
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
        let routers = routers(case);
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

        let mut cluster = Self { nodes, replicas: Vec::new(), ready: Vec::new(), _servers: Vec::new() };
        cluster.start_workloads(case, lab)?;
        cluster.load(case).await?;
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

    /// Loads every node's services and rules.
    async fn load(&self, case: &Case) -> Result<(), EngineError> {
        let services = self.services(case);
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

    fn services(&self, case: &Case) -> Vec<Service> {
        let cluster = &case.cluster;
        let dns = |protocol| Service {
            name: "kube-dns",
            address: cluster.dns_service(),
            port: 53,
            protocol,
            node_port: None,
            backends: self.ready.iter().map(|address| (*address, 53)).collect(),
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
    /// plugin/kubernetes), and stays so; it would be restarted if its node's kubelet didn't reach its liveness port.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn await_dns(
        &mut self,
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
        let before = &self.ready;
        for (pod, api, health) in futures::future::join_all(checks).await {
            state.replicas += 1;
            if api.outcome == Outcome::Reply || before.contains(&pod.address) {
                state.ready += 1;
                ready.push(pod.address);
            } else {
                let name = pod.namespace.name().to_owned();
                state.not_ready.insert(name, format!("waiting for the Kubernetes API: {}", api.detail));
            }
            state.restarts += u32::from(health.outcome != Outcome::Reply);
        }
        if ready != self.ready {
            self.ready = ready;
            self.load(case).await?;
        }
        Ok(state)
    }

    /// Takes every CoreDNS replica from behind the service, as a restart does until they are ready again.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn restart_dns(&mut self, case: &Case) -> Result<(), EngineError> {
        self.ready.clear();
        self.load(case).await
    }

    /// Takes the agents' decisions back, as far as they decide where packets go: what the nodes' kernels show from here
    /// on is what an agent sees that starts now.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn withdraw(&self, case: &Case) -> lab::Result<()> {
        self.nodes.iter().try_for_each(|node| self.datapath(case, node, |datapath| datapath.withdraw(&node.pods)))
    }

    /// Carries every node's decisions out anew, after [`Cluster::withdraw`].
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn carry_out(&self, case: &Case) -> Result<(), EngineError> {
        for node in &self.nodes {
            self.datapath(case, node, |datapath| {
                datapath.install()?;
                for pod in &node.pods {
                    pod.set_mtu(node.pod_network())?;
                    datapath.attach(pod)?;
                }
                Ok(())
            })?;
        }
        self.load(case).await
    }

    fn datapath(
        &self,
        case: &Case,
        node: &ClusterNode,
        work: impl FnOnce(&Datapath<'_>) -> lab::Result<()>,
    ) -> lab::Result<()> {
        let peers = peers(&node.decisions, &routers(case));
        work(&Datapath {
            namespace: &node.namespace,
            inputs: &node.inputs,
            decisions: &node.decisions,
            node_index: node_index(&case.network, &node.name),
            peers: &peers,
        })
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

/// Each cluster node's place and the address of its router.
fn routers(case: &Case) -> Routers {
    let nodes = case.network.cluster_nodes().zip(0..);
    nodes.map(|(node, index)| (node.name.clone(), (index, router_ip(case.cluster.node_pod_cidr(index))))).collect()
}

/// Each tunnel's peer, in the tunnels' order.
fn peers(decisions: &Decisions, routers: &Routers) -> Vec<(usize, Ipv4Addr)> {
    decisions.tunnels.iter().map(|tunnel| routers[&tunnel.peer]).collect()
}

fn pod_network<'a>(namespace: &'a Namespace, inputs: &'a NodeInputs, decisions: &Decisions) -> PodNetwork<'a> {
    PodNetwork {
        node: &inputs.name,
        namespace,
        router_ip: inputs.router_ip,
        device_mtu: decisions.device_mtu,
        route_mtu: decisions.pod_mtu,
    }
}

impl ClusterNode {
    fn pod_network(&self) -> PodNetwork<'_> {
        pod_network(&self.namespace, &self.inputs, &self.decisions)
    }
}

/// Builds one node's part.
fn build(case: &Case, agent: Decided, place: usize, routers: &Routers) -> lab::Result<ClusterNode> {
    let Decided { namespace, inputs, decisions } = agent;
    let peers = peers(&decisions, routers);
    let datapath = Datapath {
        namespace: &namespace,
        inputs: &inputs,
        decisions: &decisions,
        node_index: node_index(&case.network, &inputs.name),
        peers: &peers,
    };
    datapath.add_devices()?;
    datapath.install()?;
    let network = pod_network(&namespace, &inputs, &decisions);
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
