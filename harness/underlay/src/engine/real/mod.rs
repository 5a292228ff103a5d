//! Real agents, wherever they run: how they are asked, and when they have done what is to be done.
//!
//! [`api`] talks to them, [`start`] tells whether they run, [`readback`] asks what they decided, [`settle`] and [`services`]
//! wait until that is carried out, [`log`] reads what they write, [`drops`] hears of what their programs drop.

pub mod api;
pub mod drops;
pub mod log;
pub mod readback;
pub mod services;
pub mod settle;
pub mod start;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::Namespace;

use crate::observed::EngineError;
use api::Api;
use settle::Settled;

/// What agents compile for their endpoints, a directory each (Cilium 1.18, pkg/defaults, `StateDir`).
pub const STATE: &str = "/run/cilium/state";
/// What they compile into all of their programs (Cilium 1.18, pkg/option, `GetNodeConfigPath`).
pub const NODE_CONFIG: &str = "/run/cilium/state/globals/node_config.h";

/// What agents say and the scenario calls otherwise, or knows nothing of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Nodes of the cluster, by what the topology calls them.
    pub nodes: BTreeMap<String, String>,
    /// An interface beside the lab, with its address there.
    pub management: Option<(String, Ipv4Addr)>,
}

impl Names {
    /// What the topology calls a node.
    fn node(&self, name: &str) -> String {
        self.nodes.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Whether an interface is beside the lab.
    fn is_beside(&self, interface: &str) -> bool {
        self.management.as_ref().is_some_and(|(name, _)| name == interface)
    }
}

/// A node with an agent that can be asked.
pub trait AgentNode: Sync {
    /// The node's name in the topology.
    fn name(&self) -> &str;

    /// The node's network namespace.
    fn namespace(&self) -> &Namespace;

    /// The agent's API.
    fn api(&self) -> &Api;

    /// What it says and the scenario calls otherwise.
    fn names(&self) -> Names {
        Names::default()
    }

    /// Where this process finds a file of the agent's.
    fn file(&self, path: &Path) -> PathBuf;

    /// How long to wait between two looks at it: what a question costs the machine is not to keep the agent from its work.
    fn pause(&self) -> Duration {
        Duration::from_millis(20)
    }

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
