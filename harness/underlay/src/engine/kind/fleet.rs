//! Cilium on kind's nodes, by its chart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kind::chart::{self, Told};
use kind::kubernetes::Kubernetes;
use kind::node::INTERFACE;
use lab::Lab;
use lab::drops::DropLog;
use lab::serve::echo;
use serde_json::{Value, json};

use super::node::KindNode;
use super::pool::{Site, failed};
use super::setup::{CILIUM, ENGINE, Setup, unsupported};
use super::{agents, clean, dns, pods, stages, values};
use crate::case::Case;
use crate::engine::fleet::{Fleet, Replica};
use crate::engine::install::{self, Installed};
use crate::engine::pod::{COREDNS, Pod};
use crate::engine::real::drops::Listener;
use crate::engine::real::services as in_agents;
use crate::engine::real::start::Started;
use crate::engine::real::{Names, log, readback, settle};
use crate::engine::renumber::Renumbered;
use crate::engine::services::Service;
use crate::engine::wanted::{self, Wanted};
use crate::nat::NatEntry;
use crate::observed::{Agent, DnsState, EngineError};
use crate::step::Action;

/// Cilium's agents on kind's nodes.
pub struct OnKind {
    setup: Setup,
    site: Site,
    kubernetes: Kubernetes,
    /// In the topology's order.
    nodes: Vec<(KindNode, Started)>,
    made: Vec<pods::Made>,
    pods: Vec<Vec<Pod>>,
    /// The addresses that Cilium gave them, with those the lab's pods have: scenarios name pods by these.
    renumbered: Renumbered,
    phases: Vec<(&'static str, Duration)>,
    /// Who hears of what the programs of agents that run drop.
    listeners: Vec<Listener>,
    drops: DropLog,
}

impl Fleet for OnKind {
    const ENGINE: &'static str = ENGINE;
    const KUBERNETES: bool = true;
    type Setup = Setup;
    type Site = Site;

    async fn site(setup: &Setup, case: &Case) -> Result<Site, EngineError> {
        if !case.cluster.identities.is_empty() {
            return Err(unsupported("choose pods' identities: Kubernetes gives them by labels".to_owned()));
        }
        Site::of(setup, case).await
    }

    async fn install(setup: &Setup, case: &Case) -> Result<Result<Installed, String>, EngineError> {
        let release = setup.release(&case.version)?;
        let (defaults, given) = (json!({}), Value::Object(case.values.clone()));
        let told = Told { defaults: &defaults, values: &given, set: &case.set };
        let rendered = release.chart.render(setup.tools(), CILIUM, told).await.map_err(failed("ask Helm"))?;
        match (rendered, install::install(case)) {
            (Ok(_), Ok(installed)) => Ok(Ok(installed)),
            (Err(refusal), _) => Ok(Err(refusal)),
            (Ok(_), Err(refusal)) => {
                let reason = format!("Helm takes what the model of it refuses: {refusal}");
                Err(EngineError::Failed { step: "read the values".to_owned(), reason })
            }
        }
    }

    async fn start(setup: &Setup, site: &Site, case: &Case, _: &Installed, lab: &Lab) -> Result<Self, EngineError> {
        let kubernetes = Kubernetes::of(site.cluster());
        let mut fleet = Self {
            setup: setup.clone(),
            site: site.clone(),
            kubernetes,
            nodes: Vec::new(),
            made: Vec::new(),
            pods: Vec::new(),
            renumbered: Renumbered::default(),
            phases: Vec::new(),
            listeners: Vec::new(),
            drops: lab.drops.clone(),
        };
        let mut since = Instant::now();
        let mut phase = |fleet: &mut Self, name| {
            fleet.phases.push((name, since.elapsed()));
            since = Instant::now();
        };
        stages::names(site, case)?;
        stages::api_server(site, case).await?;
        phase(&mut fleet, "api server");
        stages::node_ips(site, case).await?;
        phase(&mut fleet, "node-ip");
        fleet.meet_nodes(case, lab).await?;
        let earlier = fleet.kubernetes.pods(chart::NAMESPACE, agents::LABELS).await;
        fleet.helm(case).await?;
        // Agents of an earlier start that didn't come up go on with the values they read then.
        if !earlier.map_err(failed("look for agents"))?.is_empty() {
            fleet.renew().await?;
        }
        phase(&mut fleet, "helm");
        // They wait for the agents as CoreDNS does, and so the agents compile for all pods at once.
        fleet.made = pods::make(&fleet.kubernetes, &fleet.all_nodes(), &wanted::pods(case)).await?;
        fleet.await_agents().await?;
        Ok(fleet)
    }

    async fn agents(&self) -> Result<Vec<(String, Agent)>, EngineError> {
        let asked = self.nodes.iter().map(|(node, started)| async move {
            let agent = match started {
                Started::Running => {
                    let decisions = readback::decisions(node).await?;
                    if decisions.devices.iter().any(|device| device.name == INTERFACE) {
                        let what =
                            format!("keep Cilium off docker's {INTERFACE}, which no lab has: these values select it");
                        return Err(unsupported(what));
                    }
                    Agent::Running(Box::new(decisions))
                }
                Started::Fatal(words) => Agent::Fatal(words.clone()),
                Started::Ended => Agent::Absent,
            };
            Ok((node.name.clone(), agent))
        });
        futures::future::try_join_all(asked).await
    }

    async fn admit(&mut self, _: &Case, wanted: Vec<Vec<Wanted>>) -> Result<Vec<Vec<Pod>>, EngineError> {
        let replicas = wanted.iter().flatten().filter(|pod| pod.name.starts_with(COREDNS)).count();
        self.pods = pods::find(&self.kubernetes, &self.all_nodes(), &self.made, replicas).await?;
        let pairs = self.pods.iter().zip(&wanted).flat_map(|(pods, wanted)| {
            let of = |pod: &Pod| wanted.iter().find(|wanted| wanted.name == pod.name).map(|wanted| wanted.address);
            pods.iter().filter_map(move |pod| Some((pod.address, of(pod)?))).collect::<Vec<_>>()
        });
        self.renumbered = pairs.collect();
        let settling = self.nodes.iter().zip(&self.pods).map(|((node, _), pods)| settle::noted(node, pods.len(), None));
        futures::future::try_join_all(settling).await?;
        Ok(self.pods.clone())
    }

    async fn load(&mut self, services: &[Service]) -> Result<(), EngineError> {
        // The others are Kubernetes' own.
        let ours: Vec<_> = services.iter().filter(|service| service.name == "echo").cloned().collect();
        let objects: Vec<_> =
            ours.iter().map(|echo| pods::echo(echo.address, echo.port, echo.node_port, echo::PORT)).collect();
        self.kubernetes.apply(&objects).await.map_err(failed("make the echo service"))?;
        let carried = self.running().map(|(node, _)| in_agents::carried_out(node, &ours));
        futures::future::try_join_all(carried).await.map(drop)
    }

    async fn dns(&self, replicas: &[Replica]) -> Result<Option<DnsState>, EngineError> {
        dns::state(&self.kubernetes, replicas).await.map(Some)
    }

    fn renumbered(&self) -> Renumbered {
        self.renumbered.clone()
    }

    fn phases(&self) -> Vec<(&'static str, Duration)> {
        self.phases.clone()
    }

    async fn react(&mut self, _: &Case) -> Result<(), EngineError> {
        let waiting = self.running().map(|(node, pods)| settle::after_a_change(node, pods));
        futures::future::try_join_all(waiting).await.map(drop)
    }

    async fn reconfigured(&mut self, action: &Action, current: &Case) -> Result<(), EngineError> {
        match action {
            Action::NodeIp { .. } => stages::node_ips(&self.site, current).await,
            Action::Upgrade { .. } => {
                let before = self.generation().await?;
                self.helm(current).await?;
                if self.generation().await? == before {
                    return Ok(());
                }
                // What changed is in the agents' pods too: Kubernetes starts them anew.
                let since = SystemTime::now();
                self.replaced(since).await
            }
            _ => Ok(()),
        }
    }

    async fn restart(&mut self, running: &Case, _: &Installed) -> Result<(), EngineError> {
        let since = SystemTime::now();
        stages::node_ips(&self.site, running).await?;
        self.helm(running).await?;
        self.replaced(since).await
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        clean::uninstall(self.site.cluster()).await?;
        self.listeners.clear();
        self.nodes.iter_mut().for_each(|(_, started)| *started = Started::Ended);
        Ok(())
    }

    async fn nat(&self) -> Result<Vec<(String, Vec<NatEntry>)>, EngineError> {
        let asked = self.nodes.iter().map(|(node, started)| async move {
            let entries = match started {
                Started::Running => readback::nat(node, node.pod_cidr).await?,
                // Who would be asked is no more.
                Started::Fatal(_) | Started::Ended => Vec::new(),
            };
            Ok((node.name.clone(), entries))
        });
        futures::future::try_join_all(asked).await
    }

    fn doubts(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|(node, _)| log::doubt(&node.name, &node.log())).collect()
    }

    fn logs(&self) -> Vec<(String, Vec<String>)> {
        self.nodes.iter().map(|(node, _)| (node.name.clone(), node.log())).collect()
    }
}

impl OnKind {
    fn all_nodes(&self) -> Vec<KindNode> {
        self.nodes.iter().map(|(node, _)| node.clone()).collect()
    }

    /// Nodes whose agents run, with how many pods they have.
    fn running(&self) -> impl Iterator<Item = (&KindNode, usize)> {
        let pods = self.pods.iter().map(Vec::len).chain(std::iter::repeat(0));
        let nodes = self.nodes.iter().zip(pods);
        nodes.filter(|((_, started), _)| *started == Started::Running).map(|((node, _), pods)| (node, pods))
    }

    /// Takes note of the nodes, in the topology's order, once they are registered.
    async fn meet_nodes(&mut self, case: &Case, lab: &Lab) -> Result<(), EngineError> {
        let objects = self.kubernetes.nodes().await.map_err(failed("ask for the nodes"))?;
        objects.iter().take(1).for_each(|object| self.setup.met(&object.version));
        let nodes = self.site.nodes.iter().map(|(name, node)| (node.name.clone(), name.clone()));
        let nodes: BTreeMap<_, _> = nodes.collect();
        for config in case.network.cluster_nodes() {
            let known = self.site.nodes.iter().find(|(name, _)| *name == config.name);
            let (Some((name, node)), Some(built)) = (known, lab.node(&config.name)) else { continue };
            let missing = || EngineError::Failed {
                step: "ask for the nodes".to_owned(),
                reason: format!("{} has no range for pods", node.name),
            };
            let object = objects.iter().find(|object| object.name == node.name);
            let pod_cidr = object.and_then(|object| object.pod_cidr).ok_or_else(missing)?;
            let names = Names { nodes: nodes.clone(), management: Some((INTERFACE.to_owned(), node.address)) };
            let node = KindNode::new(name.clone(), node.clone(), built.namespace.clone(), pod_cidr, Arc::new(names));
            self.nodes.push((node, Started::Ended));
        }
        Ok(())
    }

    /// Has Helm install what the case says, or change what is installed to that.
    async fn helm(&self, case: &Case) -> Result<(), EngineError> {
        let cluster = self.site.cluster();
        let chart = &self.setup.release(&case.version)?.chart;
        let defaults = values::document(&values::needed(cluster.control_plane()));
        let given = Value::Object(case.values.clone());
        let told = Told { defaults: &defaults, values: &given, set: &case.set };
        let installed = chart.install(cluster, CILIUM, told).await.map_err(failed("ask Helm"))?;
        installed.map_err(|reason| EngineError::Failed { step: "install Cilium by Helm".to_owned(), reason })
    }

    /// The generation of the agents' DaemonSet: another where something in their pods is another.
    async fn generation(&self) -> Result<u64, EngineError> {
        let set = self.kubernetes.get(&["daemonset", "--namespace", chart::NAMESPACE, CILIUM]).await;
        let set = set.map_err(failed("look at the agents' DaemonSet"))?;
        Ok(set.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or_default())
    }

    /// Has all agents take new pods at once.
    async fn renew(&self) -> Result<(), EngineError> {
        let selector = format!("--selector={}", agents::LABELS);
        let deleted = self.kubernetes.delete(&["pods", "--namespace", chart::NAMESPACE, &selector]).await;
        deleted.map_err(failed("restart the agents"))
    }

    /// Has all agents take new pods at once, and waits until they are in place with what is compiled `since`.
    async fn replaced(&mut self, since: SystemTime) -> Result<(), EngineError> {
        self.renew().await?;
        self.await_agents().await?;
        let waiting = self.running().map(|(node, pods)| settle::noted(node, pods, Some(since)));
        futures::future::try_join_all(waiting).await.map(drop)
    }

    async fn await_agents(&mut self) -> Result<(), EngineError> {
        let started = agents::started(&self.kubernetes, &self.all_nodes()).await?;
        for ((_, known), now) in self.nodes.iter_mut().zip(started) {
            *known = now;
        }
        let listening = self.running().map(|(node, _)| node.listen(self.drops.clone()));
        self.listeners = futures::future::try_join_all(listening).await?;
        Ok(())
    }
}
