//! Public addresses are nobody's business: each is replaced, everywhere by the same, from ranges that are kept for
//! documentation (RFC 5737, RFC 3849) and benchmarks (RFC 2544). What is private stays as it is, and so do the pods' and
//! the services' ranges: inside of the cluster they are private whatever they are, and values are about them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use indexmap::IndexMap;
use ipnet::Ipv4Net;
use serde_json::Value;

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

/// A range wider than this is no cluster's own.
const WIDEST_OWN: u8 = 8;
/// Where IPv6 addresses are replaced from, a /64 for each one of theirs.
const NETWORKS_V6: u64 = 0x2001_0db8_0000_0000;

/// How interfaces are called by their hardware address (systemd, src/udev/udev-builtin-net_id.c).
const BY_ADDRESS: [&str; 5] = ["enx", "ibx", "slx", "wlx", "wwx"];

/// Whether an IPv6 address is somebody's on the internet: of 2000::/3, but for documentation's ranges.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0xdb8) && first != 0x3fff
}

/// Whether an address is somebody's on the internet.
pub(crate) fn is_public(address: Ipv4Addr) -> bool {
    !SPECIAL.iter().any(|(network, length)| Ipv4Net::new_assert((*network).into(), *length).contains(&address))
}

/// What stands for what.
#[derive(Debug, Default)]
pub(crate) struct Renamer {
    /// The pods' and the services' ranges, sorted, none in another.
    own: Vec<Ipv4Net>,
    networks: IndexMap<Ipv4Net, Ipv4Net>,
    single: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// By the upper half of an address.
    networks_v6: BTreeMap<u64, u64>,
    single_v6: BTreeMap<Ipv6Addr, Ipv6Addr>,
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
        let mut renamer = Self { own: own_ranges(evidence), ..Self::default() };
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
        if let Some(helm) = evidence.helm.take() {
            let mut values = Value::Object(helm.into_map());
            renamer.value(&mut values);
            evidence.helm = match values {
                Value::Object(map) => Some(map.into()),
                _ => None,
            };
        }
        for words in evidence.masquerading.values_mut() {
            *words = renamer.text(words);
        }
        renamer
    }

    /// Every text in a value.
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// How many were replaced.
    pub(crate) fn replaced(&self) -> usize {
        self.networks.len() + self.single.len() + self.single_v6.len()
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
        let around = (*BLOCKS.start()..=net.prefix_len()).filter_map(|length| Ipv4Net::new(net.addr(), length).ok());
        let known = around.map(|wider| wider.trunc()).any(|wider| self.networks.contains_key(&wider));
        if !BLOCKS.contains(&net.prefix_len()) || !self.is_foreign(net.addr()) || known {
            return;
        }
        let size = 1_u32 << (32 - net.prefix_len());
        let start = self.used.next_multiple_of(size);
        if start + size > 1 << (32 - NETWORKS_LENGTH) {
            return;
        }
        self.used = start + size;
        self.networks.insert(net, Ipv4Net::new_assert((NETWORKS + start).into(), net.prefix_len()));
        // A wider one that came later would have taken this one in: the first one stays, since hosts may be named by it.
    }

    /// Whether an address is somebody's on the internet, and not the cluster's own.
    fn is_foreign(&self, address: Ipv4Addr) -> bool {
        let behind = self.own.partition_point(|own| own.network() <= address);
        let own = behind.checked_sub(1).and_then(|before| self.own.get(before));
        is_public(address) && !own.is_some_and(|own| own.contains(&address))
    }

    /// The network an address is replaced in, and what it is replaced by: the first that was there.
    fn block(&self, address: Ipv4Addr) -> Option<(Ipv4Net, Ipv4Net)> {
        let around = BLOCKS.filter_map(|length| Ipv4Net::new(address, length).ok());
        let known = around.filter_map(|net| self.networks.get_full(&net.trunc()));
        known.min_by_key(|(index, ..)| *index).map(|(_, from, to)| (*from, *to))
    }

    fn address(&mut self, address: Ipv4Addr) -> Ipv4Addr {
        if !self.is_foreign(address) {
            return address;
        }
        if let Some((from, to)) = self.block(address) {
            return (u32::from(to.network()) + (u32::from(address) - u32::from(from.network()))).into();
        }
        if let Some(known) = self.single.get(&address) {
            return *known;
        }
        let new = self.fresh();
        self.single.insert(address, new);
        new
    }

    /// In place of an IPv6 address another that was never anybody's; those of one /64 stay together.
    fn address_v6(&mut self, address: Ipv6Addr) -> Ipv6Addr {
        if let Some(embedded) = address.to_ipv4_mapped() {
            return self.address(embedded).to_ipv6_mapped();
        }
        if !is_public_v6(address) {
            return address;
        }
        if let Some(known) = self.single_v6.get(&address) {
            return *known;
        }
        let [upper, lower] = [(address.to_bits() >> 64) as u64, address.to_bits() as u64];
        let count = self.networks_v6.len() as u64 + 1;
        let network = *self.networks_v6.entry(upper).or_insert(count);
        // A network's own address stays one.
        let host = if lower == 0 { 0 } else { self.single_v6.len() as u128 + 1 };
        let new = Ipv6Addr::from_bits((u128::from(NETWORKS_V6 | network) << 64) | host);
        self.single_v6.insert(address, new);
        new
    }

    fn interface(&mut self, name: &str) {
        let kind = BY_ADDRESS.iter().find(|kind| {
            let rest = name.strip_prefix(**kind).unwrap_or_default();
            rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if let Some(kind) = kind.filter(|_| !self.interfaces.contains_key(name)) {
            let new = format!("{kind}{:012}", self.interfaces.len() + 1);
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
            if let Some((length, address)) = leading_v6(rest) {
                match self.address_v6(address) {
                    same if same == address => out.push_str(&rest[..length]),
                    new => out.push_str(&new.to_string()),
                }
                rest = &rest[length..];
                continue;
            }
            let word = |c: char| c.is_ascii_alphanumeric() || c == '.';
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if length == 0 {
                let first = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..first]);
                rest = &rest[first..];
                continue;
            }
            match rest[..length].parse::<Ipv4Addr>() {
                Ok(address) if self.holds_own(address, &rest[length..]) => out.push_str(&rest[..length]),
                Ok(address) => out.push_str(&self.address(address).to_string()),
                Err(_) => out.push_str(&self.name(&rest[..length])),
            }
            rest = &rest[length..];
        }
        out
    }

    /// Whether what stands there, an address and what follows it (`/8`), is a range around one of the cluster's own: that
    /// is what values say of the pods.
    fn holds_own(&self, address: Ipv4Addr, rest: &str) -> bool {
        let digits =
            rest.strip_prefix('/').map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or(rest));
        let net = digits.and_then(|length| Ipv4Net::new(address, length.parse().ok()?).ok());
        let wide = net.filter(|net| net.prefix_len() >= WIDEST_OWN);
        wide.is_some_and(|net| {
            let first = self.own.partition_point(|own| own.network() < net.network());
            self.own.get(first).is_some_and(|own| net.contains(own))
        })
    }

    /// A host's name, in which providers like to write its public address: `ec2-54-1-2-3.compute.amazonaws.com`,
    /// `static.54.1.2.3.clients.example`.
    pub(crate) fn host_name(&mut self, name: &str) -> String {
        let mut out = String::new();
        let mut rest = name;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            // Of `ec2-54-1-2-3` the first number is the word's.
            let glued = out.ends_with(char::is_alphabetic);
            let quad = leading_quad(rest).filter(|(length, _)| !(glued && goes_on(&rest[*length..])));
            match quad {
                Some((length, address)) if self.is_foreign(address) => {
                    let new = self.address(address).octets().map(|octet| octet.to_string());
                    // With what joined the old one.
                    let mut new = new.iter();
                    for part in rest[..length].split_inclusive(['-', '.']) {
                        out.extend(new.next().map(String::as_str));
                        out.extend(part.chars().last().filter(|last| !last.is_ascii_digit()));
                    }
                    rest = &rest[length..];
                }
                _ => {
                    let number = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    out.push_str(&rest[..number]);
                    rest = &rest[number..];
                }
            }
        }
        out + rest
    }
}

/// Networks that are replaced as such are of these lengths.
const BLOCKS: std::ops::RangeInclusive<u8> = 20..=30;

/// The pods' ranges and the services', as far as the cluster says them.
fn own_ranges(evidence: &Evidence) -> Vec<Ipv4Net> {
    let objects = &evidence.objects;
    let pool = objects.config.as_ref().and_then(|config| config.get("cluster-pool-ipv4-cidr"));
    let pool = pool.into_iter().flat_map(|text| text.split([' ', ','])).filter_map(|part| part.parse::<Ipv4Net>().ok());
    let nodes = objects.nodes.iter().filter_map(|node| node.pod_cidr);
    let agents = objects.cilium_nodes.iter().filter_map(|node| node.pod_cidr);
    // How wide the services' range is nobody says.
    let services = objects.kubernetes_service.into_iter().chain(objects.dns_service).map(Ipv4Net::from);
    let all = pool.chain(nodes).chain(agents).chain(services).map(|net| net.trunc());
    // Most are of private ranges, which stay anyway.
    let all: Vec<Ipv4Net> = all.filter(|net| net.prefix_len() >= WIDEST_OWN && is_public(net.addr())).collect();
    Ipv4Net::aggregate(&all)
}

/// An IPv6 address that a text begins with, and its length.
fn leading_v6(text: &str) -> Option<(usize, Ipv6Addr)> {
    /// One more than the longest has, `1111:2222:3333:4444:5555:6666:255.255.255.255`.
    const TOO_LONG: usize = 46;
    let ends = |byte: u8| !byte.is_ascii_hexdigit() && byte != b':' && byte != b'.';
    let end = text.bytes().take(TOO_LONG).position(ends).unwrap_or(text.len().min(TOO_LONG));
    // A word that goes on is none; a colon or a stop behind one is the sentence's.
    if text[end..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let word = text[..end].trim_end_matches('.');
    let word = word.strip_suffix(':').filter(|shorter| !shorter.ends_with(':')).unwrap_or(word);
    let address = word.parse().ok()?;
    Some((word.len(), address))
}

/// Four numbers that a text begins with, joined by `-` or `.`, and their length.
fn leading_quad(text: &str) -> Option<(usize, Ipv4Addr)> {
    let mut octets = [0_u8; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            at += text[at..].starts_with(['-', '.']).then_some(1)?;
        }
        let rest = &text[at..];
        let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        *octet = rest[..length].parse().ok()?;
        at += length;
    }
    Some((at, octets.into()))
}

/// Whether a further number follows one.
fn goes_on(rest: &str) -> bool {
    rest.strip_prefix(['-', '.']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether an address stands for a public one, or was given as an example to begin with.
pub(crate) fn is_stand_in(address: Ipv4Addr) -> bool {
    let range = Ipv4Net::new_assert(NETWORKS.into(), NETWORKS_LENGTH);
    range.contains(&address) || SINGLE.iter().any(|single| Ipv4Net::new_assert(*single, 24).contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_host_names() {
        let mut renamer = Renamer::default();
        for (name, expected) in [
            ("ec2-54-1-2-3", "ec2-203-0-113-1"),
            ("ec2-54-1-2-3.eu-west-1.compute.amazonaws.com", "ec2-203-0-113-1.eu-west-1.compute.amazonaws.com"),
            ("static.88.99.1.2.clients.example", "static.203.0.113.2.clients.example"),
            ("vm54-1.2-3", "vm203-0.113-1"),
            ("054-001-002-003.example", "203-0-113-1.example"),
            ("10-54-1-2-3", "10-203-0-113-1"),
            ("ip-10-0-0-5.eu-west-1", "ip-10-0-0-5.eu-west-1"),
            ("node-1-2-3", "node-1-2-3"),
            ("node-300-1-2-3", "node-300-1-2-3"),
            ("54-1-2-", "54-1-2-"),
            ("ä-1", "ä-1"),
            ("", ""),
        ] {
            assert_eq!(renamer.host_name(name), expected, "{name}");
        }
    }

    #[test]
    fn ipv6_in_texts() {
        let mut renamer = Renamer::default();
        for (text, expected) in [
            ("2a01:4f8:1:2::/64,2A01:4f8:1:2::7/128", "2001:db8:0:1::/64,2001:db8:0:1::2/128"),
            ("[2a01:4f8:1:2::7]:6443", "[2001:db8:0:1::2]:6443"),
            ("at 2a01:4f8:9::1: no", "at 2001:db8:0:2::3: no"),
            ("::ffff:54.1.2.3", "::ffff:203.0.113.1"),
            ("::ffff:10.0.0.1 FE80::1%eth0 fd00::/8 2001:db8::1", "::ffff:10.0.0.1 FE80::1%eth0 fd00::/8 2001:db8::1"),
            ("cafe:babe 12:30:45 a::bz 10.0.0.1:80", "cafe:babe 12:30:45 a::bz 10.0.0.1:80"),
        ] {
            assert_eq!(renamer.text(text), expected, "{text}");
        }
        let colons = ":".repeat(1 << 20);
        assert_eq!(renamer.text(&colons), colons);
    }

    #[test]
    fn the_clusters_own_ranges_stay() {
        let net = |text: &str| text.parse::<Ipv4Net>().expect("a range");
        let own = vec![net("25.1.0.0/16"), net("25.3.0.0/16")];
        let mut renamer = Renamer { own, ..Renamer::default() };
        for (text, expected) in [
            ("25.0.0.0/8,25.1.0.0/16 25.1.7.0/24", "25.0.0.0/8,25.1.0.0/16 25.1.7.0/24"),
            ("25.3.255.255", "25.3.255.255"),
            ("25.2.0.1/16", "203.0.113.1/16"),
            ("25.4.0.1", "203.0.113.2"),
            ("24.0.0.0/5", "203.0.113.3/5"),
        ] {
            assert_eq!(renamer.text(text), expected, "{text}");
        }
        renamer.network(net("25.1.0.0/24"));
        assert_eq!(renamer.networks.len(), 0, "nor are they replaced where a node has an address in them");
    }
}
