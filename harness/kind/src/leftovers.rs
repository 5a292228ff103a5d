//! What a killed run left behind: clusters by the labels of their networks, and nodes whose network is gone.

use std::collections::BTreeMap;

use crate::cluster::{self, KEEP_LABEL, KIND_LABEL, NAME_LABEL, OWNER_LABEL};
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
    /// Who made it, as [`cluster::Wanted`] has it; none where nothing says so.
    pub owner: Option<String>,
}

/// Every cluster that was made by this program and of which docker still has something, by name. Who made it may be
/// another user or in another container, and may be using it.
///
/// # Errors
/// docker's answer.
pub async fn list(tools: &Tools) -> Result<Vec<Leftover>> {
    let filter = format!("label={NAME_LABEL}");
    let labels = [NAME_LABEL, KEEP_LABEL, OWNER_LABEL].map(|label| format!("{{{{.Label \"{label}\"}}}}"));
    let format = labels.join("\t");
    let networks = Call::new(Tool::Docker, ["network", "ls", "--filter", &filter, "--format", &format]);
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for line in tools.run(&networks).await?.lines() {
        let mut fields = line.splitn(3, '\t');
        let [name, keep, owner] = std::array::from_fn(|_| fields.next().unwrap_or_default());
        let leftover = found.entry(name.to_owned()).or_default();
        (leftover.network, leftover.kept) = (true, keep == "true");
        leftover.owner = (!owner.is_empty()).then(|| owner.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Said;
    use crate::transcript::{Entry, Player};

    fn said(arguments: &[&str], output: &str) -> Entry {
        let said = Said { code: Some(0), output: output.to_owned(), error: String::new() };
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Entry { tool: Tool::Docker, arguments, input: None, said }
    }

    #[test]
    fn who_made_a_cluster_is_read_from_its_label() {
        let labels = "{{.Label \"dev.underlay.cluster\"}}\t{{.Label \"dev.underlay.keep\"}}\t\
                      {{.Label \"dev.underlay.owner\"}}";
        let networks = said(
            &["network", "ls", "--filter", "label=dev.underlay.cluster", "--format", labels],
            "underlay-1\t\t{\"folder\":\"/run/a\"}\nunderlay-2\ttrue\t\n",
        );
        let nodes = "{{.Label \"io.x-k8s.kind.cluster\"}}\t{{.Names}}";
        let containers = said(
            &["ps", "--all", "--filter", "label=io.x-k8s.kind.cluster", "--format", nodes],
            "underlay-1\tunderlay-1-worker\nunderlay-3\tunderlay-3-worker\nkind\tkind-control-plane\n",
        );
        let tools = Tools::by(Player::new([networks, containers]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(list(&tools)).unwrap_or_else(|error| panic!("{error}"));
        let leftover = |name: &str, containers: &[&str], network, kept, owner: Option<&str>| Leftover {
            name: name.to_owned(),
            containers: containers.iter().map(|container| (*container).to_owned()).collect(),
            network,
            kept,
            owner: owner.map(str::to_owned),
        };
        let expected = [
            leftover("underlay-1", &["underlay-1-worker"], true, false, Some("{\"folder\":\"/run/a\"}")),
            leftover("underlay-2", &[], true, true, None),
            leftover("underlay-3", &["underlay-3-worker"], false, false, None),
        ];
        assert_eq!(found, expected);
    }
}
