//! Each step: what it does to the network or the cluster, and who reacts.

use super::fleet::Fleet;
use super::up::Up;
use crate::case::ProbeSpec;
use crate::observed::{Agent, EngineError, Observed};
use crate::step::Action;
use crate::timeline::{Caller, Stage};

/// Why no engine takes a step yet, if none does.
pub fn refuses(action: &Action) -> Option<String> {
    match action {
        Action::LinkDelete(_)
        | Action::DeviceAppears(_)
        | Action::AddressAdd { .. }
        | Action::AddressRemove { .. }
        | Action::RouteAdd(_)
        | Action::RouteRemove(_)
        | Action::OverlayUp { .. }
        | Action::OverlayRoam { .. }
        | Action::Block(_)
        | Action::Unblock { .. }
        | Action::Impair { .. }
        | Action::Repair(_) => Some("not built yet".to_owned()),
        _ => None,
    }
}

impl<F: Fleet> Stage for Up<F> {
    async fn act(&mut self, action: &Action) -> Result<Option<String>, EngineError> {
        match action {
            Action::Install(chart) => {
                let refused = self.story.install(chart);
                if refused.is_none() {
                    self.start_agents().await?;
                }
                return Ok(refused);
            }
            Action::Uninstall => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.fleet.end().await?;
                }
                self.observed.nodes.iter_mut().for_each(|(_, agent)| *agent = Agent::Absent);
            }
            Action::Upgrade { chart, keep } => {
                let refused = self.story.release(chart, |release, given| release.upgrade(given, *keep));
                if refused.is_none() && self.story.current().version != self.story.running().version {
                    self.start_agents().await?;
                }
                return Ok(refused);
            }
            Action::RestartAgents => self.start_agents().await?,
            Action::RestartCoreDns => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.restart_dns(self.story.running()).await?;
                }
            }
            // It registers the Node with the address it has; pods go on, and agents don't look again.
            Action::RestartKubelet => {}
            Action::NodeIp { node, address } => {
                self.story.change().cluster.node_ips.insert(node.clone(), *address);
            }
            Action::LinkDown(link) => {
                if let Some(node) = self.lab.node(&link.node) {
                    node.namespace.netlink()?.link_down(&link.interface)?;
                }
                self.react().await?;
            }
            Action::LinkUp(link) => {
                if let Some(node) = self.lab.node(&link.node)
                    && let Some(nic) = node.config.nic(&link.interface)
                {
                    node.link_up(nic)?;
                }
                self.react().await?;
            }
            Action::OverlayDown { node } => {
                if let Some(overlay) = &mut self.lab.overlay {
                    overlay.leave(node).await?;
                }
                self.react().await?;
            }
            other => {
                return Err(EngineError::Unsupported { engine: F::ENGINE, what: format!("take the step `{other}`") });
            }
        }
        Ok(None)
    }

    async fn agents(&mut self) -> Result<Vec<(String, Agent)>, EngineError> {
        Up::agents(self).await
    }

    async fn look(&mut self, probes: &[ProbeSpec]) -> Result<Observed, EngineError> {
        self.settle().await?;
        Up::look(self, probes).await
    }

    fn caller(&mut self, probe: &ProbeSpec) -> Result<Caller, EngineError> {
        self.sender(probe)
    }

    fn met(&mut self, from: &str, to: &str) -> Result<bool, EngineError> {
        let _ = (from, to);
        Ok(false)
    }
}
