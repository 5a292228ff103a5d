//! What the host lets us do, found by trying it, and what to do where it doesn't.

use std::fmt;

/// Something a lab can need of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Making network namespaces, as root or inside a user namespace.
    Namespaces,
    /// veth pairs.
    Veth,
    /// TUN devices: /dev/net/tun can be opened.
    Tun,
    /// VXLAN devices.
    Vxlan,
    /// Bridges.
    Bridge,
    /// Bonds.
    Bond,
    /// Dummy devices.
    Dummy,
    /// WireGuard in the kernel.
    Wireguard,
    /// nftables with NAT.
    Nftables,
}

impl Capability {
    /// Every capability, in the order `doctor` lists them.
    pub const ALL: [Self; 9] = [
        Self::Namespaces,
        Self::Veth,
        Self::Bridge,
        Self::Vxlan,
        Self::Tun,
        Self::Nftables,
        Self::Wireguard,
        Self::Bond,
        Self::Dummy,
    ];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "network namespaces",
            Self::Veth => "veth",
            Self::Tun => "TUN devices",
            Self::Vxlan => "VXLAN",
            Self::Bridge => "bridges",
            Self::Bond => "bonding",
            Self::Dummy => "dummy devices",
            Self::Wireguard => "kernel WireGuard",
            Self::Nftables => "nftables with NAT",
        }
    }

    /// What a user can do to get it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Namespaces => {
                "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 24.04 also \
                 sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Self::Tun => "load the tun module and open /dev/net/tun to the user: modprobe tun; chmod 0666 /dev/net/tun",
            Self::Veth => "modprobe veth",
            Self::Vxlan => "modprobe vxlan",
            Self::Bridge => "modprobe bridge",
            Self::Bond => "modprobe bonding",
            Self::Dummy => "modprobe dummy",
            Self::Wireguard => "modprobe wireguard, or leave the overlay to user space (--overlay userspace)",
            Self::Nftables => "modprobe nf_tables nft_chain_nat nft_masq nft_ct",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A capability the host lacks, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this host has no {capability} ({reason}); remedy: {}", .capability.remedy())]
pub struct Missing {
    /// What is missing.
    pub capability: Capability,
    /// The kernel's answer when it was tried.
    pub reason: String,
}
