//! Chance that can be had again: numbers, names and addresses from a seed.
#![allow(dead_code)] // Each test target uses its own part.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

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

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Eight bits.
    pub fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end as u64 + 1) as usize);
        }
    }

    /// A name for a link or a machine that means nothing to any rule.
    pub fn name(&mut self) -> String {
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

    /// A host of `range` that nobody has yet.
    pub fn host(&mut self, range: Ipv4Net, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        let hosts = u64::from(u32::from(range.broadcast()) - u32::from(range.network()) - 1);
        loop {
            let address = Ipv4Addr::from(u32::from(range.network()) + 1 + self.below(hosts) as u32);
            if taken.insert(address) {
                return address;
            }
        }
    }

    /// A public address that nobody has yet, from the ranges of large clouds, which hold nothing reserved.
    pub fn public(&mut self, taken: &mut BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        loop {
            let first = [8, 34, 52, 104, 130, 151, 185][self.below(7) as usize];
            let address = Ipv4Addr::new(first, self.byte(), self.byte(), 1 + self.byte() % 254);
            if taken.insert(address) {
                return address;
            }
        }
    }
}
