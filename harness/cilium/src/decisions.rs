//! What an agent decides. The engine carries these out and decides nothing itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Serialize;

pub use crate::config::Routing;
pub use crate::node_address::NodeAddress;

/// Everything one agent decides for its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// The devices Cilium manages, in link index order.
    pub devices: Vec<Device>,
    /// Every other device with the reason it was left out, in link index order.
    pub not_selected: Vec<NotSelected>,
    /// CiliumNode's address; also the VXLAN endpoint the peers use.
    pub node_ip: Ipv4Addr,
    /// The direct routing device.
    pub direct_routing_device: Option<String>,
    /// Whether pods' packets pass the host's stack.
    pub host_routing: HostRouting,
    /// `Some(device)` when ENABLE_SKIP_FIB is compiled into the pods' programs: no lookup, all goes to that device.
    pub skip_fib: Option<String>,
    /// Where a pod's packet goes that is neither for a pod nor for a host address the agent knows.
    pub egress: Egress,
    /// The same for a packet whose destination a service's translation replaced. Cilium knows no difference; the
    /// guide's rule for "anything else" leaves services out, so Cilium's own rule holds for them.
    pub service_egress: Egress,
    /// How sources are translated on the way out.
    pub masquerade: Masquerade,
    /// Destinations exempt from masquerading beside [`Decisions::snat_exclusion`]: the ip-masq-agent's and, with native
    /// routing, the other nodes' IPs.
    pub masquerade_exempt: Vec<Ipv4Net>,
    /// Destinations that are never masqueraded: `ipv4-native-routing-cidr`, else the node's own pod CIDR.
    pub snat_exclusion: Ipv4Net,
    /// Addresses the pods' programs know to be the host's: packets to them go up the stack.
    pub host_addresses: Vec<Ipv4Addr>,
    /// The table of node addresses (`cilium-dbg shell -- db/show node-addresses`), IPv4 only; device `*` is the
    /// fallback. Empty in 1.14, which has no such table.
    pub node_addresses: Vec<NodeAddress>,
    /// How packets for other nodes' pods travel.
    pub routing: Routing,
    /// DeviceMTU in bytes: what the overlay's outer packet may have.
    pub device_mtu: u32,
    /// RouteMTU in bytes: the pods' MTU.
    pub pod_mtu: u32,
    /// Where packets for the peers' pods are sent, one entry a peer.
    pub tunnels: Vec<Tunnel>,
    /// Routes to the peers' pods the agent puts into the main table (`autoDirectNodeRoutes`, native routing only).
    pub node_routes: Vec<NodeRoute>,
    /// Each decision's rule, in order of decision.
    pub because: Vec<Because>,
    /// Of a real agent, what it didn't tell: a decision's name, `skip-fib`, and why. The field says nothing then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<String, String>,
}

/// A selected device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Interface name.
    pub name: String,
    /// Why it was selected, in words.
    pub reason: String,
    /// Addresses on which NodePort services answer, through this device.
    pub nodeport_addresses: Vec<Ipv4Addr>,
    /// The source that packets masqueraded by eBPF on this device get; `None` where the agent has no IPv4 address for
    /// it, or eBPF doesn't masquerade.
    pub masquerade_source: Option<Ipv4Addr>,
    /// Whether it is a layer 3 device (no hardware address).
    pub layer3: bool,
}

/// A device left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotSelected {
    /// Interface name.
    pub name: String,
    /// Cilium's own words (`NotSelectedReason`).
    pub reason: String,
}

/// How a pod's packets leave its veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostRouting {
    /// eBPF host routing: past the host's stack.
    Bpf,
    /// Through the host's stack, its rules and its netfilter.
    Legacy,
}

/// Where a pod's packet goes that is neither for a pod nor for a host address the agent knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// The kernel's routing decides, policy rules included; local addresses go up the stack.
    Fib,
    /// Always this device, whatever the routes say: to the gateway of its default route, else on-link.
    Device {
        /// The device.
        device: String,
    },
}

/// How sources are translated on the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Masquerade {
    /// Not at all.
    Off,
    /// By eBPF on each selected device, to that device's [`Device::masquerade_source`].
    Bpf,
    /// By iptables on every device that is not Cilium's own, to the source the kernel's routing prefers there.
    Iptables {
        /// `egress-masquerade-interfaces`: only these (name, or prefix with a trailing `+`); empty for all.
        interfaces: Vec<String>,
    },
}

/// Where packets for a peer's pods are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// The peer's name.
    pub peer: String,
    /// The peer's pods.
    pub pod_cidr: Ipv4Net,
    /// VXLAN's outer destination; `None` where it equals the own node IP, or routing is native, so that nothing is
    /// encapsulated.
    pub endpoint: Option<Ipv4Addr>,
}

/// A route to a peer's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeRoute {
    /// The peer's pods.
    pub pod_cidr: Ipv4Net,
    /// The peer's node IP, which must be on a common network.
    pub via: Ipv4Addr,
}

/// A decision's rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    /// What was decided: `devices`, `node-ip`, `direct-routing-device`, `skip-fib` …
    pub decision: String,
    /// The outcome and its reason, in a sentence.
    pub says: String,
    /// Cilium's file and version, or the guide's section.
    pub source: String,
}

impl Decisions {
    /// The selected device of that name.
    pub fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// Masquerading in the words of `cilium status`: `BPF [enp0s6, tailscale0]`, `IPTables` or `Disabled`.
    pub fn masquerading(&self) -> String {
        match self.masquerade {
            Masquerade::Off => "Disabled".to_owned(),
            Masquerade::Iptables { .. } => "IPTables".to_owned(),
            Masquerade::Bpf => {
                let names: Vec<_> = self.devices.iter().map(|device| device.name.as_str()).collect();
                format!("BPF [{}]", names.join(", "))
            }
        }
    }
}
