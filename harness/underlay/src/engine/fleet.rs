//! What engines differ in: the cluster's agents, one for each node, and what they make of packets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use lab::{Lab, Machine};

use super::install::{self, Installed};
use super::pod::Pod;
use super::renumber::Renumbered;
use super::services::Service;
use super::wanted::Wanted;
use crate::case::Case;
use crate::nat::NatEntry;
use crate::observed::{Agent, DnsState, EngineError};
use crate::step::Action;

/// Where a cluster stands that is there before its lab is: machines the lab is plugged into.
pub trait Site: Send + Sync {
    /// The machines, by the names of the topology's nodes.
    ///
    /// # Errors
    /// One has ended.
    fn machines(&self) -> Result<BTreeMap<String, Machine>, EngineError>;
}

/// There is nothing yet: the lab makes its nodes.
impl Site for () {
    fn machines(&self) -> Result<BTreeMap<String, Machine>, EngineError> {
        Ok(BTreeMap::new())
    }
}

/// A CoreDNS replica, as probes from its namespace and to it found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its namespace's name, `master/coredns`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Why it doesn't reach the API, if it doesn't: it isn't ready then.
    pub cut_off: Option<String>,
    /// Whether its node's kubelet reaches its liveness port: it would be restarted else.
    pub lives: bool,
}

/// The cluster's agents, one for each node, and what they make of packets.
pub trait Fleet: Send + Sync + Sized {
    /// Its engine's name.
    const ENGINE: &'static str;

    /// Whether the API server and CoreDNS are Kubernetes' own. Else stand-ins play them.
    const KUBERNETES: bool = false;

    /// What it takes beside the case.
    type Setup: Clone + Send + Sync + 'static;

    /// Where the cluster stands, as long as the case is up.
    type Site: Site;

    /// Makes room for a case, before its lab is built.
    ///
    /// # Errors
    /// What the host lacks, or what can't be made.
    fn site(setup: &Self::Setup, case: &Case) -> impl Future<Output = Result<Self::Site, EngineError>> + Send;

    /// What Helm makes of a case's values, or its refusal in its words.
    ///
    /// # Errors
    /// Helm can't be asked.
    fn install(
        setup: &Self::Setup,
        case: &Case,
    ) -> impl Future<Output = Result<Result<Installed, String>, EngineError>> + Send {
        let _ = setup;
        std::future::ready(Ok(install::install(case)))
    }

    /// Starts the agents on the lab's nodes and waits until each runs or has died.
    ///
    /// # Errors
    /// The kernel's answer, or what the host lacks. An agent's death at start is none.
    fn start(
        setup: &Self::Setup,
        site: &Self::Site,
        case: &Case,
        installed: &Installed,
        lab: &Lab,
    ) -> impl Future<Output = Result<Self, EngineError>> + Send;

    /// Each cluster node's agent by now, in the topology's order.
    ///
    /// # Errors
    /// An agent that runs doesn't answer.
    fn agents(&self) -> impl Future<Output = Result<Vec<(String, Agent)>, EngineError>> + Send;

    /// Makes each cluster node's pods, in the topology's order, and gives them their network. Called once, when all
    /// agents run.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn admit(
        &mut self,
        case: &Case,
        wanted: Vec<Vec<Wanted>>,
    ) -> impl Future<Output = Result<Vec<Vec<Pod>>, EngineError>> + Send;

    /// Tells the agents of these services, in place of those of before, and waits until they are carried out.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn load(&mut self, services: &[Service]) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// CoreDNS, as Kubernetes tells of it, once it has taken notice of what the probes found; none where a stand-in plays
    /// it.
    ///
    /// # Errors
    /// The API doesn't answer.
    fn dns(&self, replicas: &[Replica]) -> impl Future<Output = Result<Option<DnsState>, EngineError>> + Send {
        let _ = replicas;
        std::future::ready(Ok(None))
    }

    /// Pods whose addresses the cluster chose.
    fn renumbered(&self) -> Renumbered {
        Renumbered::default()
    }

    /// How long each part of what [`Self::site`] and [`Self::start`] did took; none where nobody wants to know.
    fn phases(&self) -> Vec<(&'static str, Duration)> {
        Vec::new()
    }

    /// The nodes' links, addresses or routes changed: agents that run take notice. `running` is what they run with.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn react(&mut self, running: &Case) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Agents that aren't told by the kernel look whether their nodes' links, addresses or routes are others than they
    /// know, and take notice. Whether they were. Real agents are told.
    ///
    /// # Errors
    /// The kernel's answer.
    fn notice(&mut self, running: &Case) -> impl Future<Output = Result<bool, EngineError>> + Send {
        let _ = running;
        std::future::ready(Ok(false))
    }

    /// Helm's release or a kubelet's address is another: `current` is what the API server says by now. Agents go on with what
    /// they read at their start. Nothing to be done where there is no API server.
    ///
    /// # Errors
    /// Helm's or Kubernetes' answer.
    fn reconfigured(
        &mut self,
        action: &Action,
        current: &Case,
    ) -> impl Future<Output = Result<(), EngineError>> + Send {
        let _ = (action, current);
        std::future::ready(Ok(()))
    }

    /// Every agent starts anew, with what the ConfigMap and the Node objects say by now.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn restart(
        &mut self,
        running: &Case,
        installed: &Installed,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Every agent ends, and no other takes its place. What it put into the kernel stays.
    ///
    /// # Errors
    /// The kernel's answer.
    fn end(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Each cluster node's NAT table, in the topology's order.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn nat(&self) -> impl Future<Output = Result<Vec<(String, Vec<NatEntry>)>, EngineError>> + Send;

    /// Why what is seen of packets can't be trusted: what agents failed to do, and went on.
    fn doubts(&self) -> Vec<String> {
        Vec::new()
    }

    /// What each agent wrote to its log, of agents that have one.
    fn logs(&self) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }
}
