//! What an upgrade changes.

mod common;

use cilium::decisions::Egress;
use cilium::inputs::NodeInputs;
use cilium::{Decisions, Model};
use common::{Builder, MAIN, decided, ip, master, names, reason};
use serde_json::json;

const ALL: [&str; 7] = ["1.14", "1.15", "1.16", "1.17", "1.18", "1.19", "1.20"];

#[test]
fn detection_takes_the_overlay_everywhere() {
    for version in ALL {
        assert_eq!(names(&decided(version, json!({}), &master("100.64.0.1"))), ["enp0s6", "tailscale0"], "{version}");
    }
}

/// 1.14 added the node IP's device to any list; later versions don't, so it gets no eBPF.
#[test]
fn the_node_ips_device_is_no_longer_added() {
    for version in ALL {
        let made = decided(version, json!({"devices": "enp0s6"}), &master("100.64.0.1"));
        let wanted: &[&str] = if version == "1.14" { &["enp0s6", "tailscale0"] } else { &["enp0s6"] };
        assert_eq!(names(&made), wanted, "{version}");
    }
}

#[test]
fn skip_fib_ends_with_1_18() {
    for version in ALL {
        let made = decided(version, json!({"devices": "tailscale0"}), &master("100.64.0.1"));
        let skips = matches!(made.egress, Egress::Device { .. });
        assert_eq!(skips, !["1.19", "1.20"].contains(&version), "{version}");
        assert_eq!(made.skip_fib.is_some(), skips, "{version}");
    }
}

#[test]
fn mtu_by_version() {
    let node = Builder::new()
        .up("enp0s6", "device", 9000, &["10.0.0.239/24"])
        .up("tailscale0", "tuntap", 1280, &["100.64.0.1/32"])
        .up("dummy7", "dummy", 1000, &["10.9.0.1/24"])
        .node_ip("10.0.0.239")
        .build();
    for (version, mtu, why) in [
        ("1.14", 9000, "the node IP's device"),
        ("1.16", 9000, "the node IP's device"),
        ("1.17.0", 1000, "the smallest of all, dummies too"),
        ("1.17.8", 1280, "the smallest but dummies, backported"),
        ("1.17", 1280, "the line's latest"),
        ("1.18", 1280, "the smallest but dummies"),
        ("1.20", 1280, "the smallest but dummies"),
    ] {
        let made = decided(version, json!({}), &node);
        assert_eq!((made.device_mtu, made.pod_mtu), (mtu, mtu - 50), "{version}: {why}");
    }
    let only = decided("1.18", json!({"devices": "dummy7", "nodePort": {"directRoutingDevice": "dummy7"}}), &node);
    assert_eq!(only.device_mtu, 65520, "no device is left to limit it");
}

/// What an agent that decided on the first node makes of the second.
fn running(text: &str, before: &NodeInputs, after: &NodeInputs) -> Decisions {
    let (version, config) = (common::version(text), common::config(text, json!({})));
    let made = Model::Cilium.decide(&version, &config, before).expect("the agent lives");
    Model::Cilium.decide_again(&version, &config, (before, &made), after)
}

#[test]
fn devices_that_come_later() {
    let after = master("10.0.0.239");
    let mut before = after.clone();
    let index = before.link_named("tailscale0").expect("there").index;
    before.links.retain(|link| link.index != index);
    before.routes.retain(|route| route.link != index);
    for version in ALL {
        let wanted: &[&str] = match version {
            "1.14" | "1.15" => &["enp0s6"],
            _ => &["enp0s6", "tailscale0"],
        };
        assert_eq!(names(&running(version, &before, &after)), wanted, "{version} comes");
    }
    // What is gone is gone for all of them.
    for version in ALL {
        assert_eq!(names(&running(version, &after, &before)), ["enp0s6"], "{version} goes");
    }
}

#[test]
fn an_mtu_that_changes_later() {
    let node = |mtu| {
        let builder = Builder::new().up("enp0s6", "device", mtu, &["10.0.0.239/24"]);
        builder.route(MAIN, "default", Some("10.0.0.1"), "enp0s6").node_ip("10.0.0.239").build()
    };
    for version in ALL {
        let once = ["1.14", "1.15", "1.16"].contains(&version);
        let made = running(version, &node(9000), &node(1500));
        let mtu = if once { 9000 } else { 1500 };
        assert_eq!((made.device_mtu, made.pod_mtu), (mtu, mtu - 50), "{version}");
    }
}

#[test]
fn what_wireguard_adds() {
    let node = master("10.0.0.239");
    let values = json!({"encryption": {"enabled": true, "type": "wireguard"}, "devices": "enp0s6"});
    let lines = [
        ("1.14", 80), // not inside the tunnel
        ("1.15", 130),
        ("1.18.2", 130),
        ("1.19.4", 130),
        ("1.19.5", 145),
        ("1.19", 145),
        ("1.20", 145),
    ];
    for (version, overhead) in lines {
        let made = decided(version, values.clone(), &node);
        assert_eq!((made.device_mtu, made.pod_mtu), (9000, 9000 - overhead), "{version}");
    }
}

#[test]
fn exclamation_marks() {
    let node = master("10.0.0.239");
    let made = decided("1.18.2", json!({"devices": "!enp0s6,enp+"}), &node);
    assert_eq!(names(&made), ["enp0s6"], "1.18 takes `!enp0s6` for a name nobody has");
    let dead = common::decide("1.19", json!({"devices": "!enp0s6,enp+"}), &node).expect_err("nothing is left");
    assert_eq!(
        dead.to_string(),
        "daemon configuration failed: unable to determine direct routing device. Use --direct-routing-device to specify it"
    );
    let made = decided("1.19", json!({"devices": "!tailscale0", "forceDeviceDetection": true}), &node);
    assert_eq!(names(&made), ["enp0s6"], "detection goes on for the rest");
    assert_eq!(reason(&made, "tailscale0"), "", "Cilium gives no reason for what a `!` excludes");
}

#[test]
fn listed_but_down_or_bare() {
    let node = Builder::new()
        .up("enp0s6", "device", 9000, &["10.0.0.239/24"])
        .down("down0", "device", 1500, &["10.1.0.1/24"])
        .up("bare0", "device", 1400, &[])
        .node_ip("10.0.0.239")
        .build();
    let list = json!({"devices": ["enp0s6", "down0", "bare0"]});
    let made = decided("1.18.2", list.clone(), &node);
    assert_eq!(names(&made), ["enp0s6"]);
    assert_eq!(reason(&made, "down0"), "missing required flag (mask=0x1, flags=0x1002)");
    assert_eq!(reason(&made, "bare0"), "device has no addresses");
    let made = decided("1.19", list, &node);
    assert_eq!(names(&made), ["enp0s6", "down0", "bare0"], "1.19 takes what is listed");
    let bare = made.device("bare0").expect("selected");
    assert_eq!((bare.masquerade_source, made.device_mtu), (Some(ip("10.0.0.239")), 1400), "with the fallback address");
    assert!(bare.nodeport_addresses.is_empty());
}

#[test]
fn members_of_a_vrf() {
    let node = Builder::new()
        .up("enp0s6", "device", 1500, &["10.0.0.239/24"])
        .up("red", "vrf", 1500, &[])
        .up("eth1", "device", 1500, &["10.1.0.1/24"])
        .enslave("eth1", "red")
        .node_ip("10.0.0.239")
        .build();
    assert_eq!(reason(&decided("1.19", json!({}), &node), "eth1"), "bridged or bonded to ifindex 3");
    assert_eq!(names(&decided("1.20", json!({}), &node)), ["enp0s6", "eth1"]);
    assert_eq!(names(&decided("1.14", json!({}), &node)), ["enp0s6", "eth1"], "1.14 only minds bridges and bonds");
}

#[test]
fn infiniband() {
    let node = Builder::new()
        .up("enp0s6", "device", 1500, &["10.0.0.239/24"])
        .up("ib0", "ipoib", 2044, &["10.1.0.1/24"])
        .node_ip("10.0.0.239")
        .build();
    for version in ["1.14", "1.15", "1.16", "1.17.0"] {
        assert_eq!(names(&decided(version, json!({}), &node)), ["enp0s6", "ib0"], "{version}");
    }
    for version in ["1.17", "1.18", "1.19", "1.20"] {
        let made = decided(version, json!({}), &node);
        assert_eq!(reason(&made, "ib0"), "IPoIB device, use --devices to override", "{version}");
    }
}

#[test]
fn commas_in_the_option() {
    for (version, wanted) in [("1.16", vec!["enp0s6", "tailscale0"]), ("1.18", vec!["enp0s6", "tailscale0"])] {
        let made = decided(version, json!({"devices": "enp0s6,tailscale0"}), &master("100.64.0.1"));
        assert_eq!(names(&made), wanted, "{version}");
    }
    let dead = common::decide("1.15", json!({"devices": "enp0s6,tailscale0"}), &master("100.64.0.1"));
    assert!(dead.is_err(), "1.15 looks for one device of that whole name, and finds none");
}

#[test]
fn host_addresses_of_unselected_devices() {
    for version in ALL {
        let made = decided(version, json!({"devices": "enp0s6"}), &master("100.64.0.1"));
        let known = made.host_addresses.contains(&ip("100.64.0.1"));
        assert_eq!(known, version == "1.14", "{version}: only 1.14 takes every device's addresses");
    }
}

/// Addresses of devices left out, under a lookup: 1.14 knows them, later ones drop what the lookup says is local, until
/// 1.18.2 (measured: it is delivered).
#[test]
fn own_addresses_of_unselected_devices() {
    let node = master("100.64.0.1");
    let dropped = |text: &str, more| {
        let made = decided(text, more, &node);
        cilium::host_routing::dropped(&cilium::Rules::of(&common::version(text)), &node, &made)
    };
    let looked_up = json!({"devices": "tailscale0", "endpointRoutes": {"enabled": true}});
    for version in ["1.15", "1.15.0", "1.16.4", "1.17", "1.18.0", "1.18.1"] {
        assert_eq!(dropped(version, looked_up.clone()), [ip("10.0.0.239")], "{version}");
        assert!(dropped(version, json!({})).is_empty(), "{version}: all devices are selected");
    }
    for version in ["1.14", "1.18.2", "1.18", "1.19.0", "1.20"] {
        assert!(dropped(version, looked_up.clone()).is_empty(), "{version}");
    }
    let legacy = json!({"devices": "tailscale0", "bpf": {"masquerade": true, "hostLegacyRouting": true}});
    assert!(dropped("1.17", legacy).is_empty(), "the host's stack delivers");
}

#[test]
fn a_public_address_beside_the_node_ip() {
    let node = Builder::new()
        .up("eth0", "device", 1500, &["10.0.0.5/24", "198.41.0.4/24"])
        .route(MAIN, "default", Some("10.0.0.1"), "eth0")
        .node_ip("10.0.0.5")
        .build();
    for (version, source) in [("1.18.2", "10.0.0.5"), ("1.19", "198.41.0.4")] {
        let made = decided(version, json!({}), &node);
        assert_eq!(made.devices[0].masquerade_source, Some(ip(source)), "{version} (cilium #41866)");
        assert_eq!(made.devices[0].nodeport_addresses, [ip("10.0.0.5")], "{version}");
    }
}

#[test]
fn a_direct_routing_device_that_matches_nothing() {
    let node = master("100.64.0.1");
    let wrong = json!({"nodePort": {"directRoutingDevice": "eth9"}});
    assert!(common::decide("1.16", wrong.clone(), &node).is_err(), "before 1.17 there is no second try");
    let made = decided("1.17", wrong, &node);
    assert_eq!(made.direct_routing_device.as_deref(), Some("tailscale0"), "since 1.17 the node IP's device stands in");
    let made = decided("1.18", json!({"nodePort": {"directRoutingDevice": "enp+"}}), &node);
    assert_eq!(made.direct_routing_device.as_deref(), Some("enp0s6"));
}
