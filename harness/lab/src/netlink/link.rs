//! Links: made in place, in the namespaces they belong to, never moved (a move waits for an RCU grace period).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use nix::libc::{EADDRNOTAVAIL, ENXIO, EOPNOTSUPP};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVxlan};

use super::Netlink;
use crate::error::Result;
use crate::namespace::Namespace;

/// `lo`, in every namespace (Linux, include/net/flow.h, `LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct VethEnd<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name there.
    pub name: &'a str,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its hardware address; the kernel picks one where there is none.
    pub mac: Option<[u8; 6]>,
}

impl<'a> VethEnd<'a> {
    /// An end with a hardware address of the kernel's choice.
    pub fn new(namespace: &'a Namespace, name: &'a str, mtu: u32) -> Self {
        Self { namespace, name, mtu, mac: None }
    }

    fn attributes(&self) -> Vec<LinkAttribute> {
        let mut attributes = vec![LinkAttribute::IfName(self.name.to_owned()), LinkAttribute::Mtu(self.mtu)];
        if let Some(mac) = self.mac {
            attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        attributes
    }
}

/// How a bond spreads packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BondMode {
    /// One member at a time.
    ActiveBackup,
}

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

impl Netlink<'_> {
    fn new_link(&mut self, step: &str, message: LinkMessage) -> Result<()> {
        self.request(step, RouteNetlinkMessage::NewLink(message), CREATE)
    }

    fn set_link(&mut self, step: &str, message: LinkMessage) -> Result<()> {
        self.request(step, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Makes a bridge.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_bridge(&mut self, name: &str, mtu: u32) -> Result<()> {
        self.new_link(&format!("add bridge {name}"), LinkBridge::new(name).mtu(mtu).build())
    }

    /// Makes a dummy device.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no dummy driver.
    pub fn add_dummy(&mut self, name: &str, mtu: u32) -> Result<()> {
        self.new_link(&format!("add dummy {name}"), LinkDummy::new(name).mtu(mtu).build())
    }

    /// Makes a bond.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no bonding driver.
    pub fn add_bond(&mut self, name: &str, mtu: u32, mode: BondMode) -> Result<()> {
        let mode = match mode {
            BondMode::ActiveBackup => netlink_packet_route::link::BondMode::ActiveBackup,
        };
        let message = rtnetlink::LinkBond::new(name).mode(mode).mtu(mtu).build();
        self.new_link(&format!("add bond {name}"), message)
    }

    /// Makes a VXLAN device without learning, its peers to be given by [`Netlink::add_fdb`]. The outer source is the
    /// routing's choice and the outer packet may be fragmented, as with Cilium's (bpf/lib/overloadable_skb.h, 1.18).
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the kernel has no VXLAN.
    pub fn add_vxlan(&mut self, name: &str, vni: u32, port: u16, mtu: u32, mac: [u8; 6]) -> Result<()> {
        let message = LinkVxlan::new(name, vni).port(port).learning(false).address(mac.to_vec()).mtu(mtu).build();
        self.new_link(&format!("add vxlan {name}"), message)
    }

    /// Removes a link.
    ///
    /// # Errors
    /// There is no such link.
    pub fn delete_link(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).build();
        self.request(&format!("delete link {name}"), RouteNetlinkMessage::DelLink(message), 0)
    }

    /// Removes a link, if there is one: it may never have been made, or have gone by itself, with its other end or with whoever
    /// had it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn clear_link(&mut self, name: &str) -> Result<()> {
        match self.delete_link(name) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
            done => done,
        }
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn link_up(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.set_link(&format!("set {name} up"), LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build())
    }

    /// Sets `lo` up and takes away `::1`, which it gets with that.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn loopback_up(&mut self) -> Result<()> {
        self.link_up("lo")?;
        let own = AddressMessageBuilder::<Ipv6Addr>::new().index(LOOPBACK_INDEX).address(Ipv6Addr::LOCALHOST, 128);
        match self.request("delete address ::1 dev lo", RouteNetlinkMessage::DelAddress(own.build()), 0) {
            // Without IPv6 in the kernel, or with IPv6 off in all new namespaces, there is none.
            Err(error) if matches!(error.raw_os_error(), Some(EADDRNOTAVAIL | EOPNOTSUPP | ENXIO)) => Ok(()),
            deleted => deleted,
        }
    }

    /// Sets a link down.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn link_down(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.set_link(&format!("set {name} down"), LinkMessageBuilder::<LinkUnspec>::new().index(index).down().build())
    }

    /// Sets a link's MTU in bytes.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<()> {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu).build();
        self.set_link(&format!("set {name} mtu {mtu}"), message)
    }

    /// Gives a link another name. Kernels before 6.2 do so only to one that is down, and say `EBUSY` else (Linux,
    /// net/core/dev.c, `dev_change_name`).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn rename_link(&mut self, name: &str, new: &str) -> Result<()> {
        let index = self.index(name)?;
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).name(new.to_owned()).build();
        self.set_link(&format!("rename {name} to {new}"), message)
    }

    /// Makes a link a port of a bridge or a member of a bond.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn set_controller(&mut self, name: &str, controller: &str) -> Result<()> {
        let (index, controller_index) = (self.index(name)?, self.index(controller)?);
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).controller(controller_index).build();
        self.set_link(&format!("set {name} master {controller}"), message)
    }

    /// Gives a link an address with its prefix.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_address(&mut self, link: &str, address: Ipv4Net) -> Result<()> {
        let index = self.index(link)?;
        let mut message =
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address.addr(), address.prefix_len()).build();
        message.header.flags |= AddressHeaderFlags::Permanent;
        self.request(&format!("add address {address} dev {link}"), RouteNetlinkMessage::NewAddress(message), CREATE)
    }

    /// Gives a point-to-point link an address and its peer's.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_peer_address(&mut self, link: &str, address: Ipv4Addr, peer: Ipv4Net) -> Result<()> {
        let index = self.index(link)?;
        let mut message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).build();
        message.header.prefix_len = peer.prefix_len();
        message.attributes =
            vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(peer.addr().into())];
        let step = format!("add address {address} peer {peer} dev {link}");
        self.request(&step, RouteNetlinkMessage::NewAddress(message), CREATE)
    }

    /// Removes an address from a link.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn delete_address(&mut self, link: &str, address: Ipv4Net) -> Result<()> {
        let index = self.index(link)?;
        let message =
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address.addr(), address.prefix_len()).build();
        self.request(&format!("delete address {address} dev {link}"), RouteNetlinkMessage::DelAddress(message), 0)
    }
}

/// Makes a veth pair with each end in its own namespace from the start.
///
/// Both ends are down: the kernel refuses a peer that is up at birth (`ENOTCONN`).
///
/// # Errors
/// The kernel's answer.
pub fn add_veth(near: VethEnd<'_>, far: VethEnd<'_>) -> Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes = far.attributes();
    peer.attributes.push(LinkAttribute::NetNsFd(far.namespace.as_fd().as_raw_fd()));
    let mut message = LinkMessage::default();
    message.attributes = near.attributes();
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let step = format!("add veth {} to {} {}", near.name, far.namespace.name(), far.name);
    near.namespace.netlink()?.request(&step, RouteNetlinkMessage::NewLink(message), CREATE)
}

/// Whether a link message says the link is up.
pub(super) fn is_up(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up)
}
