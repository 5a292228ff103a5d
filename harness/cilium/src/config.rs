//! The agent's options, read as the agent reads them.

use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::Value;

use crate::chart::{self, ConfigMap, Refusal};
use crate::device_filter::DeviceFilter;
use crate::rules::{ListSyntax, Rules};
use crate::values::Values;
use crate::version::{Minor, Version};

/// How packets for other nodes' pods travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// Inside VXLAN.
    Vxlan,
    /// Inside Geneve.
    Geneve,
    /// As they are, by the network's routes.
    Native,
}

/// Encryption between nodes, as far as it changes the decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// None.
    None,
    /// IPsec.
    Ipsec,
    /// Cilium's own WireGuard device.
    WireGuard,
}

/// An agent's options as far as the model knows them, after the chart's and the agent's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentConfig {
    /// `devices`; empty for auto-detection.
    pub devices: DeviceFilter,
    /// `force-device-detection`.
    pub force_device_detection: bool,
    /// `direct-routing-device`: name or prefix with a trailing `+`.
    pub direct_routing_device: Option<String>,
    /// `kube-proxy-replacement` as written; the chart's default is `false`.
    pub kube_proxy_replacement: String,
    /// `enable-node-port`: NodePort by eBPF without kube-proxy replacement (up to 1.18).
    pub node_port: bool,
    /// `enable-host-legacy-routing`.
    pub host_legacy_routing: bool,
    /// `enable-endpoint-routes`.
    pub endpoint_routes: bool,
    /// `enable-ipv4-masquerade`.
    pub ipv4_masquerade: bool,
    /// `enable-bpf-masquerade`.
    pub bpf_masquerade: bool,
    /// `enable-masquerade-to-route-source`.
    pub masquerade_route_source: bool,
    /// `egress-masquerade-interfaces`: names, or prefixes with a trailing `+`.
    pub egress_masquerade_interfaces: Vec<String>,
    /// What [`derive_option`] names; the chart has no value for it, `extraConfig` has.
    pub derive_masquerade_from: Option<String>,
    /// `enable-ip-masq-agent`: its exempted destinations; `None` when off.
    pub ip_masq_agent: Option<Vec<Ipv4Net>>,
    /// `ipv4-native-routing-cidr`.
    pub ipv4_native_routing_cidr: Option<Ipv4Net>,
    /// `mtu`; `None` for detection.
    pub mtu: Option<u32>,
    /// `routing-mode` and `tunnel-protocol`.
    pub routing: Routing,
    /// `auto-direct-node-routes`.
    pub auto_direct_node_routes: bool,
    /// `nodeport-addresses`; empty for one address a device.
    pub nodeport_addresses: Vec<Ipv4Net>,
    /// `enable-ipsec`, `enable-wireguard`.
    pub encryption: Encryption,
    /// `enable-host-firewall`.
    pub host_firewall: bool,
    /// `enable-l2-announcements`.
    pub l2_announcements: bool,
    /// The options as the chart wrote them.
    pub config_map: ConfigMap,
}

/// Values an agent can't be configured with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The chart or Kubernetes refuses a value.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The agent can't read an option.
    #[error("{path}: `{value}` is not {expected}")]
    Unreadable {
        /// The Helm value's path, or the option set through `extraConfig`.
        path: &'static str,
        /// What was written.
        value: String,
        /// What the agent takes.
        expected: &'static str,
    },
}

/// The option that names the device whose address masqueraded packets get (1.14 and 1.15 pkg/option/config.go; 1.16
/// pkg/datapath/loader/cell.go; since 1.17 pkg/datapath/orchestrator/orchestrator.go). Either name means nothing where
/// the other is the option's.
pub fn derive_option(minor: Minor) -> &'static str {
    match minor {
        Minor::V1_14 | Minor::V1_15 => "derive-masquerade-ip-addr-from-device",
        _ => "derive-masq-ip-addr-from-device",
    }
}

/// The destinations the ip-masq-agent exempts when it has no configuration (pkg/ipmasq/ipmasq.go,
/// `defaultNonMasqCIDRs`), and link-local ones, which it exempts unless told otherwise.
const DEFAULT_EXEMPT: [[u8; 5]; 11] = [
    [10, 0, 0, 0, 8],
    [172, 16, 0, 0, 12],
    [192, 168, 0, 0, 16],
    [100, 64, 0, 0, 10],
    [192, 0, 0, 0, 24],
    [192, 0, 2, 0, 24],
    [192, 88, 99, 0, 24],
    [198, 18, 0, 0, 15],
    [198, 51, 100, 0, 24],
    [203, 0, 113, 0, 24],
    [240, 0, 0, 0, 4],
];
const LINK_LOCAL: [u8; 5] = [169, 254, 0, 0, 16];

fn net([a, b, c, d, length]: [u8; 5]) -> Ipv4Net {
    Ipv4Net::new_assert([a, b, c, d].into(), length)
}

impl AgentConfig {
    /// The options an agent of this version gets from these Helm values.
    ///
    /// # Errors
    /// A value the chart or Kubernetes refuses, or of a form the agent can't read; the error names its path.
    pub fn from_values(version: &Version, values: &Values) -> Result<Self, ConfigError> {
        let mut config = Self::from_config_map(version, &chart::config_map(version, values)?)?;
        if let Some(exempt) = &mut config.ip_masq_agent {
            *exempt = exempt_destinations(values)?;
        }
        Ok(config)
    }

    /// The options of a ConfigMap.
    ///
    /// # Errors
    /// An option can't be read.
    pub fn from_config_map(version: &Version, map: &ConfigMap) -> Result<Self, ConfigError> {
        let rules = Rules::of(version);
        let options = Options { map };
        let list = |option| DeviceFilter::parse(rules.list_syntax, options.text(option).unwrap_or_default());
        let tunnelled = match options.text("routing-mode").unwrap_or("tunnel") {
            "native" => false,
            "tunnel" => true,
            other => return Err(unreadable("routingMode", other, "native or tunnel")),
        };
        let protocol = match options.text("tunnel-protocol").unwrap_or("vxlan") {
            "vxlan" => Routing::Vxlan,
            "geneve" => Routing::Geneve,
            other => return Err(unreadable("tunnelProtocol", other, "vxlan or geneve")),
        };
        let encryption = match (options.bool("enable-ipsec", false)?, options.bool("enable-wireguard", false)?) {
            (true, _) => Encryption::Ipsec,
            (_, true) => Encryption::WireGuard,
            _ => Encryption::None,
        };
        // One text in 1.14; since 1.15 several (pkg/option/config.go `MasqueradeInterfaces`, read by
        // `vp.GetStringSlice`, in no version a cell's flag, and so split at white space alone).
        let egress_masquerade_interfaces = match options.text("egress-masquerade-interfaces") {
            Some(text) if version.minor() < Minor::V1_15 => vec![text.to_owned()],
            Some(text) => DeviceFilter::parse(ListSyntax::WhiteSpace, text).0,
            None => Vec::new(),
        };
        Ok(Self {
            devices: list("devices"),
            force_device_detection: rules.force_detection && options.bool("force-device-detection", false)?,
            direct_routing_device: options.text("direct-routing-device").map(str::to_owned),
            kube_proxy_replacement: options.text("kube-proxy-replacement").unwrap_or("false").to_owned(),
            node_port: rules.node_port_option && options.bool("enable-node-port", false)?,
            host_legacy_routing: options.bool("enable-host-legacy-routing", false)?,
            endpoint_routes: options.bool("enable-endpoint-routes", false)?,
            ipv4_masquerade: options.bool("enable-ipv4-masquerade", true)?,
            bpf_masquerade: options.bool("enable-bpf-masquerade", false)?,
            masquerade_route_source: version.minor() >= Minor::V1_15
                && options.bool("enable-masquerade-to-route-source", false)?,
            egress_masquerade_interfaces,
            derive_masquerade_from: options.text(derive_option(version.minor())).map(str::to_owned),
            ip_masq_agent: options
                .bool("enable-ip-masq-agent", false)?
                .then(|| DEFAULT_EXEMPT.into_iter().chain([LINK_LOCAL]).map(net).collect()),
            ipv4_native_routing_cidr: options.parsed("ipv4-native-routing-cidr", "an IPv4 CIDR")?,
            mtu: options.parsed::<u32>("mtu", "a whole number")?.filter(|mtu| *mtu != 0),
            routing: if tunnelled { protocol } else { Routing::Native },
            auto_direct_node_routes: options.bool("auto-direct-node-routes", false)?,
            nodeport_addresses: node_port_addresses(options.text("nodeport-addresses").unwrap_or_default())?,
            encryption,
            host_firewall: options.bool("enable-host-firewall", false)?,
            l2_announcements: options.bool("enable-l2-announcements", false)?,
            config_map: map.clone(),
        })
    }

    /// Whether services are handled by eBPF instead of kube-proxy.
    pub fn replaces_kube_proxy(&self) -> bool {
        self.kube_proxy_replacement.eq_ignore_ascii_case("true") || self.kube_proxy_replacement == "strict"
    }
}

/// IPv6 ranges are legal and say nothing about IPv4.
fn node_port_addresses(text: &str) -> Result<Vec<Ipv4Net>, ConfigError> {
    let mut nets = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        match part.parse::<ipnet::IpNet>() {
            Ok(ipnet::IpNet::V4(net)) => nets.push(net.trunc()),
            Ok(ipnet::IpNet::V6(_)) => {}
            Err(_) => return Err(unreadable("nodePort.addresses", part, "a CIDR")),
        }
    }
    Ok(nets)
}

/// `ipMasqAgent.config`, which the chart puts into a ConfigMap of its own if it says anything: `nonMasqueradeCIDRs`,
/// `masqLinkLocal`. The agent's defaults are for a file that isn't there or is empty; one that names no CIDRs exempts
/// none (pkg/ipmasq/ipmasq.go `readConfig`).
fn exempt_destinations(values: &Values) -> Result<Vec<Ipv4Net>, ConfigError> {
    const PATH: &str = "ipMasqAgent.config.nonMasqueradeCIDRs";
    let is_written = values.get("ipMasqAgent.config").is_some_and(chart::is_true);
    let mut exempt = Vec::new();
    match values.get(PATH) {
        None if is_written => {}
        None => exempt.extend(DEFAULT_EXEMPT.map(net)),
        Some(Value::Array(list)) => {
            for element in list {
                let text = element.as_str().unwrap_or_default();
                match text.parse::<ipnet::IpNet>() {
                    Ok(ipnet::IpNet::V4(net)) => exempt.push(net.trunc()),
                    Ok(ipnet::IpNet::V6(_)) => {}
                    Err(_) => return Err(unreadable(PATH, &element.to_string(), "a list of CIDRs")),
                }
            }
        }
        Some(other) => return Err(unreadable(PATH, &other.to_string(), "a list of CIDRs")),
    }
    if values.get("ipMasqAgent.config.masqLinkLocal") != Some(&Value::Bool(true)) {
        exempt.push(net(LINK_LOCAL));
    }
    Ok(exempt)
}

/// `path` may be an option that stands for a Helm value, whose path the user knows better.
fn unreadable(path: &'static str, value: &str, expected: &'static str) -> ConfigError {
    let path = match path {
        "auto-direct-node-routes" => "autoDirectNodeRoutes",
        "enable-endpoint-routes" => "endpointRoutes.enabled",
        "ipv4-native-routing-cidr" => "ipv4NativeRoutingCIDR",
        "mtu" => "MTU",
        other => other,
    };
    ConfigError::Unreadable { path, value: value.to_owned(), expected }
}

struct Options<'a> {
    map: &'a ConfigMap,
}

impl<'a> Options<'a> {
    /// Empty text is an option left at its default.
    fn text(&self, option: &str) -> Option<&'a str> {
        self.map.get(option).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Go's `strconv.ParseBool`.
    fn bool(&self, option: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.text(option) {
            None => Ok(default),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(other) => Err(unreadable(option, other, "true or false")),
        }
    }

    fn parsed<T: FromStr>(&self, option: &'static str, expected: &'static str) -> Result<Option<T>, ConfigError> {
        let read = |text: &str| text.parse().map_err(|_| unreadable(option, text, expected));
        self.text(option).map(read).transpose()
    }
}
