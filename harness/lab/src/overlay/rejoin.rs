//! A node that comes back to the overlay, or moves in the network beneath it.

use std::net::SocketAddrV4;

use tokio::time::Instant;

use super::discovery::{self, Mapping, PATIENCE, Seeker};
use super::routing::{self, BYPASS_MARK};
use super::{Device, Overlay, Path, add_interface, any, random, shared_addresses, slot};
use crate::error::{Error, Result};

impl Overlay {
    /// Starts one node's part again after [`Overlay::leave`]: its interface and the routes through it come back, with
    /// the keys and the UDP port of before, so that its gateway translates as before and its peers know where it is.
    /// It calls them at once and doesn't wait for an answer. Does nothing for a name that isn't a member's, or one
    /// that didn't leave.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn rejoin(&mut self, node: &str) -> Result<()> {
        let Some(me) = self.position(node).filter(|me| self.nodes[*me].device.is_none()) else { return Ok(()) };
        let node = &mut self.nodes[me];
        let interface = add_interface(&self.config, &node.member, &node.keys)?;
        let socket = node.member.namespace.udp(any(node.port), Some(BYPASS_MARK))?;
        node.start(&self.config, interface, socket, &self.log, &self.established)?;
        routing::restore(&node.member.namespace, &self.config, &node.peer_addresses())?;
        let node = &self.nodes[me];
        let there: Vec<_> = self.peers_of(me).map(|peer| slot(me, peer)).collect();
        match &node.device {
            Some(Device::Userspace(device)) => {
                for peer in there {
                    device.initiate(peer).await;
                }
            }
            Some(Device::Kernel(device)) => device.keep_alive(0..)?,
            None => {}
        }
        Ok(())
    }

    /// One node's endpoint changes, as when it gets another address or its gateway another mapping: it has the next
    /// UDP port from now on. Its interface and its sessions stay. It asks how it looks from outside, the coordinator
    /// tells its peers, and both sides send, as tailscaled does it; nothing is waited for.
    ///
    /// Only where it is reached directly does that change anything: of a relayed pair the relay learns it by itself.
    ///
    /// # Errors
    /// The kernel's answer, as where somebody has the next port: then it stays where it is. [`Error::Overlay`] where the
    /// kernel does the encryption: it is not built for that.
    pub async fn roam(&mut self, node: &str) -> Result<()> {
        let Some(me) = self.position(node) else { return Ok(()) };
        let reached = self.ways_to(me)?;
        let node = &mut self.nodes[me];
        let port = node.port.wrapping_add(1).max(1024);
        let failed = |node: &str, reason: &str| Error::Overlay {
            node: node.to_owned(),
            step: "change the endpoint".to_owned(),
            reason: reason.to_owned(),
        };
        if !matches!(node.device, Some(Device::Userspace(_))) {
            return Err(failed(&node.member.node, "only the overlay in user space can"));
        }
        // Its device goes on as it is until all is there that it takes.
        let seeker = Seeker { socket: node.member.namespace.udp(any(port), Some(BYPASS_MARK))? };
        let servers = [self.reflectors[0].address(), self.reflectors[1].address()];
        let transactions = [random(), random()];
        let mapping = discovery::reflect(&seeker, servers, transactions, Instant::now() + PATIENCE).await;
        let device = match node.device.take() {
            Some(Device::Userspace(device)) => device.rebind(seeker.socket).await,
            _ => None,
        };
        let device = device.ok_or_else(|| failed(&node.member.node, "its device is gone"))?;
        (node.port, node.mapping, node.device) = (port, mapping, Some(Device::Userspace(device)));

        let there: Vec<_> = self.peers_of(me).collect();
        for &peer in &there {
            if let Some(Device::Userspace(device)) = &self.nodes[me].device {
                device.knock(slot(me, peer)).await;
            }
            let old = reached.iter().find(|(other, _)| *other == peer).map(|(_, path)| *path);
            let locals = shared_addresses(&self.nodes[peer].member, &self.nodes[me].member);
            let endpoint = match (old, mapping) {
                (Some(Path::Relayed(endpoint)), _) => Some(endpoint),
                (Some(Path::Direct(endpoint)), _) if locals.contains(endpoint.ip()) => {
                    Some(SocketAddrV4::new(*endpoint.ip(), port))
                }
                (_, Mapping::Stable(endpoint)) => Some(endpoint),
                // Nobody can tell its peers where it is; it must call them.
                (_, Mapping::Varying | Mapping::Unknown) => None,
            };
            if let Some(endpoint) = endpoint {
                self.nodes[peer].peers[slot(peer, me)].endpoint = Some(endpoint);
                if let Some(Device::Userspace(device)) = &self.nodes[peer].device {
                    device.set_endpoint(slot(peer, me), endpoint);
                    device.begin_anew(slot(peer, me)).await;
                }
            } else if let Some(Device::Userspace(device)) = &self.nodes[me].device {
                device.begin_anew(slot(me, peer)).await;
            }
        }
        Ok(())
    }

    /// Whether two nodes have a session with each other, each by its own account; not for names that aren't two
    /// members'.
    ///
    /// # Errors
    /// The kernel's answer, where it does the encryption.
    pub fn met(&self, one: &str, other: &str) -> Result<bool> {
        let (Some(one), Some(other)) = (self.position(one), self.position(other)) else { return Ok(false) };
        let knows = |me: usize, peer: usize| -> Result<bool> {
            match &self.nodes[me].device {
                Some(Device::Userspace(device)) => Ok(device.has_session(slot(me, peer))),
                Some(Device::Kernel(device)) => {
                    let counters = device.all_counters()?;
                    let counters = counters.get(slot(me, peer)).and_then(Option::as_ref);
                    Ok(counters.is_some_and(|counters| counters.last_handshake.is_some()))
                }
                None => Ok(false),
            }
        };
        Ok(one != other && knows(one, other)? && knows(other, one)?)
    }

    /// The name of its interface on every node.
    pub fn interface(&self) -> &str {
        &self.config.interface
    }

    fn position(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|other| other.member.node == node)
    }

    /// The others that are there.
    fn peers_of(&self, me: usize) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(move |(peer, other)| *peer != me && other.device.is_some()).map(|(peer, _)| peer)
    }

    /// How each of the others reaches a node.
    fn ways_to(&self, me: usize) -> Result<Vec<(usize, Path)>> {
        let name = &self.nodes[me].member.node;
        let peers = self.peers_of(me);
        let way = |peer: usize| Ok(self.path(&self.nodes[peer].member.node, name)?.map(|path| (peer, path)));
        peers.filter_map(|peer| way(peer).transpose()).collect()
    }
}
