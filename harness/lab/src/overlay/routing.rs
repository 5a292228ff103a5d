//! How packets get to `tailscale0`, and how tailscaled's own stay off it.
//!
//! Source: tailscale 1.103, wgengine/router/osrouter/router_linux.go (`baseIPRules`, priorities on top of 5200;
//! `tailscaleRouteTable`) and tsconst/linuxfw.go (marks); ipn/ipnlocal/local.go adds 100.100.100.100 to the routes.

use std::net::Ipv4Addr;

use topology::network::Overlay as Config;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::{Route, Rule, table};

/// The mark on packets that tailscaled sends itself, which keeps them off the overlay.
pub const BYPASS_MARK: u32 = 0x80000;
/// The mark on packets that came in by the overlay and are forwarded.
pub const SUBNET_ROUTE_MARK: u32 = 0x40000;
/// The bits of a mark that tailscaled calls its own.
pub const MARK_MASK: u32 = 0x00ff_0000;
/// tailscaled's routing table.
pub const TABLE: u32 = 52;
/// Where tailscaled answers DNS itself. It is routed to the overlay as tailscaled routes it; nobody answers there,
/// since this overlay has no MagicDNS.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 100);

/// tailscaled's rules, in their order.
fn rules() -> [Rule; 4] {
    let mark = Some((BYPASS_MARK, MARK_MASK));
    let rule = |priority, mark, table| Rule { priority, mark, table, ..Rule::default() };
    [
        rule(5210, mark, Some(table::MAIN)),
        rule(5230, mark, Some(table::DEFAULT)),
        rule(5250, mark, None),
        rule(5270, None, Some(TABLE)),
    ]
}

/// Routes the overlay's range to its interface, which must be up: with policy routing as tailscaled does (its rules,
/// each peer and the service address in table 52), without it by one route in table main.
pub(super) fn install(namespace: &Namespace, config: &Config, peers: &[Ipv4Addr]) -> Result<()> {
    if config.policy_routing {
        let mut netlink = namespace.netlink()?;
        for rule in rules() {
            netlink.add_rule(&rule)?;
        }
    }
    restore(namespace, config, peers)
}

/// Takes those rules out of a namespace, as far as they are there. Routes go with the interface.
pub(crate) fn forget(namespace: &Namespace, config: &Config) -> Result<()> {
    let mut netlink = namespace.netlink()?;
    for rule in rules().iter().filter(|_| config.policy_routing) {
        match netlink.delete_rule(rule) {
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The same where the rules are there still, as a killed tailscaled leaves them.
pub(super) fn restore(namespace: &Namespace, config: &Config, peers: &[Ipv4Addr]) -> Result<()> {
    let mut netlink = namespace.netlink()?;
    if !config.policy_routing {
        return netlink.add_route(&Route::through(config.cidr.trunc(), &config.interface));
    }
    for address in peers.iter().copied().chain([SERVICE_ADDRESS]) {
        netlink.add_route(&Route::through(address.into(), &config.interface).in_table(TABLE))?;
    }
    Ok(())
}
