//! What a killed run left behind: clusters by the labels of their networks, and nodes whose network is gone.

use std::collections::BTreeMap;

use crate::cluster::{self, KEEP_LABEL, KIND_LABEL, NAME_LABEL};
use crate::error::Result;
use crate::tools::{Call, Tool, Tools};

/// How the names of all clusters that are made here begin.
pub const PREFIX: &str = "underlay-";

/// Docker objects of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftover {
    /// The cluster's name.
    pub name: String,
    /// Its nodes' containers.
    pub containers: Vec<String>,
    /// Whether its network is there.
    pub network: bool,
    /// Whether whoever made it wanted to keep it.
    pub kept: bool,
}

/// Every cluster that was made here and of which docker still has something, by name.
///
/// # Errors
/// docker's answer.
pub async fn list(tools: &Tools) -> Result<Vec<Leftover>> {
    let filter = format!("label={NAME_LABEL}");
    let format = format!("{{{{.Label \"{NAME_LABEL}\"}}}}\t{{{{.Label \"{KEEP_LABEL}\"}}}}");
    let networks = Call::new(Tool::Docker, ["network", "ls", "--filter", &filter, "--format", &format]);
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for line in tools.run(&networks).await?.lines() {
        let (name, keep) = line.split_once('\t').unwrap_or((line, ""));
        let leftover = found.entry(name.to_owned()).or_default();
        (leftover.network, leftover.kept) = (true, keep == "true");
    }
    let filter = format!("label={KIND_LABEL}");
    let format = format!("{{{{.Label \"{KIND_LABEL}\"}}}}\t{{{{.Names}}}}");
    let containers = Call::new(Tool::Docker, ["ps", "--all", "--filter", &filter, "--format", &format]);
    for line in tools.run(&containers).await?.lines() {
        // kind's own clusters, and other people's, are none of this program's.
        let Some((name, container)) = line.split_once('\t').filter(|(name, _)| name.starts_with(PREFIX)) else {
            continue;
        };
        found.entry(name.to_owned()).or_default().containers.push(container.to_owned());
    }
    let named = |(name, leftover)| Leftover { name, ..leftover };
    Ok(found.into_iter().map(named).collect())
}

/// Removes it.
///
/// # Errors
/// docker's or kind's answer.
pub async fn remove(tools: &Tools, leftover: &Leftover) -> Result<()> {
    cluster::delete(tools, &leftover.name).await
}
