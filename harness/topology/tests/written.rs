//! What is written is what is read: networks made at random, written down, read again.

use std::fmt::Write;

use proptest::prelude::*;
use topology::{network::NicKind, source::Source};

#[derive(Debug, Clone)]
struct Plan {
    vcns: Vec<(u8, u8)>,
    nodes: Vec<(usize, u16, bool, Vec<u8>)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let vcns = proptest::collection::vec((any::<u8>(), 16_u8..=24), 1..6);
    vcns.prop_flat_map(|vcns| {
        let node = (0..vcns.len(), 68_u16.., any::<bool>(), proptest::collection::vec(2_u8..=250, 1..4));
        (Just(vcns), proptest::collection::vec(node, 1..20))
    })
    .prop_map(|(vcns, nodes)| Plan { vcns, nodes })
}

proptest! {
    #[test]
    fn each_node_gets_what_it_was_given(plan in plan()) {
        let mut text = "overlay: {}\nvcns:\n".to_owned();
        for (index, (second, prefix)) in plan.vcns.iter().enumerate() {
            writeln!(text, "  v{index}: {{preset: isolated, cidr: 10.{second}.0.0/{prefix}}}").unwrap();
        }
        text += "nodes:\n";
        let mut taken = std::collections::HashSet::new();
        let mut expected = Vec::new();
        for (index, (vcn, mtu, up, addresses)) in plan.nodes.iter().enumerate() {
            let (second, prefix) = plan.vcns[*vcn];
            let addresses: Vec<String> = addresses
                .iter()
                .filter(|last| taken.insert((*vcn, **last)))
                .map(|last| format!("10.{second}.0.{last}/{prefix}"))
                .collect();
            let overlay = format!("100.64.{}.7", index);
            writeln!(
                text,
                "  n{index}:\n    overlay-address: {overlay}\n    interfaces:\n      eth0: {{vcn: v{vcn}, mtu: {mtu}, up: {up}, address: [{}]}}",
                addresses.join(", ")
            ).unwrap();
            expected.push((format!("v{vcn}"), u32::from(*mtu), *up, addresses, overlay));
        }
        let source = Source::from_bytes("t.yaml", text).unwrap();
        let network = topology::parse(&source).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read: Vec<_> = network
            .nodes
            .iter()
            .map(|node| {
                let nic = &node.nics[0];
                let NicKind::Vcn(vcn) = &nic.kind else { panic!("{nic:?}") };
                let addresses: Vec<String> = nic.addresses.iter().map(ToString::to_string).collect();
                (vcn.clone(), nic.mtu, nic.up, addresses, node.overlay_address.unwrap().to_string())
            })
            .collect();
        prop_assert_eq!(read, expected);
        for vcn in &network.vcns {
            prop_assert!(network.members(&vcn.name).flat_map(|(_, nic)| &nic.addresses).all(|net| vcn.cidr.contains(&net.addr())));
        }
    }
}

#[test]
fn stars() {
    for count in [1, 2, 200] {
        let network = topology::generate::star(count);
        assert_eq!(network.nodes.len(), count);
        let mut addresses: Vec<_> = network.members("a").map(|(_, nic)| nic.addresses[0].addr()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), count, "each has its own");
        assert!(addresses.iter().all(|it| network.vcns[0].cidr.contains(it) && *it != network.vcns[0].gateway));
    }
}
