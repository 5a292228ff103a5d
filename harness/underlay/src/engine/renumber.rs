//! Pods' addresses as scenarios know them, where a cluster chose others: the first pod of a node has .10 of its range in
//! every lab, and a scenario names it by that. Evidence is told so; captured packets stay as they were.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use probe::Evidence;
use probe::walk::{Change, Endpoint, Walk};

use crate::nat::NatEntry;

/// The address a pod has in every lab, by the one that the cluster chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renumbered(BTreeMap<Ipv4Addr, Ipv4Addr>);

impl FromIterator<(Ipv4Addr, Ipv4Addr)> for Renumbered {
    fn from_iter<T: IntoIterator<Item = (Ipv4Addr, Ipv4Addr)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Renumbered {
    /// An address, as scenarios know it.
    pub fn address(&self, address: Ipv4Addr) -> Ipv4Addr {
        self.0.get(&address).copied().unwrap_or(address)
    }

    /// What a probe came to.
    pub fn evidence(&self, evidence: &mut Evidence) {
        evidence.source_seen = evidence.source_seen.map(|source| self.address(source));
    }

    /// A packet's way.
    pub fn walk(&self, walk: &mut Walk) {
        for hop in &mut walk.hops {
            let replaced = hop.changed.iter_mut().flat_map(|change| match change {
                Change::Snat { from, to, .. } | Change::Dnat { from, to, .. } => vec![from, to],
                _ => Vec::new(),
            });
            replaced.chain([&mut hop.src, &mut hop.dst]).for_each(|end| self.endpoint(end));
        }
        if let Some(answer) = &mut walk.answer {
            self.walk(answer);
        }
    }

    /// A node's NAT table.
    pub fn nat(&self, entries: Vec<NatEntry>) -> Vec<NatEntry> {
        let here = |at: SocketAddrV4| SocketAddrV4::new(self.address(*at.ip()), at.port());
        let entry = |entry: NatEntry| NatEntry {
            source: here(entry.source),
            destination: here(entry.destination),
            translated: here(entry.translated),
            ..entry
        };
        entries.into_iter().map(entry).collect()
    }

    fn endpoint(&self, end: &mut Endpoint) {
        if let IpAddr::V4(address) = end.address {
            end.address = self.address(address).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Way;

    #[test]
    fn pods_have_the_labs_addresses_and_everybody_else_their_own() {
        let chosen = Ipv4Addr::new(10, 244, 0, 187);
        let known = Ipv4Addr::new(10, 244, 0, 10);
        let renumbered: Renumbered = [(chosen, known)].into_iter().collect();
        let other = Ipv4Addr::new(8, 8, 8, 8);
        assert_eq!((renumbered.address(chosen), renumbered.address(other)), (known, other));
        let at = |address, port| SocketAddrV4::new(address, port);
        let entry = NatEntry {
            protocol: 1,
            way: Way::Out,
            source: at(chosen, 7),
            destination: at(other, 0),
            translated: at(Ipv4Addr::new(10, 0, 0, 239), 7),
        };
        let told = renumbered.nat(vec![entry]);
        assert_eq!(told[0].to_string(), "ICMP OUT 10.244.0.10:7 -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:7");
    }
}
