//! Addresses, networks, times, names out of text.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use topology::source::{Spanned, shown};
use topology::validate::{address_help, cidr};

use super::report::Report;

/// The shortest and longest deadlines.
const DEADLINES: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);

/// An IPv4 address.
pub(super) fn address(text: &Spanned<String>, report: &mut Report<'_>) -> Option<Ipv4Addr> {
    let read = text.trim().parse().ok();
    if read.is_none() {
        report
            .add(text.at, format!("`{}` is not an IPv4 address", shown(text)))
            .help("four numbers from 0 to 255 without leading zeros, such as 100.64.0.1");
    }
    read
}

/// A range of the cluster.
pub(super) fn range(text: &Spanned<String>, report: &mut Report<'_>) -> Option<Ipv4Net> {
    let Some(net) = cidr(text.trim()) else {
        let help = match text.trim().parse::<Ipv4Addr>() {
            Ok(address) => format!("the prefix length is missing: {address}/16, for instance"),
            Err(_) => address_help(text.trim(), "10.244.0.0/16"),
        };
        report.add(text.at, format!("`{}` is not a network in CIDR notation", shown(text))).help(help);
        return None;
    };
    if net.addr() != net.network() {
        report
            .add(text.at, format!("{net} is an address, not a network: bits beyond /{} are set", net.prefix_len()))
            .help(format!("the network is {}", net.trunc()));
        return None;
    }
    let network = net.network();
    if network.is_loopback() || network.is_multicast() || network.is_unspecified() || network.octets()[0] >= 240 {
        report
            .add(text.at, format!("{net} is no range of addresses a machine can have"))
            .help("10.244.0.0/16, for instance");
        return None;
    }
    Some(net)
}

/// A deadline: `2s`, `500ms`.
pub(super) fn deadline(text: &Spanned<String>, report: &mut Report<'_>) -> Option<Duration> {
    let Some(read) = duration(text.trim()) else {
        report
            .add(text.at, format!("`{}` is not a length of time", shown(text)))
            .help("a number with its unit, `ms`, `s` or `m`: 500ms, 2s, 1.5s");
        return None;
    };
    if !DEADLINES.contains(&read) {
        report
            .add(text.at, format!("a deadline of `{}` can't be", shown(text)))
            .help("from 10ms to 5m; what takes no time can't be measured, and nobody waits longer");
        return None;
    }
    Some(read)
}

pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim_start() {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    if number.len() > 9 {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    Some(Duration::from_micros((number * milliseconds * 1e3).round() as u64))
}

/// A DNS name, in lower case and without a dot at its end.
pub(super) fn dns_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// What is wrong with a URL, if anything is.
pub(super) fn url_problem(url: &str) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Some("it begins neither with `http://` nor with `https://`");
    };
    if url.len() > 2000 {
        return Some("it is longer than 2000 characters");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Some("it has a space, a control character or a character outside ASCII in it");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("it has a user name in it");
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Some("it names no host");
    }
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Some("its port is no number from 1 to 65535");
    }
    dns_name(host).is_none().then_some("its host is no DNS name and no IPv4 address")
}

/// Whether a name may stand in a message as it is.
pub(super) fn printable(name: &str) -> bool {
    !name.chars().any(char::is_control)
}

/// What can't be the name of a probe, and why.
pub(super) fn probe_name_problem(name: &str) -> Option<String> {
    problem(name, "-._", "lower-case letters, digits, `-`, `.` and `_`", |c| c.is_ascii_lowercase())
}

/// What can't be the name of a variant, and why. `/` joins names, `*` and `?` are a glob's.
pub(super) fn variant_name_problem(name: &str) -> Option<String> {
    problem(name, "-._,:+!=", "letters, digits and `.,:_+!=-`", |c| c.is_ascii_alphabetic())
}

fn problem(name: &str, others: &str, allowed: &str, letter: fn(char) -> bool) -> Option<String> {
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if name.len() > 64 {
        Some("it is longer than 64 characters".to_owned())
    } else {
        name.chars()
            .find(|c| !letter(*c) && !c.is_ascii_digit() && !others.contains(*c))
            .map(|bad| format!("it has {bad:?} in it; {allowed} are allowed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [("2s", 2000), ("500ms", 500), ("1.5s", 1500), ("1m", 60_000), ("2 s", 2000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "2", "s", "-1s", "1h", "1..2s", "1e9s", "9999999999s", "2s2"] {
            assert_eq!(duration(text), None, "{text:?} is no length of time");
        }
    }

    #[test]
    fn urls() {
        for url in ["http://a", "https://api.ipify.org", "http://10.96.0.80:80/x?y#z"] {
            assert_eq!(url_problem(url), None, "{url}");
        }
        for url in [
            "",
            "api.ipify.org",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a b",
            "http://u@h",
            "http://a:0",
            "http://a:b",
        ] {
            assert!(url_problem(url).is_some(), "{url:?} should be refused");
        }
    }
}
