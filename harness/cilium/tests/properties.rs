//! What must hold for any node: nothing goes by name or address, and nothing panics.

mod common;

use std::net::{IpAddr, Ipv4Addr};

use cilium::inputs::{Address, Link, NodeInputs, Peer, Route};
use cilium::{AgentConfig, Model, Values, Version};
use common::{ip, net};
use ipnet::{IpNet, Ipv4Net};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec!["1.14", "1.15", "1.16", "1.17.0", "1.17", "1.18.2", "1.19", "1.20"])
        .prop_map(|text| Version::parse(text).expect("known"))
}

fn any_ipv4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(Ipv4Addr::from),
        (0..4u8).prop_map(|last| Ipv4Addr::new(10, 0, 0, last)),
        (0..4u8).prop_map(|last| Ipv4Addr::new(100, 64, 0, last)),
    ]
}

fn any_net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        9 => (any_ipv4(), 0..=32u8).prop_map(|(ip, length)| IpNet::new(IpAddr::V4(ip), length).expect("valid")),
        1 => (any::<[u8; 16]>(), 0..=128u8)
            .prop_map(|(ip, length)| IpNet::new(IpAddr::V6(ip.into()), length).expect("valid")),
    ]
}

fn any_link() -> impl Strategy<Value = Link> {
    let names = vec!["", "lo", "eth0", "eth1", "enp0s6", "tailscale0", "cilium_host", "lxc1", "docker0", "br0", "a b"];
    let kinds = vec!["device", "veth", "bridge", "bond", "dummy", "tuntap", "ipoib", "vrf", "vxlan", "nonsense"];
    let address =
        (any_net(), any::<bool>(), any::<u8>()).prop_map(|(net, secondary, scope)| Address { net, secondary, scope });
    (
        0..12u32,
        prop::sample::select(names),
        prop_oneof![any::<u32>(), Just(1500), Just(0)],
        prop_oneof![any::<u32>(), Just(1)],
        prop::sample::select(kinds),
        prop::option::of(0..12u32),
        vec(any::<u8>(), 0..8),
        vec(address, 0..4),
    )
        .prop_map(|(index, name, mtu, flags, kind, master, hardware_address, addresses)| Link {
            index,
            name: name.to_owned(),
            mtu,
            flags,
            kind: kind.to_owned(),
            master,
            hardware_address,
            addresses,
        })
}

fn any_node() -> impl Strategy<Value = NodeInputs> {
    let route = (prop_oneof![Just(254u32), Just(255), any::<u32>()], any_net(), 0..12u32)
        .prop_map(|(table, destination, link)| Route { table, destination, gateway: None, link });
    let peer = any_ipv4().prop_map(|node_ip| Peer { name: "peer".to_owned(), node_ip, pod_cidr: net("10.244.1.0/24") });
    (
        vec(any_link(), 0..10),
        vec(route, 0..12),
        prop::option::of(any_ipv4()),
        prop::option::of(any_ipv4()),
        any_ipv4(),
        vec(peer, 0..3),
    )
        .prop_map(|(links, routes, internal_ip, external_ip, router_ip, peers)| NodeInputs {
            name: "node".to_owned(),
            links,
            routes,
            internal_ip,
            external_ip,
            pod_cidr: Ipv4Net::new(ip("10.244.0.0"), 24).expect("valid"),
            router_ip,
            peers,
        })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["true", "false", "", "eth0", "eth+,lo", "!eth0", "+", "!", "10.0.0.0/8", "native"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((prop::sample::select(vec!["masquerade", "enabled", "addresses", "x"]), inner), 0..3)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
                .prop_map(Value::Object),
        ]
    })
}

fn any_values() -> impl Strategy<Value = Values> {
    let paths = prop::sample::select(cilium::values::MODELLED.to_vec());
    vec((paths, any_json()), 0..6).prop_map(|pairs| {
        let mut values = Values::new();
        for (path, value) in pairs {
            let tree = path.rsplit('.').fold(value, |inner, part| json!({part: inner}));
            values.merge(&common::values(tree));
        }
        values
    })
}

/// Values the agent can read, so that deciding is reached.
fn any_config_values() -> impl Strategy<Value = Values> {
    let devices = prop_oneof![
        Just(json!(null)),
        vec(prop::sample::select(vec!["eth0", "eth+", "tailscale0", "br0", "!eth1", "+", "enp0s6"]), 0..4)
            .prop_map(|list| json!(list)),
    ];
    let switch = || prop::sample::select(vec![json!(null), json!(true), json!(false)]);
    (devices, switch(), switch(), switch(), switch(), switch(), prop::option::of(0..70000u32)).prop_map(
        |(devices, force, kpr, bpf, legacy, endpoint_routes, mtu)| {
            common::values(json!({
                "devices": devices,
                "forceDeviceDetection": force,
                "kubeProxyReplacement": kpr,
                "bpf": {"masquerade": bpf, "hostLegacyRouting": legacy},
                "endpointRoutes": {"enabled": endpoint_routes},
                "MTU": mtu,
            }))
        },
    )
}

/// Replaces every IPv4 address of the overlay's and the NIC's range by another, names by others.
fn transformed(node: &NodeInputs, rename: &dyn Fn(&str) -> String, swap: &dyn Fn(Ipv4Addr) -> Ipv4Addr) -> NodeInputs {
    let swap_net = |net: IpNet| match net {
        IpNet::V4(net) => IpNet::V4(Ipv4Net::new(swap(net.addr()), net.prefix_len()).expect("same length")),
        other => other,
    };
    let mut node = node.clone();
    for link in &mut node.links {
        link.name = rename(&link.name);
        for address in &mut link.addresses {
            address.net = swap_net(address.net);
        }
    }
    for route in &mut node.routes {
        route.destination = swap_net(route.destination);
    }
    node.internal_ip = node.internal_ip.map(swap);
    for peer in &mut node.peers {
        peer.node_ip = swap(peer.node_ip);
    }
    node
}

proptest! {
    #[test]
    fn any_input_gets_an_answer(version in any_version(), values in any_config_values(), node in any_node()) {
        let config = AgentConfig::from_values(&version, &values).expect("readable");
        for model in [Model::Cilium, Model::Guide] {
            if let Ok(made) = model.decide(&version, &config, &node) {
                prop_assert!(made.pod_mtu <= made.device_mtu.max(1500));
                prop_assert!(made.skip_fib.is_none() || made.devices.len() == 1);
                let text = serde_json::to_string(&made).expect("decisions serialize");
                prop_assert!(!text.is_empty());
            }
        }
    }

    #[test]
    fn any_values_are_read_or_refused(version in any_version(), values in any_values()) {
        let _ = AgentConfig::from_values(&version, &values);
        let sorted = values.sort(&version);
        let count = sorted.modelled.len() + sorted.not_modelled.len() + sorted.unknown.len();
        prop_assert!(count >= values.as_map().len(), "every value is told of");
    }

    #[test]
    fn any_set_argument_is_read_or_refused(argument in r"[a-c.=,{}\[\]0-9\\ néé-]{0,40}") {
        let mut values = Values::new();
        let _ = values.set(&argument);
        let _ = values.set_string(&argument);
    }

    #[test]
    fn any_version_text_is_read_or_refused(text in ".{0,12}") {
        let _ = Version::parse(&text);
    }

    /// Other names and other addresses of the same kind give the same decisions with those names and addresses.
    #[test]
    fn names_and_addresses_don_t_matter(
        version in any_version(),
        listed in prop::sample::select(vec![vec![], vec!["enp0s6"], vec!["tailscale0"], vec!["enp0s6", "tailscale0"]]),
        on_overlay in any::<bool>(),
        nic in "[m-q][a-z]{2,6}[0-9]",
        overlay in "[r-z][a-z]{2,6}[0-9]",
        second in 1..120u8,
        third in 0..255u8,
    ) {
        let rename = |name: &str| match name {
            "enp0s6" => nic.clone(),
            "tailscale0" => overlay.clone(),
            other => other.to_owned(),
        };
        // One to one, private to private: 10.0.0.x to 10.s.t.x, 100.64.0.x to 100.96.t.x.
        let swap = |address: Ipv4Addr| match address.octets() {
            [10, 0, 0, last] => Ipv4Addr::new(10, second, third, last),
            [100, 64, 0, last] => Ipv4Addr::new(100, 96, third, last),
            _ => address,
        };
        let node = common::master(if on_overlay { "100.64.0.1" } else { "10.0.0.239" });
        let other = transformed(&node, &rename, &swap);
        let renamed: Vec<_> = listed.iter().map(|name| rename(name)).collect();
        let text = version.to_string();
        for model in [Model::Cilium, Model::Guide] {
            let here = model.decide(&version, &common::config(&text, json!({"devices": listed})), &node);
            let there = model.decide(&version, &common::config(&text, json!({"devices": renamed})), &other);
            let (Ok(here), Ok(there)) = (here, there) else {
                return Err(TestCaseError::fail("one of the agents died"));
            };
            let mut devices: Vec<_> = here.devices.iter().map(|device| {
                (rename(&device.name), device.masquerade_source.map(swap), device.nodeport_addresses.clone().into_iter().map(swap).collect::<Vec<_>>())
            }).collect();
            let mut others: Vec<_> = there.devices.iter().map(|device| {
                (device.name.clone(), device.masquerade_source, device.nodeport_addresses.clone())
            }).collect();
            // 1.14 lists devices by name.
            devices.sort();
            others.sort();
            prop_assert_eq!(devices, others);
            prop_assert_eq!(swap(here.node_ip), there.node_ip);
            prop_assert_eq!(here.direct_routing_device.as_deref().map(rename), there.direct_routing_device);
            prop_assert_eq!(here.skip_fib.as_deref().map(rename), there.skip_fib);
            prop_assert_eq!((here.pod_mtu, here.device_mtu), (there.pod_mtu, there.device_mtu));
            prop_assert_eq!((here.host_routing, here.masquerade), (there.host_routing, there.masquerade));
            let mut known: Vec<_> = here.host_addresses.into_iter().map(swap).collect();
            known.sort();
            prop_assert_eq!(known, there.host_addresses);
            prop_assert_eq!(here.tunnels[0].endpoint.map(swap), there.tunnels[0].endpoint);
        }
    }
}
