//! What happens after installation: links, overlay, upgrades, restarts; and what running agents make of it.
//!
//! Agents watch links and addresses and decide anew when they change. Values and the node IP they read once, at their
//! start (Cilium 1.18, daemon/cmd/local_node_sync.go; the chart's `rollOutCiliumPods` is off): until they are restarted
//! they go on with those.

use cilium::config::AgentConfig;
use cilium::values::Values;
use lab::Lab;
use probe::deathwatch::Deathwatch;

use super::agents;
use super::cluster::Cluster;
use super::inputs;
use crate::case::Case;
use crate::observed::{Agent, DnsState, EngineError};
use crate::step::Action;

/// A cluster in the course of time: what its agents run with, and what they would find if they started now.
pub struct Story {
    /// What the agents read at their start: version, values, node IPs.
    running: Case,
    config: AgentConfig,
    /// What the API server and the ConfigMap say.
    current: Case,
    /// Each node's agent, in the topology's order.
    agents: Vec<(String, Agent)>,
}

impl Story {
    /// It begins with the case as installed.
    pub fn begin(case: &Case, config: AgentConfig, agents: Vec<(String, Agent)>) -> Self {
        Self { running: case.clone(), config, current: case.clone(), agents }
    }

    /// The case as the API server has it by now: what a probe to a node's InternalIP goes by.
    pub fn current(&self) -> &Case {
        &self.current
    }

    /// Each node's agent by now, in the topology's order.
    pub fn agents(&self) -> &[(String, Agent)] {
        &self.agents
    }

    /// The same, when all is over.
    pub fn into_agents(self) -> Vec<(String, Agent)> {
        self.agents
    }

    /// Takes a step and lets the agents react.
    ///
    /// # Errors
    /// The kernel's answer, or Helm's refusal of an upgrade.
    pub async fn take(&mut self, action: &Action, lab: &mut Lab, cluster: &mut Cluster) -> Result<(), EngineError> {
        match action {
            Action::OverlayDown { node } => {
                if let Some(overlay) = &mut lab.overlay {
                    overlay.leave(node).await?;
                }
                self.react(cluster).await
            }
            Action::LinkDown { node, interface } => {
                if let Some(node) = lab.node(node) {
                    node.namespace.netlink()?.link_down(interface)?;
                }
                self.react(cluster).await
            }
            Action::LinkUp { node, interface } => {
                if let Some(node) = lab.node(node)
                    && let Some(nic) = node.config.nic(interface)
                {
                    node.link_up(nic)?;
                }
                self.react(cluster).await
            }
            Action::Upgrade { values, set, reuse_values, version } => {
                if !reuse_values {
                    (self.current.values, self.current.set) = (serde_json::Map::new(), Vec::new());
                }
                let mut merged = Values::from(std::mem::take(&mut self.current.values));
                merged.merge(&Values::from(values.clone()));
                self.current.values = merged.as_map().clone();
                self.current.set.extend(set.iter().cloned());
                let rolls = version.as_ref().is_some_and(|version| *version != self.current.version);
                if let Some(version) = version {
                    self.current.version = version.clone();
                }
                agents::install(&self.current).map_err(|refusal| refused(action, refusal))?;
                if rolls { self.restart(cluster, action).await } else { Ok(()) }
            }
            Action::RestartAgents => self.restart(cluster, action).await,
            Action::RestartCoreDns => cluster.restart_dns(&self.running).await,
            Action::NodeIp { node, address } => {
                self.current.cluster.node_ips.insert(node.clone(), *address);
                Ok(())
            }
        }
    }

    /// Gives CoreDNS replicas that aren't ready another chance, now that things have changed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn settle(
        &self,
        lab: &Lab,
        cluster: &mut Cluster,
        watch: &dyn Deathwatch,
    ) -> Result<DnsState, EngineError> {
        cluster.await_dns(&self.running, lab, watch, self.running.deadline).await
    }

    async fn restart(&mut self, cluster: &mut Cluster, action: &Action) -> Result<(), EngineError> {
        self.running = self.current.clone();
        self.config = agents::install(&self.running).map_err(|refusal| refused(action, refusal))?.config;
        self.react(cluster).await
    }

    /// Every agent looks at its node and decides. One that dies of it leaves what it did before: programs and routes
    /// stay without their agent.
    async fn react(&mut self, cluster: &mut Cluster) -> Result<(), EngineError> {
        cluster.withdraw(&self.running)?;
        let mut seen = Vec::new();
        for node in &cluster.nodes {
            if let Some(config) = self.running.network.node(&node.name) {
                seen.push(inputs::read(&self.running, config, &node.namespace)?);
            }
        }
        let decided = agents::decide(&self.running, &self.config, &seen);
        for ((node, inputs), (name, agent)) in cluster.nodes.iter_mut().zip(seen).zip(decided) {
            if let Ok(decisions) = &agent {
                (node.inputs, node.decisions) = (inputs, decisions.clone());
            }
            if let Some((_, known)) = self.agents.iter_mut().find(|(other, _)| *other == name) {
                *known = agent.into();
            }
        }
        cluster.carry_out(&self.running).await
    }
}

fn refused(action: &Action, refusal: String) -> EngineError {
    EngineError::Failed { step: action.to_string(), reason: format!("Helm refuses the values: {refusal}") }
}
