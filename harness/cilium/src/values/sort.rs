//! Helm values sorted in three: modelled, known to the chart, unknown.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Values;
use crate::config::derive_option;
use crate::version::{Minor, Version};

/// Values the model takes into account, as dotted paths. What lies below such a path belongs to it.
pub const MODELLED: [&str; 24] = [
    "MTU",
    "autoDirectNodeRoutes",
    "bpf.hostLegacyRouting",
    "bpf.masquerade",
    "devices",
    "egressMasqueradeInterfaces",
    "enableIPv4Masquerade",
    "enableMasqueradeRouteSource",
    "encryption.enabled",
    "encryption.type",
    "endpointRoutes.enabled",
    "forceDeviceDetection",
    "hostFirewall.enabled",
    "ipMasqAgent.config",
    "ipMasqAgent.enabled",
    "ipv4NativeRoutingCIDR",
    "kubeProxyReplacement",
    "l2announcements.enabled",
    "nodePort.addresses",
    "nodePort.directRoutingDevice",
    "nodePort.enabled",
    "routingMode",
    "tunnel",
    "tunnelProtocol",
];

/// Agent options the model takes into account when set through `extraConfig`. Of the two that begin with `derive-` each
/// version has one ([`derive_option`]).
pub const MODELLED_OPTIONS: [&str; 24] = [
    "auto-direct-node-routes",
    "derive-masq-ip-addr-from-device",
    "derive-masquerade-ip-addr-from-device",
    "devices",
    "direct-routing-device",
    "egress-masquerade-interfaces",
    "enable-bpf-masquerade",
    "enable-endpoint-routes",
    "enable-host-firewall",
    "enable-host-legacy-routing",
    "enable-ip-masq-agent",
    "enable-ipsec",
    "enable-ipv4-masquerade",
    "enable-l2-announcements",
    "enable-masquerade-to-route-source",
    "enable-node-port",
    "enable-wireguard",
    "force-device-detection",
    "ipv4-native-routing-cidr",
    "kube-proxy-replacement",
    "mtu",
    "nodeport-addresses",
    "routing-mode",
    "tunnel-protocol",
];

/// The user's values, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sorted {
    /// Paths the model takes into account.
    pub modelled: Vec<String>,
    /// Paths the chart knows and the model ignores.
    pub not_modelled: Vec<String>,
    /// Paths the chart does not have: Helm ignores them without a word.
    pub unknown: Vec<Unknown>,
}

/// A value that is not in the chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Its path.
    pub path: String,
    /// The known path that looks most like it, if one does.
    pub nearest: Option<String>,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)?;
        match &self.nearest {
            Some(nearest) => write!(f, " (did you mean {nearest}?)"),
            None => Ok(()),
        }
    }
}

/// The chart's keys, two levels deep: `data/chart-keys.json`, which names its source.
#[derive(Deserialize)]
struct ChartKeys {
    free_form: Vec<String>,
    keys: BTreeMap<String, String>,
}

static CHART: LazyLock<ChartKeys> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/chart-keys.json")).expect("the crate's own data file is valid")
});

impl Values {
    /// Sorts these values by what the chart of `version` and the model make of them.
    pub fn sort(&self, version: &Version) -> Sorted {
        let mut sorted = Sorted::default();
        for (key, value) in self.as_map() {
            walk(key.clone(), value, version.minor(), &mut sorted);
        }
        sorted
    }
}

fn walk(path: String, value: &Value, minor: Minor, sorted: &mut Sorted) {
    let top = path.split('.').next().unwrap_or_default();
    let depth = path.split('.').count();
    if modelled(&path, minor) && (known(&path, minor) || top == "extraConfig") {
        sorted.modelled.push(path);
    } else if depth == 1 && !known(top, minor) {
        sorted.unknown.push(Unknown { nearest: nearest(&path, minor), path });
    } else if top == "extraConfig" && depth == 2 {
        sorted.not_modelled.push(path);
    } else if depth <= 2 && has_children(&path) {
        match value {
            Value::Object(children) if !children.is_empty() => {
                for (key, child) in children {
                    walk(format!("{path}.{key}"), child, minor, sorted);
                }
            }
            _ => sorted.not_modelled.push(path),
        }
    } else if depth == 2 && !known(&path, minor) {
        sorted.unknown.push(Unknown { nearest: nearest(&path, minor), path });
    } else {
        sorted.not_modelled.push(path);
    }
}

fn modelled(path: &str, minor: Minor) -> bool {
    let reads = |option: &str| {
        let elsewhere = option.starts_with("derive-") && option != derive_option(minor);
        MODELLED_OPTIONS.contains(&option) && !elsewhere
    };
    MODELLED.contains(&path) || path.strip_prefix("extraConfig.").is_some_and(reads)
}

/// Whether the level below this path is looked at: the chart's own maps, and `extraConfig` for the options it carries.
fn has_children(path: &str) -> bool {
    if path == "extraConfig" {
        return true;
    }
    if path.contains('.') || CHART.free_form.iter().any(|free| free == path) {
        return false;
    }
    let prefix = format!("{path}.");
    CHART.keys.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
}

/// Helm itself adds `global`.
fn known(path: &str, minor: Minor) -> bool {
    path == "global" || CHART.keys.get(path).is_some_and(|ranges| in_ranges(ranges, minor))
}

/// Whether `1.14-1.16,1.18` holds the line.
fn in_ranges(ranges: &str, minor: Minor) -> bool {
    let number = |text: &str| text.trim_start_matches("1.").parse::<u32>().unwrap_or(0);
    ranges.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (number(first)..=number(last)).contains(&minor.number())
    })
}

/// The chart's path most like this one. Case alone, or a missing parent (`masquerade` for `bpf.masquerade`), counts as
/// near; otherwise a third of the letters may differ.
fn nearest(path: &str, minor: Minor) -> Option<String> {
    let wanted = path.to_lowercase();
    let distance = |known: &str| {
        let candidate = known.to_lowercase();
        let bare = candidate.rsplit('.').next().unwrap_or_default();
        if bare == wanted { 1 } else { strsim::damerau_levenshtein(&wanted, &candidate) }
    };
    CHART
        .keys
        .iter()
        .filter(|(_, ranges)| in_ranges(ranges, minor))
        .map(|(known, _)| (distance(known), !modelled(known, minor), known))
        .min()
        .filter(|(distance, ..)| *distance <= wanted.len() / 3)
        .map(|(_, _, known)| known.clone())
}
