//! What the overlay does with packets: carries peers', encrypted, and nothing else.

#[path = "support/mesh.rs"]
mod mesh;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use ipnet::Ipv4Net;
use lab::drops::DropReason;
use lab::netlink::Route;
use lab::overlay::{BYPASS_MARK, Overlay, Path, TABLE, firewall};
use lab::{Capability, Error};
use mesh::{PATIENCE, Tap, World, by_kernel, config, drop_of, no_wireguard, talk, trial, udp};
use topology::network::OverlayBackend;

fn main() {
    mesh::run(None, |missing| {
        let wireguard = no_wireguard();
        let wireguard = wireguard.as_deref();
        vec![
            trial("the interface is a tun like tailscaled's", missing, interface),
            trial("peers' packets are carried, encrypted", missing, carried),
            trial("a packet for no peer dies without a word", missing, no_peer),
            trial("a packet from a source that isn't the peer's dies at the receiver", missing, foreign_source),
            trial("equal overlays don't mix", missing, apart),
            trial("a full mesh of ten", missing, full_mesh),
            trial("its own packets stay off it by their mark", missing, bypass),
            trial("a packet with a colliding mark goes past it", missing, collision),
            trial("without policy routing one route does", missing, plain_route),
            trial("the filter drops overlay addresses from elsewhere", missing, filter),
            trial("a node that leaves takes its interface along", missing, leave),
            trial("a link that was down works again", missing, down_and_up),
            trial("a large packet passes unharmed", missing, large),
            by_kernel("the interface is a WireGuard device set up like tailscaled's", wireguard, interface),
            by_kernel("peers' packets are carried, encrypted", wireguard, carried),
            by_kernel("a packet for no peer dies without a word", wireguard, no_peer),
            by_kernel("a packet from a source that isn't the peer's dies at the receiver", wireguard, foreign_source),
            by_kernel("equal overlays don't mix", wireguard, apart),
            by_kernel("a full mesh of ten", wireguard, full_mesh),
            by_kernel("its own packets stay off it by their mark", wireguard, bypass),
            by_kernel("a packet with a colliding mark goes past it", wireguard, collision),
            by_kernel("without policy routing one route does", wireguard, plain_route),
            by_kernel("the filter drops overlay addresses from elsewhere", wireguard, filter),
            by_kernel("a node that leaves takes its interface along", wireguard, leave),
            by_kernel("a link that was down works again", wireguard, down_and_up),
            by_kernel("a large packet passes unharmed", wireguard, large),
            trial("a kernel without WireGuard is named", missing, without_wireguard),
        ]
    });
}

fn two_nodes() -> World {
    let mut world = World::new();
    world.public_node("master");
    world.public_node("worker");
    world
}

async fn interface() {
    let world = two_nodes();
    let overlay = world.start_ready(&config()).await;
    let links = world.members[0].namespace.netlink().expect("netlink").links().expect("links");
    let link = links.iter().find(|link| link.name == "tailscale0").expect("the interface");
    let kind = if config().backend == OverlayBackend::Kernel { "wireguard" } else { "tun" };
    assert_eq!(link.kind.as_deref(), Some(kind), "Cilium selects devices by kind");
    assert_eq!(link.mtu, 1280);
    assert!(link.is_up());
    assert_ne!(link.flags & nix::libc::IFF_POINTOPOINT.cast_unsigned(), 0, "point to point");
    let addresses: Vec<_> = link.addresses.iter().map(|address| address.net.to_string()).collect();
    assert_eq!(addresses, ["100.64.0.1/32"]);
    overlay.stop().await.expect("an end");
}

async fn carried() {
    let world = two_nodes();
    let overlay = world.start_ready(&config()).await;
    let tap = Tap::open(&world.internet);
    let text = "a text that nobody on the way may read";
    talk(&world.members[0], &world.members[1], text).await.expect("an answer");
    let frames = tap.frames();
    assert!(
        frames.iter().filter_map(|frame| udp(frame)).any(|(from, to)| from.port() == 41641 && to.port() == 41641),
        "the encrypted packets are seen on the way"
    );
    assert!(
        !frames.iter().any(|frame| frame.windows(text.len()).any(|window| window == text.as_bytes())),
        "the text is not"
    );
    let peers = overlay.peers("master").expect("peers");
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].path, Path::Direct("198.51.2.2:41641".parse().expect("an address")));
    assert!(peers[0].sent_bytes > 0 && peers[0].received_bytes > 0, "counted: {peers:?}");
    assert!(peers[0].last_handshake.is_some());
    assert_eq!(overlay.path("worker", "nobody").expect("no kernel involved"), None);
}

async fn no_peer() {
    let world = two_nodes();
    let _overlay = world.start_ready(&config()).await;
    let mut drops = world.log.listen();
    let master = &world.members[0];
    let google = Ipv4Addr::new(8, 8, 8, 8);
    let route = Route::through(google.into(), "tailscale0").in_table(TABLE);
    master.namespace.netlink().expect("netlink").add_route(&route).expect("a route");
    let socket = master.namespace.udp(SocketAddrV4::new(master.address, 0), None).expect("a socket");
    socket.send_to(b"anybody?", SocketAddrV4::new(google, 53)).await.expect("the kernel takes it");
    let dropped = drop_of(&mut drops, |dropped| dropped.reason == DropReason::NoPeer(google)).await;
    assert_eq!((dropped.namespace.as_str(), dropped.interface.as_deref()), ("master", Some("tailscale0")));
    assert_eq!(&dropped.packet[28..], b"anybody?", "the packet is given whole");
    let mut buffer = [0; 16];
    let answer = socket.try_recv(&mut buffer).expect_err("silence, no ICMP error");
    assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock);
}

async fn foreign_source() {
    let world = two_nodes();
    let _overlay = world.start_ready(&config()).await;
    let mut drops = world.log.listen();
    let (master, worker) = (&world.members[0], &world.members[1]);
    let pod = Ipv4Addr::new(10, 244, 0, 10);
    master.namespace.netlink().expect("netlink").add_address("lo", pod.into()).expect("an address");
    let socket = master.namespace.udp(SocketAddrV4::new(pod, 0), None).expect("a socket");
    socket.send_to(b"from a pod", SocketAddrV4::new(worker.address, 7000)).await.expect("the kernel takes it");
    let dropped = drop_of(&mut drops, |dropped| dropped.reason == DropReason::NotAllowedSource(pod)).await;
    assert_eq!(dropped.namespace, "worker", "it dies where WireGuard checks it");
    assert_eq!(&dropped.packet[28..], b"from a pod");
}

async fn apart() {
    let (one, other) = (two_nodes(), two_nodes());
    let (config, mut drops) = (config(), other.log.listen());
    let (_first, _second) = tokio::join!(one.start_ready(&config), other.start_ready(&config));
    // Both worlds' workers listen at the same address and port; only one is spoken to.
    let stranger = &other.members[1];
    let bystander = stranger.namespace.udp(SocketAddrV4::new(stranger.address, 7000), None).expect("a socket");
    talk(&one.members[0], &one.members[1], "stays in its world").await.expect("an answer");
    let mut buffer = [0; 64];
    assert!(bystander.try_recv(&mut buffer).is_err(), "nothing came over");
    assert!(drops.try_recv().is_err(), "nothing died there either");
}

async fn full_mesh() {
    let mut world = World::new();
    for index in 0..10 {
        world.public_node(&format!("node{index}"));
    }
    let overlay = world.start_ready(&config()).await;
    for member in &world.members {
        let peers = overlay.peers(&member.node).expect("peers");
        assert_eq!(peers.len(), 9);
        assert!(peers.iter().all(|peer| matches!(peer.path, Path::Direct(_))), "{}: {peers:?}", member.node);
    }
    for pair in world.members.windows(2) {
        talk(&pair[1], &pair[0], "a word").await.expect("an answer");
    }
    talk(&world.members[0], &world.members[9], "and round").await.expect("an answer");
}

async fn bypass() {
    let world = two_nodes();
    let _overlay = world.start_ready(&config()).await;
    // All that is asked of table 52 goes to the overlay: the overlay's own packets would go round in circles.
    for member in &world.members {
        let route = Route::through(Ipv4Net::default(), "tailscale0").in_table(TABLE);
        member.namespace.netlink().expect("netlink").add_route(&route).expect("a route");
    }
    talk(&world.members[0], &world.members[1], "still here").await.expect("an answer");
}

async fn collision() {
    let world = two_nodes();
    let _overlay = world.start_ready(&config()).await;
    let (master, worker) = (&world.members[0], &world.members[1]);
    let tap = Tap::open(&world.internet);
    let to = SocketAddrV4::new(worker.address, 8472);
    // Identity 264 (0x108) in the upper half of the mark, as Cilium sets it on VXLAN; then 265, which is harmless.
    for (mark, past) in [(0x0108_0400, true), (0x0109_0400, false)] {
        let socket = master.namespace.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), Some(mark)).expect("a socket");
        let receiver = worker.namespace.udp(to, None).expect("a socket");
        socket.send_to(b"vxlan", to).await.expect("the kernel takes it");
        if !past {
            let mut buffer = [0; 16];
            tokio::time::timeout(PATIENCE, receiver.recv(&mut buffer)).await.expect("in time").expect("it arrives");
        }
        let seen = tap.frames().iter().filter_map(|frame| udp(frame)).any(|(_, destination)| destination == to);
        assert_eq!(seen, past, "mark {mark:#x}: in the clear on enp0s6 or not");
    }
    assert_eq!(BYPASS_MARK, 0x0108_0400 & lab::overlay::MARK_MASK, "which is the collision");
}

async fn plain_route() {
    let world = two_nodes();
    let config = topology::network::Overlay { policy_routing: false, ..config() };
    let _overlay = world.start_ready(&config).await;
    let routes = world.members[0].namespace.netlink().expect("netlink").routes().expect("routes");
    assert!(routes.iter().all(|route| route.table != TABLE), "no table 52");
    assert!(routes.iter().any(|route| route.table == 254 && route.destination.to_string() == "100.64.0.0/10"));
    assert!(firewall(&config, world.members[0].address).is_empty(), "and no filter");
    talk(&world.members[0], &world.members[1], "a word").await.expect("an answer");
}

async fn filter() {
    let world = two_nodes();
    let config = config();
    for member in &world.members {
        member.namespace.load_nft(&firewall(&config, member.address)).expect("tailscaled's chains");
    }
    let _overlay = world.start_ready(&config).await;
    let (master, worker) = (&world.members[0], &world.members[1]);
    talk(master, worker, "through the filter").await.expect("an answer");
    talk(master, master, "to itself").await.expect("its own address on lo passes");
    // The same source by the other interface.
    let socket = master.namespace.udp(SocketAddrV4::new(master.address, 0), Some(BYPASS_MARK)).expect("a socket");
    socket.send_to(b"forged", SocketAddrV4::new(Ipv4Addr::new(198, 51, 2, 2), 9)).await.expect("sent");
    let dropped = async {
        loop {
            let counters = worker.namespace.nft_counters().expect("counters");
            if counters.iter().any(|counter| counter.rule == "ts-input" && counter.packets == 1) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("ts-input drops and counts it");
}

async fn leave() {
    let world = two_nodes();
    let mut overlay = world.start_ready(&config()).await;
    overlay.leave("worker").await.expect("it goes");
    let links = world.members[1].namespace.netlink().expect("netlink").links().expect("links");
    assert!(links.iter().all(|link| link.name != "tailscale0"), "the interface is gone: {links:?}");
    assert!(overlay.peers("worker").expect("peers").is_empty());
    assert_eq!(overlay.peers("master").expect("peers").len(), 1, "the other one isn't told");
    overlay.leave("worker").await.expect("leaving twice does nothing");
}

async fn down_and_up() {
    let world = two_nodes();
    let config = config();
    let overlay = world.start_ready(&config).await;
    let (master, worker) = (&world.members[0], &world.members[1]);
    worker.namespace.netlink().expect("netlink").link_down("tailscale0").expect("down");
    let socket = master.namespace.udp(SocketAddrV4::new(master.address, 0), None).expect("a socket");
    socket.send_to(b"lost", SocketAddrV4::new(worker.address, 7001)).await.expect("the kernel takes it");
    let up = Instant::now();
    worker.namespace.netlink().expect("netlink").link_up("tailscale0").expect("up");
    // The kernel forgets sessions with a link that goes down; until the new one, the other end uses the old one in vain.
    let renewed = || overlay.peers("master").expect("peers")[0].last_handshake.is_some_and(|ago| ago < up.elapsed());
    while config.backend == OverlayBackend::Kernel && !renewed() {
        assert!(up.elapsed() < PATIENCE, "a handshake after the link came up");
        tokio::task::yield_now().await;
    }
    // The kernel took the routes with the link.
    let route = Route::through(master.address.into(), "tailscale0").in_table(TABLE);
    worker.namespace.netlink().expect("netlink").add_route(&route).expect("a route");
    talk(master, worker, "again").await.expect("an answer");
}

async fn large() {
    let world = two_nodes();
    let _overlay = world.start_ready(&config()).await;
    // 1252 bytes fill the MTU of 1280; 1253 are fragmented on the interface.
    for length in [1252, 1253, 1900] {
        talk(&world.members[0], &world.members[1], &"x".repeat(length)).await.expect("an answer");
    }
}

async fn without_wireguard() {
    let world = two_nodes();
    let config = topology::network::Overlay { backend: OverlayBackend::Kernel, ..config() };
    match Overlay::start(&config, world.members.clone(), &world.internet, world.log.clone()).await {
        // Then there is nothing to name.
        Ok(overlay) => overlay.stop().await.expect("an end"),
        Err(Error::Missing(missing)) => assert_eq!(missing.capability, Capability::Wireguard, "{missing}"),
        Err(error) => panic!("neither WireGuard nor a word that it is missing: {error:?}"),
    }
}
