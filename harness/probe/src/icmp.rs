//! ICMP echo by a raw socket, and the ICMP errors that quote it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Ipv4HeaderSlice};
use nix::libc;
use nix::sys::socket::sockopt::{self, SetStruct};
use nix::sys::socket::{getsockopt, setsockopt};
use tokio::net::UdpSocket;

use crate::attempt::{Attempt, Ending};
use crate::error_queue::Icmp;
use crate::evidence::{Evidence, Outcome, Stage};
use crate::mark::{MAGIC, Mark};
use crate::spec::MIN_ICMP_SIZE;
use crate::token;
use crate::udp;

/// Largest IPv4 packet in bytes.
const PACKET: usize = 65_535;

/// The discard port: for a socket that is connected to learn a path's MTU and never sends.
const DISCARD: u16 = 9;

/// `IP_MTU_DISCOVER` (ip(7)), which nix doesn't have.
#[derive(Debug, Clone, Copy)]
struct MtuDiscover;

nix::setsockopt_impl!(MtuDiscover, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::c_int, SetStruct<libc::c_int>);

/// A message that came back.
enum Back {
    Reply { from: Ipv4Addr, ttl: u8 },
    Error(Outcome),
}

pub(crate) async fn probe(attempt: &Attempt<'_>, target: Ipv4Addr, size: usize, dont_fragment: bool) -> Evidence {
    let token = token::fresh();
    let mark = Mark::Payload(token);
    match ping(attempt, target, size, dont_fragment, token).await {
        Ok(Back::Reply { from, ttl }) => {
            Evidence::reply(attempt.elapsed(), vec![mark], format!("reply from {from}, ttl {ttl}"))
        }
        Ok(Back::Error(outcome)) => {
            let detail = outcome.to_string();
            Evidence::ended(Ending::Told(outcome, detail), Stage::Exchange, vec![mark])
        }
        Err(ending) => Evidence::ended(ending, Stage::Exchange, vec![mark]),
    }
}

async fn ping(
    attempt: &Attempt<'_>,
    target: Ipv4Addr,
    size: usize,
    dont_fragment: bool,
    token: u64,
) -> Result<Back, Ending> {
    let socket = attempt.from.raw_icmp().map_err(|error| Ending::of_lab(&error))?;
    let discover = if dont_fragment { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
    let socket = setsockopt(&socket, MtuDiscover, &discover)
        .map_err(io::Error::from)
        // A raw socket sends and receives as a UDP socket does, and tokio has no type of its own for it.
        .and_then(|()| UdpSocket::from_std(std::net::UdpSocket::from(socket)))
        .map_err(|error| Ending::of_call(&error, None))?;
    let echo = Echo::new(token, size);
    let mut watched = attempt.watch(Mark::Payload(token), target);
    let answer = async {
        socket.send_to(&echo.message, SocketAddrV4::new(target, 0)).await?;
        let mut packet = vec![0; PACKET];
        loop {
            let length = socket.recv(&mut packet).await?;
            if let Some(back) = echo.back(&packet[..length]) {
                return io::Result::Ok(back);
            }
        }
    };
    match attempt.wait(&mut watched, answer).await? {
        Ok(back) => Ok(back),
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
            Ok(Back::Error(Outcome::TooBig { by: None, mtu: path_mtu(attempt, target).await? }))
        }
        Err(error) => Err(Ending::of_call(&error, None)),
    }
}

/// The path MTU in bytes as the sender's kernel knows it. A raw socket isn't told it with `EMSGSIZE`.
async fn path_mtu(attempt: &Attempt<'_>, target: Ipv4Addr) -> Result<u32, Ending> {
    let socket = udp::connected(attempt, SocketAddrV4::new(target, DISCARD)).await?;
    let mtu = getsockopt(&socket, sockopt::IpMtu).map_err(|errno| Ending::of_call(&errno.into(), None))?;
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// An echo request and how to recognise what comes of it.
struct Echo {
    header: IcmpEchoHeader,
    /// Header and payload.
    message: Vec<u8>,
    marked: [u8; MIN_ICMP_SIZE],
}

impl Echo {
    fn new(token: u64, size: usize) -> Self {
        let mut marked = [0; MIN_ICMP_SIZE];
        marked[..MAGIC.len()].copy_from_slice(&MAGIC);
        marked[MAGIC.len()..].copy_from_slice(&token.to_be_bytes());
        let mut payload = marked.to_vec();
        payload.resize(size.max(MIN_ICMP_SIZE), b'.');
        // The low half tells the probes of one process apart where a router quotes no more than the header.
        let header = IcmpEchoHeader { id: token as u16, seq: 1 };
        let mut message = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(header), &payload).to_bytes().to_vec();
        message.extend_from_slice(&payload);
        Self { header, message, marked }
    }

    /// What an IPv4 packet that reached this host means to this echo, if anything.
    fn back(&self, packet: &[u8]) -> Option<Back> {
        let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
        let (header, payload) = Icmpv4Header::from_slice(&packet[ip.slice().len()..]).ok()?;
        let from = ip.source_addr();
        if let Icmpv4Type::EchoReply(_) = header.icmp_type {
            return payload.starts_with(&self.marked).then_some(Back::Reply { from, ttl: ip.ttl() });
        }
        let bytes = header.to_bytes();
        let mtu = u16::from_be_bytes([bytes[6], bytes[7]]);
        let outcome = Icmp { kind: bytes[0], code: bytes[1], by: from }.outcome(mtu.into())?;
        self.is_quoted(payload).then_some(Back::Error(outcome))
    }

    /// Whether an ICMP error's payload quotes this echo: by its mark, or by its id where the quotation is short.
    fn is_quoted(&self, quotation: &[u8]) -> bool {
        let Ok(ip) = Ipv4HeaderSlice::from_slice(quotation) else { return false };
        let Ok((header, payload)) = Icmpv4Header::from_slice(&quotation[ip.slice().len()..]) else { return false };
        match payload.get(..MIN_ICMP_SIZE) {
            Some(marked) => marked == self.marked,
            None => header.icmp_type == Icmpv4Type::EchoRequest(self.header),
        }
    }
}
