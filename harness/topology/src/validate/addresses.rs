//! Addresses, networks and MTUs out of text.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;

use crate::{
    file::{AddressText, CidrText},
    source::{Mistakes, Position, Spanned, shown},
};

/// An address a single machine can have.
pub(super) fn address(text: &Spanned<AddressText>, mistakes: &mut Mistakes<'_>) -> Option<Ipv4Addr> {
    let written = text.0.trim();
    let Ok(address) = written.parse::<Ipv4Addr>() else {
        let help = match written.split_once('/') {
            Some((before, _)) if before.parse::<Ipv4Addr>().is_ok() => {
                format!("without the prefix length here: {before}")
            }
            _ => address_help(written, "10.0.0.1"),
        };
        mistakes.add(text.at, format!("`{}` is not an IPv4 address", shown(written))).help(help);
        return None;
    };
    usable(address, text.at, mistakes).then_some(address)
}

/// An address with the length of its network's prefix; its host part stays.
pub(super) fn with_prefix(text: &str, at: Position, mistakes: &mut Mistakes<'_>) -> Option<Ipv4Net> {
    let written = text.trim();
    let Some(net) = cidr(written) else {
        let help = match written.parse::<Ipv4Addr>() {
            Ok(address) => format!("the prefix length is missing: {address}/24, if the network is a /24"),
            Err(_) => address_help(written, "10.0.0.5/24"),
        };
        mistakes.add(at, format!("`{}` is not an address with a prefix length", shown(written))).help(help);
        return None;
    };
    if !usable(net.addr(), at, mistakes) {
        return None;
    }
    if net.prefix_len() < 31 && (net.addr() == net.network() || net.addr() == net.broadcast()) {
        let which = if net.addr() == net.network() { "names the network itself" } else { "is the broadcast address" };
        mistakes
            .add(at, format!("{} {which} in a /{}", net.addr(), net.prefix_len()))
            .help(format!("pick one from {}", range(net)));
        return None;
    }
    Some(net)
}

/// A network in CIDR notation, with room for a gateway and a node: /8 to /30.
pub(super) fn network(text: &Spanned<CidrText>, what: &str, mistakes: &mut Mistakes<'_>) -> Option<Ipv4Net> {
    let written = text.0.trim();
    let Some(net) = cidr(written) else {
        let help = match written.parse::<Ipv4Addr>() {
            Ok(address) => format!("the prefix length is missing: {address}/24, for instance"),
            Err(_) => address_help(written, "10.0.0.0/24"),
        };
        mistakes.add(text.at, format!("`{}` is not a network in CIDR notation", shown(written))).help(help);
        return None;
    };
    if net.addr() != net.network() {
        mistakes
            .add(text.at, format!("{net} is an address, not a network: bits beyond /{} are set", net.prefix_len()))
            .help(format!("the network is {}", net.trunc()));
        return None;
    }
    if !(8..=30).contains(&net.prefix_len()) {
        mistakes.add(text.at, format!("a /{} can't be {what}", net.prefix_len())).help("a prefix length from 8 to 30");
        return None;
    }
    usable(net.network(), text.at, mistakes).then_some(net)
}

/// A network or an address with its prefix length. Stricter than ipnet's own parser, which reads 010.0.0.1 as 10.0.0.1
/// where others read 8.0.0.1.
pub fn cidr(written: &str) -> Option<Ipv4Net> {
    let (address, prefix) = written.split_once('/')?;
    let digits = (1..=2).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits)?;
    Ipv4Net::new(address.parse().ok()?, prefix).ok()
}

/// An MTU, if it is in range.
pub(super) fn mtu(mtu: &Spanned<u32>, least: u32, mistakes: &mut Mistakes<'_>) -> u32 {
    const MOST: u32 = 65_535;
    if !(least..=MOST).contains(&mtu.value) {
        mistakes
            .add(mtu.at, format!("an MTU of {} is out of range", mtu.value))
            .help(format!("{least} to {MOST} bytes here"));
    }
    mtu.value.clamp(least, MOST)
}

/// "10.0.0.1 to 10.0.0.254"
pub(super) fn range(net: Ipv4Net) -> String {
    let mut hosts = net.hosts();
    match (hosts.next(), net.hosts().next_back()) {
        (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
        (Some(only), _) => only.to_string(),
        (None, _) => net.to_string(),
    }
}

fn usable(address: Ipv4Addr, at: Position, mistakes: &mut Mistakes<'_>) -> bool {
    let problem = match address {
        _ if address.is_loopback() => "is a loopback address",
        _ if address.octets()[0] == 0 => "means \"this host\", and belongs to none",
        _ if address.is_multicast() => "is a multicast address",
        _ if address.octets()[0] >= 240 => "is a reserved address",
        _ => return true,
    };
    mistakes.add(at, format!("{address} {problem}")).help("a unicast address is needed here");
    false
}

/// What would be right where text is no address or network.
pub fn address_help(written: &str, example: &str) -> String {
    let before = written.split('/').next().unwrap_or_default();
    let parts: Vec<&str> = before.split('.').collect();
    if before.parse::<Ipv6Addr>().is_ok() {
        format!("only IPv4 in this version: {example}")
    } else if parts.len() == 4 && parts.iter().any(|part| part.len() > 1 && part.starts_with('0')) {
        format!("no leading zeros, which some programs take for octal: {example}")
    } else if parts.len() == 4 && parts.iter().any(|part| part.parse::<u32>().is_ok_and(|number| number > 255)) {
        format!("each part is at most 255: {example}")
    } else if before.parse::<Ipv4Addr>().is_ok() && written.contains('/') {
        format!("a prefix length is a number up to 32: {example}")
    } else {
        format!("write it as {example}")
    }
}
