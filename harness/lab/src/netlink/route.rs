//! Routes and rules.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{RouteMetric, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::RouteMessageBuilder;

use super::Netlink;
use crate::error::Result;

/// Routing tables with a number everybody knows.
pub mod table {
    /// The default table, where nobody puts anything.
    pub const DEFAULT: u32 = 253;
    /// The main table.
    pub const MAIN: u32 = 254;
    /// The kernel's own table of local addresses.
    pub const LOCAL: u32 = 255;
}

/// An IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` for a default route.
    pub destination: Ipv4Net,
    /// Through which interface; none for [`RouteKind::Unreachable`] and the like.
    pub device: Option<String>,
    /// Next hop.
    pub gateway: Option<Ipv4Addr>,
    /// The next hop is on the device's link though no address says so.
    pub onlink: bool,
    /// Source of packets that have none yet.
    pub source: Option<Ipv4Addr>,
    /// How far the destination is.
    pub scope: Scope,
    /// What happens to packets.
    pub kind: RouteKind,
    /// Table number.
    pub table: u32,
    /// Priority: the lowest wins.
    pub metric: Option<u32>,
    /// MTU in bytes for packets on this route.
    pub mtu: Option<u32>,
}

/// What happens to packets that match a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// They are sent on.
    Unicast,
    /// They are the host's own.
    Local,
    /// They are answered with ICMP host unreachable.
    Unreachable,
    /// They are dropped without a word.
    Blackhole,
}

/// How far a route's destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Behind a gateway, or anywhere.
    Universe,
    /// On the link.
    Link,
    /// On this host.
    Host,
}

impl Route {
    /// A route through a device, in table main.
    pub fn through(destination: Ipv4Net, device: &str) -> Self {
        Self {
            destination,
            device: Some(device.to_owned()),
            gateway: None,
            onlink: false,
            source: None,
            scope: Scope::Link,
            kind: RouteKind::Unicast,
            table: table::MAIN,
            metric: None,
            mtu: None,
        }
    }

    /// A route to the host itself.
    pub fn local(address: Ipv4Addr, device: &str) -> Self {
        Self { kind: RouteKind::Local, scope: Scope::Host, ..Self::through(address.into(), device) }
    }

    /// A default route in table main.
    pub fn default_via(gateway: Ipv4Addr, device: &str) -> Self {
        Self::through(Ipv4Net::default(), device).via(gateway)
    }

    /// The same through a next hop.
    #[must_use]
    pub fn via(self, gateway: Ipv4Addr) -> Self {
        Self { gateway: Some(gateway), scope: Scope::Universe, ..self }
    }

    /// The same in another table.
    #[must_use]
    pub fn in_table(self, table: u32) -> Self {
        Self { table, ..self }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(formatter, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(formatter, " dev {device}")?;
        }
        write!(formatter, " table {}", self.table)
    }
}

/// A policy routing rule for IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Priority: the lowest is asked first.
    pub priority: u32,
    /// Only packets that came in by this interface.
    pub input: Option<String>,
    /// Only packets with this mark under this mask.
    pub mark: Option<(u32, u32)>,
    /// Only packets to this range.
    pub destination: Option<Ipv4Net>,
    /// The table to look in; `None` makes it an `unreachable` rule.
    pub table: Option<u32>,
}

impl Rule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.attributes.push(RuleAttribute::Priority(self.priority));
        if let Some(input) = &self.input {
            message.attributes.push(RuleAttribute::Iifname(input.clone()));
        }
        if let Some((mark, mask)) = self.mark {
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::FwMask(mask));
        }
        if let Some(destination) = self.destination {
            message.header.dst_len = destination.prefix_len();
            message.attributes.push(RuleAttribute::Destination(destination.addr().into()));
        }
        match self.table {
            Some(table) => {
                message.header.action = RuleAction::ToTable;
                message.attributes.push(RuleAttribute::Table(table));
            }
            None => message.header.action = RuleAction::Unreachable,
        }
        message
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:", self.priority)?;
        if let Some(input) = &self.input {
            write!(formatter, " iif {input}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(formatter, " fwmark {mark:#x}/{mask:#x}")?;
        }
        if let Some(destination) = self.destination {
            write!(formatter, " to {destination}")?;
        }
        match self.table {
            Some(table) => write!(formatter, " lookup {table}"),
            None => write!(formatter, " unreachable"),
        }
    }
}

impl Netlink<'_> {
    /// Adds a route.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        self.put_route(route, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route, in place of one to the same destination with the same metric.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        self.put_route(route, NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn put_route(&mut self, route: &Route, flags: u16) -> Result<()> {
        let message = self.route_message(route)?;
        self.request(&format!("add route {route}"), RouteNetlinkMessage::NewRoute(message), flags)
    }

    /// Removes a route, whoever added it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let mut message = self.route_message(route)?;
        // Named, it would have to be the one that the route was added with: docker's aren't `static`.
        message.header.protocol = RouteProtocol::Unspec;
        self.request(&format!("delete route {route}"), RouteNetlinkMessage::DelRoute(message), 0)
    }

    /// Removes every IPv4 route of a table.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn flush_table(&mut self, table: u32) -> Result<()> {
        let routes = self.routes()?;
        for destination in routes.iter().filter(|route| route.table == table).map(|route| route.destination) {
            let ipnet::IpNet::V4(destination) = destination else { continue };
            // Scope and type left open: whatever the route to there is.
            let message = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination.addr(), destination.prefix_len())
                .table_id(table)
                .scope(RouteScope::NoWhere)
                .kind(RouteType::Unspec)
                .build();
            let step = format!("delete route {destination} table {table}");
            self.request(&step, RouteNetlinkMessage::DelRoute(message), 0)?;
        }
        Ok(())
    }

    fn route_message(&mut self, route: &Route) -> Result<netlink_packet_route::route::RouteMessage> {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination.addr(), route.destination.prefix_len())
            .table_id(route.table)
            .scope(match route.scope {
                Scope::Universe => RouteScope::Universe,
                Scope::Link => RouteScope::Link,
                Scope::Host => RouteScope::Host,
            })
            .kind(match route.kind {
                RouteKind::Unicast => RouteType::Unicast,
                RouteKind::Local => RouteType::Local,
                RouteKind::Unreachable => RouteType::Unreachable,
                RouteKind::Blackhole => RouteType::BlackHole,
            });
        if let Some(device) = &route.device {
            builder = builder.output_interface(self.index(device)?);
        }
        if let Some(gateway) = route.gateway {
            builder = builder.gateway(gateway);
        }
        if route.onlink {
            builder = builder.onlink();
        }
        if let Some(source) = route.source {
            builder = builder.pref_source(source);
        }
        if let Some(metric) = route.metric {
            builder = builder.priority(metric);
        }
        let mut message = builder.build();
        if let Some(mtu) = route.mtu {
            message.attributes.push(netlink_packet_route::route::RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        Ok(message)
    }

    /// Adds a policy routing rule.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let message = RouteNetlinkMessage::NewRule(rule.message());
        self.request(&format!("add rule {rule}"), message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes a policy routing rule.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<()> {
        self.request(&format!("delete rule {rule}"), RouteNetlinkMessage::DelRule(rule.message()), 0)
    }

    /// Moves the rule for the local table from priority 0 to `priority`, so that others can stand before it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn move_local_rule(&mut self, priority: u32) -> Result<()> {
        let local = |priority| Rule { priority, table: Some(table::LOCAL), ..Rule::default() };
        self.add_rule(&local(priority))?;
        self.delete_rule(&local(0))
    }
}
