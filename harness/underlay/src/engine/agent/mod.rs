//! The `agent` engine: the real cilium-agent and its eBPF in the lab's node namespaces, without Kubernetes.
//!
//! [`source`] says where Cilium comes from, [`options`] what agents are told, [`store`] is where they meet, [`node`] is
//! one node's agent and [`process`] a process of it; [`endpoint`] and [`services`] tell agents of pods and services, and
//! [`fleet`] puts it together. How agents are asked is [`real`](super::real)'s. Nothing is decided here.

mod endpoint;
mod fleet;
mod node;
mod options;
mod process;
mod services;
pub mod source;
mod store;

use std::pin::Pin;

use super::live::Live;
use super::run::{Watch, run};
use super::up::up;
use crate::case::Case;
use crate::observed::{Engine, EngineError, Observed};
use crate::verdict::Provenance;
use fleet::Real;
use source::Sources;

/// The engine.
#[derive(Debug, Clone)]
pub struct AgentEngine {
    sources: Sources,
}

impl AgentEngine {
    /// An engine with Cilium and etcd from there.
    pub fn new(sources: Sources) -> Self {
        Self { sources }
    }
}

impl Engine for AgentEngine {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Real
    }

    fn component(&self, version: &cilium::Version) -> Option<String> {
        self.sources.root(version).ok()?.component()
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(run::<Real>(&self.sources, case, Watch::On))
    }

    fn up<'a>(
        &'a self,
        case: &'a Case,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn Live>, EngineError>> + Send + 'a>> {
        Box::pin(up::<Real>(&self.sources, case))
    }
}
