//! The model's agents: each node's decisions. Pure, so that plans need no kernel.

use std::net::Ipv4Addr;

use cilium::config::AgentConfig;
use cilium::inputs::NodeInputs;
use cilium::{Decisions, FatalError};

use crate::case::Case;
use crate::engine::inputs;

/// Each node's decisions, or the error its agent died of, in the order of `nodes`.
///
/// Twice: what a peer's agent decides for its own address is what the others build tunnels to.
pub fn decide(case: &Case, config: &AgentConfig, nodes: &[NodeInputs]) -> Vec<(String, Result<Decisions, FatalError>)> {
    decide_knowing(case, config, nodes, &[])
}

/// The same in a cluster that ran before: a node whose agent dies now has its CiliumNode still, with the address in
/// `known`, and the others go on building tunnels to it.
pub fn decide_knowing(
    case: &Case,
    config: &AgentConfig,
    nodes: &[NodeInputs],
    known: &[(String, Ipv4Addr)],
) -> Vec<(String, Result<Decisions, FatalError>)> {
    let decide = |inputs: &NodeInputs| case.model.decide(&case.version, config, inputs);
    let node_ips: Vec<(String, Ipv4Addr)> = nodes
        .iter()
        .filter_map(|node| match decide(node) {
            Ok(decisions) => Some((node.name.clone(), decisions.node_ip)),
            Err(_) => known.iter().find(|(name, _)| *name == node.name).cloned(),
        })
        .collect();
    nodes
        .iter()
        .map(|node| {
            let peers = inputs::peers(case, &node.name, &node_ips);
            (node.name.clone(), decide(&NodeInputs { peers, ..node.clone() }))
        })
        .collect()
}

/// What running agents make of what they see now, in the order of `nodes`: what each saw and decided last, and what it
/// sees.
pub fn decide_again(
    case: &Case,
    config: &AgentConfig,
    nodes: &[((&NodeInputs, &Decisions), &NodeInputs)],
) -> Vec<Decisions> {
    let node_ips: Vec<(String, Ipv4Addr)> =
        nodes.iter().map(|((_, decided), node)| (node.name.clone(), decided.node_ip)).collect();
    nodes
        .iter()
        .map(|(before, node)| {
            let peers = inputs::peers(case, &node.name, &node_ips);
            case.model.decide_again(&case.version, config, *before, &NodeInputs { peers, ..(*node).clone() })
        })
        .collect()
}
