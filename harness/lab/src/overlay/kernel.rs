//! WireGuard in the kernel. With [`super::nobody`] and [`super::stray`] beside it, packets die as they do in user space,
//! and are reported.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeFrom;
use std::time::SystemTime;

use nix::errno::Errno;
use wireguard_control::{Backend, Device as Info, DeviceUpdate, InterfaceName, Key, PeerConfigBuilder};

use super::nobody::{Nobody, Service};
use super::routing::BYPASS_MARK;
use super::{Counters, KEEPALIVE, Keys, PeerConfig};
use crate::drops::DropLog;
use crate::error::{Error, Result};
use crate::host::{Capability, Missing};
use crate::namespace::Namespace;

/// A device of type `wireguard`.
pub(super) struct Device {
    namespace: Namespace,
    name: InterfaceName,
    public: [u8; 32],
    peers: Vec<[u8; 32]>,
    nobody: Option<Nobody>,
    deleted: bool,
}

impl Device {
    /// Makes the device, without peers. It is down.
    ///
    /// # Errors
    /// [`Missing`] with [`Capability::Wireguard`] where this kernel has no WireGuard.
    pub(super) fn create(namespace: &Namespace, name: &str, keys: &Keys) -> Result<Self> {
        let name: InterfaceName = name.parse().map_err(|error: wireguard_control::InvalidInterfaceName| {
            failed(namespace, "name the WireGuard device", &error.into())
        })?;
        // Else a device of another kind would be taken for it: making one that is there is no error to the library.
        if namespace.netlink()?.index(&name.as_str_lossy()).is_ok() {
            return Err(failed(namespace, "add WireGuard device", &io::ErrorKind::AlreadyExists.into()));
        }
        let update = DeviceUpdate::new().set_private_key(Key(keys.secret())).set_fwmark(BYPASS_MARK);
        namespace.enter(|| update.apply(&name, Backend::Kernel))?.map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                // No such kind of link; no such generic netlink family.
                Some(errno @ (Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                    let reason = format!("add a link of type wireguard: {}", errno.desc());
                    Missing { capability: Capability::Wireguard, reason }.into()
                }
                _ => failed(namespace, "add WireGuard device", &error),
            }
        })?;
        let namespace = namespace.clone();
        Ok(Self { namespace, name, public: keys.public(), peers: Vec::new(), nobody: None, deleted: false })
    }

    /// Gives it its port and its peers, and one more for all addresses that are no peer's. It calls nobody by itself.
    /// Call it within the runtime.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn configure(&mut self, port: u16, peers: &[PeerConfig], log: DropLog) -> Result<()> {
        let mut update = DeviceUpdate::new().set_listen_port(port).replace_peers();
        for peer in peers {
            let mut config = PeerConfigBuilder::new(&Key(peer.public)).replace_allowed_ips();
            // The kernel refuses to send to a peer without an endpoint, aloud.
            if let Some(endpoint) = peer.endpoint {
                config = config.set_endpoint(SocketAddr::V4(endpoint)).add_allowed_ip(IpAddr::V4(peer.address), 32);
            }
            update = update.add_peer(config);
        }
        let nobody = Nobody::start(Service {
            namespace: self.namespace.clone(),
            interface: self.name.as_str_lossy().into_owned(),
            public: self.public,
            lost: peers.iter().filter(|peer| peer.endpoint.is_none()).map(|peer| peer.address).collect(),
            log,
        })?;
        let everything_else = PeerConfigBuilder::new(&Key(nobody.public()))
            .set_endpoint(SocketAddr::V4(nobody.endpoint()))
            .add_allowed_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        self.nobody = Some(nobody);
        self.peers = peers.iter().map(|peer| peer.public).collect();
        self.apply(update.add_peer(everything_else), "configure WireGuard peers")
    }

    /// Keeps NAT's mappings alive towards the peers from this position on. What had no session begins a handshake at
    /// once, where the device is up.
    ///
    /// Two handshakes that cross undo each other, and the kernel tries again only after five seconds
    /// (drivers/net/wireguard/noise.c: a peer has one handshake, which an incoming initiation replaces; messages.h:
    /// `REKEY_TIMEOUT`). So one side of each pair has to begin, and the other one follows once there is a session.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn keep_alive(&self, peers: RangeFrom<usize>) -> Result<()> {
        let peers = self.peers.get(peers).unwrap_or_default().iter();
        let configs = peers.map(|key| PeerConfigBuilder::new(&Key(*key)).set_persistent_keepalive_interval(KEEPALIVE));
        self.apply(DeviceUpdate::new().add_peers(&configs.collect::<Vec<_>>()), "set WireGuard's keepalive")
    }

    fn apply(&self, update: DeviceUpdate, step: &str) -> Result<()> {
        self.namespace
            .enter(|| update.apply(&self.name, Backend::Kernel))?
            .map_err(|error| failed(&self.namespace, step, &error))
    }

    /// What went to and came from each peer, in their order.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn all_counters(&self) -> Result<Vec<Option<Counters>>> {
        let info = self
            .namespace
            .enter(|| Info::get(&self.name, Backend::Kernel))?
            .map_err(|error| failed(&self.namespace, "read WireGuard peers", &error))?;
        Ok(self.peers.iter().map(|key| counters(&info, key)).collect())
    }

    /// Removes it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) async fn delete(mut self) -> Result<()> {
        self.deleted = true;
        let result = self.namespace.netlink()?.delete_link(&self.name.as_str_lossy());
        if let Some(nobody) = self.nobody.take() {
            nobody.stop().await;
        }
        result
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.deleted
            && let Ok(mut netlink) = self.namespace.netlink()
        {
            let _ = netlink.delete_link(&self.name.as_str_lossy());
        }
    }
}

fn counters(info: &Info, key: &[u8; 32]) -> Option<Counters> {
    let peer = info.peers.iter().find(|peer| peer.config.public_key.as_bytes() == key)?;
    Some(Counters {
        endpoint: peer.config.endpoint.and_then(|endpoint| match endpoint {
            SocketAddr::V4(endpoint) => Some(endpoint),
            SocketAddr::V6(_) => None,
        }),
        sent_bytes: peer.stats.tx_bytes,
        received_bytes: peer.stats.rx_bytes,
        last_handshake: peer
            .stats
            .last_handshake_time
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default()),
    })
}

fn failed(namespace: &Namespace, step: &str, error: &io::Error) -> Error {
    Error::Overlay { node: namespace.name().to_owned(), step: step.to_owned(), reason: error.to_string() }
}
