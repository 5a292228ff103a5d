//! `ip -j addr`, `ip -j link`, `ip -j route`, `ip -j rule`: lists of objects, told apart by their keys.

use serde_json::Value;

use super::{Link, MAIN, Route, Rule, Seen, destination, net, table};

/// What one printed list holds; empty if it is none of `ip`'s. `asked` is the table that was asked for, if one was.
pub(crate) fn read(list: &Value, asked: Option<u32>) -> Seen {
    let mut seen = Seen::default();
    for item in list.as_array().into_iter().flatten() {
        if item.get("ifname").is_some() {
            let Some(mut link) = link(item) else { continue };
            let addresses = item.get("addr_info").and_then(Value::as_array).into_iter().flatten();
            seen.more += addresses.filter_map(address).map(|address| link.address(address)).sum::<usize>();
            seen.link(link);
        } else if item.get("dst").is_some() {
            route(item, asked).into_iter().for_each(|route| seen.route(route));
        } else if item.get("priority").is_some() {
            rule(item).into_iter().for_each(|rule| seen.rule(rule));
        }
    }
    seen
}

fn text<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
    item.get(key)?.as_str()
}

fn number(item: &Value, key: &str) -> Option<u32> {
    item.get(key)?.as_u64().and_then(|number| number.try_into().ok())
}

/// A link, as yet without its addresses.
fn link(item: &Value) -> Option<Link> {
    let flags: Vec<&str> = item.get("flags")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let info = item.get("linkinfo");
    Some(Link {
        index: number(item, "ifindex")?,
        name: text(item, "ifname")?.to_owned(),
        kind: info.and_then(|info| text(info, "info_kind")).map(str::to_owned),
        // Printed with -d alone.
        detailed: item.get("num_tx_queues").is_some() || info.is_some(),
        mtu: number(item, "mtu"),
        up: flags.contains(&"UP"),
        point_to_point: flags.contains(&"POINTOPOINT"),
        master: text(item, "master").map(str::to_owned),
        peer: text(item, "link").map(str::to_owned).or_else(|| Some(format!("if{}", number(item, "link_index")?))),
        addresses: Vec::new(),
    })
}

fn address(item: &Value) -> Option<ipnet::Ipv4Net> {
    let prefix = number(item, "prefixlen")?;
    ipnet::Ipv4Net::new(text(item, "local")?.parse().ok()?, prefix.try_into().ok()?).ok()
}

fn route(item: &Value, asked: Option<u32>) -> Option<Route> {
    // Of several next hops the first: a topology has no multipath.
    let hop = item.get("nexthops").and_then(|hops| hops.get(0)).unwrap_or(item);
    let through = |key| text(hop, key).or_else(|| text(item, key));
    // `table all` has IPv6's too, whose default is called the same: each of them has a preference. `via` is a gateway of
    // another family than the route's.
    if item.get("pref").is_some() || hop.get("via").is_some() {
        return None;
    }
    Some(Route {
        table: match item.get("table") {
            Some(name) => name.as_str().and_then(table).or_else(|| number(item, "table"))?,
            None => asked.unwrap_or(MAIN),
        },
        kind: text(item, "type").unwrap_or("unicast").to_owned(),
        destination: destination(text(item, "dst")?)?,
        gateway: match through("gateway") {
            Some(gateway) => Some(gateway.parse().ok()?),
            None => None,
        },
        device: through("dev").map(str::to_owned),
        metric: number(item, "metric").unwrap_or(0),
        protocol: text(item, "protocol").map(str::to_owned),
    })
}

fn rule(item: &Value) -> Option<Rule> {
    let name = text(item, "table");
    let mut words = Vec::new();
    if item.get("not").is_some() {
        words.push("not".to_owned());
    }
    for (word, key, length) in [("from", "src", "srclen"), ("to", "dst", "dstlen")] {
        let Some(address) = text(item, key) else { continue };
        // Names of IPv6's rules are the same; its addresses aren't.
        if address != "all" && net(address).is_none() {
            return None;
        }
        let length = number(item, length).map(|length| format!("/{length}")).unwrap_or_default();
        words.push(format!("{word} {address}{length}"));
    }
    if let Some(mark) = text(item, "fwmark") {
        let mask = text(item, "fwmask").map(|mask| format!("/{mask}")).unwrap_or_default();
        words.push(format!("fwmark {mark}{mask}"));
    }
    words.extend(["iif", "oif"].iter().filter_map(|key| Some(format!("{key} {}", text(item, key)?))));
    words.extend(name.map(|name| format!("lookup {name}")));
    words.extend(text(item, "action").map(str::to_owned));
    Some(Rule { priority: number(item, "priority")?, text: words.join(" "), table: name.and_then(table) })
}
