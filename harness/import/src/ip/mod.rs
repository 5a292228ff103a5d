//! What iproute2 prints of a node: links, addresses, routes, rules. As JSON or as text.

pub(crate) mod json;
pub(crate) mod text;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Table `main`.
pub(crate) const MAIN: u32 = 254;
/// Table `local`, which the kernel keeps.
pub(crate) const LOCAL: u32 = 255;

/// All that was read of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// By index.
    pub(crate) links: Vec<Link>,
    /// IPv4 routes of all tables, as printed.
    pub(crate) routes: Vec<Route>,
    /// Rules, as printed.
    pub(crate) rules: Vec<Rule>,
}

/// A link with its IPv4 addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `veth`, `bridge`, `tun`, …; none if it has none or `-d` wasn't given.
    pub(crate) kind: Option<String>,
    /// Whether `-d` was given, so that no kind means none.
    pub(crate) detailed: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) up: bool,
    pub(crate) point_to_point: bool,
    /// Name of its bridge, bond or VRF.
    pub(crate) master: Option<String>,
    /// Name or index of the link it is over or paired with: `eth0` of `eth0.5@eth0`, `if7` of a veth.
    pub(crate) peer: Option<String>,
    pub(crate) addresses: Vec<Ipv4Net>,
}

/// An IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) table: u32,
    /// `unicast`, `local`, `unreachable`, …
    pub(crate) kind: String,
    pub(crate) destination: Ipv4Net,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) device: Option<String>,
    pub(crate) metric: u32,
    /// `kernel` for those that an address brings along.
    pub(crate) protocol: Option<String>,
}

/// A policy rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) priority: u32,
    /// All of it, in the words of `ip rule`.
    pub(crate) text: String,
    pub(crate) table: Option<u32>,
}

impl Seen {
    /// Takes in what another file says of the same node.
    pub(crate) fn merge(&mut self, other: Self) {
        for link in other.links {
            match self.links.iter_mut().find(|known| known.name == link.name) {
                Some(known) => known.merge(link),
                None => self.links.push(link),
            }
        }
        self.links.sort_by_key(|link| link.index);
        for route in other.routes {
            if !self.routes.contains(&route) {
                self.routes.push(route);
            }
        }
        for rule in other.rules {
            if !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.routes.is_empty() && self.rules.is_empty()
    }

    /// The default route that is taken: of table main, the one of the lowest metric, the first of those.
    pub(crate) fn default_route(&self) -> Option<&Route> {
        self.defaults().min_by_key(|route| route.metric)
    }

    /// All default routes of table main.
    pub(crate) fn defaults(&self) -> impl Iterator<Item = &Route> {
        let default =
            |route: &&Route| route.table == MAIN && route.kind == "unicast" && route.destination.prefix_len() == 0;
        self.routes.iter().filter(default)
    }
}

impl Link {
    fn merge(&mut self, other: Self) {
        self.kind = self.kind.take().or(other.kind);
        self.detailed |= other.detailed;
        self.mtu = self.mtu.or(other.mtu);
        self.master = self.master.take().or(other.master);
        self.peer = self.peer.take().or(other.peer);
        for address in other.addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }
}

/// A table by number or by one of the names that every system has.
fn table(name: &str) -> Option<u32> {
    match name {
        "main" => Some(MAIN),
        "local" => Some(LOCAL),
        "default" => Some(253),
        other => other.parse().ok(),
    }
}

/// `default`, `10.0.0.0/24`, `10.0.0.1`; none of IPv6.
fn destination(text: &str) -> Option<Ipv4Net> {
    match text {
        "default" | "all" | "any" => Some(Ipv4Net::default()),
        text => net(text),
    }
}

/// An address with or without a prefix length; iproute2 may leave out zeros at the end, `10/8`.
fn net(text: &str) -> Option<Ipv4Net> {
    text.parse::<Ipv4Net>().ok().or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `ip route show table all` prints them, on kernels old and new.
    #[test]
    fn routes_of_ipv6_are_none_of_ipv4() {
        let list = json!([
            {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "protocol": "dhcp", "metric": 100, "flags": []},
            {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "protocol": "ra", "metric": 50, "pref": "medium"},
            {"dst": "default", "gateway": "fe80::1", "dev": "eth0", "metric": 50},
            {"dst": "default", "dev": "wg0", "metric": 10, "flags": [], "pref": "medium"},
            {"dst": "default", "metric": 10, "nexthops": [{"gateway": "fe80::2", "dev": "eth0", "weight": 1}]},
            {"dst": "default", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "eth0", "metric": 10},
            {"dst": "fd00::/64", "dev": "eth0", "protocol": "kernel", "metric": 256, "pref": "medium"},
        ]);
        let text = "default via 10.0.0.1 dev eth0 proto dhcp metric 100\n\
                    default via fe80::1 dev eth0 proto ra metric 50 pref medium\n\
                    default via fe80::1 dev eth0 metric 50\n\
                    default dev wg0 metric 10 pref medium\n\
                    default via inet6 fe80::1 dev eth0 metric 10\n\
                    fd00::/64 dev eth0 proto kernel metric 256 pref medium\n";
        for seen in [json::read(&list, None), text::read(text, None)] {
            let gateways: Vec<_> = seen.routes.iter().map(|route| route.gateway).collect();
            assert_eq!(gateways, [Some(Ipv4Addr::new(10, 0, 0, 1))], "{seen:?}");
            assert_eq!(seen.default_route().map(|route| route.metric), Some(100));
        }
    }
}
