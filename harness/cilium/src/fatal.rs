//! What an agent dies of at start, in its own words.

use serde::Serialize;

/// An agent's last words. The text is Cilium's, with the words it puts before it in that version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case", tag = "error")]
pub enum FatalError {
    /// No direct routing device (1.14 to 1.16 pkg/datapath/linux/devices.go, since 1.17 daemon/cmd/daemon.go).
    #[error("{prefix}unable to determine direct routing device. Use --direct-routing-device to specify it")]
    NoDirectRoutingDevice {
        /// The words before.
        prefix: String,
    },
    /// No device carries the node IP (1.14, devices.go `Detect`).
    #[error("{prefix}k8s is enabled, but still failed to find node IP: K8s node device not found")]
    NoNodeIpDevice {
        /// The words before.
        prefix: String,
    },
    /// A wildcard that matches nothing (1.14, devices.go `expandDeviceWildcards`).
    #[error("{prefix}device wildcard expansion failed to detect devices. Please verify --{option} option.")]
    WildcardExpansion {
        /// The words before.
        prefix: String,
        /// The option.
        option: &'static str,
    },
    /// A wildcard that matches nothing (1.15, devices.go `Detect`).
    #[error("{prefix}No device found matching {filter}")]
    NothingMatches {
        /// The words before.
        prefix: String,
        /// The list, as Go prints it.
        filter: String,
    },
    /// A listed device that does not exist (1.14, daemon/cmd/kube_proxy_replacement.go
    /// `finishKubeProxyReplacementInit`; later versions ignore it).
    #[error(
        "daemon creation failed: failed to finalise LB initialization: Cannot retrieve {device} link: Link not found"
    )]
    NoSuchDevice {
        /// The device.
        device: String,
    },
    /// eBPF masquerading without NodePort (1.15 to 1.18, daemon.go).
    #[error(
        "{prefix}unable to initialize BPF masquerade support: BPF masquerade requires NodePort (--enable-node-port=\"true\")"
    )]
    MasqueradeNeedsNodePort {
        /// The words before.
        prefix: String,
    },
    /// `egressMasqueradeInterfaces` with eBPF masquerading (1.15 and later, daemon.go).
    #[error(
        "{prefix}unable to initialize BPF masquerade support: BPF masquerade does not allow to specify devices via \
         --egress-masquerade-interfaces (use --devices instead)"
    )]
    MasqueradeInterfaces {
        /// The words before.
        prefix: String,
    },
    /// `enableMasqueradeRouteSource` with eBPF masquerading (1.15 and later, daemon.go).
    #[error(
        "{prefix}BPF masquerading to route source (--enable-masquerade-to-route-source=\"true\") currently not supported \
         with BPF-based masquerading (--enable-bpf-masquerade=\"true\")"
    )]
    MasqueradeRouteSource {
        /// The words before.
        prefix: String,
    },
    /// `ipMasqAgent` without eBPF masquerading (daemon.go).
    #[error(
        "{prefix}BPF ip-masq-agent requires (--enable-ipv4-masquerade=\"true\" or --enable-ipv6-masquerade=\"true\") and \
         --enable-bpf-masquerade=\"true\""
    )]
    IpMasqAgent {
        /// The words before.
        prefix: String,
    },
    /// eBPF masquerading with all masquerading off (1.15 and later, daemon.go).
    #[error("{prefix}BPF masquerade requires (--enable-ipv4-masquerade=\"true\" or --enable-ipv6-masquerade=\"true\")")]
    MasqueradeOff {
        /// The words before.
        prefix: String,
    },
    /// A value of `kubeProxyReplacement` the version does not know (1.14 to 1.17
    /// daemon/cmd/kube_proxy_replacement.go; 1.18 pkg/kpr/kpr.go; 1.19 reads a boolean).
    #[error("{message}")]
    KubeProxyReplacement {
        /// The whole text.
        message: String,
    },
    /// Native routing with masquerading and no `ipv4NativeRoutingCIDR` (pkg/option/config.go
    /// `checkIPv4NativeRoutingCIDR`). The chart's own check says the same where masquerading is on by a value.
    #[error(
        "native routing cidr must be configured with option --ipv4-native-routing-cidr in combination with {combination}"
    )]
    NativeRoutingCidr {
        /// The options at fault.
        combination: &'static str,
    },
    /// `autoDirectNodeRoutes` with a tunnel (1.14 to 1.20, daemon/cmd/daemon_main.go `initEnv`).
    #[error("auto-direct-node-routes {says}")]
    AutoDirectNodeRoutes {
        /// What the version says of the option.
        says: &'static str,
    },
    /// IPsec with NodePort by eBPF (1.14 and 1.15, daemon/cmd/kube_proxy_replacement.go
    /// `initKubeProxyReplacementOptions`).
    #[error(
        "daemon creation failed: unable to initialize kube-proxy replacement options: IPSec cannot be used with BPF NodePort"
    )]
    IpsecNodePort,
    /// IPsec with the host firewall (up to 1.18 daemon/cmd/daemon_main.go `initEnv`; since 1.19 daemon/cmd/daemon.go
    /// `initAndValidateDaemonConfig`).
    #[error("{prefix}IPSec cannot be used with the host firewall.")]
    IpsecHostFirewall {
        /// The words before.
        prefix: String,
    },
    /// Neither an InternalIP nor an ExternalIP, nor an address to fall back to (pkg/node/address.go).
    #[error("no IPv4 address for the node: the Node object has none and no device gives one")]
    NoNodeIp,
}
