//! The `kind` engine: Kubernetes itself, on kind's nodes whose network is the lab's, with Cilium by its chart.
//!
//! [`setup`] is what it takes and fetches, [`pool`] the cluster that is there from case to case and [`clean`] what makes it
//! as new; [`stages`] brings about what a scenario says of Kubernetes, [`values`] what Cilium needs on such nodes,
//! [`agents`] waits for agents, [`node`] is one of them; [`pods`] makes test pods, [`dns`] reads CoreDNS' state, and
//! [`fleet`] puts it together. How agents are asked is [`real`](super::real)'s. Nothing is decided here.

mod agents;
mod clean;
mod dns;
mod fleet;
mod node;
mod pods;
pub mod pool;
pub mod setup;
mod stages;
pub mod values;

use futures::future::BoxFuture;

use super::live::Live;
use super::run::{Watch, run};
use super::up::up;
use crate::case::Case;
use crate::observed::{Engine, EngineError, Observed};
use crate::step::Action;
use crate::verdict::Provenance;
use fleet::OnKind;
use setup::Setup;

/// The engine.
#[derive(Debug, Clone)]
pub struct KindEngine {
    setup: Setup,
}

impl KindEngine {
    /// An engine with what was prepared.
    pub fn new(setup: Setup) -> Self {
        Self { setup }
    }
}

impl Engine for KindEngine {
    fn name(&self) -> &'static str {
        setup::ENGINE
    }

    fn provenance(&self) -> Provenance {
        Provenance::Real
    }

    fn component(&self, version: &cilium::Version) -> Option<String> {
        self.setup.component(version)
    }

    fn kubernetes(&self) -> Option<String> {
        self.setup.kubernetes().or_else(|| self.setup.asked_for()).map(str::to_owned)
    }

    fn refuses(&self, action: &Action) -> Option<String> {
        match action {
            Action::RestartCoreDns => Some("its pods would be others, with other addresses".to_owned()),
            _ => None,
        }
    }

    fn run<'a>(&'a self, case: &'a Case) -> BoxFuture<'a, Result<Observed, EngineError>> {
        Box::pin(run::<OnKind>(&self.setup, case, Watch::On))
    }

    fn up<'a>(&'a self, case: &'a Case) -> BoxFuture<'a, Result<Box<dyn Live>, EngineError>> {
        Box::pin(up::<OnKind>(&self.setup, case))
    }

    fn close(&self) -> BoxFuture<'_, Result<Option<String>, EngineError>> {
        Box::pin(async move { self.setup.pool().lock_owned().await.end(&self.setup).await })
    }
}
