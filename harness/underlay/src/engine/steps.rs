//! What happens after installation: links, overlay, upgrades, restarts; and what running agents make of it.
//!
//! Agents watch links and addresses and decide anew when they change. Values and the node IP they read once, at their
//! start (Cilium 1.18, daemon/cmd/local_node_sync.go; the chart's `rollOutCiliumPods` is off): until they are restarted
//! they go on with those.

use cilium::values::Values;
use lab::Lab;
use probe::deathwatch::Deathwatch;

use super::cluster::Cluster;
use super::fleet::Fleet;
use super::install;
use crate::case::Case;
use crate::observed::{DnsState, EngineError};
use crate::step::Action;

/// A cluster in the course of time: what its agents run with, and what they would find if they started now.
pub struct Story {
    /// What the agents read at their start: version, values, node IPs.
    running: Case,
    /// What the API server and the ConfigMap say.
    current: Case,
}

impl Story {
    /// It begins with the case as installed.
    pub fn begin(case: &Case) -> Self {
        Self { running: case.clone(), current: case.clone() }
    }

    /// The case as the API server has it by now: what a probe to a node's InternalIP goes by.
    pub fn current(&self) -> &Case {
        &self.current
    }

    /// Takes a step and lets the agents react.
    ///
    /// # Errors
    /// The kernel's answer, or Helm's refusal of an upgrade.
    pub async fn take<F: Fleet>(
        &mut self,
        action: &Action,
        lab: &mut Lab,
        cluster: &mut Cluster<F>,
    ) -> Result<(), EngineError> {
        match action {
            Action::OverlayDown { node } => {
                if let Some(overlay) = &mut lab.overlay {
                    overlay.leave(node).await?;
                }
                cluster.fleet.react(&self.running).await
            }
            Action::LinkDown { node, interface } => {
                if let Some(node) = lab.node(node) {
                    node.namespace.netlink()?.link_down(interface)?;
                }
                cluster.fleet.react(&self.running).await
            }
            Action::LinkUp { node, interface } => {
                if let Some(node) = lab.node(node)
                    && let Some(nic) = node.config.nic(interface)
                {
                    node.link_up(nic)?;
                }
                cluster.fleet.react(&self.running).await
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
                install::install(&self.current).map_err(|refusal| refused(action, refusal))?;
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
    pub async fn settle<F: Fleet>(
        &self,
        lab: &Lab,
        cluster: &mut Cluster<F>,
        watch: &dyn Deathwatch,
    ) -> Result<DnsState, EngineError> {
        cluster.await_dns(&self.running, lab, watch, self.running.deadline).await
    }

    async fn restart<F: Fleet>(&mut self, cluster: &mut Cluster<F>, action: &Action) -> Result<(), EngineError> {
        self.running = self.current.clone();
        let installed = install::install(&self.running).map_err(|refusal| refused(action, refusal))?;
        cluster.fleet.restart(&self.running, &installed).await
    }
}

fn refused(action: &Action, refusal: String) -> EngineError {
    EngineError::Failed { step: action.to_string(), reason: format!("Helm refuses the values: {refusal}") }
}
