//! From Helm values to the agent's options, and back: what the chart's ConfigMap template does with them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

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

/// Helm values that are refused before any agent reads them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The chart's schema refuses a value.
    #[error(transparent)]
    WrongType(#[from] WrongType),
    /// A template of the chart ends with these words (`fail`).
    #[error("{0}")]
    Chart(&'static str),
    /// Kubernetes doesn't take what the chart writes without quotes: all that a ConfigMap holds is text
    /// (`corev1.ConfigMap`, read by Go's encoding/json).
    #[error("{path}: json: cannot unmarshal {found} into Go struct field ConfigMap.data of type string")]
    Kubernetes {
        /// The value's path.
        path: String,
        /// What was found there, in Go's words.
        found: &'static str,
    },
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

/// What the template makes of a value that is there.
#[derive(Clone, Copy)]
enum Form {
    /// It is written as it is.
    Plain(Kind),
    /// It is written unless it is false or empty.
    WhenOn(Kind),
    /// It is written unless it is empty, as the template's `if` and `default` have it.
    Filled,
    /// A list's elements are joined; text passes as it is (sprig, strslice: `join` takes it as one element).
    Joined(&'static str),
    /// It is written unless it is 0.
    NotZero,
    /// It is written as it is and without quotes, so that Kubernetes takes nothing but text.
    Unquoted,
}

/// A Helm value and the option it becomes.
struct Entry {
    path: &'static str,
    option: &'static str,
    form: Form,
    /// The first chart that writes it.
    since: Minor,
}

const fn entry(path: &'static str, option: &'static str, form: Form) -> Entry {
    Entry { path, option, form, since: Minor::V1_14 }
}

/// Values that become one option each, and the other way round
/// (install/kubernetes/cilium/templates/cilium-configmap.yaml).
const ENTRIES: [Entry; 18] = [
    entry("devices", "devices", Form::Joined(" ")),
    Entry { since: Minor::V1_16, ..entry("forceDeviceDetection", "force-device-detection", Form::WhenOn(Kind::Bool)) },
    entry("nodePort.directRoutingDevice", "direct-routing-device", Form::Plain(Kind::Text)),
    Entry { since: Minor::V1_16, ..entry("nodePort.addresses", "nodeport-addresses", Form::Joined(",")) },
    entry("nodePort.enabled", "enable-node-port", Form::Plain(Kind::Bool)),
    entry("kubeProxyReplacement", REPLACEMENT, Form::Plain(Kind::BoolOrText)),
    entry("bpf.hostLegacyRouting", "enable-host-legacy-routing", Form::Plain(Kind::Bool)),
    entry("bpf.masquerade", "enable-bpf-masquerade", Form::Plain(Kind::Bool)),
    entry("enableIPv4Masquerade", "enable-ipv4-masquerade", Form::Plain(Kind::Bool)),
    entry("enableMasqueradeRouteSource", "enable-masquerade-to-route-source", Form::Plain(Kind::Bool)),
    entry("egressMasqueradeInterfaces", "egress-masquerade-interfaces", Form::Unquoted),
    entry("autoDirectNodeRoutes", "auto-direct-node-routes", Form::Plain(Kind::BoolOrText)),
    entry("ipv4NativeRoutingCIDR", "ipv4-native-routing-cidr", Form::Filled),
    entry("MTU", "mtu", Form::NotZero),
    entry("endpointRoutes.enabled", "enable-endpoint-routes", Form::WhenOn(Kind::BoolOrText)),
    entry("hostFirewall.enabled", "enable-host-firewall", Form::WhenOn(Kind::Bool)),
    entry("l2announcements.enabled", "enable-l2-announcements", Form::WhenOn(Kind::Bool)),
    entry("ipMasqAgent.enabled", "enable-ip-masq-agent", Form::WhenOn(Kind::Bool)),
];

/// The option of which the template itself takes some values only.
const REPLACEMENT: &str = "kube-proxy-replacement";

/// Why the template doesn't take this text for `kubeProxyReplacement`, if it doesn't; empty text is none
/// (install/kubernetes/cilium/templates/cilium-configmap.yaml, the check of `$kubeProxyReplacement`).
fn refuses_replacement(version: &Version, text: &str) -> Option<&'static str> {
    let old = version.minor() <= Minor::V1_15;
    match text {
        "" | "true" | "false" => None,
        "strict" | "partial" | "disabled" if old => None,
        _ if old => Some(
            "kubeProxyReplacement must be explicitly set to a valid value (true, false, disabled (deprecated), partial \
             (deprecated), or strict (deprecated)) to continue.",
        ),
        _ => Some("kubeProxyReplacement must be explicitly set to a valid value (true or false) to continue."),
    }
}

/// Whether the chart ends where `tunnel` is set (templates/validate.yaml; cilium #34213 for 1.15, #34229 for 1.16, both
/// of August 2024, of which 1.15.8 and 1.16.2 were the next releases). Charts before that have no such value, as 1.14
/// has.
fn refuses_tunnel(version: &Version) -> bool {
    let since = |first| version.patch().is_none_or(|patch| patch >= first);
    match version.minor() {
        Minor::V1_14 => false,
        Minor::V1_15 => since(8),
        Minor::V1_16 => since(2),
        _ => true,
    }
}

/// Whether a template's `if` takes a value for true (Go, text/template).
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(value) => !value.is_empty(),
        Value::Array(value) => !value.is_empty(),
        Value::Object(value) => !value.is_empty(),
    }
}

/// The kinds of encryption the model knows, and the option each switches on.
const ENCRYPTIONS: [(&str, &str); 2] = [("ipsec", "enable-ipsec"), ("wireguard", "enable-wireguard")];

/// How pods' packets travel: two options that are always written, and what they are if no value says.
const TRAVEL: [(&str, &str); 2] = [("routingMode", "routing-mode"), ("tunnelProtocol", "tunnel-protocol")];

/// What Kubernetes takes for a ConfigMap's key.
const KEY: &str = "an option's name, of letters, digits, `-`, `_` and `.`";

/// Whether Kubernetes takes this for a ConfigMap's key, the name of a file in the agent's options (Kubernetes 1.34,
/// staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go, `IsConfigMapKey`).
fn is_key(text: &str) -> bool {
    let takes = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    (1..=253).contains(&text.len()) && text.chars().all(takes) && text != "." && !text.starts_with("..")
}

/// Renders the options.
///
/// # Errors
/// The chart's schema or a template of it refuses a value, or Kubernetes what becomes of it: names and types of
/// `extraConfig` are its alone to judge.
pub fn config_map(version: &Version, values: &Values) -> Result<ConfigMap, Refusal> {
    let chart = Chart { values };
    let mut map = ConfigMap::new();
    if refuses_tunnel(version) && values.get("tunnel").is_some_and(is_true) {
        return Err(Refusal::Chart(
            "tunnel was deprecated in v1.14 and has been removed in v1.15. For details please refer to \
             https://docs.cilium.io/en/v1.15/operations/upgrade/#helm-options",
        ));
    }
    for entry in ENTRIES.iter().filter(|entry| version.minor() >= entry.since) {
        let option = match entry.form {
            Form::Plain(kind) => chart.text(entry.path, kind)?,
            Form::WhenOn(kind) => chart.text(entry.path, kind)?.filter(|value| value != "false" && !value.is_empty()),
            Form::Filled => chart.filled(entry.path)?,
            Form::Joined(separator) => chart.joined(entry.path, separator)?,
            Form::NotZero => chart.text(entry.path, Kind::Whole)?.filter(|number| number != "0"),
            Form::Unquoted => chart.get(entry.path)?.map(|value| unquoted(entry.path, value)).transpose()?,
        };
        if entry.option == REPLACEMENT
            && let Some(says) = option.as_deref().and_then(|text| refuses_replacement(version, text))
        {
            return Err(Refusal::Chart(says));
        }
        map.extend(option.map(|option| (entry.option.to_owned(), option)));
    }
    if chart.bool("encryption.enabled")? == Some(true) {
        let kind = chart.filled("encryption.type")?;
        let kind = kind.as_deref().unwrap_or(ENCRYPTIONS[0].0);
        if let Some((_, option)) = ENCRYPTIONS.iter().find(|(known, _)| *known == kind) {
            map.insert((*option).to_owned(), "true".to_owned());
        }
    }

    // 1.14 still knows `tunnel`, which holds mode and protocol in one.
    let tunnel = if version.minor() == Minor::V1_14 { chart.filled("tunnel")? } else { None };
    let defaults = match tunnel.as_deref() {
        Some("disabled") => ["native", "vxlan"],
        Some("geneve") => ["tunnel", "geneve"],
        _ => ["tunnel", "vxlan"],
    };
    for ((path, option), default) in TRAVEL.into_iter().zip(defaults) {
        map.insert(option.to_owned(), chart.filled(path)?.unwrap_or_else(|| default.to_owned()));
    }

    if let Some(extra) = values.get("extraConfig") {
        let Value::Object(extra) = extra else { return Err(wrong("extraConfig", "a map", extra).into()) };
        for (option, value) in extra {
            let path = format!("extraConfig.{option}");
            if !is_key(option) {
                return Err(WrongType { path, expected: KEY, found: format!("{option:?}") }.into());
            }
            // The template writes the map as it is (`toYaml`). Helm itself leaves out what is null.
            if value.is_null() {
                continue;
            }
            let text = unquoted(&path, value)?;
            if MODELLED_OPTIONS.contains(&option.as_str()) {
                map.insert(option.clone(), text);
            }
        }
    }
    Ok(map)
}

/// The way back: values that render to these options, as far as the model knows them. An option that no value of this
/// version's chart gives, or that holds what the value's type can't, goes into `extraConfig`, from where the chart
/// takes it as it is.
///
/// Of `encryption` only the kind is told; what is empty stays out, since the agent takes it for absent.
pub fn values_of(version: &Version, map: &ConfigMap) -> Values {
    let mut values = Map::new();
    let modelled = |option: &str| MODELLED_OPTIONS.contains(&option);
    for (option, text) in map.iter().filter(|(option, text)| modelled(option) && !text.is_empty()) {
        let entry = ENTRIES.iter().find(|entry| entry.option == option && version.minor() >= entry.since);
        let encryption = ENCRYPTIONS.iter().find(|(_, known)| known == option);
        let travel = TRAVEL.iter().find(|(_, known)| known == option);
        let value = entry.and_then(|entry| Some((entry.path, entry.form.read(text)?)));
        let value = value.filter(|_| option != REPLACEMENT || refuses_replacement(version, text).is_none());
        match (value, encryption, travel) {
            (Some((path, value)), ..) => put(&mut values, path, value),
            // The agent reads IPsec first if both are on.
            (_, Some((kind, _)), _) if text == "true" && !values.contains_key("encryption") => {
                put(&mut values, "encryption.enabled", Value::Bool(true));
                put(&mut values, "encryption.type", (*kind).into());
            }
            (_, Some(_), _) if text == "false" => {}
            (.., Some((path, _))) => put(&mut values, path, text.as_str().into()),
            _ => {
                let extra = values.entry("extraConfig").or_insert_with(|| Map::new().into());
                if let Value::Object(extra) = extra {
                    extra.insert(option.clone(), text.as_str().into());
                }
            }
        }
    }
    values.into()
}

impl Form {
    /// The value that is written as `text`; none if no value of the type is.
    fn read(self, text: &str) -> Option<Value> {
        let kind = match self {
            Self::Plain(kind) | Self::WhenOn(kind) => kind,
            Self::Filled | Self::Unquoted => Kind::Text,
            Self::Joined(_) => Kind::TextOrList,
            Self::NotZero => Kind::Whole,
        };
        let bool = text.parse::<bool>().ok().map(Value::Bool);
        match kind {
            Kind::Bool => bool,
            Kind::BoolOrText => bool.or_else(|| Some(text.into())),
            Kind::Text | Kind::TextOrList => Some(text.into()),
            Kind::Whole if text != "0" && text.starts_with(['0', '+']) => None,
            Kind::Whole => text.parse::<u64>().ok().map(Value::from),
        }
    }
}

/// Sets the value at a path of one or two parts.
fn put(values: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            values.insert(path.to_owned(), value);
        }
        Some((parent, key)) => {
            let parent = values.entry(parent).or_insert_with(|| Map::new().into());
            if let Value::Object(parent) = parent {
                parent.insert(key.to_owned(), value);
            }
        }
    }
}

fn wrong(path: &str, expected: &'static str, found: &Value) -> WrongType {
    WrongType { path: path.to_owned(), expected, found: Found(found).to_string() }
}

/// A value that stands in the ConfigMap without quotes. (A text that YAML reads as something else, `"true"`, is refused
/// too, which is left out here.)
fn unquoted(path: &str, value: &Value) -> Result<String, Refusal> {
    let found = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        // `null` is no text, and no error either.
        Value::Null => return Ok(String::new()),
    };
    Err(Refusal::Kubernetes { path: path.to_owned(), found })
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
