//! The guide's table (its §3), by the guide's rules (its §4).

mod common;

use cilium::decisions::{Decisions, Egress};
use cilium::{Model, decide_by_guide};
use common::{Builder, MAIN, config, ip, master, names, version};
use serde_json::{Value, json};

fn by_guide(devices: Value, node_ip: &str) -> Decisions {
    let config = config("1.18.2", json!({"devices": devices}));
    decide_by_guide(&version("1.18.2"), &config, &master(node_ip)).expect("the guide knows no fatal error")
}

fn device(name: &str) -> Egress {
    Egress::Device { device: name.to_owned() }
}

#[test]
fn the_four_rows() {
    let both: &[&str] = &["enp0s6", "tailscale0"];
    for (devices, selected, node_ip, egress, source) in [
        (json!(null), both, "100.64.0.1", "enp0s6", "10.0.0.239"),
        (json!("enp0s6,tailscale0"), both, "100.64.0.1", "enp0s6", "10.0.0.239"),
        (json!("enp0s6"), &["enp0s6"][..], "10.0.0.239", "enp0s6", "10.0.0.239"),
        (json!("tailscale0"), &["tailscale0"][..], "100.64.0.1", "tailscale0", "100.64.0.1"),
    ] {
        let made = by_guide(devices.clone(), "100.64.0.1");
        assert_eq!(names(&made), selected, "devices {devices}");
        assert_eq!(made.node_ip, ip(node_ip), "devices {devices}: node IP");
        assert_eq!(made.egress, device(egress), "devices {devices}: what is neither pod nor service");
        let leaves = made.device(egress).expect("a selected device");
        assert_eq!(leaves.masquerade_source, Some(ip(source)), "devices {devices}");
        let why = made.because.iter().find(|because| because.decision == "node-ip").expect("a reason");
        assert_eq!(why.source, "the guide, §4");
    }
}

/// The guide's rule for anything else leaves services out, so Cilium's own holds for them.
#[test]
fn services_go_by_ciliums_rule() {
    assert_eq!(by_guide(json!("enp0s6,tailscale0"), "100.64.0.1").service_egress, Egress::Fib);
    assert_eq!(by_guide(json!("tailscale0"), "100.64.0.1").service_egress, device("tailscale0"));
}

#[test]
fn kubelet_on_the_nic() {
    for devices in [json!(null), json!("enp0s6,tailscale0"), json!("enp0s6")] {
        assert_eq!(by_guide(devices.clone(), "10.0.0.239").node_ip, ip("10.0.0.239"), "devices {devices}");
    }
    assert_eq!(by_guide(json!("tailscale0"), "10.0.0.239").node_ip, ip("100.64.0.1"), "forced");
}

#[test]
fn the_first_listed_is_forced() {
    let node = Builder::new()
        .up("eth0", "device", 1500, &["10.0.0.1/24"])
        .up("eth1", "device", 1500, &["10.1.0.1/24"])
        .up("eth2", "device", 1500, &["10.2.0.1/24"])
        .route(MAIN, "default", Some("10.2.0.254"), "eth2")
        .node_ip("10.2.0.1")
        .build();
    let made = |devices: Value| {
        let config = config("1.18.2", json!({"devices": devices}));
        Model::Guide.decide(&version("1.18.2"), &config, &node).expect("no fatal error")
    };
    assert_eq!(made(json!("eth1,eth0")).node_ip, ip("10.1.0.1"), "the list's order counts, not the node's");
    assert_eq!(made(json!("eth0,eth1")).node_ip, ip("10.0.0.1"));
    assert_eq!(made(json!("eth0,eth2")).egress, device("eth2"), "the default route's interface");
    assert_eq!(made(json!("eth1")).egress, device("eth1"), "the one there is");
}

/// To the letter, detection takes what Cilium leaves out.
#[test]
fn detection_is_every_interface() {
    let node = Builder::new()
        .up("enp0s6", "device", 1500, &["10.0.0.239/24"])
        .up("docker0", "bridge", 1500, &["172.17.0.1/16"])
        .down("down0", "device", 1500, &["10.1.0.1/24"])
        .node_ip("10.0.0.239")
        .build();
    let config = config("1.18.2", json!({}));
    let made = decide_by_guide(&version("1.18.2"), &config, &node).expect("no fatal error");
    assert_eq!(names(&made), ["enp0s6", "docker0"]);
    assert_eq!(common::reason(&made, "down0"), "down");
    assert_eq!(common::reason(&made, "lo"), "loopback");
}

#[test]
fn model_names() {
    assert_eq!("guide".parse(), Ok(Model::Guide));
    assert_eq!("cilium".parse(), Ok(Model::Cilium));
    assert!("Cilium".parse::<Model>().is_err());
    assert_eq!(Model::default(), Model::Cilium);
}
