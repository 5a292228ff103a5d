//! Networks of any size, for benchmarks.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::{
    network::{Ingress, Internet, Nat, Network, Nic, NicKind, Node, Role, Vcn},
    validate::MAX_NODES,
};

/// One VCN (10.0.0.0/16, behind a home router's NAT) and `nodes` nodes in it, `node-1` the control plane; no overlay,
/// nobody on the internet. At most [`MAX_NODES`] nodes, at least one.
pub fn star(nodes: usize) -> Network {
    let cidr = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 16);
    let gateway = Ipv4Addr::new(10, 0, 0, 1);
    let nodes = (1..=nodes.clamp(1, MAX_NODES))
        .map(|number| {
            let address = Ipv4Addr::from(u32::from(gateway) + number as u32);
            Node {
                name: format!("node-{number}"),
                role: if number == 1 { Role::ControlPlane } else { Role::Worker },
                nics: vec![Nic {
                    name: "eth0".to_owned(),
                    kind: NicKind::Vcn("a".to_owned()),
                    addresses: vec![Ipv4Net::new_assert(address, 16)],
                    mtu: 1500,
                    default_route: Some(gateway),
                    public_address: None,
                    up: true,
                }],
                overlay_address: None,
            }
        })
        .collect();
    Network {
        name: "star".to_owned(),
        internet: Internet::default(),
        vcns: vec![Vcn {
            name: "a".to_owned(),
            cidr,
            gateway,
            nat: Nat::EndpointIndependent { public_address: Ipv4Addr::new(203, 0, 113, 1) },
            source_check: false,
            ingress: Ingress::Deny,
        }],
        overlay: None,
        nodes,
    }
}
