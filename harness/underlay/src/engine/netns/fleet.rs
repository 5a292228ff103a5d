//! The model's agents on a lab: what they decide is carried out by the nodes' kernels.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use cilium::config::AgentConfig;
use cilium::decisions::Masquerade;
use cilium::inputs::NodeInputs;
use cilium::{Decisions, Rules};
use lab::conntrack::Flow;
use lab::lab::blocking;
use lab::netlink::{NeighbourInfo, NeighbourState};
use lab::{Lab, Namespace};

use super::agents;
use super::datapath::{Beside, Datapath};
use super::firewall::Firewall;
use super::notice;
use crate::case::Case;
use crate::engine::fleet::Fleet;
use crate::engine::inputs::{self, node_index};
use crate::engine::install::Installed;
use crate::engine::pod::{Pod, PodNetwork};
use crate::engine::services::Service;
use crate::engine::wanted::Wanted;
use crate::nat::{self, NatEntry};
use crate::observed::{Agent, EngineError};

/// Nodes' places in the cluster and their routers' addresses, by name.
type Routers = BTreeMap<String, (usize, Ipv4Addr)>;

/// A node whose agent decided.
#[derive(Clone)]
struct Node {
    namespace: Namespace,
    inputs: NodeInputs,
    decisions: Decisions,
    beside: Beside,
    pods: Vec<Pod>,
}

/// Agents that are a model.
pub struct Modelled {
    rules: Rules,
    config: AgentConfig,
    agents: Vec<(String, Agent)>,
    /// Nodes whose agents run.
    nodes: Vec<Node>,
    routers: Routers,
    services: Vec<Service>,
}

impl Fleet for Modelled {
    const ENGINE: &'static str = "netns";
    type Setup = ();
    type Site = ();

    async fn site((): &(), _: &Case) -> Result<(), EngineError> {
        Ok(())
    }

    async fn start((): &(), (): &(), case: &Case, installed: &Installed, lab: &Lab) -> Result<Self, EngineError> {
        let config = installed.config.clone();
        let mut seen = Vec::new();
        for node in case.network.cluster_nodes() {
            if let Some(built) = lab.node(&node.name) {
                seen.push((built.namespace.clone(), inputs::read(case, node, &built.namespace)?));
            }
        }
        let inputs: Vec<_> = seen.iter().map(|(_, inputs)| inputs.clone()).collect();
        let decided = agents::decide(case, &config, &inputs);
        let rules = Rules::of(&case.version);
        let running = seen.into_iter().zip(&decided).filter_map(|((namespace, inputs), (_, agent))| {
            let decisions = agent.as_ref().ok()?.clone();
            let beside = Beside::of(&rules, &config, &inputs, &decisions);
            Some(Node { namespace, inputs, decisions, beside, pods: Vec::new() })
        });
        let nodes = running.collect();
        let agents = decided.into_iter().map(|(name, agent)| (name, agent.into())).collect();
        let routers =
            inputs.iter().map(|node| (node.name.clone(), (node_index(&case.network, &node.name), node.router_ip)));
        Ok(Self { rules, config, agents, nodes, routers: routers.collect(), services: Vec::new() })
    }

    async fn agents(&self) -> Result<Vec<(String, Agent)>, EngineError> {
        Ok(self.agents.clone())
    }

    async fn admit(&mut self, _: &Case, wanted: Vec<Vec<Wanted>>) -> Result<Vec<Vec<Pod>>, EngineError> {
        let building: Vec<_> = self
            .nodes
            .drain(..)
            .zip(wanted)
            .map(|(node, wanted)| {
                let routers = self.routers.clone();
                tokio::spawn(blocking(move || node.build(&wanted, &routers)))
            })
            .collect();
        for node in building {
            self.nodes.push(node.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?);
        }
        Ok(self.nodes.iter().map(|node| node.pods.clone()).collect())
    }

    async fn load(&mut self, services: &[Service]) -> Result<(), EngineError> {
        self.services = services.to_vec();
        self.load_rules().await
    }

    async fn react(&mut self, running: &Case) -> Result<(), EngineError> {
        let runs = |(_, agent): &(String, Agent)| matches!(agent, Agent::Running(_));
        if !self.agents.iter().any(runs) {
            return Ok(());
        }
        let seen = self.look(running)?;
        let changes: Vec<_> =
            self.nodes.iter().zip(&seen).map(|(node, seen)| ((&node.inputs, &node.decisions), seen)).collect();
        let decided = agents::decide_again(running, &self.config, &changes);
        for ((node, inputs), decisions) in self.nodes.iter_mut().zip(seen).zip(decided) {
            let Some((_, agent)) = self.agents.iter_mut().find(|(name, _)| *name == inputs.name) else { continue };
            if let Agent::Running(known) = agent {
                **known = decisions.clone();
                node.beside = Beside::of(&self.rules, &self.config, &inputs, &decisions);
                (node.inputs, node.decisions) = (inputs, decisions);
            }
        }
        self.carry_out().await
    }

    async fn notice(&mut self, running: &Case) -> Result<bool, EngineError> {
        let mut changed = false;
        for node in &self.nodes {
            let (links, routes) = inputs::seen(&node.namespace)?;
            let known = (&node.inputs.links[..], &node.inputs.routes[..]);
            changed |= notice::differs(&node.decisions, (&links, &routes), known);
        }
        if changed {
            self.react(running).await?;
        }
        Ok(changed)
    }

    /// One that dies of it leaves what it did before: programs and routes stay without their agent.
    async fn restart(&mut self, running: &Case, installed: &Installed) -> Result<(), EngineError> {
        (self.rules, self.config) = (Rules::of(&running.version), installed.config.clone());
        let seen = self.look(running)?;
        let known: Vec<_> = self.nodes.iter().map(|node| (node.inputs.name.clone(), node.decisions.node_ip)).collect();
        let decided = agents::decide_knowing(running, &self.config, &seen, &known);
        for ((node, inputs), (_, agent)) in self.nodes.iter_mut().zip(seen).zip(&decided) {
            if let Ok(decisions) = agent {
                node.beside = Beside::of(&self.rules, &self.config, &inputs, decisions);
                (node.inputs, node.decisions) = (inputs, decisions.clone());
            }
        }
        self.agents = decided.into_iter().map(|(name, agent)| (name, agent.into())).collect();
        self.carry_out().await
    }

    async fn end(&mut self) -> Result<(), EngineError> {
        self.agents.iter_mut().for_each(|(_, agent)| *agent = Agent::Absent);
        Ok(())
    }

    async fn nat(&self) -> Result<Vec<(String, Vec<NatEntry>)>, EngineError> {
        let table = |node: &Node| Ok((node.inputs.name.clone(), node.nat()?));
        self.nodes.iter().map(table).collect()
    }
}

impl Node {
    /// Its NAT table, as Cilium would have it. Cilium translates at the device's egress, once the neighbour is known;
    /// netfilter before that. So what waited for a neighbour in vain is in netfilter's table and not in Cilium's; and
    /// what iptables translates is in netfilter's alone (both measured, 1.18.2).
    fn nat(&self) -> lab::Result<Vec<NatEntry>> {
        if self.decisions.masquerade != Masquerade::Bpf {
            return Ok(Vec::new());
        }
        let mut netlink = self.namespace.netlink()?;
        let neighbours = netlink.neighbours()?;
        let links = netlink.links()?;
        drop(netlink);
        let sought_on = |neighbour: &NeighbourInfo| {
            let name = &links.iter().find(|link| link.index == neighbour.link)?.name;
            self.decisions.devices.iter().find(|device| device.name == *name)?.masquerade_source
        };
        let never_found = |flow: &Flow| {
            neighbours.iter().any(|neighbour| {
                neighbour.state != NeighbourState::Known
                    && neighbour.address == IpAddr::V4(*flow.reply.source.ip())
                    && sought_on(neighbour) == Some(*flow.reply.destination.ip())
            })
        };
        let mut flows = self.namespace.conntrack()?;
        flows.retain(|flow| !never_found(flow));
        Ok(nat::entries(&flows, self.inputs.pod_cidr))
    }
}

impl Modelled {
    /// Loads every node's services and rules.
    async fn load_rules(&self) -> Result<(), EngineError> {
        let node_ips: Vec<_> = self.nodes.iter().map(|node| node.decisions.node_ip).collect();
        let mut loading = Vec::new();
        for node in &self.nodes {
            let tables = Firewall {
                rules: &self.rules,
                decisions: &node.decisions,
                pod_cidr: node.inputs.pod_cidr,
                router_ip: node.inputs.router_ip,
                pods: &node.pods,
                services: &self.services,
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

    /// What each node's kernel shows without the agents' own decisions: what an agent sees that starts now.
    fn look(&self, running: &Case) -> Result<Vec<NodeInputs>, EngineError> {
        self.each(|node, datapath| datapath.withdraw(&node.pods))?;
        let nodes = self.nodes.iter().filter_map(|node| Some((node, running.network.node(&node.inputs.name)?)));
        nodes.map(|(node, config)| Ok(inputs::read(running, config, &node.namespace)?)).collect()
    }

    /// Carries every node's decisions out anew, after [`Modelled::look`].
    async fn carry_out(&self) -> Result<(), EngineError> {
        self.each(|node, datapath| {
            datapath.install()?;
            for pod in &node.pods {
                pod.set_mtu(node.pod_network())?;
                datapath.attach(pod)?;
            }
            Ok(())
        })?;
        self.load_rules().await
    }

    fn each(&self, work: impl Fn(&Node, &Datapath<'_>) -> lab::Result<()>) -> lab::Result<()> {
        self.nodes.iter().try_for_each(|node| {
            let peers = peers(&node.decisions, &self.routers);
            work(node, &node.datapath(&self.routers, &peers))
        })
    }
}

/// Each tunnel's peer, in the tunnels' order.
fn peers(decisions: &Decisions, routers: &Routers) -> Vec<(usize, Ipv4Addr)> {
    decisions.tunnels.iter().map(|tunnel| routers[&tunnel.peer]).collect()
}

impl Node {
    fn datapath<'a>(&'a self, routers: &Routers, peers: &'a [(usize, Ipv4Addr)]) -> Datapath<'a> {
        Datapath {
            namespace: &self.namespace,
            inputs: &self.inputs,
            decisions: &self.decisions,
            beside: &self.beside,
            node_index: routers[&self.inputs.name].0,
            peers,
        }
    }

    fn pod_network(&self) -> PodNetwork<'_> {
        PodNetwork {
            node: &self.inputs.name,
            namespace: &self.namespace,
            router_ip: self.inputs.router_ip,
            device_mtu: self.decisions.device_mtu,
            route_mtu: self.decisions.pod_mtu,
        }
    }

    /// Makes Cilium's devices and the pods.
    fn build(mut self, wanted: &[Wanted], routers: &Routers) -> lab::Result<Self> {
        let peers = peers(&self.decisions, routers);
        let mut pods = Vec::new();
        {
            let datapath = self.datapath(routers, &peers);
            datapath.add_devices()?;
            datapath.install()?;
            for pod in wanted {
                let pod = Pod::create(self.pod_network(), pod.name, pod.address, pod.identity)?;
                datapath.attach(&pod)?;
                pods.push(pod);
            }
        }
        self.pods = pods;
        Ok(self)
    }
}
