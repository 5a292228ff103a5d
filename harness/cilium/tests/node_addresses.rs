//! Which addresses Cilium knows, and what for.

mod common;

use common::{Builder, MAIN, decided, ip, master, net};
use serde_json::{Value, json};

#[test]
fn nodeport_ranges() {
    let node = Builder::new()
        .up("eth0", "device", 1500, &["10.0.0.5/24", "10.0.0.6/24", "192.168.7.1/24"])
        .route(MAIN, "default", Some("10.0.0.1"), "eth0")
        .node_ip("10.0.0.5")
        .build();
    let served = |more| decided("1.18.2", more, &node).devices[0].nodeport_addresses.clone();
    assert_eq!(served(json!({})), [ip("10.0.0.5")], "one a device");
    assert_eq!(served(json!({"nodePort": {"addresses": ["10.0.0.0/24"]}})), [ip("10.0.0.5"), ip("10.0.0.6")]);
    assert_eq!(served(json!({"nodePort": {"addresses": "192.168.0.0/16"}})), [ip("192.168.7.1")]);
    assert!(served(json!({"nodePort": {"addresses": ["172.16.0.0/12"]}})).is_empty());
    // The chart has the value since 1.16, the agent the option all along.
    let ranges = json!({"nodePort": {"addresses": ["192.168.0.0/16"]}});
    for (version, address) in [("1.15", "10.0.0.5"), ("1.16", "192.168.7.1")] {
        let made = decided(version, ranges.clone(), &node);
        assert_eq!(made.devices[0].nodeport_addresses, [ip(address)], "{version}");
    }
    let made = decided("1.15", json!({"extraConfig": {"nodeport-addresses": "192.168.0.0/16"}}), &node);
    assert_eq!(made.devices[0].nodeport_addresses, [ip("192.168.7.1")]);
}

#[test]
fn private_for_services_public_for_masquerading() {
    let node = Builder::new()
        .up("eth0", "device", 1500, &["198.41.0.4/24", "10.0.0.5/24"])
        .up("eth1", "device", 1500, &["100.64.0.1/32"])
        .node_ip("100.64.0.1")
        .build();
    let made = decided("1.18.2", json!({}), &node);
    let eth0 = made.device("eth0").expect("selected");
    assert_eq!(eth0.nodeport_addresses, [ip("10.0.0.5")]);
    assert_eq!(eth0.masquerade_source, Some(ip("198.41.0.4")));
    let all = [ip("10.0.0.5"), ip("10.244.0.244"), ip("100.64.0.1"), ip("198.41.0.4")];
    assert_eq!(made.host_addresses, all, "all of a selected device's addresses are the host's");
}

#[test]
fn derived_from_another_device() {
    let source = |version: &str, option: &str| {
        let made = decided(version, json!({"extraConfig": {option: "tailscale0"}}), &master("10.0.0.239"));
        made.device("enp0s6").expect("selected").masquerade_source
    };
    let (old, new) = ("derive-masquerade-ip-addr-from-device", "derive-masq-ip-addr-from-device");
    for (version, named, unknown) in
        [("1.14", old, new), ("1.15", old, new), ("1.16", new, old), ("1.18.2", new, old), ("1.20", new, old)]
    {
        assert_eq!(source(version, named), Some(ip("100.64.0.1")), "{version}");
        assert_eq!(source(version, unknown), Some(ip("10.0.0.239")), "{version} has no {unknown}");
    }
}

#[test]
fn dummies_give_addresses_unselected_and_down() {
    let node = Builder::new()
        .up("eth0", "device", 1500, &["10.0.0.5/24"])
        .down("nodelocaldns", "dummy", 1500, &["169.254.20.10/32"])
        .node_ip("10.0.0.5")
        .build();
    for (version, known) in [("1.16", false), ("1.17", true), ("1.18.2", true)] {
        let made = decided(version, json!({"devices": "eth0"}), &node);
        assert_eq!(made.host_addresses.contains(&ip("169.254.20.10")), known, "{version}");
        assert!(!made.node_addresses.iter().any(|row| row.nodeport && row.device == "nodelocaldns"), "{version}");
    }
}

#[test]
fn the_router_address_is_known_before_its_device() {
    let mut node = master("100.64.0.1");
    node.links.retain(|link| !link.name.starts_with("cilium_"));
    let made = decided("1.18.2", json!({}), &node);
    assert!(made.host_addresses.contains(&node.router_ip));
}

#[test]
fn public_and_private() {
    use cilium::first_global::is_public;
    for private in
        ["10.0.0.1", "100.64.0.1", "100.127.255.255", "172.31.0.1", "192.168.0.1", "203.0.113.1", "239.0.0.1"]
    {
        assert!(!is_public(ip(private)), "{private}");
    }
    for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "168.107.2.60", "198.41.0.4"] {
        assert!(is_public(ip(public)), "{public}");
    }
}

#[test]
fn exempt_destinations() {
    let more = json!({"ipMasqAgent": {"enabled": true, "config": {"nonMasqueradeCIDRs": ["10.0.0.0/8"]}}});
    let made = decided("1.18.2", more, &master("100.64.0.1"));
    assert_eq!(made.masquerade_exempt, [net("10.0.0.0/8"), net("169.254.0.0/16")]);
    assert!(decided("1.18.2", json!({}), &master("100.64.0.1")).masquerade_exempt.is_empty());
    let exempt = |config: Value| {
        let more = json!({"ipMasqAgent": {"enabled": true, "config": config}});
        decided("1.18.2", more, &master("100.64.0.1")).masquerade_exempt
    };
    assert!(exempt(json!({"masqLinkLocal": true})).is_empty(), "a configuration without CIDRs exempts none");
    assert_eq!(exempt(json!({"masqLinkLocal": false})), [net("169.254.0.0/16")]);
    for none in [json!(null), json!({})] {
        assert!(exempt(none.clone()).contains(&net("100.64.0.0/10")), "{none}: the agent's own");
    }
}

#[test]
fn other_nodes_with_native_routing() {
    for (values, exempt) in [
        (json!({}), vec![]),
        (json!({"routingMode": "native", "ipv4NativeRoutingCIDR": "10.244.0.0/16"}), vec![net("10.0.0.24/32")]),
    ] {
        for version in ["1.14", "1.15", "1.16", "1.17", "1.18.2", "1.19", "1.20"] {
            let made = decided(version, values.clone(), &master("10.0.0.239"));
            assert_eq!(made.masquerade_exempt, exempt, "{version}, {values}");
        }
    }
}
