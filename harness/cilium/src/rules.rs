//! What differs between the versions: one table, looked up here and nowhere else.

use serde::Serialize;

use crate::tunnel;
use crate::version::{Minor, Version};

/// How devices are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detection {
    /// From routes, with the node IP's device added by force (1.14, pkg/datapath/linux/devices.go, `Detect`).
    Routes,
    /// From a table of devices, each judged by itself (1.15, pkg/datapath/linux/devices_controller.go).
    Table,
}

/// How the agent splits the text of a list option such as `devices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListSyntax {
    /// At white space only: viper's `GetStringSlice` on a config directory's text (1.14 and 1.15 read `devices` in
    /// pkg/option/config.go). A comma becomes part of the name.
    WhiteSpace,
    /// At commas; at white space only if no comma was there. Nothing is trimmed, so `a, b` is `a` and ` b`
    /// (github.com/cilium/hive, cell/config.go; `devices` is a cell's flag since 1.16).
    CommaElseWhiteSpace,
}

/// Where the MTU comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MtuSource {
    /// The interface that carries the node IP (pkg/mtu/detect_linux.go, up to 1.16), once, at the agent's start (1.15
    /// and 1.16 pkg/mtu/cell.go `OnStart`, 1.14 daemon/cmd/daemon.go; what 1.16 sees change it only warns of).
    NodeIpDevice,
    /// The smallest of the selected devices (pkg/mtu/manager.go, 1.17.0).
    SmallestSelected,
    /// The same without dummies (1.18.0, backported within 1.17).
    SmallestSelectedButDummies,
}

/// Where a device's address for masquerading comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// Asked of the kernel, device by device, then of all devices (pkg/node/address_linux.go, `firstGlobalAddr`).
    FirstGlobal,
    /// The table of node addresses (pkg/datapath/tables/node_address.go).
    NodeAddressTable,
}

/// When an agent without a direct routing device dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceNeed {
    /// With NodePort, host firewall, encryption or L2 announcements (pkg/option/config.go, `AreDevicesRequired`).
    NodePort,
    /// The same with kube-proxy replacement or eBPF masquerading in NodePort's place (1.19, same function).
    KubeProxyReplacementOrMasquerade,
}

/// One version's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// How devices are found.
    pub detection: Detection,
    /// Whether a running agent chooses devices anew when they change: `enable-runtime-device-detection`, false by
    /// default up to 1.15 (daemon/cmd/daemon_main.go; 1.15 daemon/cmd/device-reloader.go) and the only mode since.
    pub follows_devices: bool,
    /// How `devices` is split.
    pub list_syntax: ListSyntax,
    /// Whether `force-device-detection` exists (1.16, devices_controller.go `DevicesConfig`; the chart's
    /// `forceDeviceDetection` likewise).
    pub force_detection: bool,
    /// Whether a match of `devices` comes before the checks for addresses and IFF_UP (1.19, commit 6d5900a0d7).
    pub listed_first: bool,
    /// Whether `!` excludes and the first matching entry wins (1.19, commit 31748fcda0).
    pub negation: bool,
    /// Whether IPoIB devices are left out by detection (1.18.0; 1.17.8 has it too, 1.17.0 has not).
    pub skip_ipoib: bool,
    /// Whether members of a VRF may be selected (1.20, commit bac08dfb5c).
    pub vrf_members: bool,
    /// Whether a `direct-routing-device` that matches nothing falls back to the node IP's device (1.17,
    /// pkg/datapath/tables/direct_routing_device.go; before, devices.go gives up).
    pub direct_routing_falls_back: bool,
    /// What makes the direct routing device necessary.
    pub device_need: DeviceNeed,
    /// Whether a wildcard that matches no device at all is fatal (devices.go: 1.14 `expandDeviceWildcards`, 1.15
    /// `Detect`).
    pub wildcard_must_match: bool,
    /// Whether ENABLE_SKIP_FIB exists (up to 1.18; removed by cilium #43277).
    pub skip_fib: bool,
    /// Whether a pod's packet to an address of its own node that its programs don't know goes up the stack when the
    /// lookup says that it is local. From 1.15.0 to 1.18.1 that answer is dropped like any other error (bpf/lib/fib.h
    /// `fib_redirect_v4`, DROP_NO_FIB with BPF_FIB_LKUP_RET_NOT_FWDED); 1.18.2 has bpf/bpf_lxc.c pass it on (cilium
    /// #41275). 1.14's programs know all addresses ([`Rules::address_table`]).
    pub local_to_stack: bool,
    /// Where the MTU comes from.
    pub mtu: MtuSource,
    /// What Cilium's WireGuard adds to a packet, in bytes (pkg/mtu/mtu.go `WireguardOverhead`): 80, and 95 with the
    /// padding (1.19.5 and 1.20, cilium #45940).
    pub wireguard_overhead: u32,
    /// Whether what Cilium's WireGuard encrypts was put into the tunnel before (1.15, cilium #29000, #30329; in 1.14 that
    /// takes `wireguard-encapsulate`, which is off by default), so that both overheads count.
    pub wireguard_in_tunnel: bool,
    /// Whether the table of node addresses exists (1.15; before, host addresses are those of all devices).
    pub address_table: bool,
    /// Whether dummies always contribute node addresses, even when down (1.17, node_address.go).
    pub dummy_addresses: bool,
    /// Whether the `*` rows exist, the addresses used where a device has none (1.16, node_address.go).
    pub fallback_addresses: bool,
    /// Whether only devices that contribute node addresses can give the fallback (1.19, `reconcile`).
    pub fallback_from_used: bool,
    /// Whether the node IP on a device is its primary address even where a public one is there (up to 1.18; changed
    /// for cilium #41866).
    pub node_ip_always_primary: bool,
    /// The widest scope number an address may have to count: RT_SCOPE_LINK - 1, since 1.19 RT_SCOPE_HOST
    /// (pkg/defaults/defaults_linux.go).
    pub max_scope: u8,
    /// Where the masquerade source comes from.
    pub masquerade_address: AddressSource,
    /// Whether eBPF masquerading that cannot be had is fatal (1.15; 1.14 falls back to iptables, daemon.go).
    pub masquerade_must_work: bool,
    /// Whether eBPF masquerading needs NodePort (up to 1.18; daemon.go).
    pub masquerade_needs_node_port: bool,
    /// Whether host routing is eBPF only without IPsec (up to 1.18, kube_proxy_replacement.go; 1.19 dropped it).
    pub ipsec_forces_legacy: bool,
    /// Whether IPsec and NodePort by eBPF exclude each other (up to 1.15, kube_proxy_replacement.go
    /// `initKubeProxyReplacementOptions`).
    pub ipsec_excludes_node_port: bool,
    /// Whether `strict`, `partial` and `disabled` are still values of kube-proxy-replacement (up to 1.15).
    pub old_kube_proxy_values: bool,
    /// Whether `nodePort.enabled` means anything (up to 1.18).
    pub node_port_option: bool,
    /// Whether VXLAN's outer packets carry the sender's identity in their mark (1.16, bpf/bpf_overlay.c
    /// `cil_to_overlay`; before, only that they are the overlay's, bpf/lib/overloadable_skb.h).
    pub mark_carries_identity: bool,
    /// Whether a service without backends is answered with an ICMP error (1.15, cilium #28157,
    /// `service-no-backend-response: reject`; before, its packets are dropped).
    pub rejects_without_backends: bool,
    /// What an agent says before the error of failed device detection.
    pub detection_error_prefix: &'static str,
    /// What an agent says before an error of its masquerading options.
    pub options_error_prefix: &'static str,
}

impl Rules {
    /// The mark of VXLAN's outer packets for a sender of this identity, which the kernel's routing of them sees.
    pub fn mark(&self, identity: u32) -> u32 {
        if self.mark_carries_identity { tunnel::mark(identity) } else { tunnel::OVERLAY }
    }

    /// The rules of a version. A version without a patch release takes its line's latest.
    pub fn of(version: &Version) -> Self {
        let minor = version.minor();
        let since = |first: Minor| minor >= first;
        let until = |last: Minor| minor <= last;
        // Between 1.17.0 and 1.17.8, the two releases read, the backports' exact release is unknown: the later wins.
        let late_1_17 = since(Minor::V1_18) || (minor == Minor::V1_17 && version.patch().is_none_or(|patch| patch > 0));
        Self {
            detection: if since(Minor::V1_15) { Detection::Table } else { Detection::Routes },
            follows_devices: since(Minor::V1_16),
            list_syntax: if since(Minor::V1_16) { ListSyntax::CommaElseWhiteSpace } else { ListSyntax::WhiteSpace },
            force_detection: since(Minor::V1_16),
            listed_first: since(Minor::V1_19),
            negation: since(Minor::V1_19),
            skip_ipoib: late_1_17,
            vrf_members: since(Minor::V1_20),
            direct_routing_falls_back: since(Minor::V1_17),
            device_need: if since(Minor::V1_19) {
                DeviceNeed::KubeProxyReplacementOrMasquerade
            } else {
                DeviceNeed::NodePort
            },
            wildcard_must_match: until(Minor::V1_15),
            skip_fib: until(Minor::V1_18),
            local_to_stack: match minor {
                Minor::V1_15 | Minor::V1_16 | Minor::V1_17 => false,
                Minor::V1_18 => version.patch().is_none_or(|patch| patch >= 2),
                _ => true,
            },
            mtu: match minor {
                _ if late_1_17 => MtuSource::SmallestSelectedButDummies,
                Minor::V1_17 => MtuSource::SmallestSelected,
                _ => MtuSource::NodeIpDevice,
            },
            wireguard_overhead: match minor {
                Minor::V1_20 => 95,
                Minor::V1_19 if version.patch().is_none_or(|patch| patch >= 5) => 95,
                _ => 80,
            },
            wireguard_in_tunnel: since(Minor::V1_15),
            address_table: since(Minor::V1_15),
            dummy_addresses: since(Minor::V1_17),
            fallback_addresses: since(Minor::V1_16),
            fallback_from_used: since(Minor::V1_19),
            node_ip_always_primary: until(Minor::V1_18),
            max_scope: if since(Minor::V1_19) { 254 } else { 252 },
            masquerade_address: if since(Minor::V1_16) {
                AddressSource::NodeAddressTable
            } else {
                AddressSource::FirstGlobal
            },
            masquerade_must_work: since(Minor::V1_15),
            masquerade_needs_node_port: until(Minor::V1_18),
            ipsec_forces_legacy: until(Minor::V1_18),
            ipsec_excludes_node_port: until(Minor::V1_15),
            old_kube_proxy_values: until(Minor::V1_15),
            node_port_option: until(Minor::V1_18),
            mark_carries_identity: since(Minor::V1_16),
            rejects_without_backends: since(Minor::V1_15),
            detection_error_prefix: match minor {
                Minor::V1_14 | Minor::V1_15 | Minor::V1_16 => "daemon creation failed: failed to detect devices: ",
                Minor::V1_17 | Minor::V1_18 => "daemon creation failed: ",
                _ => "daemon configuration failed: ",
            },
            options_error_prefix: if since(Minor::V1_19) {
                "failed to init and validate daemon config: "
            } else {
                "daemon creation failed: "
            },
        }
    }
}
