//! The `netns` engine: Cilium's decisions by a model, carried out by the nodes' kernels.
//!
//! [`agents`] decides, [`datapath`] and [`firewall`] carry it out, [`fleet`] puts them together. What comes of a packet
//! is the kernel's doing alone.

pub mod agents;
mod datapath;
mod firewall;
mod fleet;
mod notice;

use std::pin::Pin;

use super::live::Live;
use super::run::{Watch, run};
use super::up::up;
use crate::case::Case;
use crate::observed::{Engine, EngineError, Observed};
use fleet::Modelled;

/// The engine. Has no state of its own: each run builds its network and lets it go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Netns;

impl Engine for Netns {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(run::<Modelled>(&(), case, Watch::On))
    }

    fn up<'a>(
        &'a self,
        case: &'a Case,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn Live>, EngineError>> + Send + 'a>> {
        Box::pin(up::<Modelled>(&(), case))
    }
}

/// The same engine with nobody watching the packets: what it takes to watch them is the difference. Silence is waited for
/// to the deadline where no part of the lab reports a drop, and there are no walks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Engine for Unwatched {
    fn name(&self) -> &'static str {
        "netns, unwatched"
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(run::<Modelled>(&(), case, Watch::Off))
    }
}
