//! Each step: what it does to the network or the cluster, and who reacts.

use lab::netlink::{Netem, Netlink, Route};
use lab::nft::Statement;
use topology::network::OverlayBackend;

use super::fleet::Fleet;
use super::story::Taken;
use super::up::Up;
use crate::case::ProbeSpec;
use crate::observed::{Agent, EngineError, Observed};
use crate::step::{self, Action, Filter, Link};
use crate::timeline::{Caller, Stage};

impl<F: Fleet> Stage for Up<F> {
    async fn act(&mut self, action: &Action) -> Result<Option<String>, EngineError> {
        match action {
            Action::Install(_) | Action::Upgrade { .. } | Action::RestartAgents | Action::NodeIp { .. } => {
                match self.story.take(action) {
                    Taken::Refused(refusal) => return Ok(Some(refusal)),
                    Taken::Starts => self.start_agents().await?,
                    Taken::Nothing => {
                        if let Some(cluster) = &mut self.cluster {
                            cluster.fleet.reconfigured(action, self.story.current()).await?;
                        }
                    }
                }
            }
            Action::Uninstall => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.fleet.end().await?;
                }
                self.observed.nodes.iter_mut().for_each(|(_, agent)| *agent = Agent::Absent);
            }
            Action::RestartCoreDns => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.restart_dns(self.story.running()).await?;
                }
            }
            // It registers the Node with the address it has; pods go on, and agents don't look again.
            Action::RestartKubelet => {}
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
            Action::OverlayUp { node } => {
                if let Some(overlay) = &mut self.lab.overlay {
                    overlay.rejoin(node).await?;
                }
                self.react().await?;
            }
            Action::OverlayRoam { node } => {
                let backend = self.lab.network.overlay.as_ref().map(|overlay| overlay.backend);
                if backend == Some(OverlayBackend::Kernel) {
                    let what = "change an endpoint where the kernel does the overlay's encryption".to_owned();
                    return Err(EngineError::Unsupported { engine: F::ENGINE, what });
                }
                if let Some(overlay) = &mut self.lab.overlay {
                    overlay.roam(node).await?;
                }
            }
            Action::LinkDelete(link) => {
                self.netlink(link, |netlink| netlink.delete_link(&link.interface))?;
                self.react().await?;
            }
            Action::DeviceAppears(link) => {
                match &mut self.lab.overlay {
                    Some(overlay) if overlay.interface() == link.interface => overlay.rejoin(&link.node).await?,
                    _ => self.lab.plug(&link.node, &link.interface).await?,
                }
                self.react().await?;
            }
            Action::AddressAdd { link, address } => {
                self.netlink(link, |netlink| netlink.add_address(&link.interface, *address))?;
                self.react().await?;
            }
            Action::AddressRemove { link, address } => {
                self.netlink(link, |netlink| netlink.delete_address(&link.interface, *address))?;
                self.react().await?;
            }
            Action::RouteAdd(route) => {
                self.netlink(&route.link(), |netlink| netlink.add_route(&kernel_route(route)))?;
                self.react().await?;
            }
            Action::RouteRemove(route) => {
                self.netlink(&route.link(), |netlink| netlink.delete_route(&kernel_route(route)))?;
                self.react().await?;
            }
            Action::Block(filter) => {
                self.filters.push(filter.clone());
                self.block(&filter.vcn)?;
            }
            Action::Unblock { vcn, name } => {
                self.filters.retain(|filter| filter.name != *name);
                self.block(vcn)?;
            }
            Action::Impair { link, how } => {
                let how = Netem { delay: how.delay, jitter: how.jitter, loss: how.loss, rate: how.rate };
                self.netlink(link, |netlink| netlink.impair(&link.interface, how))?;
            }
            Action::Repair(link) => self.netlink(link, |netlink| netlink.repair(&link.interface))?,
            // They change nothing, and whoever plays the steps takes them himself.
            Action::WaitFor { .. } | Action::Check { .. } | Action::During { .. } => {}
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
        Ok(match &self.lab.overlay {
            Some(overlay) => overlay.met(from, to)?,
            None => false,
        })
    }
}

impl<F: Fleet> Up<F> {
    /// Asks a node's kernel for something.
    fn netlink(&self, link: &Link, work: impl FnOnce(&mut Netlink<'_>) -> lab::Result<()>) -> Result<(), EngineError> {
        match self.lab.node(&link.node) {
            Some(node) => Ok(work(&mut node.namespace.netlink()?)?),
            None => Ok(()),
        }
    }

    /// Has a gateway drop what its filters say by now.
    fn block(&mut self, vcn: &str) -> Result<(), EngineError> {
        let filters = self.filters.iter().filter(|filter| filter.vcn == vcn);
        let filters: Vec<_> = filters.map(|filter| (filter.name.clone(), matches(filter))).collect();
        Ok(self.lab.block(vcn, &filters)?)
    }
}

fn kernel_route(route: &step::Route) -> Route {
    let plain = Route::through(route.to, &route.device);
    route.via.map_or(plain.clone(), |via| plain.via(via))
}

fn matches(filter: &Filter) -> Vec<Statement> {
    let mut matches = Vec::new();
    matches.extend(filter.from.map(Statement::Source));
    matches.extend(filter.to.map(Statement::Destination));
    matches.extend(filter.protocol.map(Statement::Protocol));
    matches.extend(filter.port.map(Statement::DestinationPort));
    matches
}
