//! The topologies that come with the project.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use topology::network::{
    Ingress, Internet, InternetHost, InternetService, Nat, Network, Nic, NicKind, Node, Overlay, OverlayBackend, Role,
    Vcn,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../topologies")
}

fn load(name: &str) -> Network {
    topology::load(&folder().join(name)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn all_load_under_their_own_name() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).expect("topologies/ is there") {
        let path = entry.expect("it can be listed").path();
        let network = topology::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(Some(network.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            text.starts_with("# yaml-language-server: $schema=../docs/schema/topology.json\n"),
            "{}: editors complete by the first line's schema",
            path.display()
        );
        count += 1;
    }
    assert!(count >= 5, "only {count} found");
}

#[test]
fn split_vcn_is_the_guides_place() {
    let host = |name: &str, address: [u8; 4], serves: &[InternetService]| InternetHost {
        name: name.to_owned(),
        address: address.into(),
        serves: serves.to_vec(),
    };
    let vcn = |name: &str| Vcn {
        name: name.to_owned(),
        cidr: "10.0.0.0/24".parse().expect("a network"),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        nat: Nat::OneToOne,
        source_check: true,
        ingress: Ingress::Deny,
    };
    let node = |name: &str, role, vcn: &str, address: &str, public: [u8; 4], overlay: [u8; 4]| Node {
        name: name.to_owned(),
        role,
        nics: vec![Nic {
            name: "enp0s6".to_owned(),
            kind: NicKind::Vcn(vcn.to_owned()),
            addresses: vec![address.parse().expect("an address")],
            mtu: 9000,
            default_route: Some(Ipv4Addr::new(10, 0, 0, 1)),
            public_address: Some(public.into()),
            up: true,
        }],
        overlay_address: Some(overlay.into()),
    };
    let expected = Network {
        name: "split-vcn".to_owned(),
        internet: Internet {
            hosts: vec![
                host("dns.google", [8, 8, 8, 8], &[InternetService::Dns]),
                host("google.com", [142, 250, 74, 78], &[InternetService::Http, InternetService::Https]),
                host("api.ipify.org", [104, 26, 12, 205], &[InternetService::Https]),
                host("deb.debian.org", [151, 101, 2, 132], &[InternetService::Http]),
            ],
        },
        vcns: vec![vcn("a"), vcn("b")],
        overlay: Some(Overlay {
            cidr: "100.64.0.0/10".parse().expect("a network"),
            interface: "tailscale0".to_owned(),
            mtu: 1280,
            policy_routing: true,
            backend: OverlayBackend::Userspace,
            port: 41641,
        }),
        nodes: vec![
            node("master", Role::ControlPlane, "a", "10.0.0.239/24", [168, 107, 2, 60], [100, 64, 0, 1]),
            node("worker", Role::Worker, "b", "10.0.0.24/24", [168, 107, 2, 61], [100, 64, 0, 2]),
        ],
    };
    assert_eq!(load("split-vcn.yaml"), expected);
}

#[test]
fn three_sites_has_one_hard_nat() {
    let network = load("three-sites.yaml");
    let hard: Vec<&str> = network
        .vcns
        .iter()
        .filter(|vcn| matches!(vcn.nat, Nat::EndpointDependent { .. }))
        .map(|vcn| vcn.name.as_str())
        .collect();
    assert_eq!(hard, ["office"], "the relay is needed there and nowhere else");
    assert_eq!(network.nodes.iter().filter(|node| node.overlay_address.is_some()).count(), 3);
}

#[test]
fn extra_devices_adds_to_split_vcn_what_detection_must_leave_out() {
    let network = load("extra-devices.yaml");
    let master = network.node("master").expect("it is there");
    let plain = load("split-vcn.yaml");
    assert_eq!(master.nics[0], plain.nodes[0].nics[0], "the NIC itself is as in split-vcn");
    let second = master.nic("enp1s0").expect("it is there");
    assert_eq!((&second.kind, second.default_route), (&NicKind::Vcn("a".to_owned()), None));
    assert_eq!(master.nic("bond0").map(|nic| &nic.kind), Some(&NicKind::Bond(vec!["enp2s0".to_owned()])));
    let bridge = master.nic("br0").expect("it is there");
    assert_eq!(bridge.kind, NicKind::Bridge(vec!["bond0".to_owned()]));
    assert_eq!(bridge.addresses.len(), 1);
    assert_eq!(master.vcn_of("br0"), Some("storage"), "through the bond and its member");
}

#[test]
fn a_bridges_route_leads_to_its_ports_vcn() {
    let network = load("home-lab.yaml");
    let home = network.node("home").expect("it is there");
    assert_eq!(home.nic("vmbr0").and_then(|nic| nic.default_route), Some(Ipv4Addr::new(192, 168, 1, 1)));
    let members: Vec<(&str, &str)> =
        network.members("home").map(|(node, nic)| (node.name.as_str(), nic.name.as_str())).collect();
    assert_eq!(members, [("home", "eno1"), ("home", "vmbr0"), ("nas", "eth0")]);
}
