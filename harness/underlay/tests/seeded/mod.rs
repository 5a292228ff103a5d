//! Chance that can be had again: numbers, names and addresses from a seed.
#![allow(dead_code)] // Each test target uses its own part.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
pub use underlay::explore::random::Random;

/// Names no link may begin with that is to be an ordinary one: Cilium's and the lab's own, and those detection leaves
/// out (Cilium, pkg/defaults/node.go).
const RESERVED: [&str; 9] = ["cilium", "lo", "lxc", "cni", "docker", "all", "default", "wan", "vcn"];

/// The seeds of this run: `UNDERLAY_SEED`, or `UNDERLAY_SEEDS` (else `usual`) new ones.
pub fn seeds(usual: usize) -> Vec<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
    };
    match number("UNDERLAY_SEED") {
        Some(seed) => vec![seed],
        None => {
            let count = number("UNDERLAY_SEEDS").map_or(usual, |count| count as usize);
            // The standard library keys its hash maps anew in every process and for every map.
            (0..count).map(|_| RandomState::new().hash_one(0_u8)).collect()
        }
    }
}

/// What is drawn beside numbers.
pub trait Draw {
    /// A name for a link or a machine that means nothing to any rule.
    fn name(&mut self) -> String;
    /// A host of `range` that nobody has yet.
    fn host(&mut self, range: Ipv4Net, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr;
    /// A public address that nobody has yet, from the ranges of large clouds, which hold nothing reserved.
    fn public(&mut self, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr;
}

impl Draw for Random {
    fn name(&mut self) -> String {
        loop {
            let length = 6 + self.below(7);
            let letters = b"abcdefghijklmnopqrstuvwxyz";
            let mut name: String = (0..length).map(|_| char::from(letters[self.below(26) as usize])).collect();
            name += &self.below(10).to_string();
            if !RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
                return name;
            }
        }
    }

    fn host(&mut self, range: Ipv4Net, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        let hosts = u64::from(u32::from(range.broadcast()) - u32::from(range.network()) - 1);
        loop {
            let address = Ipv4Addr::from(u32::from(range.network()) + 1 + self.below(hosts) as u32);
            if taken.insert(address) {
                return address;
            }
        }
    }

    fn public(&mut self, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        loop {
            let first = [8, 34, 52, 104, 130, 151, 185][self.below(7) as usize];
            let address = Ipv4Addr::new(first, self.byte(), self.byte(), 1 + self.byte() % 254);
            if taken.insert(address) {
                return address;
            }
        }
    }
}
