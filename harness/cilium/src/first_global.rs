//! The first global address of a device: how older code paths pick one.

use std::net::Ipv4Addr;

use crate::inputs::{Link, NodeInputs};

/// Ranges Cilium calls private (pkg/ip/ip.go `initPrivatePrefixes`): first address and prefix length.
const PRIVATE: [([u8; 4], u8); 13] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
];
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_SITE: u8 = 200;

/// Whether Cilium calls an address public (pkg/ip/ip.go `IsPublicAddr`).
pub fn is_public(address: Ipv4Addr) -> bool {
    !PRIVATE.iter().any(|(first, length)| {
        let shift = 32 - u32::from(*length);
        u32::from(address) >> shift == u32::from(Ipv4Addr::from(*first)) >> shift
    })
}

/// Which kind of address is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// A public one, even over the preferred address.
    Public,
    /// The preferred one whatever it is.
    Preferred,
}

/// Picks an address of `device`, else of any device (pkg/node/address_linux.go `firstGlobalAddr`): no secondary one
/// unless preferred, wide scopes first, public before private, `preferred` before others of its kind.
pub fn address(
    node: &NodeInputs,
    device: Option<&Link>,
    preferred: Option<Ipv4Addr>,
    prefer: Prefer,
) -> Option<Ipv4Addr> {
    let mut all: Vec<_> = node.links.iter().filter(|link| !is_idle_docker(link)).collect();
    all.sort_by_key(|link| link.index);
    let own: Vec<_> = device.into_iter().collect();
    [own, all]
        .into_iter()
        .flat_map(|links| [(links.clone(), SCOPE_UNIVERSE), (links, SCOPE_SITE)])
        .find_map(|(links, scope)| pick(&links, scope, preferred, prefer))
}

fn pick(links: &[&Link], scope: u8, preferred: Option<Ipv4Addr>, prefer: Prefer) -> Option<Ipv4Addr> {
    let candidates: Vec<_> = links
        .iter()
        .flat_map(|link| link.ipv4())
        .filter(|(ip, address)| address.scope <= scope && (!address.secondary || Some(*ip) == preferred))
        .map(|(ip, _)| ip)
        .collect();
    let preferred = preferred.filter(|ip| candidates.contains(ip));
    if prefer == Prefer::Preferred && preferred.is_some() {
        return preferred;
    }
    let (public, private): (Vec<_>, Vec<_>) = candidates.iter().copied().partition(|ip| is_public(*ip));
    let kind = if public.is_empty() { private } else { public };
    preferred.filter(|ip| kind.contains(ip)).or_else(|| kind.first().copied())
}

/// Docker's bridge without containers: its addresses are not looked at (same file, `initExcludedIPs`).
pub(crate) fn is_idle_docker(link: &Link) -> bool {
    link.name.starts_with("docker") && !link.is_up()
}
