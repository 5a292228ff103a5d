//! Where packets for other nodes' pods are sent, and the mark they travel with.

use std::net::Ipv4Addr;

use crate::config::{AgentConfig, Routing};
use crate::decisions::{NodeRoute, Tunnel};
use crate::inputs::NodeInputs;

/// The mark of a packet of the overlay (bpf/lib/common.h `MARK_MAGIC_OVERLAY`).
pub const OVERLAY: u32 = 0x0400;
/// Identity of the node itself (pkg/identity/reserved.go, as those below).
pub const HOST_IDENTITY: u32 = 1;
/// Identity of everything outside the cluster.
pub const WORLD_IDENTITY: u32 = 2;
/// Identity of the agents' health endpoints.
pub const HEALTH_IDENTITY: u32 = 4;
/// Identity of other nodes.
pub const REMOTE_NODE_IDENTITY: u32 = 6;
/// Identity of Ingress proxies. Its low byte is what tailscaled's routing rules take for their own (cilium #36104).
pub const INGRESS_IDENTITY: u32 = 8;
/// The first identity pods get.
pub const FIRST_POD_IDENTITY: u32 = 256;

/// The mark of VXLAN's outer packet (bpf/lib/overloadable_skb.h `set_identity_mark`, from bpf/bpf_overlay.c
/// `cil_to_overlay`): identity in the upper half, so that its low byte is bits 16 to 23; the cluster's number, which
/// an identity has in bits 16 to 23, in the lowest byte.
pub fn mark(identity: u32) -> u32 {
    OVERLAY | (identity & 0xffff) << 16 | (identity >> 16) & 0xff
}

/// The endpoints for the peers' pods: the peer's node IP, nothing where it is the own (pkg/datapath/ipcache/listener.go
/// `OnIPIdentityCacheChange`) or where routing is native.
pub fn endpoints(config: &AgentConfig, node: &NodeInputs, node_ip: Ipv4Addr) -> Vec<Tunnel> {
    node.peers
        .iter()
        .map(|peer| Tunnel {
            peer: peer.name.clone(),
            pod_cidr: peer.pod_cidr,
            endpoint: (config.routing != Routing::Native && peer.node_ip != node_ip).then_some(peer.node_ip),
        })
        .collect()
}

/// Whether a pod's packets to other nodes' own IPs travel inside the tunnel too: with the host firewall, which wants to
/// see the sender's identity (pkg/node/manager/manager.go `nodeAddressHasTunnelIP`, 1.14 to 1.20). Encryption between
/// nodes (`encryption.nodeEncryption`) would be another reason, and is not modelled.
pub fn carries_nodes(config: &AgentConfig) -> bool {
    config.routing != Routing::Native && config.host_firewall
}

/// The routes of `auto-direct-node-routes` (pkg/datapath/linux/node.go `updateDirectRoutes`); only native routing has
/// them.
pub fn node_routes(config: &AgentConfig, node: &NodeInputs) -> Vec<NodeRoute> {
    if config.routing != Routing::Native || !config.auto_direct_node_routes {
        return Vec::new();
    }
    node.peers.iter().map(|peer| NodeRoute { pod_cidr: peer.pod_cidr, via: peer.node_ip }).collect()
}
