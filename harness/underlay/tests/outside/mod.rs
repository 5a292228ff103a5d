//! A namespace that stands for the host a run is started on, with a way out and somebody who sees each packet on it.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::Ipv4Net;
use lab::Namespace;
use lab::netlink::{Neighbour, Route, VethEnd, add_veth};
use libtest_mimic::Failed;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

/// The host's address.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Its gateway's.
pub const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Gives a namespace a way out, so that nothing fails to leave for want of one, and returns a socket that gets whatever
/// passes on any link of it.
pub fn open_up(namespace: &Namespace, beyond: &Namespace) -> Result<OwnedFd, Failed> {
    let mac = [0x02, 0, 0, 0, 0, 2];
    add_veth(
        VethEnd::new(namespace, "way-out", 1500),
        VethEnd { mac: Some(mac), ..VethEnd::new(beyond, "way-in", 1500) },
    )?;
    beyond.netlink()?.link_up("way-in")?;
    let mut netlink = namespace.netlink()?;
    netlink.add_address("way-out", Ipv4Net::new(NEAR, 24)?)?;
    netlink.link_up("way-out")?;
    netlink.add_neighbour("way-out", Neighbour { address: FAR, mac })?;
    netlink.add_route(&Route::default_via(FAR, "way-out"))?;
    drop(netlink);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
    Ok(namespace.enter(open)??)
}

/// The packets a socket has got, as far as their IP addresses.
pub fn packets(socket: &impl AsRawFd) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2048];
    let next = || {
        recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok().map(|size| buffer[..size.min(34)].to_vec())
    };
    std::iter::from_fn(next).collect()
}

/// Sends one datagram, to see that it would be seen.
pub fn proof(namespace: &Namespace, seen: &impl AsRawFd) -> Result<(), Failed> {
    let sender = namespace.enter(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    sender.send_to(b"would be seen", (Ipv4Addr::new(8, 8, 8, 8), 53))?;
    match packets(seen).is_empty() {
        true => Err("a datagram that was sent on purpose wasn't seen either: the test is blind".into()),
        false => Ok(()),
    }
}
