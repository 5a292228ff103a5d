//! What is left out of a file, and what stands in for it.

use topology::{
    Network,
    network::{Ingress, Nat, NicKind, Role},
    source::Source,
};

fn read(text: &str) -> Network {
    let source = Source::from_bytes("some/where/my net.yaml", text).expect("small and UTF-8");
    topology::parse(&source).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn the_shortest_topology() {
    let network = read("vcns: {a: {nat: none, cidr: 10.9.0.0/24}}\nnodes: {n: {interfaces: {eth0: {vcn: a}}}}\n");
    assert_eq!(network.name, "my net", "the file's name without its ending");
    assert!(network.internet.hosts.is_empty());
    assert_eq!(network.overlay, None);
    let vcn = network.vcn("a").expect("it is there");
    assert_eq!(vcn.gateway.to_string(), "10.9.0.1", "the first address");
    assert_eq!((vcn.nat, vcn.source_check, vcn.ingress), (Nat::None, false, Ingress::Deny));
    let node = network.node("n").expect("it is there");
    assert_eq!((node.role, node.overlay_address), (Role::Worker, None));
    let nic = node.nic("eth0").expect("it is there");
    assert_eq!((nic.mtu, nic.up, nic.default_route, nic.addresses.len()), (1500, true, None, 0));
}

#[test]
fn an_empty_overlay_is_tailscales() {
    let network = read(
        "overlay: {}\nvcns: {a: {nat: none, cidr: 10.9.0.0/24}}\n\
         nodes: {n: {interfaces: {eth0: {vcn: a}}, overlay-address: 100.100.1.2}}\n",
    );
    let overlay = network.overlay.expect("it is there");
    assert_eq!((overlay.cidr.to_string().as_str(), overlay.interface.as_str()), ("100.64.0.0/10", "tailscale0"));
    assert_eq!((overlay.mtu, overlay.port, overlay.policy_routing), (1280, 41641, true));
}

#[test]
fn what_is_given_beside_a_preset_wins() {
    let network = read(
        "vcns: {a: {preset: oci, cidr: 10.9.0.0/24, gateway: 10.9.0.254, nat: endpoint-dependent, \
         public-address: 203.0.113.1, source-check: false, ingress: allow, mtu: 1400}}\n\
         nodes:\n  n:\n    interfaces:\n      eth0: {vcn: a}\n      eth1: {vcn: a, mtu: 1300}\n",
    );
    let vcn = network.vcn("a").expect("it is there");
    assert_eq!(vcn.nat, Nat::EndpointDependent { public_address: [203, 0, 113, 1].into() });
    assert_eq!((vcn.source_check, vcn.ingress, vcn.gateway.octets()[3]), (false, Ingress::Allow, 254));
    let mtus: Vec<u32> = network.nodes[0].nics.iter().map(|nic| nic.mtu).collect();
    assert_eq!(mtus, [1400, 1300]);
}

#[test]
fn bridges_and_bonds_take_their_ports_mtu_in_any_order() {
    let network = read(
        "vcns: {a: {preset: aws-nat-gateway, cidr: 10.9.0.0/24, public-address: 203.0.113.1}}\n\
         nodes:\n  n:\n    interfaces:\n      br0: {bridge: [bond0, d0], default-route: true, address: 10.9.0.2/24}\n\
         \x20     bond0: {bond: [eth0, eth1]}\n      eth0: {vcn: a}\n      eth1: {vcn: a, mtu: 8000}\n\
         \x20     d0: {dummy: true, mtu: 9000, up: false}\n      empty: {bridge: []}\n",
    );
    let nics: Vec<(&str, u32)> = network.nodes[0].nics.iter().map(|nic| (nic.name.as_str(), nic.mtu)).collect();
    let expected = [("br0", 8000), ("bond0", 8000), ("eth0", 9001), ("eth1", 8000), ("d0", 9000), ("empty", 1500)];
    assert_eq!(nics, expected, "in the file's order");
    assert_eq!(network.nodes[0].nics[0].default_route, Some([10, 9, 0, 1].into()));
    assert_eq!(network.nodes[0].nics[5].kind, NicKind::Bridge(Vec::new()));
    assert!(!network.nodes[0].nics[4].up);
}

#[test]
fn the_same_vcn_address_in_two_vcns_is_normal() {
    let network = read(
        "vcns: {a: {nat: none, cidr: 10.0.0.0/24}, b: {nat: none, cidr: 10.0.0.0/24}}\n\
         nodes: {n: {interfaces: {e: {vcn: a, address: 10.0.0.5/24}}}, m: {interfaces: {e: {vcn: b, address: 10.0.0.5/24}}}}\n",
    );
    assert_eq!(network.members("a").count(), 1);
}

#[test]
fn words_that_old_yaml_took_for_something_else() {
    // YAML 1.1 read `no` and `on` as booleans, 017 as 15, 1e3 as 1000. A name stays a name.
    let network = read(
        "name: 017\nvcns:\n  no: {nat: none, cidr: 10.0.0.0/24}\n  1e3: {nat: none, cidr: 10.0.0.0/24}\n\
         nodes:\n  on: {interfaces: {0x1: {vcn: no}, 12.30: {vcn: 1e3}}}\n",
    );
    assert_eq!(network.name, "017");
    assert_eq!(network.vcns.iter().map(|vcn| vcn.name.as_str()).collect::<Vec<_>>(), ["no", "1e3"]);
    assert_eq!(network.nodes[0].name, "on");
    assert_eq!(network.nodes[0].nics[0].kind, NicKind::Vcn("no".to_owned()));
    assert_eq!(network.nodes[0].nics[1].name, "12.30");
}

#[test]
fn anchors_and_merges() {
    let network = read(
        "vcns: {a: &cloud {preset: oci, cidr: 10.0.0.0/24}, b: *cloud, c: {<<: *cloud, mtu: 1500}}\n\
         nodes: {n: {interfaces: {e0: {vcn: a}, e1: {vcn: b}, e2: {vcn: c}}}}\n",
    );
    let mtus: Vec<u32> = network.nodes[0].nics.iter().map(|nic| nic.mtu).collect();
    assert_eq!(mtus, [9000, 9000, 1500]);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_matter() {
    let network = read(
        "\u{feff}vcns:\r\n  a: {nat: none, cidr: 10.9.0.0/24}\r\nnodes:\r\n  n: {interfaces: {eth0: {vcn: a}}}\r\n",
    );
    assert_eq!(network.nodes.len(), 1);
}
