//! What iproute2 prints of a node: links, addresses, routes, rules. As JSON or as text.

pub(crate) mod json;
pub(crate) mod text;

use std::net::Ipv4Addr;

use indexmap::{IndexMap, IndexSet};
use ipnet::Ipv4Net;

/// Table `main`.
pub(crate) const MAIN: u32 = 254;
/// Table `local`, which the kernel keeps.
pub(crate) const LOCAL: u32 = 255;

/// The most that is taken of a node: a link for each of many pods, a route for each of them or of many nodes.
const MAX_LINKS: usize = 2048;
const MAX_ROUTES: usize = 4096;
const MAX_RULES: usize = 1024;
/// The most addresses of a link.
const MAX_ADDRESSES: usize = 1024;
/// How often one file may say the same.
const REPEATED: usize = 4;

/// All that was read of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// By index.
    pub(crate) links: Vec<Link>,
    /// IPv4 routes of all tables, as printed.
    pub(crate) routes: Vec<Route>,
    /// Rules, as printed.
    pub(crate) rules: Vec<Rule>,
    /// How many of all these there are beside, for which there is no room.
    pub(crate) more: usize,
}

/// What several files say of a node, put together.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    links: IndexMap<String, Link>,
    routes: IndexSet<Route>,
    rules: IndexSet<Rule>,
    more: usize,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) priority: u32,
    /// All of it, in the words of `ip rule`.
    pub(crate) text: String,
    pub(crate) table: Option<u32>,
}

impl Sight {
    /// Takes in what a file says.
    pub(crate) fn add(&mut self, seen: Seen) {
        self.more += seen.more;
        for link in seen.links {
            let full = self.links.len() >= MAX_LINKS;
            match self.links.get_mut(&link.name) {
                Some(known) => self.more += known.merge(link),
                None if full => self.more += 1,
                None => drop(self.links.insert(link.name.clone(), link)),
            }
        }
        self.more += put(&mut self.routes, seen.routes, MAX_ROUTES);
        self.more += put(&mut self.rules, seen.rules, MAX_RULES);
    }

    /// All of it, links by index.
    pub(crate) fn all(self) -> Seen {
        let mut links: Vec<Link> = self.links.into_values().collect();
        links.sort_by_key(|link| link.index);
        let (routes, rules) = (self.routes.into_iter().collect(), self.rules.into_iter().collect());
        Seen { links, routes, rules, more: self.more }
    }
}

/// Puts what is new where there is room for it. Gives how many there is none for.
fn put<T: std::hash::Hash + Eq>(all: &mut IndexSet<T>, new: Vec<T>, most: usize) -> usize {
    let mut more = 0;
    for item in new {
        if all.len() < most {
            all.insert(item);
        } else if !all.contains(&item) {
            more += 1;
        }
    }
    more
}

impl Seen {
    /// Takes in a link, if there is room for it.
    fn link(&mut self, link: Link) -> bool {
        let room = self.links.len() < REPEATED * MAX_LINKS;
        match room {
            true => self.links.push(link),
            false => self.more += 1,
        }
        room
    }

    /// Takes in a route, if there is room for it.
    fn route(&mut self, route: Route) {
        match self.routes.len() < REPEATED * MAX_ROUTES {
            true => self.routes.push(route),
            false => self.more += 1,
        }
    }

    /// Takes in a rule, if there is room for it.
    fn rule(&mut self, rule: Rule) {
        match self.rules.len() < REPEATED * MAX_RULES {
            true => self.rules.push(rule),
            false => self.more += 1,
        }
    }

    /// Takes in what the same file says further on.
    pub(crate) fn append(&mut self, other: Self) {
        self.more += other.more;
        for link in other.links {
            self.link(link);
        }
        other.routes.into_iter().for_each(|route| self.route(route));
        other.rules.into_iter().for_each(|rule| self.rule(rule));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.routes.is_empty() && self.rules.is_empty() && self.more == 0
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
    /// Takes in what is said of it elsewhere. Gives for how many addresses there is no room.
    fn merge(&mut self, other: Self) -> usize {
        self.kind = self.kind.take().or(other.kind);
        self.detailed |= other.detailed;
        self.mtu = self.mtu.or(other.mtu);
        self.master = self.master.take().or(other.master);
        self.peer = self.peer.take().or(other.peer);
        other.addresses.into_iter().map(|address| self.address(address)).sum()
    }

    /// Takes in an address. Gives 1 if there is no room for it.
    fn address(&mut self, address: Ipv4Net) -> usize {
        if self.addresses.contains(&address) {
            return 0;
        }
        if self.addresses.len() == MAX_ADDRESSES {
            return 1;
        }
        self.addresses.push(address);
        0
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
