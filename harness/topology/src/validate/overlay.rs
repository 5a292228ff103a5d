//! The mesh between the nodes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{addresses, names};
use crate::{
    file::{BackendFile, OverlayFile},
    network::{Overlay, OverlayBackend},
    source::Mistakes,
};

/// The range Tailscale takes its addresses from: RFC 6598's shared address space.
const TAILSCALE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// Reads it, with Tailscale's defaults; mistakes leave the defaults standing, so that nodes are still checked.
pub(super) fn read(file: Option<&OverlayFile>, mistakes: &mut Mistakes<'_>) -> Option<Overlay> {
    let file = file?;
    if let Some(interface) = &file.interface {
        names::interface(interface, mistakes);
        names::beside_pods(interface, mistakes);
    }
    if let Some(port) = file.port.as_ref().filter(|port| port.value == 0) {
        mistakes.add(port.at, "port 0 can't be listened on").help("1 to 65535; Tailscale's is 41641");
    }
    let cidr = match &file.cidr {
        Some(cidr) => addresses::network(cidr, "the overlay's range", mistakes),
        None => None,
    };
    Some(Overlay {
        cidr: cidr.unwrap_or(TAILSCALE),
        interface: file.interface.as_ref().map_or("tailscale0", |name| name.value.as_str()).to_owned(),
        mtu: file.mtu.as_ref().map_or(1280, |mtu| addresses::mtu(mtu, 576, mistakes)),
        policy_routing: file.policy_routing.unwrap_or(true),
        backend: match file.backend {
            Some(BackendFile::Kernel) => OverlayBackend::Kernel,
            Some(BackendFile::Userspace) | None => OverlayBackend::Userspace,
        },
        port: file.port.as_ref().map_or(41641, |port| port.value),
    })
}
