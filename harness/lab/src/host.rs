//! What the host lets us do, found by trying it, and what to do where it doesn't.

use std::fmt;
use std::fs;

use nix::sys::statvfs::{FsFlags, statvfs};

/// What is written to in every namespace a lab has.
const SYSCTLS: &str = "/proc/sys/net";

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
    /// Rules that report what they drop (NFLOG).
    DropLog,
    /// Packets delayed, lost or slowed down on purpose (netem).
    Netem,
    /// cgroup2, with directories that can be made and killed.
    Cgroup2,
    /// BPF programs: the kernel tells its types (BTF), and a BPF file system can be mounted.
    Bpf,
}

impl Capability {
    /// Every capability, in the order `doctor` lists them.
    pub const ALL: [Self; 13] = [
        Self::Namespaces,
        Self::Veth,
        Self::Bridge,
        Self::Vxlan,
        Self::Tun,
        Self::Nftables,
        Self::DropLog,
        Self::Wireguard,
        Self::Bond,
        Self::Dummy,
        Self::Netem,
        Self::Cgroup2,
        Self::Bpf,
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
            Self::DropLog => "drop reports (NFLOG)",
            Self::Cgroup2 => "cgroup2",
            Self::Bpf => "BPF programs",
            Self::Netem => "netem",
        }
    }

    /// What goes without it: `None` where no lab can be built.
    pub fn only_for(self) -> Option<&'static str> {
        match self {
            Self::Wireguard => Some("overlays with `backend: kernel` or under --overlay kernel"),
            Self::Tun => Some("overlays encrypted in user space, which is the default"),
            Self::Bond => Some("topologies with a bond"),
            Self::Dummy => Some("topologies with a dummy device"),
            Self::Netem => Some("steps that impair an interface"),
            Self::Vxlan => Some("clusters: pods on different nodes"),
            Self::Cgroup2 | Self::Bpf => Some("real agents (--engine agent)"),
            Self::Namespaces | Self::Veth | Self::Bridge | Self::Nftables | Self::DropLog => None,
        }
    }

    /// What a user can do to get it. Where /proc/sys is read-only that comes first, whatever else there is: no namespace
    /// can be set up to try it in.
    pub fn remedy(self) -> &'static str {
        let read_only = statvfs(SYSCTLS).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY));
        self.remedy_where(read_only)
    }

    fn remedy_where(self, sysctls_read_only: bool) -> &'static str {
        match self {
            _ if sysctls_read_only => {
                "let it write to /proc/sys; in a container: docker run --privileged, or --security-opt \
                 systempaths=unconfined"
            }
            Self::Namespaces => {
                "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1; on Ubuntu 24.04 also \
                 sysctl kernel.apparmor_restrict_unprivileged_userns=0; where user.max_user_namespaces or \
                 user.max_net_namespaces is too low, raise it: sysctl user.max_user_namespaces=15000"
            }
            Self::Tun => "load the tun module and open /dev/net/tun to the user: modprobe tun; chmod 0666 /dev/net/tun",
            Self::Veth => "modprobe veth",
            Self::Vxlan => "modprobe vxlan",
            Self::Bridge => "modprobe bridge",
            Self::Bond => "modprobe bonding",
            Self::Dummy => "modprobe dummy",
            Self::Wireguard => "modprobe wireguard, or leave the overlay to user space (--overlay userspace)",
            Self::Nftables => "modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_ct",
            Self::DropLog => "modprobe -a nft_log nfnetlink_log",
            Self::Cgroup2 => "run as root on Linux 5.14 or later, in a container with --privileged --cgroupns=host",
            Self::Bpf => {
                "run as root on a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_SYSCALL, in a container with --privileged"
            }
            Self::Netem => "modprobe sch_netem",
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

/// A figure of /proc/meminfo in bytes, by its name there; none where the kernel doesn't tell it.
pub(crate) fn memory(figure: &str) -> Option<u64> {
    figure_of(&fs::read_to_string("/proc/meminfo").ok()?, figure)
}

fn figure_of(meminfo: &str, figure: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_module_helps_where_no_sysctl_can_be_written() {
        assert_eq!(Capability::Veth.remedy_where(false), "modprobe veth");
        for capability in Capability::ALL {
            assert!(capability.remedy_where(true).contains("systempaths=unconfined"), "{capability}");
        }
    }

    #[test]
    fn the_kernels_words_about_memory_are_read() {
        let meminfo = "MemTotal:       24689764 kB\nMemFree:          123456 kB\nMemAvailable:   12344880 kB\n";
        assert_eq!(figure_of(meminfo, "MemAvailable"), Some(12_344_880 << 10));
        assert_eq!(figure_of(meminfo, "Mem"), None);
        assert_eq!(figure_of(meminfo, "CommitLimit"), None);
        assert_eq!(figure_of("HugePages_Total:       0\n", "HugePages_Total"), None, "it is no memory");
        for figure in ["MemAvailable", "CommitLimit", "Committed_AS"] {
            assert!(memory(figure).is_some(), "every kernel tells {figure}");
        }
    }
}
