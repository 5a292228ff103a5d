//! The cluster's agents: Helm values in, each node's decisions out. Pure, so that plans need no kernel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cilium::config::AgentConfig;
use cilium::inputs::NodeInputs;
use cilium::{Decisions, FatalError, Values};

use super::inputs;
use crate::case::Case;

/// What Helm made of a case's values.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The agents' options.
    pub config: AgentConfig,
    /// Values that are known to the chart and mean nothing to the model.
    pub not_modelled: Vec<String>,
    /// Values the chart doesn't know, with a suggestion where one is near.
    pub unknown: Vec<String>,
}

/// Renders the case's values as Helm and the chart would.
///
/// # Errors
/// Helm's refusal, in its words.
pub fn install(case: &Case) -> Result<Installed, String> {
    let mut values = Values::from(case.values.clone());
    for argument in &case.set {
        values.set(argument).map_err(|error| error.to_string())?;
    }
    let sorted = values.sort(&case.version);
    let config = AgentConfig::from_values(&case.version, &values).map_err(|error| error.to_string())?;
    Ok(Installed {
        config,
        not_modelled: sorted.not_modelled,
        unknown: sorted.unknown.iter().map(ToString::to_string).collect(),
    })
}

/// Each node's decisions, or the error its agent died of, in the order of `nodes`.
///
/// Twice: what a peer's agent decides for its own address is what the others build tunnels to.
pub fn decide(case: &Case, config: &AgentConfig, nodes: &[NodeInputs]) -> Vec<(String, Result<Decisions, FatalError>)> {
    let decide = |inputs: &NodeInputs| case.model.decide(&case.version, config, inputs);
    let node_ips: Vec<(String, Ipv4Addr)> = nodes
        .iter()
        .filter_map(|node| decide(node).ok().map(|decisions| (node.name.clone(), decisions.node_ip)))
        .collect();
    nodes
        .iter()
        .map(|node| {
            let peers = inputs::peers(case, &node.name, &node_ips);
            (node.name.clone(), decide(&NodeInputs { peers, ..node.clone() }))
        })
        .collect()
}

/// Each running node's own address, by name.
pub fn node_ips(agents: &[(String, Result<Decisions, FatalError>)]) -> BTreeMap<String, Ipv4Addr> {
    agents
        .iter()
        .filter_map(|(name, agent)| agent.as_ref().ok().map(|decisions| (name.clone(), decisions.node_ip)))
        .collect()
}
