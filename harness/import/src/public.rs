//! Public addresses are nobody's business: each is replaced, everywhere by the same, from ranges that are kept for
//! documentation (RFC 5737) and benchmarks (RFC 2544). What is private stays as it is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::evidence::Evidence;
use crate::ip::Seen;

/// Where single addresses are replaced from.
const SINGLE: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 0), Ipv4Addr::new(198, 51, 100, 0), Ipv4Addr::new(192, 0, 2, 0)];
/// Where networks are replaced from: 198.19.0.0/16, the half of the range for benchmarks that labs leave alone.
const NETWORKS: u32 = u32::from_be_bytes([198, 19, 0, 0]);
const NETWORKS_LENGTH: u8 = 16;

/// Ranges that are nobody's on the internet, or everybody's (IANA's special-purpose registry).
const SPECIAL: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Whether an address is somebody's on the internet.
pub(crate) fn is_public(address: Ipv4Addr) -> bool {
    !SPECIAL.iter().any(|(network, length)| Ipv4Net::new_assert((*network).into(), *length).contains(&address))
}

/// What stands for what.
#[derive(Debug, Default)]
pub(crate) struct Renamer {
    networks: Vec<(Ipv4Net, Ipv4Net)>,
    single: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// How much of [`NETWORKS`] is given away.
    used: u32,
    given: usize,
    /// Interfaces named by their hardware address, and their new names.
    interfaces: BTreeMap<String, String>,
}

impl Renamer {
    /// Replaces all public addresses in what was read; with `anonymous` also interfaces' names that hold a hardware
    /// address, as systemd gives them (`enx…`).
    pub(crate) fn scrub(evidence: &mut Evidence, anonymous: bool) -> Self {
        let mut renamer = Self::default();
        for seen in evidence.nodes.values() {
            let nets = seen.links.iter().flat_map(|link| &link.addresses);
            let ranges = seen.routes.iter().map(|route| &route.destination);
            nets.chain(ranges).for_each(|net| renamer.network(*net));
            if anonymous {
                seen.links.iter().for_each(|link| renamer.interface(&link.name));
            }
        }
        evidence.nodes.values_mut().for_each(|seen| renamer.seen(seen));
        let objects = &mut evidence.objects;
        for node in &mut objects.nodes {
            renamer.optional([&mut node.internal_ip, &mut node.external_ip]);
        }
        for node in &mut objects.cilium_nodes {
            renamer.optional([&mut node.internal_ip, &mut node.external_ip]);
        }
        renamer.optional([&mut objects.api_server]);
        for text in objects.config.iter_mut().flat_map(|config| config.values_mut()) {
            *text = renamer.text(text);
        }
        for words in evidence.masquerading.values_mut() {
            *words = renamer.text(words);
        }
        renamer
    }

    /// How many were replaced.
    pub(crate) fn replaced(&self) -> usize {
        self.networks.len() + self.single.len()
    }

    /// A public address that nobody has yet.
    pub(crate) fn fresh(&mut self) -> Ipv4Addr {
        let (range, host) = (self.given / 254, self.given % 254 + 1);
        self.given += 1;
        let base = match SINGLE.get(range) {
            Some(base) => u32::from(*base),
            None => NETWORKS + (1 << 16) - 256 * (range as u32 - 2),
        };
        (base + host as u32).into()
    }

    fn seen(&mut self, seen: &mut Seen) {
        for link in &mut seen.links {
            for net in &mut link.addresses {
                *net = Ipv4Net::new_assert(self.address(net.addr()), net.prefix_len());
            }
            link.name = self.name(&link.name);
            link.master = link.master.as_ref().map(|name| self.name(name));
            link.peer = link.peer.as_ref().map(|name| self.name(name));
        }
        for route in &mut seen.routes {
            let length = route.destination.prefix_len();
            if length > 0 {
                route.destination = Ipv4Net::new_assert(self.address(route.destination.addr()), length);
            }
            self.optional([&mut route.gateway]);
            route.device = route.device.as_ref().map(|name| self.name(name));
        }
        for rule in &mut seen.rules {
            rule.text = self.text(&rule.text);
        }
    }

    fn optional<const N: usize>(&mut self, addresses: [&mut Option<Ipv4Addr>; N]) {
        for address in addresses.into_iter().flatten() {
            *address = self.address(*address);
        }
    }

    /// A block for a public network, of its size: hosts keep their numbers in it. Those wider than a /20 are of
    /// providers, whose hosts are replaced one by one.
    fn network(&mut self, net: Ipv4Net) {
        let net = net.trunc();
        let known = self.networks.iter().any(|(from, _)| from.contains(&net));
        if !(20..=30).contains(&net.prefix_len()) || !is_public(net.addr()) || known {
            return;
        }
        let size = 1_u32 << (32 - net.prefix_len());
        let start = self.used.next_multiple_of(size);
        if start + size > 1 << (32 - NETWORKS_LENGTH) {
            return;
        }
        self.used = start + size;
        self.networks.push((net, Ipv4Net::new_assert((NETWORKS + start).into(), net.prefix_len())));
        // A wider one that came later would have taken this one in: the first one stays, since hosts may be named by it.
    }

    fn address(&mut self, address: Ipv4Addr) -> Ipv4Addr {
        if !is_public(address) {
            return address;
        }
        if let Some((from, to)) = self.networks.iter().find(|(from, _)| from.contains(&address)) {
            return (u32::from(to.network()) + (u32::from(address) - u32::from(from.network()))).into();
        }
        if let Some(known) = self.single.get(&address) {
            return *known;
        }
        let new = self.fresh();
        self.single.insert(address, new);
        new
    }

    fn interface(&mut self, name: &str) {
        let by_address = name
            .strip_prefix("enx")
            .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if by_address && !self.interfaces.contains_key(name) {
            let new = format!("enx{:012}", self.interfaces.len() + 1);
            self.interfaces.insert(name.to_owned(), new);
        }
    }

    fn name(&self, name: &str) -> String {
        self.interfaces.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Addresses in a text, `10.0.0.0/8,93.184.216.34/32`, and names of interfaces.
    fn text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '.';
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if length == 0 {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..first]);
                rest = &rest[first..];
                continue;
            }
            match rest[..length].parse::<Ipv4Addr>() {
                Ok(address) => out.push_str(&self.address(address).to_string()),
                Err(_) => out.push_str(&self.name(&rest[..length])),
            }
            rest = &rest[length..];
        }
        out
    }

    /// A host's name, in which providers like to write its public address: `ec2-54-1-2-3`.
    pub(crate) fn host_name(&mut self, name: &str) -> String {
        let mut parts: Vec<String> = name.split('-').map(str::to_owned).collect();
        for at in 0..parts.len().saturating_sub(3) {
            let quad = parts[at..at + 4].join(".");
            if let Ok(address) = quad.parse::<Ipv4Addr>()
                && is_public(address)
            {
                let new = self.address(address).octets();
                for (part, octet) in parts[at..at + 4].iter_mut().zip(new) {
                    *part = octet.to_string();
                }
            }
        }
        parts.join("-")
    }
}

/// Whether an address stands for a public one, or was given as an example to begin with.
pub(crate) fn is_stand_in(address: Ipv4Addr) -> bool {
    let range = Ipv4Net::new_assert(NETWORKS.into(), NETWORKS_LENGTH);
    range.contains(&address) || SINGLE.iter().any(|single| Ipv4Net::new_assert(*single, 24).contains(&address))
}
