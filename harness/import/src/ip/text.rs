//! What `ip a`, `ip -d link`, `ip route` and `ip rule` print for people, as a bugtool keeps it. Lines are told by
//! their form, so that outputs may follow each other in one file; what has none of these forms is passed over.

use super::{Link, MAIN, Route, Rule, Seen, destination, net, table};

/// Kinds of links that stand at the beginning of a line of `ip -d link` (iproute2, ip/iplink.c, `print_linktype`).
const KINDS: [&str; 24] = [
    "bareudp",
    "bond",
    "bridge",
    "dummy",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "ifb",
    "ip6tnl",
    "ipip",
    "ipvlan",
    "macvlan",
    "macvtap",
    "netkit",
    "nlmon",
    "openvswitch",
    "sit",
    "team",
    "tun",
    "veth",
    "vlan",
    "vrf",
    "vxlan",
];
/// Those that print nothing of their own but what follows for every kind.
const BARE_KINDS: [&str; 2] = ["wireguard", "vti"];

/// Kinds of routes that are printed (iproute2, lib/rt_names.c).
const ROUTES: [&str; 8] =
    ["unicast", "local", "broadcast", "anycast", "multicast", "unreachable", "prohibit", "blackhole"];

/// What the text holds; empty if nothing of `ip`'s is in it. `asked` is the table that was asked for, if one was.
pub(crate) fn read(text: &str, asked: Option<u32>) -> Seen {
    let mut seen = Seen::default();
    // Whether the link at hand is the last of them.
    let mut taken = true;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().take(64).collect();
        let Some(first) = words.first() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some(link) = seen.links.last_mut().filter(|_| taken) {
                seen.more += detail(link, &words);
            }
        } else if let Some(number) = first.strip_suffix(':').and_then(|number| number.parse().ok()) {
            match words.get(1) {
                Some(&"from" | &"not") => rule(number, &words[1..]).into_iter().for_each(|rule| seen.rule(rule)),
                Some(name) => {
                    if let Some(link) = link(number, name, &words[2..]) {
                        taken = seen.link(link);
                    }
                }
                None => {}
            }
        } else if let Some(route) = route(&words, asked) {
            seen.route(route);
        }
    }
    seen
}

/// `2: enp0s6@if3: <BROADCAST,UP> mtu 9000 qdisc noqueue master br0 state UP`
fn link(index: u32, name: &str, words: &[&str]) -> Option<Link> {
    let flags = words.first()?.strip_prefix('<')?.strip_suffix('>')?;
    let has = |flag| flags.split(',').any(|other| other == flag);
    let name = name.strip_suffix(':')?;
    let (name, peer) = name.split_once('@').map_or((name, None), |(name, peer)| (name, Some(peer)));
    Some(Link {
        index,
        name: name.to_owned(),
        mtu: after(words, "mtu").and_then(|mtu| mtu.parse().ok()),
        up: has("UP"),
        point_to_point: has("POINTOPOINT"),
        master: after(words, "master").map(str::to_owned),
        peer: peer.filter(|peer| *peer != "NONE").map(str::to_owned),
        ..Link::default()
    })
}

/// A line below a link's first. Gives for how many addresses there is no room.
fn detail(link: &mut Link, words: &[&str]) -> usize {
    match *words {
        ["inet", address, ..] => {
            // `100.64.0.1 peer 100.64.0.2/32`: the prefix length is the peer's.
            let peer = after(words, "peer").and_then(|peer| peer.split_once('/')).map(|(_, length)| length);
            let own = match peer {
                Some(length) if !address.contains('/') => net(&format!("{address}/{length}")),
                _ => net(address),
            };
            return own.map_or(0, |own| link.address(own));
        }
        // Printed with -d alone, after the hardware address.
        [first, ..] if first.starts_with("link/") => link.detailed |= words.contains(&"promiscuity"),
        [kind, ..] if link.detailed && link.kind.is_none() && (KINDS.contains(&kind) || bare(words)) => {
            link.kind = Some(kind.to_owned());
        }
        _ => {}
    }
    0
}

fn bare(words: &[&str]) -> bool {
    BARE_KINDS.contains(&words[0])
}

/// `default via 10.0.0.1 dev enp0s6 proto dhcp metric 100`
fn route(words: &[&str], asked: Option<u32>) -> Option<Route> {
    let (kind, words) = match words {
        [kind, rest @ ..] if ROUTES.contains(kind) => (*kind, rest),
        all => ("unicast", all),
    };
    let (to, rest) = words.split_first()?;
    // IPv6's default is called the same; each of its routes has a preference.
    if after(rest, "pref").is_some() {
        return None;
    }
    Some(Route {
        table: match after(rest, "table") {
            Some(name) => table(name)?,
            None => asked.unwrap_or(MAIN),
        },
        kind: kind.to_owned(),
        destination: destination(to)?,
        gateway: match after(rest, "via") {
            Some(gateway) => Some(gateway.parse().ok()?),
            None => None,
        },
        device: after(rest, "dev").map(str::to_owned),
        metric: after(rest, "metric").and_then(|metric| metric.parse().ok()).unwrap_or(0),
        protocol: after(rest, "proto").map(str::to_owned),
    })
}

/// `5210: from all fwmark 0x80000/0xff0000 lookup main`
fn rule(priority: u32, words: &[&str]) -> Option<Rule> {
    let from = after(words, "from")?;
    destination(from)?;
    let end = words.iter().position(|word| *word == "proto").unwrap_or(words.len());
    Some(Rule { priority, text: words[..end].join(" "), table: after(words, "lookup").and_then(table) })
}

/// The word behind a word.
fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    let at = words.iter().position(|other| *other == word)?;
    words.get(at + 1).copied()
}
