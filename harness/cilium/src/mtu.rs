//! The MTU of pods and of the overlay's outer packets.

use std::net::Ipv4Addr;

use serde::Serialize;

use crate::config::{AgentConfig, Encryption, Routing};
use crate::inputs::{Link, NodeInputs};
use crate::rules::{MtuSource, Rules};

/// The largest MTU of a route Linux takes, and what is left where no device limits it (pkg/mtu/mtu.go `MaxMTU`).
pub const MAX: u32 = 65520;
/// What is assumed where nothing else is known (same file, `EthernetMTU`).
pub const ETHERNET: u32 = 1500;
/// What VXLAN or Geneve over IPv4 adds (`TunnelOverheadIPv4`).
pub const TUNNEL_OVERHEAD: u32 = 50;
/// What IPsec adds with a key of the default length (`EncryptionIPsecOverhead`).
pub const IPSEC_OVERHEAD: u32 = 77;

/// Both MTUs, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mtu {
    /// DeviceMTU.
    pub device: u32,
    /// RouteMTU: the pods'.
    pub pods: u32,
    /// Where it comes from.
    pub reason: String,
}

/// Devices whose MTU the agent itself sets (pkg/mtu/manager.go `excludedDevices`).
const OWN_DEVICES: [&str; 4] = ["cilium_vxlan", "cilium_geneve", "cilium_ipip4", "cilium_ipip6"];

/// Decides (since 1.17 pkg/mtu/manager.go `Updater`, before pkg/mtu/mtu.go `NewConfiguration`).
pub fn decide(rules: &Rules, config: &AgentConfig, node: &NodeInputs, selected: &[&Link], node_ip: Ipv4Addr) -> Mtu {
    let (device, reason) = match (config.mtu, rules.mtu) {
        (Some(mtu), _) => (mtu, "set by the value MTU".to_owned()),
        (None, MtuSource::NodeIpDevice) => match node.link_with(node_ip.into()) {
            Some(link) if link.mtu != 0 => (link.mtu, format!("{} carries the node IP", link.name)),
            _ => (ETHERNET, "no device carries the node IP".to_owned()),
        },
        (None, source) => {
            let dummies = source == MtuSource::SmallestSelected;
            let counted = selected.iter().filter(|link| !OWN_DEVICES.contains(&link.name.as_str()));
            let smallest = counted.filter(|link| dummies || link.kind != "dummy").min_by_key(|link| link.mtu);
            match smallest {
                Some(link) if link.mtu == 0 => (ETHERNET, format!("{} has none", link.name)),
                Some(link) if link.mtu < MAX => {
                    (link.mtu, format!("{} has the smallest of the selected devices", link.name))
                }
                _ => (MAX, "no selected device limits it".to_owned()),
            }
        }
    };
    Mtu { device, pods: pods(rules, config, device), reason }
}

/// `getRouteMTU`. Where nothing would be left, Ethernet's MTU is taken instead.
fn pods(rules: &Rules, config: &AgentConfig, device: u32) -> u32 {
    let beside_tunnel = config.encryption == Encryption::WireGuard && !rules.wireguard_in_tunnel;
    let tunnel = if config.routing == Routing::Native || beside_tunnel { 0 } else { TUNNEL_OVERHEAD };
    let overhead = tunnel
        + match config.encryption {
            Encryption::None => 0,
            Encryption::Ipsec => IPSEC_OVERHEAD,
            Encryption::WireGuard => rules.wireguard_overhead,
        };
    if device > overhead { device - overhead } else { ETHERNET - overhead }
}
