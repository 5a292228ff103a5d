//! WireGuard in the kernel.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use nix::errno::Errno;
use wireguard_control::{Backend, Device as Info, DeviceUpdate, InterfaceName, Key, PeerConfigBuilder};

use super::routing::BYPASS_MARK;
use super::{Counters, KEEPALIVE, Keys, PeerConfig};
use crate::error::{Error, Result};
use crate::host::{Capability, Missing};
use crate::namespace::Namespace;

/// A device of type `wireguard`.
pub(super) struct Device {
    namespace: Namespace,
    name: InterfaceName,
    peers: Vec<[u8; 32]>,
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
        Ok(Self { namespace: namespace.clone(), name, peers: Vec::new() })
    }

    /// Gives it its port and its peers. Handshakes begin when the device is up, since keepalives are due at once.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn configure(&mut self, port: u16, peers: &[PeerConfig]) -> Result<()> {
        let mut update = DeviceUpdate::new().set_listen_port(port).replace_peers();
        for peer in peers {
            let mut config = PeerConfigBuilder::new(&Key(peer.public))
                .set_persistent_keepalive_interval(KEEPALIVE)
                .replace_allowed_ips()
                .add_allowed_ip(IpAddr::V4(peer.address), 32);
            if let Some(endpoint) = peer.endpoint {
                config = config.set_endpoint(SocketAddr::V4(endpoint));
            }
            update = update.add_peer(config);
        }
        self.peers = peers.iter().map(|peer| peer.public).collect();
        self.namespace
            .enter(|| update.apply(&self.name, Backend::Kernel))?
            .map_err(|error| failed(&self.namespace, "configure WireGuard peers", &error))
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
    pub(super) fn delete(self) -> Result<()> {
        self.namespace.netlink()?.delete_link(&self.name.as_str_lossy())
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
