//! Addresses of which each belongs to one owner only.

use std::net::Ipv4Addr;

use indexmap::{IndexMap, map::Entry};

use super::Vcns;
use crate::{
    network::Overlay,
    source::{Mistakes, Position},
};

/// Who has which address.
pub(super) struct Claims {
    verb: &'static str,
    taken: IndexMap<Ipv4Addr, (Position, String)>,
}

impl Claims {
    /// `verb` goes between the address and its owner in messages: "is the public address of".
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, taken: IndexMap::new() }
    }

    /// Gives the address to the owner, unless it has one.
    pub(super) fn claim(&mut self, address: Ipv4Addr, at: Position, owner: String, mistakes: &mut Mistakes<'_>) {
        match self.taken.entry(address) {
            Entry::Vacant(free) => {
                free.insert((at, owner));
            }
            Entry::Occupied(taken) => {
                let (first, other) = taken.get();
                mistakes
                    .add(at, format!("{address} already {} {other}", self.verb))
                    .related(*first, "first given here")
                    .help("give each its own address");
            }
        }
    }

    /// Checks that the addresses, being public, are in no private network's range.
    pub(super) fn outside(&self, vcns: &Vcns, overlay: Option<&Overlay>, mistakes: &mut Mistakes<'_>) {
        for (address, (at, _)) in &self.taken {
            let vcn = vcns.values().flatten().find(|vcn| vcn.vcn.cidr.contains(address));
            if let Some(vcn) = vcn {
                mistakes
                    .add(*at, format!("{address} is inside VCN `{}` ({}), so not public", vcn.vcn.name, vcn.vcn.cidr))
                    .related(vcn.at, "this VCN")
                    .help("what is on the internet can't have an address that some VCN calls its own");
            } else if let Some(overlay) = overlay.filter(|overlay| overlay.cidr.contains(address)) {
                mistakes
                    .add(*at, format!("{address} is inside the overlay's range ({}), so not public", overlay.cidr))
                    .help("nodes on the overlay would look for it there");
            }
        }
    }
}
