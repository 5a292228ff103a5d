//! tailscaled's filter chains.
//!
//! Source: tailscale 1.103, util/linuxfw/nftables_runner.go: `AddChains` and `AddHooks` (tables `filter` and `nat`,
//! conventional chains that jump), `addBase4`, `AddMagicsockPortRule`, `insertLoopbackRule` (put first),
//! `AddExternalCGNATRules` with `CGNATModeDrop`, `AddSNATRule`; their order is `setNetfilterModeLocked`'s and `Set`'s in
//! wgengine/router/osrouter/router_linux.go. Left out: stateful filtering (off unless asked for) and the connection
//! marks of 1.98 and later, which only serve rp_filter, which is off here.
//!
//! Which of them a pod's packets meet: what is forwarded to `tailscale0` meets `ts-forward`'s drop of sources in
//! 100.64.0.0/10, and is accepted otherwise, 10.244.x.x too; what comes in by `tailscale0` and is forwarded (a NodePort
//! of a pod on this node) is marked 0x40000 and masqueraded on its way out, so the pod sees the node's address. VXLAN
//! packets are the node's own on both sides: none of the forward rules sees them. Cilium's eBPF host routing passes
//! packets by netfilter, and then none of this holds for pods.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use topology::network::Overlay as Config;

use super::routing::{MARK_MASK, SUBNET_ROUTE_MARK};
use crate::nft::{Chain, ChainType, Hook, Statement, Table};

/// The carrier-grade NAT range (RFC 6598), whatever part of it the overlay uses: net/tsaddr/tsaddr.go, `CGNATRange`.
const CGNAT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
/// The part of it that ChromeOS uses for virtual machines, same file, `ChromeOSVMRange`.
const CHROME_OS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 115, 92, 0), 23);

const UDP: u8 = 17;
/// Priorities by name: NF_IP_PRI_FILTER, NF_IP_PRI_NAT_SRC (linux/netfilter_ipv4.h).
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// The tables tailscaled makes on a node, under names of their own: iptables (1.8.9, nf_tables) takes the names `filter`
/// and `nat` for itself and refuses to work on tables with statements it doesn't know, and a real agent needs it.
///
/// Those of a node whose overlay address is `address`, to be loaded with
/// [`Namespace::load_nft`](crate::Namespace::load_nft); none without policy routing. Drops are logged as `ts-input` and
/// `ts-forward`.
pub fn firewall(config: &Config, address: Ipv4Addr) -> Vec<Table> {
    if !config.policy_routing {
        return Vec::new();
    }
    let incoming = || Statement::Input(config.interface.clone());
    let elsewhere = || Statement::NotInput(config.interface.clone());
    let outgoing = || Statement::Output(config.interface.clone());
    let forwarded = Statement::Mark { value: SUBNET_ROUTE_MARK, mask: MARK_MASK };
    let jump = |chain: &str| [Statement::Jump(chain.to_owned())];

    let input = Chain::regular("ts-input")
        .rule([
            Statement::Input("lo".to_owned()),
            Statement::Source(address.into()),
            Statement::Counter,
            Statement::Accept,
        ])
        .rule([incoming(), Statement::Counter, Statement::Accept])
        .rule([
            Statement::Protocol(UDP),
            Statement::DestinationPort(config.port),
            Statement::Counter,
            Statement::Accept,
        ])
        .rule([elsewhere(), Statement::Source(CHROME_OS), Statement::Counter, Statement::Return])
        .drop_rule("ts-input", [elsewhere(), Statement::Source(CGNAT)]);
    let forward = Chain::regular("ts-forward")
        .rule([incoming(), Statement::Counter, Statement::SetMark { value: SUBNET_ROUTE_MARK, mask: MARK_MASK }])
        .rule([forwarded.clone(), Statement::Counter, Statement::Accept])
        .drop_rule("ts-forward", [outgoing(), Statement::Source(CGNAT)])
        .rule([outgoing(), Statement::Counter, Statement::Accept]);
    let postrouting = Chain::regular("ts-postrouting").rule([forwarded, Statement::Counter, Statement::Masquerade]);

    vec![
        Table::ipv4("tailscale-filter")
            .chain(input)
            .chain(forward)
            .chain(Chain::base("INPUT", ChainType::Filter, Hook::Input, FILTER).rule(jump("ts-input")))
            .chain(Chain::base("FORWARD", ChainType::Filter, Hook::Forward, FILTER).rule(jump("ts-forward"))),
        Table::ipv4("tailscale-nat").chain(postrouting).chain(
            Chain::base("POSTROUTING", ChainType::Nat, Hook::Postrouting, SOURCE_NAT).rule(jump("ts-postrouting")),
        ),
    ]
}
