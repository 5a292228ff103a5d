//! A relay in the lab's internet, for pairs of nodes that find no direct way: what Tailscale calls a DERP, but over
//! plain UDP, so that WireGuard of any make can use it as its peer's endpoint.
//!
//! A pair gets two ports. What the first node sends to its port leaves from the other node's port, for the address
//! that node was last heard from there. The relay sees ciphertext only.
//!
//! Beside the ports it has a switchboard, which passes the nodes' pings on while they look for a way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::net::UdpSocket;

use super::ping;
use super::task::Task;
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// The switchboard's port: the one beside STUN's.
const SWITCHBOARD_PORT: u16 = super::stun::PORT + 1;

/// A running relay.
#[derive(Debug)]
pub(super) struct Relay {
    internet: Namespace,
    address: Ipv4Addr,
    tasks: Vec<Task>,
}

impl Relay {
    /// Starts one at `address`, which the namespace must have, for nodes numbered below `nodes`.
    ///
    /// # Errors
    /// The address can't be bound.
    pub(super) fn start(internet: &Namespace, address: Ipv4Addr, nodes: usize) -> Result<Self> {
        let socket = internet.udp(SocketAddrV4::new(address, SWITCHBOARD_PORT), None)?;
        let tasks = vec![Task::spawn(switchboard(socket, nodes))];
        Ok(Self { internet: internet.clone(), address, tasks })
    }

    /// Where the switchboard listens.
    pub(super) fn switchboard(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, SWITCHBOARD_PORT)
    }

    /// Its address; every endpoint there is the relay's.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Opens the ports of a pair whose datagrams have at most `size` bytes: the first is for the first node to send
    /// to, the second for the second.
    ///
    /// # Errors
    /// No port is left.
    pub(super) fn join(&mut self, size: usize) -> Result<[SocketAddrV4; 2]> {
        let any = SocketAddrV4::new(self.address, 0);
        let sockets = [self.internet.udp(any, None)?, self.internet.udp(any, None)?];
        let port = |socket: &UdpSocket| match socket.local_addr() {
            Ok(SocketAddr::V4(address)) => Ok(address),
            Ok(SocketAddr::V6(_)) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error),
        };
        let failed = |source| Error::Socket {
            namespace: self.internet.name().to_owned(),
            step: "look up a relay port".to_owned(),
            source,
        };
        let ports = [port(&sockets[0]).map_err(failed)?, port(&sockets[1]).map_err(failed)?];
        self.tasks.push(Task::spawn(forward(sockets, size)));
        Ok(ports)
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        for task in self.tasks {
            task.stop().await;
        }
    }
}

async fn forward([first, second]: [UdpSocket; 2], size: usize) {
    let (mut from_first, mut from_second) = (vec![0; size], vec![0; size]);
    let (mut first_peer, mut second_peer) = (None, None);
    loop {
        tokio::select! {
            received = first.recv_from(&mut from_first) => {
                if let Ok((length, from)) = received {
                    first_peer = Some(from);
                    send(&second, &from_first[..length], second_peer).await;
                }
            }
            received = second.recv_from(&mut from_second) => {
                if let Ok((length, from)) = received {
                    second_peer = Some(from);
                    send(&first, &from_second[..length], first_peer).await;
                }
            }
        }
    }
}

/// Sends to a peer that has been heard of. What can't be sent is lost, as anywhere on the internet.
async fn send(socket: &UdpSocket, datagram: &[u8], peer: Option<SocketAddr>) {
    if let Some(peer) = peer {
        let _ = socket.send_to(datagram, peer).await;
    }
}

async fn switchboard(socket: UdpSocket, nodes: usize) {
    let mut heard_from: Vec<Option<SocketAddr>> = vec![None; nodes];
    let mut buffer = [0; ping::LENGTH + 1];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(message) = ping::Message::decode(&buffer[..length]) else { continue };
        if let Some(slot) = heard_from.get_mut(usize::from(message.from)) {
            *slot = Some(from);
        }
        let peer = heard_from.get(usize::from(message.to)).copied().flatten();
        send(&socket, &buffer[..length], peer).await;
    }
}
