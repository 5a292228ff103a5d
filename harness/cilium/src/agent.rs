//! Everything an agent decides at its start, in the order it decides it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::config::{AgentConfig, Encryption, Routing};
use crate::decisions::{Because, Decisions, Device, Egress, HostRouting, Masquerade};
use crate::devices::{self, Selection};
use crate::direct_routing;
use crate::fatal::FatalError;
use crate::inputs::{Link, NodeInputs};
use crate::mtu::Mtu;
use crate::rules::{Detection, MtuSource, Rules};
use crate::version::{Minor, Version};
use crate::{host_routing, masquerade, mtu, node_address, node_ip, tunnel};

/// What an agent of this version decides on this node.
///
/// # Errors
/// The agent dies at start; the error's text is its last words.
pub fn decide(version: &Version, config: &AgentConfig, node: &NodeInputs) -> Result<Decisions, FatalError> {
    check_options(version, config)?;
    let rules = Rules::of(version);
    // Since 1.19 the masquerading options are checked before the devices are looked at.
    let early = if rules.masquerade_needs_node_port { None } else { Some(masquerade::check(&rules, config)?) };
    let k8s_ip = node_ip::from_kubernetes(node);
    let selection = devices::select(&rules, config, node, k8s_ip)?;
    let selected = selection.links(node);
    let direct_routing = direct_routing::decide(&rules, config, &selected, k8s_ip)?;
    let bpf_masquerade = match early {
        Some(bpf_masquerade) => bpf_masquerade,
        None => masquerade::check(&rules, config)?,
    };
    let node_ip = node_ip::decide(node, direct_routing.map(|(link, _)| link))?;
    Ok(Assembly {
        version,
        rules: &rules,
        config,
        node,
        selection: &selection,
        direct_routing,
        bpf_masquerade,
        node_ip,
        known_mtu: None,
    }
    .finish())
}

/// What a running agent makes of a change on its node. `before` is what it saw and decided last.
///
/// It watches links and addresses and, where [`Rules::follows_devices`], chooses devices anew
/// (pkg/datapath/linux/devices_controller.go); its node IP and its options it read at its start, up to 1.16 its MTU
/// too. It doesn't die of a direct routing device that is gone: that is asked only at the start (1.18,
/// daemon/cmd/daemon.go).
pub fn decide_again(
    version: &Version,
    config: &AgentConfig,
    before: (&NodeInputs, &Decisions),
    node: &NodeInputs,
) -> Decisions {
    let rules = Rules::of(version);
    let (seen, decided) = before;
    let selected = |link: &Link| decided.devices.iter().find(|device| device.name == link.name);
    let old = Selection {
        selected: seen.links.iter().filter_map(|link| Some((link.index, selected(link)?.reason.clone()))).collect(),
        not_selected: decided.not_selected.clone(),
    };
    let selection = match rules.follows_devices {
        true => devices::select_again(&rules, config, (&seen.links, &old), node),
        false => Selection {
            selected: old.selected.into_iter().filter(|(index, _)| node.link(*index).is_some()).collect(),
            not_selected: old.not_selected,
        },
    };
    let k8s_ip = node_ip::from_kubernetes(node);
    let selected = selection.links(node);
    let direct_routing = direct_routing::decide(&rules, config, &selected, k8s_ip).ok().flatten();
    let bpf_masquerade = decided.masquerade == Masquerade::Bpf;
    let known_mtu = (rules.mtu == MtuSource::NodeIpDevice).then(|| Mtu {
        device: decided.device_mtu,
        pods: decided.pod_mtu,
        reason: "as it was at the agent's start".to_owned(),
    });
    Assembly {
        version,
        rules: &rules,
        config,
        node,
        selection: &selection,
        direct_routing,
        bpf_masquerade,
        node_ip: decided.node_ip,
        known_mtu,
    }
    .finish()
}

/// Options the agent refuses before it looks at the node, in the order it does.
pub(crate) fn check_options(version: &Version, config: &AgentConfig) -> Result<(), FatalError> {
    let rules = Rules::of(version);
    check_routing(version, config)?;
    let ipsec = config.encryption == Encryption::Ipsec;
    if ipsec && config.host_firewall {
        // Since 1.19 it is asked with the masquerading options (daemon/cmd/daemon.go); before, with nothing put before
        // it.
        let prefix = if version.minor() >= Minor::V1_19 { rules.options_error_prefix } else { "" };
        return Err(FatalError::IpsecHostFirewall { prefix: prefix.to_owned() });
    }
    check_replacement(version, config)?;
    // `disabled` ends 1.14's and 1.15's look at these options before that of NodePort, which it switches off.
    let asks = rules.ipsec_excludes_node_port && config.kube_proxy_replacement != "disabled";
    if asks && ipsec && direct_routing::node_port(config) {
        return Err(FatalError::IpsecNodePort);
    }
    Ok(())
}

/// How packets travel (pkg/option/config.go `checkIPv4NativeRoutingCIDR`, daemon/cmd/daemon_main.go `initEnv`).
fn check_routing(version: &Version, config: &AgentConfig) -> Result<(), FatalError> {
    // 1.14 does not ask whether the ip-masq-agent runs.
    let asks = version.minor() == Minor::V1_14 || config.ip_masq_agent.is_none();
    let native = config.routing == Routing::Native;
    if native && config.ipv4_masquerade && config.ipv4_native_routing_cidr.is_none() && asks {
        return Err(FatalError::NativeRoutingCidr {
            combination: "--enable-ipv4=true --enable-ipv4-masquerade=true --enable-ip-masq-agent=false \
                          --routing-mode=native",
        });
    }
    if !native && config.auto_direct_node_routes {
        return Err(FatalError::AutoDirectNodeRoutes {
            says: match version.minor() {
                Minor::V1_20 => "requires native or hybrid routing mode.",
                _ => "cannot be used with tunneling. Packets must be routed through the tunnel device.",
            },
        });
    }
    Ok(())
}

/// The value of `kube-proxy-replacement`.
fn check_replacement(version: &Version, config: &AgentConfig) -> Result<(), FatalError> {
    let written = config.kube_proxy_replacement.as_str();
    let rules = Rules::of(version);
    let old = rules.old_kube_proxy_values && matches!(written, "strict" | "partial" | "disabled");
    let boolean = match version.minor() {
        Minor::V1_19 | Minor::V1_20 => {
            ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"].contains(&written)
        }
        _ => matches!(written, "true" | "false"),
    };
    if old || boolean {
        return Ok(());
    }
    let message = match version.minor() {
        Minor::V1_19 | Minor::V1_20 => {
            format!("failed to decode config option kube-proxy-replacement: {written:?} is not a boolean")
        }
        Minor::V1_18 => "invalid value for kube-proxy-replacement".to_owned(),
        _ => format!(
            "daemon creation failed: unable to initialize kube-proxy replacement options: Invalid value for \
             --kube-proxy-replacement: {written}"
        ),
    };
    Err(FatalError::KubeProxyReplacement { message })
}

/// All that the decisions are made of once devices and node IP stand.
pub(crate) struct Assembly<'a> {
    pub(crate) version: &'a Version,
    pub(crate) rules: &'a Rules,
    pub(crate) config: &'a AgentConfig,
    pub(crate) node: &'a NodeInputs,
    pub(crate) selection: &'a Selection,
    pub(crate) direct_routing: Option<direct_routing::Choice<'a>>,
    pub(crate) bpf_masquerade: bool,
    pub(crate) node_ip: Ipv4Addr,
    /// What is left of an earlier decision, where it is made once.
    pub(crate) known_mtu: Option<Mtu>,
}

impl Assembly<'_> {
    pub(crate) fn finish(&self) -> Decisions {
        let Self { rules, config, node, selection, .. } = *self;
        let selected = selection.links(node);
        let direct_routing = self.direct_routing.map(|(link, _)| link);
        let addresses = node_address::table(rules, config, node, selection);
        let masquerade = masquerade::decide(config, self.bpf_masquerade, &selected);
        let (host_routing, host_routing_reason) = host_routing::decide(rules, config, self.bpf_masquerade);
        let skip_fib = host_routing::skip_fib(rules, config, host_routing, &selected, direct_routing);
        let egress = match &skip_fib {
            Some(device) => Egress::Device { device: device.clone() },
            None => Egress::Fib,
        };
        let known_mtu = self.known_mtu.clone();
        let mtu = known_mtu.unwrap_or_else(|| mtu::decide(rules, config, node, &selected, self.node_ip));
        let devices = selected
            .iter()
            .zip(&selection.selected)
            .map(|(link, (_, reason))| Device {
                name: link.name.clone(),
                reason: reason.clone(),
                nodeport_addresses: node_address::node_port(rules, node, &addresses, link),
                masquerade_source: match masquerade {
                    Masquerade::Bpf => masquerade::source(rules, config, node, &addresses, link),
                    _ => None,
                },
                layer3: link.hardware_address.is_empty(),
            })
            .collect();
        let mut decisions = Decisions {
            devices,
            not_selected: selection.not_selected.clone(),
            node_ip: self.node_ip,
            direct_routing_device: direct_routing.map(|link| link.name.clone()),
            host_routing,
            skip_fib,
            service_egress: egress.clone(),
            egress,
            masquerade,
            masquerade_exempt: masquerade::exempt(config, node),
            snat_exclusion: masquerade::exclusion(config, node),
            host_addresses: node_address::of_host(rules, node, &addresses),
            node_addresses: addresses,
            routing: config.routing,
            device_mtu: mtu.device,
            pod_mtu: mtu.pods,
            tunnels: tunnel::endpoints(config, node, self.node_ip),
            node_routes: tunnel::node_routes(config, node),
            because: Vec::new(),
            unread: BTreeMap::new(),
        };
        decisions.because = self.because(&decisions, &selected, host_routing_reason, &mtu.reason);
        decisions
    }

    /// Each decision with its reason and where the rule stands.
    fn because(&self, made: &Decisions, selected: &[&Link], host_routing: &str, mtu: &str) -> Vec<Because> {
        let Self { rules, config, .. } = *self;
        let at = |file: &str| format!("Cilium {}, {file}", self.version.minor());
        let names = selected.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        let old = rules.detection == Detection::Routes;
        let mut all = Vec::new();
        let mut say = |decision: &str, says: String, source: String| {
            all.push(Because { decision: decision.to_owned(), says, source });
        };

        let how = if config.devices.is_empty() { "detected".to_owned() } else { format!("from {}", config.devices) };
        let file = if old { "pkg/datapath/linux/devices.go" } else { "pkg/datapath/linux/devices_controller.go" };
        say("devices", format!("[{names}], {how}"), at(file));

        let source = match (self.node.internal_ip, self.node.external_ip) {
            (Some(_), _) => "the Node object's InternalIP, whatever `devices` says",
            (None, Some(_)) => "the Node object's ExternalIP, since it has no InternalIP",
            (None, None) => "the direct routing device's address, since the Node object has none",
        };
        say("node-ip", format!("{}: {source}", made.node_ip), at("daemon/cmd/local_node_sync.go"));

        let says = match &self.direct_routing {
            Some((link, rule)) => format!("{}: {rule}", link.name),
            None => "none: no selected device carries the node IP, and nothing needs one".to_owned(),
        };
        let file = if rules.direct_routing_falls_back {
            "pkg/datapath/tables/direct_routing_device.go"
        } else {
            "pkg/datapath/linux/devices.go"
        };
        say("direct-routing-device", says, at(file));

        let name = match made.host_routing {
            HostRouting::Bpf => "eBPF",
            HostRouting::Legacy => "legacy",
        };
        let file = if rules.skip_fib {
            "daemon/cmd/kube_proxy_replacement.go"
        } else {
            "pkg/kpr/initializer/kpr_initializer.go"
        };
        say("host-routing", format!("{name}: {host_routing}"), at(file));

        let (says, source) = match &made.skip_fib {
            Some(device) => (
                format!("yes: one device is selected, so all native packets of pods go to {device} unasked"),
                at("pkg/datapath/linux/config/config.go (ENABLE_SKIP_FIB)"),
            ),
            None if !rules.skip_fib => {
                ("no: every native packet is looked up".to_owned(), "cilium #43277 (1.19)".to_owned())
            }
            None => {
                let reason = if made.host_routing == HostRouting::Legacy {
                    "the host's stack routes"
                } else if config.endpoint_routes {
                    "endpoint routes force the lookup"
                } else {
                    "not exactly one device is selected"
                };
                (format!("no: {reason}"), at("pkg/datapath/linux/config/config.go (ENABLE_SKIP_FIB)"))
            }
        };
        say("skip-fib", says, source);

        let sources = made
            .devices
            .iter()
            .filter_map(|device| device.masquerade_source.map(|source| format!("{} on {}", source, device.name)));
        let says = match &made.masquerade {
            Masquerade::Off => "off".to_owned(),
            Masquerade::Bpf => format!("by eBPF: {}", sources.collect::<Vec<_>>().join(", ")),
            Masquerade::Iptables { interfaces } if interfaces.is_empty() => "by iptables, on every device".to_owned(),
            Masquerade::Iptables { interfaces } => format!("by iptables, on {}", interfaces.join(", ")),
        };
        let file = match made.masquerade {
            Masquerade::Iptables { .. } => "pkg/datapath/iptables/iptables.go",
            _ if rules.fallback_addresses => "pkg/datapath/loader (bpfMasqAddrs)",
            _ => "pkg/node/address.go",
        };
        say("masquerade", says, at(file));

        let origin =
            if config.ipv4_native_routing_cidr.is_some() { "ipv4-native-routing-cidr" } else { "the node's own pods" };
        say("snat-exclusion", format!("{}: {origin}", made.snat_exclusion), at("pkg/datapath/types/config.go"));

        let known: Vec<_> = made.host_addresses.iter().map(ToString::to_string).collect();
        let scope = if rules.address_table {
            "only selected devices, cilium_host, lo and dummies give any"
        } else {
            "every device gives its own"
        };
        let file = if rules.address_table {
            "pkg/datapath/tables/node_address.go"
        } else {
            "pkg/datapath/linux/node_addressing.go"
        };
        say("host-addresses", format!("{}: {scope}", known.join(", ")), at(file));

        let file = if rules.mtu == MtuSource::NodeIpDevice { "pkg/mtu/mtu.go" } else { "pkg/mtu/manager.go" };
        say("mtu", format!("{} on devices, {} in pods: {mtu}", made.device_mtu, made.pod_mtu), at(file));

        let ends: Vec<_> = made
            .tunnels
            .iter()
            .map(|tunnel| match tunnel.endpoint {
                Some(endpoint) => format!("{} at {endpoint}", tunnel.peer),
                None if made.routing == Routing::Native => format!("{} natively", tunnel.peer),
                None => format!("{} not encapsulated, since its node IP is the own", tunnel.peer),
            })
            .collect();
        say("tunnels", ends.join(", "), at("pkg/datapath/ipcache/listener.go"));
        all
    }
}
