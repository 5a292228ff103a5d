//! What agents die of, in their own words.

mod common;

use common::{Builder, decide, master};
use serde_json::{Value, json};

fn dies(version: &str, more: Value) -> String {
    decide(version, more.clone(), &master("100.64.0.1")).expect_err(&more.to_string()).to_string()
}

const NO_DEVICE: &str = "unable to determine direct routing device. Use --direct-routing-device to specify it";

#[test]
fn no_direct_routing_device() {
    let node = Builder::new()
        .up("enp0s6", "device", 9000, &["10.0.0.239/24"])
        .up("tailscale0", "tuntap", 1280, &["100.64.0.1/32"])
        .up("docker0", "bridge", 1500, &["172.17.0.1/16"])
        .node_ip("100.64.0.1")
        .build();
    let list = json!({"devices": "enp0s6 docker0"});
    for (version, prefix) in [
        ("1.15", "daemon creation failed: failed to detect devices: "),
        ("1.16", "daemon creation failed: failed to detect devices: "),
        ("1.17", "daemon creation failed: "),
        ("1.18.2", "daemon creation failed: "),
        ("1.19", "daemon configuration failed: "),
        ("1.20", "daemon configuration failed: "),
    ] {
        let error = decide(version, list.clone(), &node).expect_err(version);
        assert_eq!(error.to_string(), format!("{prefix}{NO_DEVICE}"), "{version}");
    }
    let alive = decide("1.14", list, &node).expect("1.14 adds the node IP's device by force");
    assert_eq!(alive.direct_routing_device.as_deref(), Some("tailscale0"));
}

#[test]
fn a_list_nobody_matches() {
    assert_eq!(dies("1.18.2", json!({"devices": "eth0"})), format!("daemon creation failed: {NO_DEVICE}"));
    assert_eq!(
        dies("1.15", json!({"devices": "eth+"})),
        "daemon creation failed: failed to detect devices: No device found matching [eth+]"
    );
    assert_eq!(
        dies("1.14", json!({"devices": "eth+"})),
        "daemon creation failed: failed to detect devices: device wildcard expansion failed to detect devices. Please \
         verify --devices option."
    );
    assert_eq!(
        dies("1.14", json!({"devices": "eth0"})),
        "daemon creation failed: failed to finalise LB initialization: Cannot retrieve eth0 link: Link not found"
    );
}

#[test]
fn nobody_needs_a_device_without_replacement() {
    let quiet = json!({"kubeProxyReplacement": false, "bpf": {"masquerade": false}, "devices": "eth0"});
    let made = decide("1.18.2", quiet, &master("100.64.0.1")).expect("kube-proxy does the work");
    assert_eq!((made.devices.len(), made.direct_routing_device), (0, None));
}

#[test]
fn masquerading_options_that_contradict() {
    let support = "unable to initialize BPF masquerade support: ";
    for (version, prefix) in
        [("1.18.2", "daemon creation failed: "), ("1.19", "failed to init and validate daemon config: ")]
    {
        assert_eq!(
            dies(version, json!({"egressMasqueradeInterfaces": "enp0s6"})),
            format!(
                "{prefix}{support}BPF masquerade does not allow to specify devices via --egress-masquerade-interfaces \
                 (use --devices instead)"
            )
        );
        assert_eq!(
            dies(version, json!({"enableMasqueradeRouteSource": true})),
            format!(
                "{prefix}BPF masquerading to route source (--enable-masquerade-to-route-source=\"true\") currently not \
                 supported with BPF-based masquerading (--enable-bpf-masquerade=\"true\")"
            )
        );
        assert_eq!(
            dies(version, json!({"enableIPv4Masquerade": false})),
            format!(
                "{prefix}BPF masquerade requires (--enable-ipv4-masquerade=\"true\" or \
                 --enable-ipv6-masquerade=\"true\")"
            )
        );
        assert_eq!(
            dies(version, json!({"bpf": {"masquerade": false}, "ipMasqAgent": {"enabled": true}})),
            format!(
                "{prefix}BPF ip-masq-agent requires (--enable-ipv4-masquerade=\"true\" or \
                 --enable-ipv6-masquerade=\"true\") and --enable-bpf-masquerade=\"true\""
            )
        );
    }
    assert_eq!(
        dies("1.18.2", json!({"kubeProxyReplacement": false})),
        format!("daemon creation failed: {support}BPF masquerade requires NodePort (--enable-node-port=\"true\")")
    );
    let alive = |version: &str, more: Value| decide(version, more, &master("100.64.0.1")).expect(version);
    alive("1.19", json!({"kubeProxyReplacement": false}));
    let made = alive("1.14", json!({"egressMasqueradeInterfaces": "enp0s6"}));
    assert_eq!(made.masquerading(), "IPTables", "1.14 falls back with a warning");
}

#[test]
fn values_of_kube_proxy_replacement() {
    // The chart takes it no longer; `extraConfig` overrides what it writes.
    let strict = json!({"extraConfig": {"kube-proxy-replacement": "strict"}});
    assert_eq!(dies("1.18.2", strict.clone()), "invalid value for kube-proxy-replacement");
    assert!(dies("1.17", strict.clone()).ends_with("Invalid value for --kube-proxy-replacement: strict"));
    assert!(dies("1.19", strict.clone()).contains("kube-proxy-replacement"));
    let strict = json!({"kubeProxyReplacement": "strict"});
    let made = decide("1.15", strict, &master("100.64.0.1")).expect("1.15 still takes it");
    assert_eq!(made.host_routing, cilium::decisions::HostRouting::Bpf);
}

#[test]
fn native_routing_wants_its_range() {
    assert!(dies("1.18.2", json!({"routingMode": "native"})).starts_with("native routing cidr must be configured"));
    let agent = json!({"routingMode": "native", "ipMasqAgent": {"enabled": true}});
    let made = decide("1.18.2", agent, &master("100.64.0.1")).expect("the ip-masq-agent has ranges of its own");
    assert!(made.masquerade_exempt.contains(&common::net("100.64.0.0/10")));
}

#[test]
fn routes_to_nodes_beside_a_tunnel() {
    let routes = json!({"autoDirectNodeRoutes": true});
    let tunnelled =
        "auto-direct-node-routes cannot be used with tunneling. Packets must be routed through the tunnel device.";
    for version in ["1.14", "1.15", "1.16", "1.17", "1.18.2", "1.19"] {
        assert_eq!(dies(version, routes.clone()), tunnelled, "{version}");
    }
    assert_eq!(dies("1.20", routes), "auto-direct-node-routes requires native or hybrid routing mode.");
}

#[test]
fn what_excludes_ipsec() {
    let ipsec = json!({"encryption": {"enabled": true, "type": "ipsec"}});
    let with_firewall = json!({"encryption": {"enabled": true, "type": "ipsec"}, "hostFirewall": {"enabled": true}});
    let firewall = "IPSec cannot be used with the host firewall.";
    for version in ["1.14", "1.15"] {
        assert_eq!(
            dies(version, ipsec.clone()),
            "daemon creation failed: unable to initialize kube-proxy replacement options: IPSec cannot be used with BPF \
             NodePort"
        );
    }
    for version in ["1.16", "1.17", "1.18.2", "1.19", "1.20"] {
        decide(version, ipsec.clone(), &master("100.64.0.1")).expect(version);
    }
    for version in ["1.14", "1.15", "1.16", "1.17", "1.18.2"] {
        assert_eq!(
            dies(version, with_firewall.clone()),
            firewall,
            "{version}: it comes before the question of NodePort"
        );
    }
    for version in ["1.19", "1.20"] {
        assert_eq!(
            dies(version, with_firewall.clone()),
            format!("failed to init and validate daemon config: {firewall}"),
            "{version}"
        );
    }
    // Nothing is asked where 1.14 switches NodePort off itself.
    let off = json!({
        "encryption": {"enabled": true, "type": "ipsec"},
        "kubeProxyReplacement": "disabled",
        "nodePort": {"enabled": true},
        "bpf": {"masquerade": false},
    });
    decide("1.14", off, &master("100.64.0.1")).expect("NodePort is off");
}

#[test]
fn no_node_ip_at_all() {
    let mut node = master("100.64.0.1");
    node.internal_ip = None;
    assert!(decide("1.18.2", json!({}), &node).is_err(), "two devices, and none is the node's");
    let made = decide("1.18.2", json!({"devices": "enp0s6"}), &node).expect("one device is enough");
    assert_eq!(made.node_ip, common::ip("10.0.0.239"), "the direct routing device's address");
    node.external_ip = Some(common::ip("168.107.2.60"));
    let made = decide("1.18.2", json!({"devices": "enp0s6"}), &node).expect("one device is enough");
    assert_eq!(made.node_ip, common::ip("168.107.2.60"), "an ExternalIP comes before it");
}
