//! What was measured on real agents, as decisions: the guide's master, 1.18.2 and the 1.19 branch point.

mod common;

use cilium::decisions::{Egress, HostRouting, Masquerade};
use cilium::{Rules, Version};
use common::{decided, ip, master, names};
use serde_json::{Value, json};

struct Row {
    devices: Value,
    selected: &'static [&'static str],
    direct_routing: &'static str,
    skip_fib: Option<&'static str>,
    pod_mtu: u32,
}

const BOTH: &[&str] = &["enp0s6", "tailscale0"];

fn rows(node_ip_device: &'static str) -> [Row; 7] {
    let both = |devices| Row { devices, selected: BOTH, direct_routing: node_ip_device, skip_fib: None, pod_mtu: 1230 };
    [
        both(json!(null)),
        both(json!("enp0s6,tailscale0")),
        both(json!("enp0s6 tailscale0")),
        both(json!(["enp0s6", "tailscale0"])),
        both(json!("enp+,tailscale+")),
        Row {
            devices: json!("enp0s6"),
            selected: &["enp0s6"],
            direct_routing: "enp0s6",
            skip_fib: Some("enp0s6"),
            pod_mtu: 8950,
        },
        Row {
            devices: json!("tailscale0"),
            selected: &["tailscale0"],
            direct_routing: "tailscale0",
            skip_fib: Some("tailscale0"),
            pod_mtu: 1230,
        },
    ]
}

#[test]
fn release_1_18_2() {
    for (node_ip, holder, peer) in [("100.64.0.1", "tailscale0", "100.64.0.2"), ("10.0.0.239", "enp0s6", "10.0.0.24")] {
        for row in rows(holder) {
            let at = format!("node IP {node_ip}, devices {}", row.devices);
            let made = decided("1.18.2", json!({"devices": row.devices}), &master(node_ip));
            assert_eq!(names(&made), row.selected, "{at}");
            assert_eq!(made.node_ip, ip(node_ip), "{at}: `devices` has no say in the node IP");
            assert_eq!(made.direct_routing_device.as_deref(), Some(row.direct_routing), "{at}");
            assert_eq!(made.skip_fib.as_deref(), row.skip_fib, "{at}: skip-FIB");
            assert_eq!((made.pod_mtu, made.device_mtu), (row.pod_mtu, row.pod_mtu + 50), "{at}: MTU");
            assert_eq!(made.tunnels[0].endpoint, Some(ip(peer)), "{at}: VXLAN goes to the peer's node IP");
            assert_eq!((made.host_routing, &made.masquerade), (HostRouting::Bpf, &Masquerade::Bpf), "{at}");
            for device in &made.devices {
                let own = if device.name == "enp0s6" { "10.0.0.239" } else { "100.64.0.1" };
                assert_eq!(device.masquerade_source, Some(ip(own)), "{at}: source on {}", device.name);
                assert_eq!(device.nodeport_addresses, [ip(own)], "{at}: NodePort on {}", device.name);
                assert_eq!(device.layer3, device.name == "tailscale0", "{at}");
                assert!(made.host_addresses.contains(&ip(own)), "{at}: a selected device's address is the host's");
            }
            assert_eq!(made.host_addresses.len(), row.selected.len() + 1, "{at}: unselected ones are not known");
            assert_eq!(made.service_egress, made.egress, "{at}: Cilium knows no difference for services");
            assert_eq!(made.snat_exclusion, common::net("10.244.0.0/24"), "{at}: only the node's own pods are exempt");
        }
    }
}

/// One selected device still means a lookup in 1.19; the rest is as before.
#[test]
fn branch_point_of_1_19() {
    for row in rows("tailscale0") {
        let made = decided("1.19", json!({"devices": row.devices}), &master("100.64.0.1"));
        assert_eq!(names(&made), row.selected, "devices {}", row.devices);
        assert_eq!((made.skip_fib.as_ref(), &made.egress), (None, &Egress::Fib), "devices {}", row.devices);
        assert_eq!(made.direct_routing_device.as_deref(), Some(row.direct_routing));
        assert_eq!(made.pod_mtu, row.pod_mtu);
    }
}

#[test]
fn mtu_set_by_hand() {
    let made = decided("1.18.2", json!({"MTU": 1500}), &master("100.64.0.1"));
    assert_eq!((made.device_mtu, made.pod_mtu), (1500, 1450), "and its outer packets don't fit the overlay's 1280");
}

#[test]
fn an_overlay_that_goes_away() {
    let mut node = master("100.64.0.1");
    let index = node.link_named("tailscale0").expect("there").index;
    node.links.retain(|link| link.index != index);
    node.routes.retain(|route| route.link != index);
    let made = decided("1.18.2", json!({}), &node);
    assert_eq!((names(&made), made.skip_fib.as_deref(), made.pod_mtu), (vec!["enp0s6"], Some("enp0s6"), 8950));
    assert_eq!(made.node_ip, ip("100.64.0.1"), "the node IP stays what Kubernetes says");
}

#[test]
fn options_that_force_a_lookup() {
    let one = |more: Value| {
        let mut tree = json!({"devices": "enp0s6"});
        tree.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        decided("1.18.2", tree, &master("100.64.0.1"))
    };
    let made = one(json!({"endpointRoutes": {"enabled": true}}));
    assert_eq!((made.host_routing, made.skip_fib), (HostRouting::Bpf, None), "endpoint routes");
    let made = one(json!({"bpf": {"hostLegacyRouting": true}}));
    assert_eq!((made.host_routing, made.skip_fib), (HostRouting::Legacy, None), "legacy host routing");
    assert_eq!(made.masquerade, Masquerade::Bpf, "which leaves masquerading to eBPF");
    let made = one(json!({"bpf": {"masquerade": false}}));
    assert_eq!((made.host_routing, made.skip_fib.clone()), (HostRouting::Legacy, None), "iptables masquerading");
    assert_eq!(made.masquerade, Masquerade::Iptables { interfaces: Vec::new() }, "on every device");
    assert_eq!(made.devices[0].masquerade_source, None);
    let made = one(json!({"bpf": {"masquerade": false}, "egressMasqueradeInterfaces": "enp+"}));
    assert_eq!(made.masquerade, Masquerade::Iptables { interfaces: vec!["enp+".to_owned()] });
    let made = one(json!({"bpf": {"masquerade": false}, "enableIPv4Masquerade": false}));
    assert_eq!((made.masquerade, made.host_routing), (Masquerade::Off, HostRouting::Bpf), "no masquerading, no need");
}

#[test]
fn twins_are_not_encapsulated() {
    let mut node = master("10.0.0.239");
    node.peers[0].node_ip = ip("10.0.0.239");
    assert_eq!(decided("1.18.2", json!({}), &node).tunnels[0].endpoint, None);
}

#[test]
fn the_mark_of_the_overlay() {
    use cilium::tunnel::mark;
    assert_eq!(mark(264), 0x0108_0400, "identity 264 ends in 0x08, which tailscaled takes for its own (cilium #36104)");
    assert_eq!(mark(265), 0x0109_0400);
    assert_eq!(mark(cilium::tunnel::INGRESS_IDENTITY) & 0x00ff_0000, 0x0008_0000);
    let bits = |identity: u32| mark(identity) & 0x00ff_0000 == 0x0008_0000;
    assert_eq!((256..512).filter(|identity| bits(*identity)).collect::<Vec<_>>(), [264], "one in 256");
    let rules = |version| Rules::of(&Version::parse(version).expect("a version"));
    assert_eq!(rules("1.18.2").mark(264), 0x0108_0400);
    assert_eq!(rules("1.15").mark(264), 0x0400, "older datapaths leave the identity out");
}

#[test]
fn native_routing() {
    let made = decided(
        "1.18.2",
        json!({"routingMode": "native", "ipv4NativeRoutingCIDR": "10.244.0.0/16", "autoDirectNodeRoutes": true}),
        &master("10.0.0.239"),
    );
    assert_eq!((made.tunnels[0].endpoint, made.pod_mtu, made.device_mtu), (None, 1280, 1280), "nothing is added");
    assert_eq!(made.snat_exclusion, common::net("10.244.0.0/16"));
    assert_eq!(
        (made.node_routes[0].via, made.node_routes[0].pod_cidr),
        (ip("10.0.0.24"), common::net("10.244.1.0/24"))
    );
}

/// Read in the source, not measured.
#[test]
fn nodes_inside_the_tunnel() {
    let carries = |more| cilium::tunnel::carries_nodes(&common::config("1.18.2", more));
    assert!(!carries(json!({})));
    assert!(carries(json!({"hostFirewall": {"enabled": true}})));
    assert!(!carries(json!({"hostFirewall": {"enabled": true}, "routingMode": "native"})), "there is no tunnel");
}

#[test]
fn every_decision_says_why() {
    for version in ["1.14", "1.15", "1.16", "1.17", "1.18.2", "1.19", "1.20"] {
        let made = decided(version, json!({}), &master("100.64.0.1"));
        let said: Vec<_> = made.because.iter().map(|because| because.decision.as_str()).collect();
        for decision in [
            "devices",
            "node-ip",
            "direct-routing-device",
            "host-routing",
            "skip-fib",
            "masquerade",
            "snat-exclusion",
            "host-addresses",
            "mtu",
            "tunnels",
        ] {
            assert!(said.contains(&decision), "{version}: nothing about {decision}");
        }
        assert!(made.because.iter().all(|because| !because.source.is_empty() && !because.says.is_empty()));
    }
}
