//! What can be asked of the network.

use std::net::{Ipv4Addr, SocketAddrV4};

use rustls::pki_types::CertificateDer;

/// One question to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An ICMP echo request.
    Icmp {
        /// Whom it is for.
        target: Ipv4Addr,
        /// Bytes of payload, 8 less than the ICMP message and 28 less than the packet. At least
        /// [`MIN_ICMP_SIZE`]: fewer are raised to it. At most 65,507.
        size: usize,
        /// Never to be cut up: DF is set, and the sender keeps to the path's MTU as far as it knows it
        /// (`IP_PMTUDISC_DO`, as `ping -M do`). Else DF is never set (`IP_PMTUDISC_DONT`).
        dont_fragment: bool,
    },
    /// A UDP datagram to an echo that tells what source it saw ([`lab::serve::echo::udp`]).
    Udp {
        /// Whom it is for.
        target: SocketAddrV4,
    },
    /// A TCP connection.
    Tcp {
        /// Whom it is for.
        target: SocketAddrV4,
        /// The far end tells what source it saw, unasked, and closes ([`lab::serve::echo::tcp`]). Without it the probe
        /// is over when the connection is made.
        tells_caller: bool,
    },
    /// A DNS question for a name's addresses (A) over UDP, asked once; over TCP if the answer was cut short.
    Dns {
        /// The server asked.
        server: SocketAddrV4,
        /// The name, with or without its final dot. Nothing is appended to it.
        name: String,
    },
    /// An HTTP GET.
    Http(Request),
    /// An HTTP GET over TLS, with the host's name in SNI.
    Https {
        /// What to get.
        request: Request,
        /// The root certificate to trust; no other is.
        root: CertificateDer<'static>,
    },
}

/// Bytes of ICMP payload that hold the probe's mark.
pub const MIN_ICMP_SIZE: usize = 16;

/// What to get over HTTP, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The host's name, or its address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path with its leading slash.
    pub path: String,
    /// How the host's address is come by.
    pub address: Address,
}

/// How a host's address is come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// It is known.
    Fixed(Ipv4Addr),
    /// By asking this DNS server, as [`Probe::Dns`] does.
    Resolve(SocketAddrV4),
}

impl Probe {
    /// Its kind in scenarios and reports: `icmp`, `udp`, `tcp`, `dns`, `http` or `https`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Icmp { .. } => "icmp",
            Self::Udp { .. } => "udp",
            Self::Tcp { .. } => "tcp",
            Self::Dns { .. } => "dns",
            Self::Http(_) => "http",
            Self::Https { .. } => "https",
        }
    }
}
