//! Values to options: layers, sorting, types, the list of devices.

mod common;

use cilium::config::Routing;
use cilium::values::{MODELLED, Unknown};
use cilium::{AgentConfig, Minor};
use common::{config, values, version};
use serde_json::{Value, json};

#[test]
fn layers_merge_as_helm_merges() {
    let mut base =
        values(json!({"devices": "enp0s6", "bpf": {"masquerade": true, "root": "/a"}, "ipam": {"mode": "x"}}));
    base.merge(&values(json!({"devices": null, "bpf": {"root": "/b"}, "ipam": "text"})));
    assert_eq!(base.get("devices"), None, "null deletes");
    assert_eq!(base.get("bpf.masquerade"), Some(&json!(true)), "maps merge key by key");
    assert_eq!(base.get("bpf.root"), Some(&json!("/b")), "later wins");
    assert_eq!(base.get("ipam"), Some(&json!("text")), "anything else is replaced");
}

#[test]
fn devices_reach_the_agent_as_written() {
    // (version, value, option in the ConfigMap, what the agent makes of it)
    let cases: [(&str, Value, Option<&str>, &[&str]); 16] = [
        ("1.18.2", json!("enp0s6,tailscale0"), Some("enp0s6,tailscale0"), &["enp0s6", "tailscale0"]),
        ("1.18.2", json!("enp0s6 tailscale0"), Some("enp0s6 tailscale0"), &["enp0s6", "tailscale0"]),
        ("1.18.2", json!(["enp0s6", "tailscale0"]), Some("enp0s6 tailscale0"), &["enp0s6", "tailscale0"]),
        ("1.18.2", json!("enp0s6, tailscale0"), Some("enp0s6, tailscale0"), &["enp0s6", " tailscale0"]),
        ("1.18.2", json!(["enp0s6,", "tailscale0"]), Some("enp0s6, tailscale0"), &["enp0s6", " tailscale0"]),
        ("1.18.2", json!("enp+,tailscale+"), Some("enp+,tailscale+"), &["enp+", "tailscale+"]),
        ("1.18.2", json!(""), Some(""), &[]),
        ("1.18.2", json!([]), Some(""), &[]),
        ("1.18.2", json!(null), None, &[]),
        ("1.18.2", json!(" \n"), Some(" \n"), &[]),
        ("1.18.2", json!("a,"), Some("a,"), &["a", ""]),
        ("1.18.2", json!(["a", null, 1]), Some("a 1"), &["a", "1"]),
        ("1.16.0", json!("a,b"), Some("a,b"), &["a", "b"]),
        ("1.15.19", json!("a,b"), Some("a,b"), &["a,b"]),
        ("1.14.19", json!("a b"), Some("a b"), &["a", "b"]),
        ("1.20.0", json!("a b"), Some("a b"), &["a", "b"]),
    ];
    for (text, value, option, devices) in cases {
        let config = config(text, json!({"devices": value}));
        assert_eq!(config.config_map.get("devices").map(String::as_str), option, "{text}: {value}");
        assert_eq!(config.devices.0, devices, "{text}: {value}");
    }
}

#[test]
fn defaults_are_the_charts() {
    let config = AgentConfig::from_values(&version("1.18.2"), &cilium::Values::new()).expect("no values");
    assert!(config.devices.is_empty() && config.ipv4_masquerade && !config.bpf_masquerade);
    assert!(!config.replaces_kube_proxy() && !config.host_legacy_routing && !config.endpoint_routes);
    assert_eq!((config.routing, config.mtu), (Routing::Vxlan, None));
    let old = AgentConfig::from_values(&version("1.14"), &values(json!({"tunnel": "disabled"}))).expect("valid");
    assert_eq!(old.routing, Routing::Native, "1.14 still has `tunnel`");
}

#[test]
fn every_modelled_option_arrives() {
    let config = config(
        "1.18.2",
        json!({
            "forceDeviceDetection": true,
            "nodePort": {"directRoutingDevice": "eth0", "addresses": ["10.0.0.0/8", "fd00::/8"]},
            "bpf": {"hostLegacyRouting": true},
            "endpointRoutes": {"enabled": true},
            "MTU": 1500,
            "egressMasqueradeInterfaces": "eth0 eth1",
            "ipv4NativeRoutingCIDR": "10.0.0.0/8",
            "enableMasqueradeRouteSource": true,
            "autoDirectNodeRoutes": true,
            "routingMode": "native",
            "extraConfig": {"derive-masq-ip-addr-from-device": "eth7"},
        }),
    );
    assert!(config.force_device_detection && config.host_legacy_routing && config.endpoint_routes);
    assert!(config.masquerade_route_source && config.auto_direct_node_routes);
    assert_eq!(config.direct_routing_device.as_deref(), Some("eth0"));
    assert_eq!(config.nodeport_addresses, [common::net("10.0.0.0/8")], "IPv6 ranges are taken and say nothing here");
    assert_eq!(config.mtu, Some(1500));
    assert_eq!(config.egress_masquerade_interfaces, ["eth0", "eth1"]);
    assert_eq!(config.ipv4_native_routing_cidr, Some(common::net("10.0.0.0/8")));
    assert_eq!(config.derive_masquerade_from.as_deref(), Some("eth7"));
    assert_eq!(config.routing, Routing::Native);
}

#[test]
fn wrong_types_name_the_path() {
    for (tree, says) in [
        (json!({"devices": {"a": 1}}), "devices: expected text or a list, found a map"),
        (json!({"devices": ["a", ["b"]]}), "devices[1]: expected text, found a list"),
        (json!({"bpf": {"masquerade": "yes"}}), "bpf.masquerade: expected true or false, found the text \"yes\""),
        (json!({"bpf": true}), "bpf: expected a map, found true"),
        (json!({"MTU": "1500"}), "MTU: expected a whole number, found the text \"1500\""),
        (json!({"MTU": -1}), "MTU: expected a whole number, found the number -1"),
        (json!({"kubeProxyReplacement": 1}), "kubeProxyReplacement: expected true, false or text, found the number 1"),
        (json!({"routingMode": "tunel"}), "routingMode: `tunel` is not native or tunnel"),
        (json!({"ipv4NativeRoutingCIDR": "ten"}), "ipv4NativeRoutingCIDR: `ten` is not an IPv4 CIDR"),
        (json!({"endpointRoutes": {"enabled": "on"}}), "endpointRoutes.enabled: `on` is not true or false"),
        (json!({"extraConfig": {"enable-ipsec": "maybe"}}), "enable-ipsec: `maybe` is not true or false"),
        (json!({"nodePort": {"addresses": "x"}}), "nodePort.addresses: `x` is not a CIDR"),
        (
            json!({"extraConfig": {"mtu": [1]}}),
            "extraConfig.mtu: json: cannot unmarshal array into Go struct field ConfigMap.data of type string",
        ),
        // On a real engine it would be a file's name.
        (
            json!({"extraConfig": {"/etc/passwd": "x"}}),
            "extraConfig./etc/passwd: expected an option's name, of letters, digits, `-`, `_` and `.`, found \"/etc/passwd\"",
        ),
        (
            json!({"extraConfig": {"..": null}}),
            "extraConfig...: expected an option's name, of letters, digits, `-`, `_` and `.`, found \"..\"",
        ),
    ] {
        let error = AgentConfig::from_values(&version("1.18.2"), &values(tree.clone())).expect_err("a wrong type");
        assert_eq!(error.to_string(), says, "{tree}");
    }
}

/// What the templates write without quotes has to be text already.
#[test]
fn kubernetes_takes_text_only() {
    for (tree, path, found) in [
        (json!({"extraConfig": {"enable-endpoint-routes": true}}), "extraConfig.enable-endpoint-routes", "bool"),
        (json!({"extraConfig": {"mtu": 1400}}), "extraConfig.mtu", "number"),
        (json!({"extraConfig": {"bpf-map-event-buffers": {"a": 1}}}), "extraConfig.bpf-map-event-buffers", "object"),
        (json!({"egressMasqueradeInterfaces": ["eth0", "eth1"]}), "egressMasqueradeInterfaces", "array"),
        (json!({"egressMasqueradeInterfaces": true}), "egressMasqueradeInterfaces", "bool"),
    ] {
        for text in ["1.14", "1.18.2", "1.20"] {
            let error = AgentConfig::from_values(&version(text), &values(tree.clone())).expect_err("not text");
            let says =
                format!("{path}: json: cannot unmarshal {found} into Go struct field ConfigMap.data of type string");
            assert_eq!(error.to_string(), says, "{text}: {tree}");
        }
    }
    let config = config("1.18.2", json!({"extraConfig": {"enable-endpoint-routes": "true", "mtu": null}}));
    assert!(config.endpoint_routes && config.mtu.is_none(), "Helm leaves out what is null");
}

#[test]
fn what_the_charts_templates_refuse() {
    let says = |text: &str, tree: Value| {
        AgentConfig::from_values(&version(text), &values(tree)).err().map(|error| error.to_string())
    };
    let tunnel = "tunnel was deprecated in v1.14 and has been removed in v1.15. For details please refer to \
                  https://docs.cilium.io/en/v1.15/operations/upgrade/#helm-options";
    for text in ["1.15", "1.15.15", "1.16.2", "1.16", "1.17.0", "1.18.2", "1.20"] {
        assert_eq!(says(text, json!({"tunnel": "disabled"})).as_deref(), Some(tunnel), "{text}");
        assert_eq!(says(text, json!({"tunnel": ""})), None, "{text}: empty is not set");
    }
    for text in ["1.14", "1.15.7", "1.16.1"] {
        assert_eq!(says(text, json!({"tunnel": "vxlan"})), None, "{text}");
    }
    let replacement = "kubeProxyReplacement must be explicitly set to a valid value (true or false) to continue.";
    for text in ["1.16", "1.17", "1.18.2", "1.19", "1.20"] {
        for value in ["strict", "partial", "True"] {
            assert_eq!(
                says(text, json!({"kubeProxyReplacement": value})).as_deref(),
                Some(replacement),
                "{text} {value}"
            );
        }
        for value in [json!(true), json!("false"), json!(""), json!(null)] {
            assert_eq!(says(text, json!({"kubeProxyReplacement": value})), None, "{text} {value}");
        }
    }
    for text in ["1.14", "1.15"] {
        for value in ["strict", "partial", "disabled"] {
            assert_eq!(says(text, json!({"kubeProxyReplacement": value})), None, "{text} {value}");
        }
        let error = says(text, json!({"kubeProxyReplacement": "probe"})).expect("1.14 dropped it");
        assert!(error.contains("or strict (deprecated)) to continue."), "{error}");
    }
}

#[test]
fn sorted_in_three() {
    let tree = values(json!({
        "devices": "eth0",
        "bpf": {"masquerade": true, "mapDynamicSizeRatio": 0.0025, "masqurade": true},
        "hubble": {"relay": {"enabled": true}},
        "nodeSelector": {"anything": "goes"},
        "device": "eth0",
        "masquerade": true,
        "kubeproxyreplacement": true,
        "extraConfig": {"devices": "x", "bpf-map-event-buffers": "y"},
        "zzzzzzzz": 1,
    }));
    let sorted = tree.sort(&version("1.18.2"));
    assert_eq!(sorted.modelled, ["devices", "bpf.masquerade", "extraConfig.devices"]);
    assert_eq!(
        sorted.not_modelled,
        ["bpf.mapDynamicSizeRatio", "hubble.relay", "nodeSelector", "extraConfig.bpf-map-event-buffers"]
    );
    let unknown =
        |path: &str, nearest: Option<&str>| Unknown { path: path.to_owned(), nearest: nearest.map(str::to_owned) };
    assert_eq!(
        sorted.unknown,
        [
            unknown("bpf.masqurade", Some("bpf.masquerade")),
            unknown("device", Some("devices")),
            unknown("masquerade", Some("bpf.masquerade")),
            unknown("kubeproxyreplacement", Some("kubeProxyReplacement")),
            unknown("zzzzzzzz", None),
        ]
    );
}

#[test]
fn an_option_by_another_versions_name() {
    let tree = values(json!({"extraConfig": {
        "derive-masquerade-ip-addr-from-device": "x", "derive-masq-ip-addr-from-device": "x",
    }}));
    for (text, named, unknown) in [
        ("1.15", "derive-masquerade-ip-addr-from-device", "derive-masq-ip-addr-from-device"),
        ("1.16", "derive-masq-ip-addr-from-device", "derive-masquerade-ip-addr-from-device"),
    ] {
        let sorted = tree.sort(&version(text));
        assert_eq!(sorted.modelled, [format!("extraConfig.{named}")], "{text}");
        assert_eq!(sorted.not_modelled, [format!("extraConfig.{unknown}")], "{text}");
    }
}

#[test]
fn interfaces_are_split_at_white_space_alone() {
    let read = |text: &str, value: &str| config(text, json!({"egressMasqueradeInterfaces": value}));
    for (text, value, interfaces) in [
        ("1.14", "eth0 eth1", &["eth0 eth1"][..]),
        ("1.15.0", "eth0 eth1", &["eth0", "eth1"][..]),
        ("1.16", "eth0,eth1", &["eth0,eth1"][..]),
        ("1.18.2", "eth0, eth1", &["eth0,", "eth1"][..]),
        ("1.20", "eth0 eth1", &["eth0", "eth1"][..]),
    ] {
        assert_eq!(read(text, value).egress_masquerade_interfaces, interfaces, "{text}: {value:?}");
    }
}

#[test]
fn what_is_in_the_chart_depends_on_the_version() {
    let tree = values(json!({"tunnel": "vxlan", "forceDeviceDetection": true, "nodePort": {"enabled": true}}));
    let unknown = |text: &str| -> Vec<String> {
        tree.sort(&version(text)).unknown.into_iter().map(|unknown| unknown.path).collect()
    };
    assert_eq!(unknown("1.14"), ["forceDeviceDetection"]);
    assert_eq!(unknown("1.18.2"), ["tunnel"]);
    assert_eq!(unknown("1.19"), ["tunnel", "nodePort.enabled"]);
}

#[test]
fn modelled_values_are_the_charts() {
    for path in MODELLED {
        let tree = path.rsplit('.').fold(json!("x"), |inner, part| json!({part: inner}));
        let known = cilium::version::KNOWN
            .iter()
            .filter(|minor| values(tree.clone()).sort(&version(&minor.to_string())).modelled == [path])
            .collect::<Vec<&Minor>>();
        assert!(!known.is_empty(), "{path} is in no version's chart");
    }
}
