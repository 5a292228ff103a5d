//! A STUN server of the lab's internet: tells whoever asks where from the question came.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::stun;
use super::task::Task;
use crate::error::Result;
use crate::namespace::Namespace;

/// A running reflector.
#[derive(Debug)]
pub(super) struct Reflector {
    address: SocketAddrV4,
    task: Task,
}

impl Reflector {
    /// Starts one at `address`, which the namespace must have.
    ///
    /// # Errors
    /// The address can't be bound.
    pub(super) fn start(internet: &Namespace, address: Ipv4Addr) -> Result<Self> {
        let address = SocketAddrV4::new(address, stun::PORT);
        let socket = internet.udp(address, None)?;
        let task = Task::spawn(async move {
            // Longer questions aren't ours and fail to parse, cut short or not.
            let mut buffer = [0; stun::ANSWER];
            loop {
                // An error is about one datagram, an ICMP answer to an earlier one at most.
                let Ok((length, std::net::SocketAddr::V4(from))) = socket.recv_from(&mut buffer).await else {
                    continue;
                };
                if let Some(transaction) = stun::parse_request(&buffer[..length]) {
                    let _ = socket.send_to(&stun::answer(transaction, from), from).await;
                }
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.task.stop().await;
    }
}
