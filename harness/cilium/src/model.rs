//! Whose rules decide.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::agent;
use crate::config::AgentConfig;
use crate::decisions::Decisions;
use crate::fatal::FatalError;
use crate::guide;
use crate::inputs::NodeInputs;
use crate::version::Version;

/// Whose rules decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Cilium's, of the version at hand.
    #[default]
    Cilium,
    /// The guide's, and Cilium's where the guide is silent.
    Guide,
}

impl Model {
    /// Decides for one node.
    ///
    /// # Errors
    /// The agent dies at start.
    pub fn decide(self, version: &Version, config: &AgentConfig, node: &NodeInputs) -> Result<Decisions, FatalError> {
        match self {
            Self::Cilium => agent::decide(version, config, node),
            Self::Guide => guide::decide_by_guide(version, config, node),
        }
    }

    /// What an agent that runs makes of a change on its node. `before` is what it saw and decided last. The guide has
    /// no rule for that: by its rules the agent decides as at its start, and where it would die nothing changes.
    pub fn decide_again(
        self,
        version: &Version,
        config: &AgentConfig,
        before: (&NodeInputs, &Decisions),
        node: &NodeInputs,
    ) -> Decisions {
        match self {
            Self::Cilium => agent::decide_again(version, config, before, node),
            Self::Guide => guide::decide_by_guide(version, config, node).unwrap_or_else(|_| before.1.clone()),
        }
    }

    /// `cilium` or `guide`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cilium => "cilium",
            Self::Guide => "guide",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no model's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a model: write cilium or guide")]
pub struct UnknownModel(pub String);

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cilium" => Ok(Self::Cilium),
            "guide" => Ok(Self::Guide),
            other => Err(UnknownModel(other.to_owned())),
        }
    }
}
