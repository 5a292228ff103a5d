//! Small networks by hand, and packets to send through them.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use lab::netlink::{Neighbour, Route, VethEnd, add_veth};
use lab::{Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, SockaddrIn, recv, sendto};
use probe::capture::Capture;
use probe::capture::sighting::{Direction, Kind, Sighting};
use probe::mark::{MAGIC, Mark};

/// No condition of these tests takes longer.
pub const DEADLINE: Duration = Duration::from_secs(10);

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A test's name and what it does.
pub type Test = (&'static str, fn() -> Outcome);

/// Runs tests, each with a runtime of one thread.
pub fn run(tests: Vec<Test>) {
    let sandbox = lab::sandbox::enter();
    let trials = tests.into_iter().map(|(name, test)| {
        let run = move || test().map_err(|error| Failed::from(error.to_string()));
        Trial::test(name, run).with_ignored_flag(sandbox.is_err())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

pub fn block_on(test: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

pub fn token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn marked(token: u64, size: usize) -> Vec<u8> {
    let mut payload = MAGIC.to_vec();
    payload.extend(token.to_be_bytes());
    payload.resize(size.max(payload.len()), b'.');
    payload
}

/// Sends an echo request with a mark, which is to be watched before.
pub fn ping(from: &Namespace, to: Ipv4Addr, token: u64, size: usize) -> Outcome {
    let socket = from.raw_icmp()?;
    let payload = marked(token, size);
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
    let mut message = Icmpv4Header::with_checksum(echo, &payload).to_bytes().to_vec();
    message.extend(payload);
    sendto(socket.as_raw_fd(), &message, &SockaddrIn::from(SocketAddrV4::new(to, 0)), MsgFlags::empty())?;
    Ok(())
}

/// Sends until packets are lost, without letting this thread's runtime read any.
pub fn overrun(from: &Namespace, to: Ipv4Addr, capture: &Capture) -> Outcome {
    let begun = Instant::now();
    while !capture.losses().any_packet() {
        if begun.elapsed() > DEADLINE {
            return Err("nothing is lost even with the smallest buffer there is".into());
        }
        ping(from, to, token(), 1000)?;
    }
    Ok(())
}

/// `a (10.1.0.2) — (10.1.0.1) r (10.2.0.1) — (10.2.0.2) b`, r's interfaces being `left` and `right`.
pub struct Routed {
    pub a: Namespace,
    pub r: Namespace,
    pub b: Namespace,
}

impl Routed {
    pub fn build() -> lab::Result<Self> {
        let (a, b) = (Namespace::create("a", &Sysctls::HOST)?, Namespace::create("b", &Sysctls::HOST)?);
        let r = Namespace::create("r", &Sysctls::ROUTER)?;
        join((&a, "eth0", "10.1.0.2/24"), (&r, "left", "10.1.0.1/24"))?;
        join((&b, "eth0", "10.2.0.2/24"), (&r, "right", "10.2.0.1/24"))?;
        a.netlink()?.add_route(&Route::default_via(Ipv4Addr::new(10, 1, 0, 1), "eth0"))?;
        b.netlink()?.add_route(&Route::default_via(Ipv4Addr::new(10, 2, 0, 1), "eth0"))?;
        Ok(Self { a, r, b })
    }

    pub fn all(&self) -> [Namespace; 3] {
        [self.a.clone(), self.r.clone(), self.b.clone()]
    }
}

pub const B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// On r's right link, where nobody has it.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);

pub fn join(near: (&Namespace, &str, &str), far: (&Namespace, &str, &str)) -> lab::Result<()> {
    add_veth(VethEnd::new(near.0, near.1, 1500), VethEnd::new(far.0, far.1, 1500))?;
    for (namespace, link, address) in [near, far] {
        if !address.is_empty() {
            namespace.netlink()?.add_address(link, address.parse().expect("an address"))?;
        }
        namespace.netlink()?.link_up(link)?;
    }
    match far.2.split_once('/') {
        Some((address, _)) if !near.2.is_empty() => carries(near.0, address.parse().expect("an address")),
        _ => Ok(()),
    }
}

/// Waits until a link carries packets, by pings. A veth's queue drops everything until a worker of the kernel's has taken
/// note that both ends are up: at once on an idle host, after up to a second while other namespaces are torn down.
pub fn carries(from: &Namespace, to: Ipv4Addr) -> lab::Result<()> {
    let timeout = || lab::Error::Timeout {
        what: format!("{} to reach {to}", from.name()),
        waited_ms: DEADLINE.as_millis() as u64,
    };
    let socket = from.raw_icmp()?;
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        ping(from, to, token(), 16).map_err(|_| timeout())?;
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let mut packet = [0; 128];
        while poll(&mut ready, PollTimeout::from(20_u8)).is_ok_and(|ready| ready > 0) {
            let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()).unwrap_or(0);
            if length > 20 && packet[20] == 0 {
                return Ok(());
            }
        }
    }
    Err(timeout())
}

/// Two nodes on one link, with a VXLAN between them: inner addresses 10.9.0.1 and 10.9.0.2. `peer` is where the first
/// one takes the second one's tunnel end to be.
pub struct Tunnelled {
    pub one: Namespace,
    pub two: Namespace,
}

pub const INNER_TWO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

impl Tunnelled {
    pub fn build(peer: Ipv4Addr) -> lab::Result<Self> {
        let (one, two) = (Namespace::create("one", &Sysctls::ROUTER)?, Namespace::create("two", &Sysctls::ROUTER)?);
        join((&one, "eth0", "10.0.0.1/24"), (&two, "eth0", "10.0.0.2/24"))?;
        let mac = |last| [2, 0, 0, 0, 0, last];
        for (node, own, other, end) in [(&one, 1, 2, peer), (&two, 2, 1, Ipv4Addr::new(10, 0, 0, 1))] {
            let mut netlink = node.netlink()?;
            netlink.add_vxlan("cilium_vxlan", 2, 8472, 1450, mac(own))?;
            netlink.link_up("cilium_vxlan")?;
            netlink.add_address("cilium_vxlan", format!("10.9.0.{own}/24").parse().expect("an address"))?;
            netlink.add_fdb("cilium_vxlan", mac(other), end.into())?;
            netlink.add_neighbour(
                "cilium_vxlan",
                Neighbour { address: Ipv4Addr::new(10, 9, 0, other), mac: mac(other) },
            )?;
        }
        Ok(Self { one, two })
    }
}

/// `r left in 64 request`, for comparison.
pub fn lines(sightings: &[Sighting]) -> Vec<String> {
    let line = |seen: &Sighting| {
        let way = match seen.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        let kind = match seen.kind {
            Kind::Request => "request",
            Kind::Answer => "answer",
            Kind::IcmpError(_) => "error",
        };
        format!("{} {} {way} {} {kind}", seen.namespace, seen.interface, seen.packet.ttl)
    };
    sightings.iter().map(line).collect()
}

pub fn answered(sightings: &[Sighting], namespace: &str) -> bool {
    sightings
        .iter()
        .any(|seen| seen.kind == Kind::Answer && &*seen.namespace == namespace && seen.direction == Direction::In)
}

pub fn payload(token: u64) -> Mark {
    Mark::Payload(token)
}
