//! How a probe's packets are told from all others, wherever they are seen and whatever was translated on the way.

use std::net::SocketAddrV4;

use lab::Namespace;

/// First bytes of every payload a probe sends, before the token.
pub const MAGIC: [u8; 8] = *b"underlay";

/// What a probe's packets can be recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// ICMP echo or UDP whose payload begins with [`MAGIC`] and this token, big-endian. Survives every translation of
    /// addresses and ports, and the quotation in an ICMP error.
    Payload(u64),
    /// The TCP connection that leaves this namespace from this port: known anywhere by its initial sequence number,
    /// which the capture learns from the first SYN seen in the namespace. The local address is not part of it: routing
    /// chooses it only when the SYN is made.
    Tcp {
        /// Where the connection is opened.
        namespace: Namespace,
        /// Its local port, bound before the SYN leaves.
        local_port: u16,
        /// Its destination, before any translation.
        remote: SocketAddrV4,
    },
    /// A DNS query (or its answer) for exactly this name, upper and lower case told apart: forwarders keep the case
    /// ("0x20 encoding"), though they change id and addresses.
    Dns(String),
}
