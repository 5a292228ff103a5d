//! A cluster on a lab: pods on nodes whose agents run, services, CoreDNS and API server stand-ins.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use lab::lab::LINK_PATIENCE;
use lab::serve::Service as Server;
use lab::serve::echo;
use lab::{Lab, Namespace};
use probe::capture::Capture;
use probe::deathwatch::Deathwatch;
use probe::evidence::Outcome;
use probe::spec::{Address, Probe, Request};
use topology::network::Role;

use super::fleet::{Fleet, Replica};
use super::pod::{INTERFACE, Pod};
use super::services;
use super::wanted;
use super::workload::{self, CoreDns, HEALTH_PORT};
use crate::case::{Case, Workload};
use crate::nat::NatEntry;
use crate::observed::{DnsState, EngineError};

/// A node with its pods.
struct Node {
    name: String,
    namespace: Namespace,
    /// The test pods, then CoreDNS where a replica is here.
    pods: Vec<Pod>,
}

/// A running cluster.
pub struct Cluster<F> {
    /// Its agents.
    pub fleet: F,
    /// In the topology's order.
    nodes: Vec<Node>,
    replicas: Vec<(String, CoreDns)>,
    /// CoreDNS replicas behind the DNS service.
    ready: Vec<Ipv4Addr>,
    _servers: Vec<Server>,
}

impl<F: Fleet> Cluster<F> {
    /// Makes the pods and starts the workloads. CoreDNS is not behind its service yet, where a stand-in plays it.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    pub async fn start(case: &Case, lab: &Lab, mut fleet: F, capture: &Capture) -> Result<Self, EngineError> {
        let built: Vec<_> = case.network.cluster_nodes().filter_map(|node| lab.node(&node.name)).collect();
        let pods = fleet.admit(case, wanted::pods(case)).await?;
        let nodes = built.into_iter().zip(pods).map(|(node, pods)| Node {
            name: node.config.name.clone(),
            namespace: node.namespace.clone(),
            pods,
        });
        let nodes: Vec<_> = nodes.collect();
        for node in &nodes {
            for pod in &node.pods {
                node.namespace.operational(&pod.lxc, LINK_PATIENCE).await?;
                pod.namespace.operational(INTERFACE, LINK_PATIENCE).await?;
            }
        }
        let pods: Vec<_> = nodes.iter().flat_map(|node| &node.pods).map(|pod| pod.namespace.clone()).collect();
        capture.add(&pods).map_err(|error| EngineError::failed("capture in pods", &error))?;

        let mut cluster = Self { fleet, nodes, replicas: Vec::new(), ready: Vec::new(), _servers: Vec::new() };
        cluster.start_workloads(case, lab)?;
        cluster.load(case).await?;
        Ok(cluster)
    }

    fn start_workloads(&mut self, case: &Case, lab: &Lab) -> lab::Result<()> {
        if !F::KUBERNETES
            && let Some(control_plane) = lab.nodes.iter().find(|node| node.config.role == Role::ControlPlane)
        {
            self._servers.push(workload::api_server(&control_plane.namespace, &case.cluster)?);
        }
        for node in &lab.nodes {
            let at = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, echo::PORT);
            self._servers.push(echo::tcp(node.namespace.tcp_listener(at)?, Default::default()));
        }
        for pod in self.nodes.iter().flat_map(|node| &node.pods) {
            match (pod.is_coredns(), F::KUBERNETES) {
                (false, _) => self._servers.extend(workload::test_pod(pod)?),
                (true, false) => {
                    let name = pod.namespace.name().to_owned();
                    self.replicas.push((name, CoreDns::start(pod, &case.cluster)?));
                }
                (true, true) => {}
            }
        }
        Ok(())
    }

    async fn load(&mut self, case: &Case) -> Result<(), EngineError> {
        let echo_backend = self.nodes.first().and_then(|node| node.pods.first());
        let services = services::of(&case.cluster, &self.ready, echo_backend);
        self.fleet.load(&services).await
    }

    /// Waits until each CoreDNS replica is ready or won't be, and puts the ready ones behind the service.
    ///
    /// A replica is ready once its `kubernetes` plugin has reached the API server (CoreDNS, plugin/ready and
    /// plugin/kubernetes), and stays so; it would be restarted if its node's kubelet didn't reach its liveness port.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
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
        let checks = replicas.filter(|(_, pod)| pod.is_coredns()).map(|(node, pod)| {
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
        let before = &self.ready;
        let checked = futures::future::join_all(checks).await.into_iter().map(|(pod, api, health)| {
            let reaches = api.outcome == Outcome::Reply || before.contains(&pod.address);
            Replica {
                name: pod.namespace.name().to_owned(),
                address: pod.address,
                cut_off: (!reaches).then_some(api.detail),
                lives: health.outcome == Outcome::Reply,
            }
        });
        let replicas: Vec<_> = checked.collect();
        if let Some(state) = self.fleet.dns(&replicas).await? {
            return Ok(state);
        }
        let mut state = DnsState::default();
        let mut ready = Vec::new();
        for replica in replicas {
            state.replicas += 1;
            match replica.cut_off {
                None => {
                    state.ready += 1;
                    ready.push(replica.address);
                }
                Some(why) => {
                    state.not_ready.insert(replica.name, format!("waiting for the Kubernetes API: {why}"));
                }
            }
            state.restarts += u32::from(!replica.lives);
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
    /// The kernel's answer, or an agent's.
    pub async fn restart_dns(&mut self, case: &Case) -> Result<(), EngineError> {
        self.ready.clear();
        self.load(case).await
    }

    /// What each CoreDNS replica logged of its last failed upstream query.
    pub fn dns_failures(&self) -> Vec<(String, String)> {
        self.replicas.iter().filter_map(|(name, replica)| Some((name.clone(), replica.last_failure()?))).collect()
    }

    /// Each node's NAT table, in the topology's order.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    pub async fn nat(&self) -> Result<Vec<(String, Vec<NatEntry>)>, EngineError> {
        let renumbered = self.fleet.renumbered();
        let tables = self.fleet.nat().await?.into_iter();
        Ok(tables.map(|(node, entries)| (node, renumbered.nat(entries))).collect())
    }

    /// Every pod.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// A test pod.
    pub fn pod(&self, workload: &Workload) -> Option<&Pod> {
        self.nodes.iter().find(|node| node.name == workload.node)?.pods.get(workload.index)
    }
}
