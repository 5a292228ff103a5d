//! The node IP: what peers know the node by, and where they send their tunnels.

use std::net::Ipv4Addr;

use crate::fatal::FatalError;
use crate::first_global::{self, Prefer};
use crate::inputs::{Link, NodeInputs};

/// The Node object's address: InternalIP before ExternalIP (pkg/node/types/node.go `GetNodeIP`). No device list has a
/// say. It is read once, when the agent starts (daemon/cmd/local_node_sync.go; cilium #15406, #31066).
pub fn from_kubernetes(node: &NodeInputs) -> Option<Ipv4Addr> {
    node.internal_ip.or(node.external_ip)
}

/// The node IP. Only where the Node object has no address at all does the direct routing device give it
/// (pkg/node/address.go `setDefaultPrefix`).
///
/// # Errors
/// There is no address anywhere.
pub fn decide(node: &NodeInputs, direct_routing: Option<&Link>) -> Result<Ipv4Addr, FatalError> {
    from_kubernetes(node)
        .or_else(|| first_global::address(node, direct_routing, None, Prefer::Public))
        .ok_or(FatalError::NoNodeIp)
}
