//! Neighbours: which hardware address, or which outer one, an address is behind.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Client, Netlink};
use crate::error::Result;

/// A permanent neighbour: an address whose hardware address needs no asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its IP address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
}

impl Netlink<'_> {
    /// Adds a permanent neighbour on a link.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_neighbour(&mut self, link: &str, neighbour: Neighbour) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = self.index(link)?;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unspec;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(neighbour.address)),
            NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()),
        ];
        let step = format!("add neighbour {} dev {link}", neighbour.address);
        self.request(&step, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Tells a VXLAN device behind which outer address a hardware address is.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_fdb(&mut self, link: &str, mac: [u8; 6], remote: IpAddr) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = self.index(link)?;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.header.kind = RouteType::Unspec;
        let remote = match remote {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        };
        message.attributes =
            vec![NeighbourAttribute::Destination(remote), NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
        let step = format!("add fdb entry dev {link}");
        self.request(&step, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

impl Client {
    /// Forgets every neighbour that was learned.
    ///
    /// One that was still asked for owes its senders an ICMP error, which goes by `lo`: another neighbour. So a second
    /// time.
    pub(crate) fn forget_neighbours(&mut self) -> Result<()> {
        for _ in 0..2 {
            let learned = self.learned_neighbours()?;
            if learned.is_empty() {
                break;
            }
            self.batch("forget neighbours", learned)?;
        }
        Ok(())
    }

    fn learned_neighbours(&mut self) -> Result<Vec<(RouteNetlinkMessage, u16)>> {
        let mut learned = Vec::new();
        let all = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump("list neighbours", all, |message| {
            if let RouteNetlinkMessage::NewNeighbour(mut message) = message
                && message.header.state != NeighbourState::Permanent
            {
                message.attributes.retain(|attribute| matches!(attribute, NeighbourAttribute::Destination(_)));
                learned.push((RouteNetlinkMessage::DelNeighbour(message), NLM_F_ACK));
            }
        })?;
        Ok(learned)
    }
}
