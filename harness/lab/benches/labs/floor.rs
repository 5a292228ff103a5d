//! The least a star can cost: the requests a lab makes for it, nothing else.
//!
//! The same messages, except that links are given their numbers, so that none is asked for; sent from one socket a
//! namespace, all of a node's in one datagram, and no acknowledgement is asked for or waited for: the kernel has done
//! the work when the send returns. No sysctls, no services, and no look at whether links carry packets.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

const LO: u32 = 1;
/// The number of a node's interface, and of the gateway's bridge.
const FIRST: u32 = 2;
/// Numbers of the bridge's ports begin here.
const PORTS: u32 = 10;
const MTU: u32 = 1500;
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A namespace with a socket in it.
struct Raw {
    fd: File,
    socket: Socket,
}

fn here() -> File {
    File::open("/proc/thread-self/ns/net").expect("proc is mounted")
}

impl Raw {
    fn create(home: &File) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        let fd = here();
        let mut socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
        socket.bind_auto().expect("a netlink address");
        setns(home, CloneFlags::CLONE_NEWNET).expect("the way home");
        Self { fd, socket }
    }

    fn send(&self, messages: Vec<(RouteNetlinkMessage, u16)>) {
        let mut buffer = Vec::new();
        for (message, flags) in messages {
            let mut header = NetlinkHeader::default();
            header.flags = flags | NLM_F_REQUEST;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
            message.finalize();
            let start = buffer.len();
            buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut buffer[start..]);
        }
        self.socket.send(&buffer, 0).expect("a request");
        // The kernel answers only what it refuses.
        let mut answer = Vec::with_capacity(4096);
        let refused = self.socket.recv(&mut answer, nix::libc::MSG_DONTWAIT).is_ok();
        assert!(!refused, "the kernel refused: {answer:?}");
    }
}

fn set_up(index: u32) -> (RouteNetlinkMessage, u16) {
    (RouteNetlinkMessage::SetLink(LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build()), 0)
}

fn address(index: u32, address: Ipv4Addr) -> (RouteNetlinkMessage, u16) {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, 16).build();
    (RouteNetlinkMessage::NewAddress(message), CREATE)
}

fn veth(port: u32, name: String, node: &Raw) -> (RouteNetlinkMessage, u16) {
    let mut peer = LinkMessage::default();
    peer.header.index = FIRST;
    peer.attributes = vec![
        LinkAttribute::IfName("eth0".to_owned()),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::NetNsFd(node.fd.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.header.index = port;
    message.attributes = vec![
        LinkAttribute::IfName(name),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    (RouteNetlinkMessage::NewLink(message), CREATE)
}

/// Builds a star of `nodes` nodes without NAT, as `topology::generate::star` describes it, and lets it go.
pub fn star(nodes: usize) -> Duration {
    // In a thread of its own: a panic must not leave one of the runtime's in the wrong namespace.
    std::thread::spawn(move || build(nodes)).join().expect("the kernel takes the raw requests")
}

fn build(nodes: usize) -> Duration {
    let home = here();
    let began = Instant::now();
    let internet = Raw::create(&home);
    internet.send(vec![set_up(LO)]);
    let gateway = Raw::create(&home);
    let mut bridge = LinkBridge::new("subnet").mtu(MTU).build();
    bridge.header.index = FIRST;
    gateway.send(vec![
        set_up(LO),
        (RouteNetlinkMessage::NewLink(bridge), CREATE),
        address(FIRST, GATEWAY),
        set_up(FIRST),
    ]);
    let mut all = vec![internet];
    for number in 0..nodes {
        let node = Raw::create(&home);
        let port = PORTS + number as u32;
        let plug = LinkMessageBuilder::<LinkUnspec>::new().index(port).controller(FIRST).build();
        gateway.send(vec![
            veth(port, format!("port{number}.0"), &node),
            (RouteNetlinkMessage::SetLink(plug), 0),
            set_up(port),
        ]);
        let default = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(FIRST).gateway(GATEWAY).build();
        node.send(vec![
            set_up(LO),
            address(FIRST, Ipv4Addr::from(u32::from(GATEWAY) + 1 + number as u32)),
            set_up(FIRST),
            (RouteNetlinkMessage::NewRoute(default), CREATE),
        ]);
        all.push(node);
    }
    all.push(gateway);
    began.elapsed()
}
