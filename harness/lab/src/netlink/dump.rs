//! What the kernel has: links with their addresses, routes, neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo as InfoNla, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState as WireState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};

use super::Netlink;
use crate::error::Result;

/// A link with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// IFF_* flags.
    pub flags: u32,
    /// `IFLA_INFO_KIND`, `veth` or `tun`; none for loopback and hardware.
    pub kind: Option<String>,
    /// Index of its bridge, bond or VRF.
    pub controller: Option<u32>,
    /// Hardware address; empty where it has none.
    pub mac: Vec<u8>,
    /// Addresses in the kernel's order.
    pub addresses: Vec<AddressInfo>,
}

impl LinkInfo {
    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        super::link::is_up(netlink_packet_route::link::LinkFlags::from_bits_retain(self.flags))
    }
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressInfo {
    /// The address with its prefix length.
    pub net: IpNet,
    /// Whether another address of the same range came first.
    pub secondary: bool,
    /// RT_SCOPE_*: 0 global, 253 link, 254 host.
    pub scope: u8,
}

/// A route of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteInfo {
    /// Table number.
    pub table: u32,
    /// Where to.
    pub destination: IpNet,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Index of the link, 0 for routes without one.
    pub link: u32,
}

/// A neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Index of its link.
    pub link: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address, once known.
    pub mac: Vec<u8>,
    /// What the kernel thinks of it.
    pub state: NeighbourState,
}

/// What the kernel thinks of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Asked for, no answer within the time.
    Failed,
    /// Its hardware address is known.
    Known,
}

impl Netlink<'_> {
    /// All links, in index order.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn links(&mut self) -> Result<Vec<LinkInfo>> {
        let mut links = Vec::new();
        self.client.dump("list links", RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(message) = message {
                links.push(link(message));
            }
        })?;
        let mut addresses = Vec::new();
        self.client.dump("list addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            if let RouteNetlinkMessage::NewAddress(message) = message
                && let Some(address) = address(&message)
            {
                addresses.push((message.header.index, address));
            }
        })?;
        links.sort_by_key(|link| link.index);
        for (index, address) in addresses {
            if let Some(link) = links.iter_mut().find(|link| link.index == index) {
                link.addresses.push(address);
            }
        }
        Ok(links)
    }

    /// All IPv4 and IPv6 unicast and local routes of all tables.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn routes(&mut self) -> Result<Vec<RouteInfo>> {
        let mut routes = Vec::new();
        self.client.dump("list routes", RouteNetlinkMessage::GetRoute(RouteMessage::default()), |message| {
            // What the kernel has learnt for one destination (a path's MTU) is listed, too, and is nobody's route.
            if let RouteNetlinkMessage::NewRoute(message) = message
                && !message.header.flags.contains(RouteFlags::Cloned)
                && let Some(route) = route(&message)
            {
                routes.push(route);
            }
        })?;
        Ok(routes)
    }

    /// All IP neighbours.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn neighbours(&mut self) -> Result<Vec<NeighbourInfo>> {
        let mut neighbours = Vec::new();
        self.client.dump(
            "list neighbours",
            RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
            |message| {
                if let RouteNetlinkMessage::NewNeighbour(message) = message
                    && let Some(neighbour) = neighbour(&message)
                {
                    neighbours.push(neighbour);
                }
            },
        )?;
        Ok(neighbours)
    }
}

fn link(message: LinkMessage) -> LinkInfo {
    let mut link = LinkInfo {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        flags: message.header.flags.bits(),
        kind: None,
        controller: None,
        mac: Vec::new(),
        addresses: Vec::new(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let InfoNla::Kind(kind) = info {
                        link.kind = Some(match kind {
                            InfoKind::Other(kind) => kind,
                            kind => kind.to_string(),
                        });
                    }
                }
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<AddressInfo> {
    // IFA_LOCAL is the interface's own address; on a point-to-point link IFA_ADDRESS is the peer's.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some(AddressInfo {
        net: IpNet::new(address, message.header.prefix_len).ok()?,
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
        scope: message.header.scope.into(),
    })
}

fn route(message: &RouteMessage) -> Option<RouteInfo> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let family = message.header.address_family;
    let mut destination = match family {
        netlink_packet_route::AddressFamily::Inet => IpAddr::from([0_u8; 4]),
        netlink_packet_route::AddressFamily::Inet6 => IpAddr::from([0_u8; 16]),
        _ => return None,
    };
    let mut route = RouteInfo {
        table: u32::from(message.header.table),
        destination: IpNet::from(destination),
        gateway: None,
        link: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::Table(table) => route.table = *table,
            _ => {}
        }
    }
    route.destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(route)
}

fn neighbour(message: &NeighbourMessage) -> Option<NeighbourInfo> {
    let mut address = None;
    let mut mac = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(IpAddr::V6(*ip)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.clone(),
            _ => {}
        }
    }
    let state = match message.header.state {
        WireState::Incomplete => NeighbourState::Incomplete,
        WireState::Failed => NeighbourState::Failed,
        _ => NeighbourState::Known,
    };
    Some(NeighbourInfo { link: message.header.ifindex, address: address?, mac, state })
}
