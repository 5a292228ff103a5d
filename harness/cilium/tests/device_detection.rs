//! Cilium's own vectors for device selection, and its reasons.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use cilium::devices::{self, Selection};
use cilium::inputs::{Link, NodeInputs};
use cilium::{AgentConfig, Rules, Version};
use common::{Builder, MAIN, config, decided, names, reason};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source: String,
    first_version: String,
    last_version: String,
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    devices: Vec<String>,
    force_device_detection: bool,
    links: Vec<VectorLink>,
    routes: Vec<VectorRoute>,
    #[serde(default)]
    agent_routes: Vec<VectorRoute>,
    selected: Vec<String>,
    not_selected: Vec<String>,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorLink {
    name: String,
    kind: String,
    up: bool,
    addresses: Vec<String>,
    master: Option<String>,
    #[serde(rename = "peer")]
    _peer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorRoute {
    destination: String,
    via: Option<String>,
    dev: String,
}

fn node(case: &Case) -> NodeInputs {
    let mut builder = Builder::new();
    for link in &case.links {
        let addresses: Vec<_> = link.addresses.iter().map(String::as_str).collect();
        builder = match link.up {
            true => builder.up(&link.name, &link.kind, 1500, &addresses),
            false => builder.down(&link.name, &link.kind, 1500, &addresses),
        };
    }
    for link in &case.links {
        if let Some(master) = &link.master {
            builder = builder.enslave(&link.name, master);
        }
    }
    for route in case.routes.iter().chain(&case.agent_routes) {
        builder = builder.route(MAIN, &route.destination, route.via.as_deref(), &route.dev);
    }
    builder.build()
}

fn selected<'a>(node: &'a NodeInputs, selection: &Selection) -> Vec<&'a str> {
    selection.links(node).into_iter().map(|link| link.name.as_str()).collect()
}

#[test]
fn upstreams_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/device-detection");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).expect("the data is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let file: File = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let parse = |text: &str| Version::parse(text).expect("a known version");
        let (first, last) = (parse(&file.first_version), parse(&file.last_version));
        for minor in cilium::version::KNOWN.iter().filter(|minor| (first.minor()..=last.minor()).contains(*minor)) {
            let version = parse(&minor.to_string());
            for case in &file.cases {
                let values = common::values(json!({
                    "devices": case.devices,
                    "forceDeviceDetection": case.force_device_detection,
                }));
                let config = AgentConfig::from_values(&version, &values).expect("valid");
                let node = node(case);
                let selection = devices::select(&Rules::of(&version), &config, &node, None).expect("no fatal error");
                let got = selected(&node, &selection);
                let at = format!("{} of {} on {version}", case.id, file.source);
                for name in &case.selected {
                    assert!(got.contains(&name.as_str()), "{at}: {name} must be selected, got {got:?}");
                }
                for name in &case.not_selected {
                    assert!(!got.contains(&name.as_str()), "{at}: {name} must not be selected, got {got:?}");
                }
                for (name, reason) in &case.reasons {
                    let told = selection.not_selected.iter().find(|entry| entry.name == *name);
                    assert_eq!(told.map(|entry| &entry.reason), Some(reason), "{at}: reason of {name}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 100, "only {compared} comparisons: the data went missing");
}

/// One device a reason, with the first check that fails deciding.
#[test]
fn reasons() {
    let node = Builder::new()
        .up("enp0s6", "device", 1500, &["10.0.0.239/24"])
        .up("empty", "device", 1500, &[])
        .down("down", "device", 1500, &["10.1.0.1/24"])
        .up("docker0", "bridge", 1500, &["172.17.0.1/16"])
        .up("local0", "device", 1500, &["10.2.0.1/24"])
        .up("br0", "bridge", 1500, &["10.3.0.1/24"])
        .up("ovs0", "openvswitch", 1500, &["10.4.0.1/24"])
        .up("ib0", "ipoib", 1500, &["10.5.0.1/24"])
        .up("veth7", "veth", 1500, &["10.6.0.1/24"])
        .up("linklocal", "device", 1500, &["fe80::1/64"])
        .up("port1", "device", 1500, &["10.7.0.1/24"])
        .enslave("port1", "br0")
        .up("wg0", "wireguard", 1420, &["100.64.0.9/32"])
        .node_ip("10.0.0.239")
        .build();
    let decisions = decided("1.18.2", json!({}), &node);
    assert_eq!(names(&decisions), ["enp0s6", "wg0"], "a WireGuard device is selected like any other");
    for (name, says) in [
        ("lo", "excluded flag set (mask=0x808, flags=0x9)"),
        ("empty", "device has no addresses"),
        ("down", "missing required flag (mask=0x1, flags=0x1002)"),
        ("docker0", "excluded prefix \"docker\""),
        ("local0", "excluded prefix \"lo\""),
        ("br0", "bridge-like device, use --devices to override"),
        ("ovs0", "bridge-like device, use --devices to override"),
        ("ib0", "IPoIB device, use --devices to override"),
        ("veth7", "veth without default route"),
        ("linklocal", "no global unicast routes"),
        ("port1", "bridged or bonded to ifindex 7"),
    ] {
        assert_eq!(reason(&decisions, name), says, "{name}");
    }
}

#[test]
fn a_list_switches_the_checks_off() {
    let node = Builder::new()
        .up("br0", "bridge", 1500, &["10.3.0.1/24"])
        .up("veth7", "veth", 1500, &["10.6.0.1/24"])
        .up("docker0", "bridge", 1500, &["172.17.0.1/16"])
        .node_ip("10.3.0.1")
        .build();
    let decisions = decided("1.18.2", json!({"devices": ["br0", "veth+", "docker0", "nosuch0"]}), &node);
    assert_eq!(names(&decisions), ["br0", "veth7", "docker0"], "a name nobody has is never mentioned");
}

#[test]
fn the_space_trap() {
    let node = common::master("100.64.0.1");
    let decisions = decided("1.18.2", json!({"devices": "enp0s6, tailscale0"}), &node);
    assert_eq!(names(&decisions), ["enp0s6"], "` tailscale0` with its blank names nothing");
    assert_eq!(decisions.skip_fib.as_deref(), Some("enp0s6"), "so one device is left");
    assert_eq!(reason(&decisions, "tailscale0"), "not matching user filter [enp0s6  tailscale0]");
}

/// A running agent does not unselect a device that only lost its route.
#[test]
fn selection_has_a_memory() {
    let with = |route: bool| -> NodeInputs {
        let builder = Builder::new().up("veth0", "veth", 1500, &["192.168.0.1/24"]);
        let builder = if route { builder.route(MAIN, "default", Some("192.168.0.254"), "veth0") } else { builder };
        builder.node_ip("192.168.0.1").build()
    };
    let rules = Rules::of(&common::version("1.18.2"));
    let config = config("1.18.2", json!({}));
    let before = with(true);
    let first = devices::select(&rules, &config, &before, None).expect("no fatal error");
    assert_eq!(selected(&before, &first), ["veth0"]);
    let after = with(false);
    let again = devices::select_again(&rules, &config, (&before.links, &first), &after);
    assert_eq!(selected(&after, &again), ["veth0"], "the route alone does not count");
    let mut touched = after.clone();
    touched.links.iter_mut().for_each(|link: &mut Link| link.mtu += 1);
    let again = devices::select_again(&rules, &config, (&before.links, &first), &touched);
    assert!(selected(&touched, &again).is_empty(), "a change of the device makes the agent look again");
    let fresh = devices::select(&rules, &config, &after, None).expect("no fatal error");
    assert!(selected(&after, &fresh).is_empty(), "and so does a restart");
}
