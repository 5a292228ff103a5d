//! Real agents on a lab.

use std::fs;
use std::time::SystemTime;

use lab::drops::DropLog;
use lab::{Capability, Lab};

use super::endpoint;
use super::node::{self, NodeAgent};
use super::options::{self, Told};
use super::services;
use super::source::Sources;
use super::store::Store;
use crate::case::Case;
use crate::engine::fleet::Fleet;
use crate::engine::install::{self, Installed};
use crate::engine::pod::Pod;
use crate::engine::real::drops::Listener;
use crate::engine::real::services as in_agents;
use crate::engine::real::start::Started;
use crate::engine::real::{log, readback, settle};
use crate::engine::services::Service;
use crate::engine::wanted::Wanted;
use crate::nat::NatEntry;
use crate::observed::{Agent, EngineError};

/// Agents that are real.
pub struct Real {
    sources: Sources,
    /// In the topology's order. Before the store: they end first.
    nodes: Vec<(NodeAgent, Started)>,
    pods: Vec<Vec<Pod>>,
    /// Who hears of what the programs of agents that run drop.
    listeners: Vec<Listener>,
    drops: DropLog,
    store: Store,
}

impl Fleet for Real {
    const ENGINE: &'static str = "agent";
    type Setup = Sources;
    type Site = ();

    async fn site(_: &Sources, _: &Case) -> Result<(), EngineError> {
        Ok(())
    }

    async fn start(
        sources: &Sources,
        (): &(),
        case: &Case,
        installed: &Installed,
        lab: &Lab,
    ) -> Result<Self, EngineError> {
        let root = sources.root(&case.version)?;
        for needed in [Capability::Cgroup2, Capability::Bpf] {
            lab::doctor::try_one(needed).await?;
        }
        let store = Store::start(sources.etcd()?).await?;
        let mut nodes = Vec::new();
        for (node, place) in case.network.cluster_nodes().zip(0..) {
            if let Some(built) = lab.node(&node.name) {
                let pod_cidr = case.cluster.node_pod_cidr(place);
                let agent = NodeAgent::create(&built.namespace, pod_cidr, root.clone(), &store).await?;
                fs::write(agent.surroundings.path(node::SERVICES), services::file(&[]).to_string())
                    .map_err(|error| EngineError::failed("write services", &error))?;
                nodes.push((agent, Started::Running));
            }
        }
        let (pods, listeners, drops) = (Vec::new(), Vec::new(), lab.drops.clone());
        let mut fleet = Self { sources: sources.clone(), nodes, pods, listeners, drops, store };
        fleet.start_agents(case, installed).await?;
        Ok(fleet)
    }

    async fn agents(&self) -> Result<Vec<(String, Agent)>, EngineError> {
        let asked = self.nodes.iter().map(|(node, started)| async move {
            let agent = match started {
                Started::Running => match readback::decisions(node).await {
                    Ok(decisions) => Agent::Running(Box::new(decisions)),
                    Err(error) => return Err(with_last_words(error, node)),
                },
                Started::Fatal(words) => Agent::Fatal(words.clone()),
                Started::Ended => Agent::Absent,
            };
            Ok((node.name.clone(), agent))
        });
        futures::future::try_join_all(asked).await
    }

    async fn admit(&mut self, _: &Case, wanted: Vec<Vec<Wanted>>) -> Result<Vec<Vec<Pod>>, EngineError> {
        let mut identities: Vec<_> = wanted.iter().flatten().map(|pod| pod.identity).collect();
        identities.sort_unstable();
        identities.dedup();
        if let Some((node, _)) = self.nodes.first() {
            for identity in identities {
                endpoint::choose(node, identity).await?;
            }
        }
        let admitted = self.nodes.iter().zip(&wanted).map(|((node, _), wanted)| async move {
            let mut pods = Vec::new();
            for pod in wanted {
                pods.push(endpoint::admit(node, pod).await?);
            }
            settle::noted(node, pods.len(), None).await?;
            Ok::<_, EngineError>(pods)
        });
        self.pods = futures::future::try_join_all(admitted).await?;
        Ok(self.pods.clone())
    }

    async fn load(&mut self, services: &[Service]) -> Result<(), EngineError> {
        let file = services::file(services).to_string();
        let failed = |error: std::io::Error| EngineError::failed("write services", &error);
        for (node, _) in &self.nodes {
            // Renamed, so that no agent reads half of it.
            let (path, new) =
                (node.surroundings.path(node::SERVICES), node.surroundings.path("/run/cilium/services.new"));
            fs::write(&new, &file).map_err(failed)?;
            fs::rename(&new, &path).map_err(failed)?;
        }
        let carried = self.running().map(|(node, _)| in_agents::carried_out(node, services));
        futures::future::try_join_all(carried).await.map(drop)
    }

    async fn react(&mut self, _: &Case) -> Result<(), EngineError> {
        let waiting = self.running().map(|(node, pods)| settle::after_a_change(node, pods));
        futures::future::try_join_all(waiting).await.map(drop)
    }

    async fn restart(&mut self, running: &Case, installed: &Installed) -> Result<(), EngineError> {
        let since = SystemTime::now();
        self.start_agents(running, installed).await?;
        let waiting = self.running().map(|(node, pods)| settle::noted(node, pods, Some(since)));
        let failed = futures::future::join_all(waiting).await.into_iter().find_map(Result::err);
        // One that dies while it restores its pods has answered before.
        let mut died = false;
        for (node, started) in &mut self.nodes {
            if let Some(words) = node.died() {
                *started = Started::Fatal(words);
                died = true;
            }
        }
        if died { Ok(()) } else { failed.map_or(Ok(()), Err) }
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        self.listeners.clear();
        let ending = self.nodes.iter_mut().map(|(node, started)| async move {
            node.end().await;
            *started = Started::Ended;
        });
        futures::future::join_all(ending).await;
        Ok(())
    }

    async fn nat(&self) -> Result<Vec<(String, Vec<NatEntry>)>, EngineError> {
        let asked = self
            .nodes
            .iter()
            .map(|(node, _)| async move { Ok((node.name.clone(), readback::nat(node, node.pod_cidr).await?)) });
        futures::future::try_join_all(asked).await
    }

    fn doubts(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|(node, _)| log::doubt(&node.name, &node.log.lines())).collect()
    }

    fn logs(&self) -> Vec<(String, Vec<String>)> {
        self.nodes.iter().map(|(node, _)| (node.name.clone(), node.log.lines())).collect()
    }
}

impl Real {
    /// Nodes whose agents run, with how many pods they have.
    fn running(&self) -> impl Iterator<Item = (&NodeAgent, usize)> {
        let pods = self.pods.iter().map(Vec::len).chain(std::iter::repeat(0));
        let nodes = self.nodes.iter().zip(pods);
        nodes.filter(|((_, started), _)| *started == Started::Running).map(|((node, _), pods)| (node, pods))
    }

    /// Starts every agent with what the case says, all at once.
    async fn start_agents(&mut self, case: &Case, installed: &Installed) -> Result<(), EngineError> {
        self.listeners.clear();
        let root = self.sources.root(&case.version)?;
        let values = install::values(case)
            .map_err(|reason| EngineError::Failed { step: "read the values".to_owned(), reason })?;
        let store = self.store.endpoint();
        let starting = self.nodes.iter_mut().map(|(node, started)| {
            let told = Told {
                node_ip: case.cluster.node_ips.get(&node.name).copied(),
                pod_cidr: node.pod_cidr,
                store: store.clone(),
            };
            let options = options::options(&installed.config.config_map, values.get("extraConfig"), &told);
            let root = root.clone();
            async move {
                *started = node.start(&options, root).await?;
                Ok::<_, EngineError>(())
            }
        });
        futures::future::try_join_all(starting).await?;
        let listening = self.running().map(|(node, _)| node.listen(self.drops.clone()));
        self.listeners = futures::future::try_join_all(listening).await?;
        Ok(())
    }
}

/// An agent that doesn't answer may have died since it last did; what it said last tells.
fn with_last_words(error: EngineError, node: &NodeAgent) -> EngineError {
    match error {
        EngineError::Failed { step, reason } => {
            EngineError::Failed { step, reason: format!("{reason}; its log ends with: {}", node.last_words()) }
        }
        other => other,
    }
}
