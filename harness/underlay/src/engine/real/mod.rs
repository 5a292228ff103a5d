//! Real agents, wherever they run: how they are asked, and when they have done what is to be done.
//!
//! [`api`] talks to them, [`start`] tells whether they run, [`readback`] asks what they decided, [`settle`] and [`services`]
//! wait until that is carried out, [`log`] reads what they write.

pub mod api;
pub mod log;
pub mod readback;
pub mod services;
pub mod settle;
pub mod start;

use std::path::{Path, PathBuf};

use lab::Namespace;

use crate::observed::EngineError;
use api::Api;
use settle::Settled;

/// What agents compile for their endpoints, a directory each (Cilium 1.18, pkg/defaults, `StateDir`).
pub const STATE: &str = "/run/cilium/state";
/// What they compile into all of their programs (Cilium 1.18, pkg/option, `GetNodeConfigPath`).
pub const NODE_CONFIG: &str = "/run/cilium/state/globals/node_config.h";

/// A node with an agent that can be asked.
pub trait AgentNode: Sync {
    /// The node's name in the topology.
    fn name(&self) -> &str;

    /// The node's network namespace.
    fn namespace(&self) -> &Namespace;

    /// The agent's API.
    fn api(&self) -> &Api;

    /// Where this process finds a file of the agent's.
    fn file(&self, path: &Path) -> PathBuf;

    /// What `cilium-dbg` says to these arguments.
    ///
    /// # Errors
    /// It fails, or takes too long.
    fn ask(&self, arguments: &[&str]) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// What the agent's programs were for when they were last in place; none before that.
    fn last_settled(&self) -> Option<Settled>;

    /// They are in place now.
    fn settled(&self, now: Settled);
}
