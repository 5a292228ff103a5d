//! A case that is kept up: what an engine lets be done with it until it is dropped.

use futures::future::BoxFuture;
use lab::Namespace;
use probe::Evidence;

use crate::case::{Case, ProbeSpec};
use crate::observed::{EngineError, Observed, Trace};
use crate::step::Step;
use crate::timeline::Timeline;

/// A lab with a cluster on it. Dropping it takes all of it down.
pub trait Live: Send + Sync {
    /// The case as the API server has it by now: steps change it.
    fn case(&self) -> &Case;

    /// What came of the case's own steps, which were taken before it was up.
    fn timeline(&self) -> &Timeline;

    /// What is known of it without sending anything: agents, DNS, ways of the overlay.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    fn observed(&self) -> BoxFuture<'_, Result<Observed, EngineError>>;

    /// Every namespace, by the name captures use: the internet, gateways, nodes, pods.
    fn namespaces(&self) -> Vec<Namespace>;

    /// Sends a probe; gives what came back, and the packet's way where it was seen.
    fn send<'a>(&'a self, probe: &'a ProbeSpec) -> BoxFuture<'a, Result<(Evidence, Option<Trace>), EngineError>>;

    /// The cluster's nodes, whose agents heed what becomes of links, addresses and routes.
    fn nodes(&self) -> Vec<Namespace>;

    /// Has agents take notice of what changed on their nodes by nobody's step. Whether anything had.
    fn notice(&mut self) -> BoxFuture<'_, Result<bool, EngineError>>;

    /// Takes steps and waits until the cluster has reacted.
    fn play<'a>(&'a mut self, steps: &'a [Step]) -> BoxFuture<'a, Result<Timeline, EngineError>>;
}
