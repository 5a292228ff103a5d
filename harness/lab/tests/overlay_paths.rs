//! How nodes find each other through gateways: directly, on their own network, or by the relay.

#[path = "support/mesh.rs"]
mod mesh;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use lab::overlay::{Mapping, Path, RELAY};
use mesh::{Gateway, PATIENCE, World, by_kernel, config, no_wireguard, talk, trial};

fn main() {
    mesh::run(None, |missing| {
        let wireguard = no_wireguard();
        let wireguard = wireguard.as_deref();
        vec![
            trial("easy NAT on both sides: direct", missing, easy),
            trial("hard NAT on one side: by the relay", missing, hard),
            trial("hard NAT on both sides: by the relay", missing, both_hard),
            trial("hard NAT towards an open node: direct", missing, hard_to_open),
            trial("two nodes of one network: at their local addresses", missing, same_network),
            trial("equal addresses in other networks aren't taken", missing, other_network),
            trial("a node without internet reaches its own network only", missing, offline),
            trial("a node that left comes back where it was", missing, back),
            trial("a relayed node that left comes back", missing, back_by_relay),
            trial("a node that moves is found again", missing, moves),
            trial("a relayed node that moves is found again", missing, moves_by_relay),
            trial("a node that can't move stays where it is", missing, stays),
            by_kernel("a node that left comes back where it was", wireguard, back),
            by_kernel("easy NAT on both sides: direct", wireguard, easy),
            by_kernel("hard NAT on one side: by the relay", wireguard, hard),
            by_kernel("hard NAT on both sides: by the relay", wireguard, both_hard),
            by_kernel("hard NAT towards an open node: direct", wireguard, hard_to_open),
            by_kernel("two nodes of one network: at their local addresses", wireguard, same_network),
            by_kernel("equal addresses in other networks aren't taken", wireguard, other_network),
            by_kernel("a node without internet reaches its own network only", wireguard, offline),
        ]
    });
}

async fn all_talk(world: &World) {
    for from in &world.members {
        for to in &world.members {
            if from.node != to.node {
                talk(from, to, "a word").await.expect("an answer");
            }
        }
    }
}

async fn easy() {
    let mut world = World::new();
    let first = world.private_nodes("a", Gateway::Easy, &["master"]);
    let second = world.private_nodes("b", Gateway::Easy, &["worker"]);
    let overlay = world.start_ready(&config()).await;
    let at = |address| SocketAddrV4::new(address, 41641);
    assert_eq!(overlay.mapping("master"), Some(Mapping::Stable(at(first))));
    assert_eq!(overlay.path("master", "worker").expect("path"), Some(Path::Direct(at(second))));
    assert_eq!(overlay.path("worker", "master").expect("path"), Some(Path::Direct(at(first))));
    all_talk(&world).await;
    assert_eq!(overlay.path("master", "worker").expect("path"), Some(Path::Direct(at(second))), "and it stays so");
}

fn is_relayed(path: Option<Path>) -> bool {
    matches!(path, Some(Path::Relayed(endpoint)) if *endpoint.ip() == RELAY)
}

async fn hard() {
    let mut world = World::new();
    world.private_nodes("a", Gateway::Easy, &["master"]);
    world.private_nodes("b", Gateway::Hard, &["worker"]);
    world.private_nodes("c", Gateway::Easy, &["third"]);
    let overlay = world.start_ready(&config()).await;
    assert_eq!(overlay.mapping("worker"), Some(Mapping::Varying));
    all_talk(&world).await;
    for (from, to, relayed) in
        [("master", "worker", true), ("worker", "master", true), ("third", "worker", true), ("master", "third", false)]
    {
        let path = overlay.path(from, to).expect("path");
        assert_eq!(is_relayed(path), relayed, "{from} to {to}: {path:?}");
    }
}

async fn both_hard() {
    let mut world = World::new();
    world.private_nodes("a", Gateway::Hard, &["master"]);
    world.private_nodes("b", Gateway::Hard, &["worker"]);
    let overlay = world.start_ready(&config()).await;
    all_talk(&world).await;
    assert!(is_relayed(overlay.path("master", "worker").expect("path")));
    assert!(is_relayed(overlay.path("worker", "master").expect("path")));
}

async fn hard_to_open() {
    let mut world = World::new();
    let open = world.public_node("master");
    let public = world.private_nodes("b", Gateway::Hard, &["worker"]);
    let overlay = world.start_ready(&config()).await;
    all_talk(&world).await;
    let path = overlay.path("worker", "master").expect("path");
    assert_eq!(path, Some(Path::Direct(SocketAddrV4::new(open, 41641))));
    match overlay.path("master", "worker").expect("path") {
        Some(Path::Direct(endpoint)) => assert_eq!(*endpoint.ip(), public, "where the worker's pings came from"),
        path => panic!("the open node answers directly, not {path:?}"),
    }
}

async fn same_network() {
    let mut world = World::new();
    world.private_nodes("a", Gateway::Easy, &["master", "worker"]);
    let overlay = world.start_ready(&config()).await;
    let local = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 11), 41641);
    assert_eq!(overlay.path("master", "worker").expect("path"), Some(Path::Direct(local)));
    all_talk(&world).await;
}

async fn other_network() {
    let mut world = World::new();
    world.private_nodes("a", Gateway::Easy, &["master", "second"]);
    let public = world.private_nodes("b", Gateway::Easy, &["worker", "fourth"]);
    let overlay = world.start_ready(&config()).await;
    // 10.0.0.11 is `second` here and `fourth` there.
    match overlay.path("master", "fourth").expect("path") {
        Some(Path::Direct(endpoint)) => assert_eq!(*endpoint.ip(), public),
        path => panic!("by the gateway's address, not {path:?}"),
    }
    all_talk(&world).await;
}

async fn offline() {
    let mut world = World::new();
    world.private_nodes("a", Gateway::Closed, &["master", "worker"]);
    world.public_node("outside");
    let overlay = world.start(&config()).await;
    overlay.ready(Duration::from_secs(10)).await.expect("those that can");
    assert_eq!(overlay.mapping("master"), Some(Mapping::Unknown));
    assert_eq!(overlay.path("master", "outside").expect("path"), Some(Path::None));
    assert!(matches!(overlay.path("master", "worker").expect("path"), Some(Path::Direct(_))));
    talk(&world.members[0], &world.members[1], "a word").await.expect("an answer");
}

/// Two nodes behind gateways of these kinds.
fn behind(first: Gateway, second: Gateway) -> World {
    let mut world = World::new();
    world.private_nodes("a", first, &["master"]);
    world.private_nodes("b", second, &["worker"]);
    world
}

async fn comes_back(world: World) {
    let mut overlay = world.start_ready(&config()).await;
    let path = overlay.path("master", "worker").expect("path");
    overlay.leave("worker").await.expect("it goes");
    assert!(!overlay.met("master", "worker").expect("an answer"), "a session needs two");
    talk(&world.members[0], &world.members[1], "lost").await.expect_err("nobody is there");
    overlay.rejoin("worker").await.expect("it comes");
    overlay.rejoin("worker").await.expect("coming twice does nothing");
    overlay.ready(PATIENCE).await.expect("sessions");
    assert!(overlay.met("master", "worker").expect("an answer"));
    // The one that was called uses the new session once it was used by the caller.
    talk(&world.members[1], &world.members[0], "here I am").await.expect("an answer");
    all_talk(&world).await;
    assert_eq!(overlay.path("master", "worker").expect("path"), path, "it is where it was");
}

async fn back() {
    comes_back(behind(Gateway::Easy, Gateway::Easy)).await;
}

async fn back_by_relay() {
    comes_back(behind(Gateway::Easy, Gateway::Hard)).await;
}

async fn moves() {
    let world = behind(Gateway::Easy, Gateway::Easy);
    let mut overlay = world.start_ready(&config()).await;
    let Some(Path::Direct(old)) = overlay.path("master", "worker").expect("path") else { panic!("a direct way") };
    overlay.roam("worker").await.expect("it moves");
    all_talk(&world).await;
    let new = SocketAddrV4::new(*old.ip(), old.port() + 1);
    assert_eq!(overlay.path("master", "worker").expect("path"), Some(Path::Direct(new)), "the coordinator told");
    let links = world.members[1].namespace.netlink().expect("netlink").links().expect("links");
    assert!(links.iter().any(|link| link.name == "tailscale0" && link.is_up()), "its interface stays");
    overlay.roam("master").await.expect("it moves");
    all_talk(&world).await;
}

async fn stays() {
    let world = behind(Gateway::Easy, Gateway::Easy);
    let mut overlay = world.start_ready(&config()).await;
    let path = overlay.path("master", "worker").expect("path");
    let next = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, config().port + 1);
    let taken = world.members[1].namespace.udp(next, None).expect("a free port");
    overlay.roam("worker").await.expect_err("somebody else has the port");
    all_talk(&world).await;
    assert_eq!(overlay.path("master", "worker").expect("path"), path);
    drop(taken);
    overlay.roam("worker").await.expect("it moves");
    all_talk(&world).await;
    assert_ne!(overlay.path("master", "worker").expect("path"), path);
}

async fn moves_by_relay() {
    let world = behind(Gateway::Easy, Gateway::Hard);
    let mut overlay = world.start_ready(&config()).await;
    overlay.roam("worker").await.expect("it moves");
    // The relay learns it with the first packet from there.
    talk(&world.members[1], &world.members[0], "here I am").await.expect("an answer");
    all_talk(&world).await;
    assert!(is_relayed(overlay.path("master", "worker").expect("path")));
}
