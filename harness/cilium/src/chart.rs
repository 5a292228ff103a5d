//! From Helm values to the agent's options: what the chart's ConfigMap template does with them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::values::{MODELLED_OPTIONS, Values};
use crate::version::{Minor, Version};

/// The agent's options by name, as the chart writes them into the ConfigMap `cilium-config`; only those the model
/// takes into account.
pub type ConfigMap = BTreeMap<String, String>;

/// A Helm value the chart does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct WrongType {
    /// The value's path, `bpf.masquerade`.
    pub path: String,
    /// What the chart takes.
    pub expected: &'static str,
    /// What was written.
    pub found: String,
}

/// What a value may be (install/kubernetes/cilium/values.schema.json; charts before 1.16 have no schema and take
/// anything, which only delays the error until the agent reads it).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    BoolOrText,
    Text,
    Whole,
    /// What the template joins with a separator.
    TextOrList,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::BoolOrText => "true, false or text",
            Self::Text => "text",
            Self::Whole => "a whole number",
            Self::TextOrList => "text or a list",
        }
    }
}

/// How a value was written, for error messages.
struct Found<'a>(&'a Value);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("nothing"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "the number {value}"),
            Value::String(value) => {
                let short: String = value.chars().take(40).collect();
                write!(f, "the text {short:?}")
            }
            Value::Array(_) => f.write_str("a list"),
            Value::Object(_) => f.write_str("a map"),
        }
    }
}

/// Renders the options (install/kubernetes/cilium/templates/cilium-configmap.yaml).
///
/// # Errors
/// A value is of a type the chart's schema refuses.
pub fn config_map(version: &Version, values: &Values) -> Result<ConfigMap, WrongType> {
    let chart = Chart { values };
    let mut map = ConfigMap::new();
    let mut put = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(option.to_owned(), value);
        }
    };

    // `join " "` takes a text as one element and a list's elements as text (sprig, strslice): text passes as it is.
    put("devices", chart.joined("devices", " ")?);
    if version.minor() >= Minor::V1_16 && chart.bool("forceDeviceDetection")? == Some(true) {
        put("force-device-detection", Some("true".to_owned()));
    }
    put("direct-routing-device", chart.text("nodePort.directRoutingDevice", Kind::Text)?);
    put("nodeport-addresses", chart.joined("nodePort.addresses", ",")?);
    put("enable-node-port", chart.text("nodePort.enabled", Kind::Bool)?);
    put("kube-proxy-replacement", chart.text("kubeProxyReplacement", Kind::BoolOrText)?);
    put("enable-host-legacy-routing", chart.text("bpf.hostLegacyRouting", Kind::Bool)?);
    put("enable-bpf-masquerade", chart.text("bpf.masquerade", Kind::Bool)?);
    put("enable-ipv4-masquerade", chart.text("enableIPv4Masquerade", Kind::Bool)?);
    put("enable-masquerade-to-route-source", chart.text("enableMasqueradeRouteSource", Kind::Bool)?);
    put("egress-masquerade-interfaces", chart.joined("egressMasqueradeInterfaces", " ")?);
    put("auto-direct-node-routes", chart.text("autoDirectNodeRoutes", Kind::BoolOrText)?);
    put("ipv4-native-routing-cidr", chart.filled("ipv4NativeRoutingCIDR")?);
    put("mtu", chart.text("MTU", Kind::Whole)?.filter(|mtu| mtu != "0"));
    for (path, option) in [
        ("endpointRoutes.enabled", "enable-endpoint-routes"),
        ("hostFirewall.enabled", "enable-host-firewall"),
        ("l2announcements.enabled", "enable-l2-announcements"),
        ("ipMasqAgent.enabled", "enable-ip-masq-agent"),
    ] {
        let kind = if path == "endpointRoutes.enabled" { Kind::BoolOrText } else { Kind::Bool };
        put(option, chart.text(path, kind)?.filter(|value| value != "false" && !value.is_empty()));
    }
    if chart.bool("encryption.enabled")? == Some(true) {
        match chart.filled("encryption.type")?.as_deref() {
            None | Some("ipsec") => put("enable-ipsec", Some("true".to_owned())),
            Some("wireguard") => put("enable-wireguard", Some("true".to_owned())),
            Some(_) => {}
        }
    }

    // 1.14 still knows `tunnel`, which holds mode and protocol in one.
    let tunnel = if version.minor() == Minor::V1_14 { chart.filled("tunnel")? } else { None };
    let (mode, protocol) = match tunnel.as_deref() {
        Some("disabled") => ("native", "vxlan"),
        Some("geneve") => ("tunnel", "geneve"),
        _ => ("tunnel", "vxlan"),
    };
    put("routing-mode", Some(chart.filled("routingMode")?.unwrap_or_else(|| mode.to_owned())));
    put("tunnel-protocol", Some(chart.filled("tunnelProtocol")?.unwrap_or_else(|| protocol.to_owned())));

    if let Some(extra) = values.get("extraConfig") {
        let Value::Object(extra) = extra else { return Err(wrong("extraConfig", "a map", extra)) };
        for (option, value) in extra {
            if MODELLED_OPTIONS.contains(&option.as_str()) && !value.is_null() {
                let text = scalar(value).ok_or_else(|| wrong(&format!("extraConfig.{option}"), "text", value))?;
                map.insert(option.clone(), text);
            }
        }
    }
    Ok(map)
}

fn wrong(path: &str, expected: &'static str, found: &Value) -> WrongType {
    WrongType { path: path.to_owned(), expected, found: Found(found).to_string() }
}

/// A value as the template's `quote` prints it.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

struct Chart<'a> {
    values: &'a Values,
}

impl Chart<'_> {
    /// The value at a path, every map on the way being one.
    fn get(&self, path: &str) -> Result<Option<&Value>, WrongType> {
        if let Some((parent, _)) = path.rsplit_once('.')
            && let Some(value) = self.values.get(parent)
            && !value.is_object()
        {
            return Err(wrong(parent, "a map", value));
        }
        Ok(self.values.get(path))
    }

    fn text(&self, path: &str, kind: Kind) -> Result<Option<String>, WrongType> {
        let Some(value) = self.get(path)? else { return Ok(None) };
        let fits = match kind {
            Kind::Bool => value.is_boolean(),
            Kind::BoolOrText => value.is_boolean() || value.is_string(),
            Kind::Text => value.is_string(),
            // Helm's numbers are floats at times: 1500.0 is whole too.
            Kind::Whole => value.as_u64().is_some() || value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0),
            Kind::TextOrList => value.is_string() || value.is_array(),
        };
        let whole = |value: &Value| value.as_f64().map(|number| format!("{number:.0}"));
        match kind {
            _ if !fits => Err(wrong(path, kind.words(), value)),
            Kind::Whole => Ok(value.as_u64().map(|number| number.to_string()).or_else(|| whole(value))),
            _ => Ok(scalar(value)),
        }
    }

    /// A text; empty counts as absent, as the template's `if` and `default` have it.
    fn filled(&self, path: &str) -> Result<Option<String>, WrongType> {
        Ok(self.text(path, Kind::Text)?.filter(|text| !text.is_empty()))
    }

    fn bool(&self, path: &str) -> Result<Option<bool>, WrongType> {
        Ok(self.text(path, Kind::Bool)?.map(|text| text == "true"))
    }

    fn joined(&self, path: &str, separator: &str) -> Result<Option<String>, WrongType> {
        let Some(value) = self.get(path)? else { return Ok(None) };
        let Value::Array(list) = value else {
            return scalar(value).map(Some).ok_or_else(|| wrong(path, Kind::TextOrList.words(), value));
        };
        let mut parts = Vec::new();
        for (index, element) in list.iter().enumerate() {
            match scalar(element) {
                Some(text) => parts.push(text),
                None if element.is_null() => {}
                None => return Err(wrong(&format!("{path}[{index}]"), Kind::Text.words(), element)),
            }
        }
        Ok(Some(parts.join(separator)))
    }
}
