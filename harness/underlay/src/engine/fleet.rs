//! What engines differ in: the cluster's agents, one for each node, and what they make of packets.

use std::net::Ipv4Addr;

use lab::Lab;

use super::install::Installed;
use super::pod::Pod;
use super::services::Service;
use crate::case::Case;
use crate::nat::NatEntry;
use crate::observed::{Agent, EngineError};

/// A pod to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its name below its node, `pod` or `coredns`.
    pub name: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its security identity.
    pub identity: u32,
}

/// The cluster's agents, one for each node, and what they make of packets.
pub trait Fleet: Send + Sync + Sized {
    /// Its engine's name.
    const ENGINE: &'static str;

    /// What it takes beside the case.
    type Setup: Clone + Send + Sync + 'static;

    /// Starts the agents on the lab's nodes and waits until each runs or has died.
    ///
    /// # Errors
    /// The kernel's answer, or what the host lacks. An agent's death at start is none.
    fn start(
        setup: &Self::Setup,
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
