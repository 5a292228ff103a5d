//! From the agent's options back to Helm values: they must render to what the agent reads the same way.

use cilium::chart::{self, ConfigMap};
use cilium::values::MODELLED_OPTIONS;
use cilium::{AgentConfig, Values, Version};
use proptest::prelude::*;
use serde_json::json;

/// What a ConfigMap says, in words that options take, and in some that they don't.
const WORDS: [&str; 16] = [
    "",
    "true",
    "false",
    "True",
    "strict",
    "enp0s6",
    "enp0s6 tailscale0",
    "a,b",
    "0",
    "1400",
    "01400",
    "native",
    "tunnel",
    "geneve",
    "10.0.0.0/8",
    "eth+",
];

fn options() -> impl Strategy<Value = ConfigMap> {
    let option = (prop::sample::select(&MODELLED_OPTIONS[..]), prop::sample::select(&WORDS[..]));
    prop::collection::vec(option, 0..20)
        .prop_map(|list| list.into_iter().map(|(option, word)| (option.to_owned(), word.to_owned())).collect())
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec!["1.14.19", "1.15.0", "1.16.4", "1.17.8", "1.18.2", "1.19.0", "1.20.0"])
        .prop_map(|text| text.parse().expect("a version"))
}

/// The agent's view of options, which keeps no memory of where they came from.
fn read(version: &Version, map: &ConfigMap) -> Result<AgentConfig, String> {
    let config = AgentConfig::from_config_map(version, map).map_err(|error| error.to_string())?;
    Ok(AgentConfig { config_map: ConfigMap::new(), ..config })
}

proptest! {
    #[test]
    fn options_survive_the_way_back_and_forth(version in version(), map in options()) {
        let values = chart::values_of(&version, &map);
        let rendered = chart::config_map(&version, &values).expect("values that the chart takes");
        prop_assert_eq!(read(&version, &rendered), read(&version, &map), "{:?}\n{:?}", values, rendered);
    }

    #[test]
    fn the_same_values_come_back(version in version(), map in options()) {
        let values = chart::values_of(&version, &map);
        let rendered = chart::config_map(&version, &values).expect("values that the chart takes");
        let again = chart::values_of(&version, &rendered);
        prop_assert_eq!(chart::config_map(&version, &again).expect("values"), rendered);
    }
}

#[test]
fn a_real_config_map_becomes_the_values_one_would_write() {
    let map: ConfigMap = [
        ("bpf-map-dynamic-size-ratio", "0.0025"),
        ("cluster-pool-ipv4-cidr", "10.244.0.0/16"),
        ("devices", "enp0s6,tailscale0"),
        ("direct-routing-device", ""),
        ("enable-bpf-masquerade", "true"),
        ("enable-ipv4-masquerade", "true"),
        ("enable-wireguard", "true"),
        ("force-device-detection", "true"),
        ("derive-masquerade-ip-addr-from-device", "eth1"),
        ("kube-proxy-replacement", "true"),
        ("mtu", "1400"),
        ("routing-mode", "tunnel"),
        ("tunnel-protocol", "vxlan"),
    ]
    .map(|(option, text)| (option.to_owned(), text.to_owned()))
    .into();
    let values = |version: &str| chart::values_of(&version.parse().expect("a version"), &map);
    let written = json!({
        "bpf": {"masquerade": true},
        "devices": "enp0s6,tailscale0",
        "enableIPv4Masquerade": true,
        "encryption": {"enabled": true, "type": "wireguard"},
        "extraConfig": {"derive-masquerade-ip-addr-from-device": "eth1"},
        "forceDeviceDetection": true,
        "kubeProxyReplacement": true,
        "MTU": 1400,
        "routingMode": "tunnel",
        "tunnelProtocol": "vxlan",
    });
    assert_eq!(json!(values("1.18.2")), written);
    let old = values("1.15.0");
    assert_eq!(old.get("forceDeviceDetection"), None, "a value that 1.15's chart doesn't have");
    assert_eq!(old.get("extraConfig.force-device-detection"), Some(&json!("true")));
    assert_eq!(chart::values_of(&"1.18".parse().expect("a version"), &ConfigMap::new()), Values::new());
}
