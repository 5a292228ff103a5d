//! What this host can do, found by doing each thing once in throw-away namespaces.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;

use topology::Network;
use topology::network::{NicKind, Overlay as OverlayConfig, OverlayBackend};

use crate::cgroup::{self, Cgroup};
use crate::drops::DropLog;
use crate::error::{Error, Result};
use crate::host::{Capability, Missing};
use crate::namespace::Namespace;
use crate::netlink::{BondMode, Netem, VethEnd, add_veth};
use crate::nft::{Chain, ChainType, ConntrackState, Hook, Statement, Table, watch_drops};
use crate::overlay::{Member, Overlay};
use crate::surroundings::{Config, Mount, Surroundings};
use crate::sysctl::Sysctls;

/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Tries every capability in the order of [`Capability::ALL`]. Needs a process that called [`crate::sandbox::enter`]
/// and a runtime with I/O and time. Nothing stays behind.
pub async fn try_all() -> Vec<(Capability, Result<(), Missing>)> {
    let mut found = Vec::with_capacity(Capability::ALL.len());
    for capability in Capability::ALL {
        found.push((capability, try_one(capability).await));
    }
    found
}

/// Tries one capability.
///
/// # Errors
/// What the kernel said, with the remedy.
pub async fn try_one(capability: Capability) -> Result<(), Missing> {
    let tried = attempt(capability).await;
    tried.map_err(|error| match error {
        // The overlay's own finding says more than ours could.
        Error::Missing(missing) if missing.capability == capability => missing,
        other => Missing { capability, reason: in_one_line(&other) },
    })
}

/// Tries all that a lab of this network needs.
///
/// # Errors
/// The first thing that is missing.
pub async fn try_for(network: &Network) -> Result<(), Missing> {
    for need in needs(network) {
        try_one(need).await?;
    }
    Ok(())
}

/// What a lab of this network needs, in the order of [`Capability::ALL`]. Pure.
pub fn needs(network: &Network) -> Vec<Capability> {
    let nics = || network.nodes.iter().flat_map(|node| &node.nics);
    let overlay = network.overlay.as_ref().map(|overlay| overlay.backend);
    let needed = |capability: &Capability| match capability {
        Capability::Namespaces | Capability::Veth | Capability::Bridge | Capability::Nftables | Capability::DropLog => {
            true
        }
        Capability::Vxlan => network.cluster_nodes().count() > 1,
        Capability::Tun => overlay == Some(OverlayBackend::Userspace),
        Capability::Wireguard => overlay == Some(OverlayBackend::Kernel),
        Capability::Bond => nics().any(|nic| matches!(nic.kind, NicKind::Bond(_))),
        Capability::Dummy => nics().any(|nic| matches!(nic.kind, NicKind::Dummy)),
        // Only steps do.
        // No network needs them: engines do.
        Capability::Cgroup2 | Capability::Bpf => false,
        Capability::Netem => false,
    };
    Capability::ALL.into_iter().filter(needed).collect()
}

async fn attempt(capability: Capability) -> Result<()> {
    let place = Namespace::create("doctor", &Sysctls::ROUTER)?;
    match capability {
        Capability::Namespaces => Ok(()),
        Capability::Veth => {
            let far = Namespace::create("doctor's other", &Sysctls::HOST)?;
            add_veth(VethEnd::new(&place, "near", 1500), VethEnd::new(&far, "far", 1500))
        }
        Capability::Bridge => place.netlink()?.add_bridge("bridge", 1500),
        Capability::Vxlan => place.netlink()?.add_vxlan("vxlan", 2, 8472, 1450, [2, 0, 0, 0, 0, 1]),
        Capability::Bond => place.netlink()?.add_bond("bond", 1500, BondMode::ActiveBackup),
        Capability::Dummy => place.netlink()?.add_dummy("dummy", 1500),
        Capability::Netem => place.netlink()?.impair("lo", Netem::default()),
        Capability::Tun => overlay(&place, OverlayBackend::Userspace).await,
        Capability::Wireguard => overlay(&place, OverlayBackend::Kernel).await,
        Capability::Nftables => place.load_nft(&[nat_table()]),
        Capability::Cgroup2 => {
            let at = |path: &str| Path::new("/run").join(path);
            let special = Mount::Special { kind: "cgroup2", to: at("cgroup") };
            let mounts = vec![Mount::Tmpfs("/run".into()), Mount::Directory(at("cgroup")), special];
            let there =
                Surroundings::create(Config { name: "doctor", namespace: &place, within: None, root: None, mounts });
            let there = there.await?;
            let failed =
                |source| Error::Surroundings { name: "doctor".to_owned(), step: "make a cgroup".to_owned(), source };
            let cgroup = Cgroup::create(&there.path(at("cgroup"))).map_err(failed)?;
            cgroup::kill(cgroup.path()).map_err(failed)
        }
        Capability::Bpf => {
            let failed =
                |source| Error::Surroundings { name: "doctor".to_owned(), step: format!("read {BTF}"), source };
            File::open(BTF).map_err(failed)?;
            let mounts = vec![Mount::Special { kind: "bpf", to: "/sys/fs/bpf".into() }];
            let there =
                Surroundings::create(Config { name: "doctor", namespace: &place, within: None, root: None, mounts });
            there.await.map(drop)
        }
        Capability::DropLog => {
            let _watch = watch_drops(&place, DropLog::default())?;
            let chain = Chain::base("forward", ChainType::Filter, Hook::Forward, 0).drop_rule("doctor", []);
            place.load_nft(&[Table::ipv4("doctor").chain(chain)])
        }
    }
}

/// One of each kind of statement that labs are built of.
fn nat_table() -> Table {
    let any = Ipv4Addr::LOCALHOST;
    Table::ipv4("doctor")
        .chain(Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, -100).rule([
            Statement::Protocol(6),
            Statement::DestinationPort(80),
            Statement::Dnat { to: any, port: Some(8080) },
        ]))
        .chain(
            Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, 100)
                .rule([Statement::Output("eth0".to_owned()), Statement::Snat { to: any, random: true }])
                .rule([Statement::Masquerade]),
        )
        .chain(Chain::base("forward", ChainType::Filter, Hook::Forward, 0).rule([
            Statement::Conntrack(ConntrackState::INVALID),
            Statement::Counter,
            Statement::Drop,
        ]))
}

/// A mesh of one node, in the internet itself so that it finds the servers at once.
async fn overlay(place: &Namespace, backend: OverlayBackend) -> Result<()> {
    let address = Ipv4Addr::new(100, 64, 0, 1);
    let config = OverlayConfig {
        cidr: ipnet::Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
        interface: "tailscale0".to_owned(),
        mtu: 1280,
        policy_routing: false,
        backend,
        port: 41641,
    };
    let member = Member { node: "doctor".to_owned(), namespace: place.clone(), address, locals: Vec::new() };
    Overlay::start(&config, vec![member], place, DropLog::default()).await.map(drop)
}

/// The kernel's answer. Which of our own steps it was is told where that may be anything: a namespace is made, and then
/// set up.
fn in_one_line(error: &Error) -> String {
    let mut text = match error {
        Error::Netlink { message: Some(message), source, .. } => return format!("{message}: {source}"),
        Error::Netlink { source, .. } | Error::Socket { source, .. } => return source.to_string(),
        Error::Namespace { step, source, .. } | Error::Surroundings { step, source, .. } => {
            return format!("{step}: {source}");
        }
        other => other.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
