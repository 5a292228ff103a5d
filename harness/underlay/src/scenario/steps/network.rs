//! Steps that change the network: links, addresses, routes, the overlay, gateways' filters.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use topology::Network;
use topology::source::{Position, Spanned, choices, shown};
use topology::validate::{address_help, cidr};

use super::file::{BlockFile, ImpairFile, RouteFile, StepFile};
use super::world::{State, World, overlay_link};
use crate::scenario::place;
use crate::scenario::report::Report;
use crate::scenario::text;
use crate::step::{Action, Filter, Impairment, Link, Route};

/// Reads a step about the network; of another none.
pub(super) fn read(step: &StepFile, world: &mut World<'_>, report: &mut Report<'_>) -> Vec<Action> {
    let one = |action: Option<Action>| action.into_iter().collect();
    match step {
        StepFile::LinkDown(link) => one(link_down(link, world, report)),
        StepFile::LinkUp(link) => one(link_up(link, world, report)),
        StepFile::LinkDelete(link) => one(link_delete(link, world, report)),
        StepFile::DeviceAppears(link) => one(appears(link, world, report)),
        StepFile::AddressAdd(addresses) => {
            addresses.iter().filter_map(|(link, net)| address_add(link, net, world, report)).collect()
        }
        StepFile::AddressRemove(addresses) => {
            addresses.iter().filter_map(|(link, net)| address_remove(link, net, world, report)).collect()
        }
        StepFile::RouteAdd(file) => one(route_add(file, world, report)),
        StepFile::RouteRemove(file) => one(route_remove(file, world, report)),
        StepFile::OverlayDown(node) => {
            one(overlay(node, State::Up, world, report).map(|link| world.take(Action::OverlayDown { node: link.node })))
        }
        StepFile::OverlayUp(node) => {
            one(overlay(node, State::Gone, world, report).map(|link| world.take(Action::OverlayUp { node: link.node })))
        }
        StepFile::OverlayRoam(node) => {
            one(overlay(node, State::Up, world, report).map(|link| Action::OverlayRoam { node: link.node }))
        }
        StepFile::Block(file) => one(block(file, world, report)),
        StepFile::Unblock(name) => one(unblock(name, world, report)),
        StepFile::Impair(file) => one(impair(file, world, report)),
        StepFile::Repair(link) => one(repair(link, world, report)),
        _ => Vec::new(),
    }
}

/// An interface that the topology knows, the overlay's among them.
pub(super) fn link(written: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Link> {
    let Some((name, interface)) = written.split_once('/') else {
        report
            .add(written.at, format!("`{}` names no interface", shown(written)))
            .help("write NODE/INTERFACE: `master/enp0s6`");
        return None;
    };
    let node = known_node(&Spanned { value: name.to_owned(), at: written.at }, network, report)?;
    if !place::device_names(network, node).any(|device| device == interface) {
        let known = place::device_names(network, node);
        report.add(written.at, format!("`{}` has no interface `{}`", node.name, shown(interface))).help(choices(
            interface,
            "interfaces there",
            known,
        ));
        return None;
    }
    Some(Link { node: node.name.clone(), interface: interface.to_owned() })
}

fn known_node<'n>(
    name: &Spanned<String>,
    network: &'n Network,
    report: &mut Report<'_>,
) -> Option<&'n topology::network::Node> {
    let found = network.node(name);
    if found.is_none() {
        let known = network.nodes.iter().map(|node| node.name.as_str());
        report.add(name.at, format!("there is no node `{}`", shown(name))).help(choices(name, "nodes here", known));
    }
    found
}

/// An interface that isn't the overlay's.
fn nic(written: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Link> {
    let link = link(written, network, report)?;
    if network.node(&link.node).is_some_and(|node| node.nic(&link.interface).is_none()) {
        report
            .add(written.at, format!("`{}` is the overlay's interface", shown(written)))
            .help("it comes and goes with its program: `overlay-down`, `overlay-up`");
        return None;
    }
    Some(link)
}

/// An interface in one of these states, or what is wrong with it when the step comes.
fn in_state(link: Link, at: Position, wanted: &[State], world: &World<'_>, report: &mut Report<'_>) -> Option<Link> {
    let state = world.state(&link)?;
    if wanted.contains(&state) {
        return Some(link);
    }
    let (is, help) = match state {
        State::Up => ("is up", "`link-down` or `link-delete` comes before it"),
        State::Down => ("is down", "`link-up` comes before it"),
        State::Gone => ("is gone", "`device-appears` brings it back"),
    };
    let help = match (state, wanted) {
        (State::Down, [State::Gone]) => "only what was deleted before appears: `link-up` sets it up",
        (State::Up, [State::Gone]) => "only what was deleted before appears",
        _ => help,
    };
    report.add(at, format!("`{link}` {is} when this step comes")).help(help);
    None
}

fn link_down(written: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let link = in_state(nic(written, world.network, report)?, written.at, &[State::Up], world, report)?;
    Some(world.take(Action::LinkDown(link)))
}

fn link_up(written: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let link = in_state(nic(written, world.network, report)?, written.at, &[State::Down], world, report)?;
    Some(world.take(Action::LinkUp(link)))
}

fn link_delete(written: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let there = [State::Up, State::Down];
    let link = in_state(nic(written, world.network, report)?, written.at, &there, world, report)?;
    Some(world.take(Action::LinkDelete(link)))
}

fn appears(written: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let link = link(written, world.network, report)?;
    let link = in_state(link, written.at, &[State::Gone], world, report)?;
    Some(world.take(Action::DeviceAppears(link)))
}

fn with_prefix(written: &Spanned<String>, report: &mut Report<'_>) -> Option<Ipv4Net> {
    let net = cidr(written.trim());
    if net.is_none() {
        report
            .add(written.at, format!("`{}` is not an address with its prefix length", shown(written)))
            .help(address_help(written.trim(), "10.0.0.77/24"));
    }
    net
}

fn address_add(
    name: &Spanned<String>,
    written: &Spanned<String>,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> Option<Action> {
    let there = [State::Up, State::Down];
    let link = in_state(link(name, world.network, report)?, name.at, &there, world, report)?;
    let address = with_prefix(written, report)?;
    if world.of_node(&link.node).any(|own| own == address.addr()) {
        report
            .add(written.at, format!("`{}` has {} already when this step comes", link.node, address.addr()))
            .help("add another one");
        return None;
    }
    Some(world.take(Action::AddressAdd { link, address }))
}

fn address_remove(
    name: &Spanned<String>,
    written: &Spanned<String>,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> Option<Action> {
    let there = [State::Up, State::Down];
    let link = in_state(link(name, world.network, report)?, name.at, &there, world, report)?;
    let address = with_prefix(written, report)?;
    if !world.of_link(&link).contains(&address) {
        let own: Vec<String> = world.of_link(&link).iter().map(ToString::to_string).collect();
        report
            .add(written.at, format!("`{link}` has no address {address} when this step comes"))
            .help(format!("it has {}", if own.is_empty() { "none".to_owned() } else { own.join(", ") }));
        return None;
    }
    Some(world.take(Action::AddressRemove { link, address }))
}

fn route(file: &RouteFile, world: &World<'_>, report: &mut Report<'_>) -> Option<Route> {
    let node = known_node(&file.on, world.network, report)?;
    let whole = Spanned { value: format!("{}/{}", node.name, file.dev.value), at: file.dev.at };
    let link = in_state(link(&whole, world.network, report)?, file.dev.at, &[State::Up], world, report)?;
    let to = match file.to.as_str() {
        "default" => Ipv4Net::default(),
        _ => network_of(&file.to, report)?,
    };
    let via = match &file.via {
        Some(via) => Some(text::address(via, report)?),
        None => None,
    };
    Some(Route { node: link.node, to, via, device: link.interface })
}

/// An address or a network, without bits beyond its prefix length.
fn network_of(written: &Spanned<String>, report: &mut Report<'_>) -> Option<Ipv4Net> {
    let text = written.trim();
    let net = cidr(text).or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from));
    match net {
        Some(net) if net.addr() == net.network() => Some(net),
        Some(net) => {
            report
                .add(
                    written.at,
                    format!("{net} is an address, not a network: bits beyond /{} are set", net.prefix_len()),
                )
                .help(format!("the network is {}", net.trunc()));
            None
        }
        None => {
            report
                .add(written.at, format!("`{}` is neither an address nor a network", shown(written)))
                .help(address_help(text, "10.9.0.0/16 or 8.8.8.8"));
            None
        }
    }
}

fn route_add(file: &RouteFile, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let route = route(file, world, report)?;
    let link = Link { node: route.node.clone(), interface: route.device.clone() };
    if let (Some(via), Some(written)) = (route.via, &file.via)
        && !world.of_link(&link).iter().any(|net| net.contains(&via))
    {
        let nets: Vec<String> = world.of_link(&link).iter().map(|net| net.trunc().to_string()).collect();
        report
            .add(written.at, format!("{via} is not on the link of `{link}`: the kernel refuses such a next hop"))
            .help(format!("on it are {}", nets.join(", ")));
        return None;
    }
    if world.routes.contains(&route) {
        report.add(file.to.at, format!("there is a route to {route} already")).help("`route-remove` it before");
        return None;
    }
    Some(world.take(Action::RouteAdd(route)))
}

fn route_remove(file: &RouteFile, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let route = route(file, world, report)?;
    if !world.routes.contains(&route) {
        let own = world.routes.iter().filter(|other| other.node == route.node).map(ToString::to_string);
        let own = own.collect::<Vec<_>>();
        report.add(file.to.at, format!("there is no route to {route} when this step comes")).help(
            match own.is_empty() {
                true => "a default route of the topology's, or one that a step added".to_owned(),
                false => format!("there is {}", own.join("; ")),
            },
        );
        return None;
    }
    Some(world.take(Action::RouteRemove(route)))
}

/// A node of the overlay, by its interface there.
pub(super) fn member(name: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Link> {
    let node = known_node(name, network, report)?;
    let link = overlay_link(network, node);
    if link.is_none() {
        report
            .add(name.at, format!("`{}` is not on the overlay", shown(name)))
            .help("name a node with `overlay-address`");
    }
    link
}

fn overlay(name: &Spanned<String>, wanted: State, world: &World<'_>, report: &mut Report<'_>) -> Option<Link> {
    let link = member(name, world.network, report)?;
    if world.state(&link) == Some(wanted) {
        return Some(link);
    }
    let (is, help) = match wanted {
        State::Gone => ("runs already", "`overlay-down` comes before `overlay-up`"),
        _ => ("doesn't run", "`overlay-up` starts it again"),
    };
    report.add(name.at, format!("the overlay of `{}` {is} when this step comes", shown(name))).help(help);
    None
}

fn block(file: &BlockFile, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    if let Some(problem) = text::probe_name_problem(&file.name) {
        report.add(file.name.at, format!("`{}` can't be a filter's name: {problem}", shown(&file.name)));
        return None;
    }
    let name = file.at.strip_prefix("vcn/").unwrap_or(&file.at);
    if world.network.vcn(name).is_none() {
        let known: Vec<String> = world.network.vcns.iter().map(|vcn| format!("vcn/{}", vcn.name)).collect();
        report.add(file.at.at, format!("there is no gateway `{}`", shown(&file.at))).help(choices(
            &file.at,
            "gateways",
            known.iter().map(String::as_str),
        ));
        return None;
    }
    let mut net = |written: &Option<Spanned<String>>| match written {
        Some(written) => network_of(written, report).map(Some),
        None => Some(None),
    };
    let (from, to) = (net(&file.from)?, net(&file.to)?);
    let protocol = match file.protocol.as_ref().map(|written| (written, written.as_str())) {
        None => None,
        Some((_, "icmp")) => Some(1),
        Some((_, "tcp")) => Some(6),
        Some((_, "udp")) => Some(17),
        Some((written, other)) => {
            report.add(written.at, format!("`{}` is no protocol here", shown(other))).help(choices(
                other,
                "protocols",
                ["icmp", "tcp", "udp"],
            ));
            return None;
        }
    };
    if let Some(port) = file.port.filter(|_| !matches!(protocol, Some(6 | 17))) {
        report.add(port.at, "a port of which protocol?").help("`port` goes with `protocol: tcp` or `protocol: udp`");
        return None;
    }
    if world.filters.contains_key(file.name.as_str()) {
        report
            .add(file.name.at, format!("there is a filter `{}` already when this step comes", shown(&file.name)))
            .help("choose another name, or `unblock` it before");
        return None;
    }
    let port = file.port.map(|port| port.value);
    let filter = Filter { vcn: name.to_owned(), name: file.name.value.clone(), from, to, protocol, port };
    Some(world.take(Action::Block(filter)))
}

fn unblock(name: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    match world.filters.get(name.as_str()).cloned() {
        Some(vcn) => Some(world.take(Action::Unblock { vcn, name: name.value.clone() })),
        None => {
            let known = world.filters.keys().map(String::as_str);
            let diagnostic = report.add(name.at, format!("there is no filter `{}` when this step comes", shown(name)));
            match world.filters.is_empty() {
                true => diagnostic.help("`block` makes one"),
                false => diagnostic.help(choices(name, "filters", known)),
            };
            None
        }
    }
}

fn impair(file: &ImpairFile, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let there = [State::Up, State::Down];
    let link = in_state(link(&file.link, world.network, report)?, file.link.at, &there, world, report)?;
    let mut time = |written: &Option<Spanned<String>>| -> Option<Duration> {
        match written {
            None => Some(Duration::ZERO),
            Some(written) => text::deadline(written, report),
        }
    };
    let (delay, jitter) = (time(&file.delay)?, time(&file.jitter)?);
    let loss = file.loss.map_or(0.0, |loss| loss.value);
    if let Some(written) = file.loss.filter(|loss| !(0.0..=100.0).contains(&loss.value)) {
        report.add(written.at, format!("{loss} of 100 can't be lost")).help("from 0 to 100");
        return None;
    }
    if let Some(written) = file.rate.filter(|rate| rate.value < 1000) {
        report.add(written.at, "less than 1000 bits a second carries nothing").help("10000000 is 10 Mbit/s");
        return None;
    }
    let how = Impairment { delay, jitter, loss, rate: file.rate.map(|rate| rate.value) };
    if how == Impairment::default() {
        report.add(file.link.at, "nothing is impaired").help("give one of `delay`, `jitter`, `loss`, `rate`");
        return None;
    }
    Some(world.take(Action::Impair { link, how }))
}

fn repair(written: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    let link = link(written, world.network, report)?;
    if !world.impaired.contains(&link) {
        report.add(written.at, format!("`{link}` is not impaired when this step comes")).help("`impair` comes before");
        return None;
    }
    Some(world.take(Action::Repair(link)))
}
