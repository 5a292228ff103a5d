//! What an overlay costs and leaves behind. One test at a time: they count what the process has.

#[path = "support/mesh.rs"]
mod mesh;

use std::fs;

use lab::overlay::{REFLECTORS, RELAY};
use mesh::{Gateway, PATIENCE, World, by_kernel, config, no_wireguard, runtime, talk, trial};
use topology::network::OverlayBackend;

fn main() {
    mesh::run(Some(1), |missing| {
        let wireguard = no_wireguard();
        let wireguard = wireguard.as_deref();
        vec![
            trial("threads don't grow with nodes", missing, threads),
            trial("stopping leaves nothing", missing, stopped),
            trial("dropping leaves nothing", missing, dropped),
            by_kernel("threads don't grow with nodes", wireguard, threads),
            by_kernel("stopping leaves nothing", wireguard, stopped),
            by_kernel("dropping leaves nothing", wireguard, dropped),
        ]
    });
}

fn count(path: &str) -> usize {
    fs::read_dir(path).expect("proc").count()
}

fn tasks() -> usize {
    runtime().metrics().num_alive_tasks()
}

/// The runtime counts a task a moment longer than its end can be waited for.
async fn until_no_task() {
    let ended = async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("every task ends");
}

async fn threads() {
    let mut world = World::new();
    for index in 0..12 {
        world.public_node(&format!("node{index}"));
    }
    until_no_task().await;
    let threads = count("/proc/self/task");
    let overlay = world.start_ready(&config()).await;
    assert_eq!(count("/proc/self/task"), threads, "no thread for twelve nodes");
    let per_node = if config().backend == OverlayBackend::Kernel { 2 } else { 1 };
    assert_eq!(tasks(), 12 * per_node + 3, "tasks of the nodes, two reflectors, a switchboard");
    overlay.stop().await.expect("an end");
}

/// A world in which every kind of part is used: two direct nodes and one by the relay.
fn mixed() -> World {
    let mut world = World::new();
    world.public_node("master");
    world.private_nodes("a", Gateway::Easy, &["worker"]);
    world.private_nodes("b", Gateway::Hard, &["third"]);
    world
}

fn server_addresses(world: &World) -> usize {
    let links = world.internet.netlink().expect("netlink").links().expect("links");
    let addresses = links.iter().flat_map(|link| &link.addresses).map(|address| address.net.addr());
    addresses.filter(|address| REFLECTORS.iter().chain([&RELAY]).any(|server| address == server)).count()
}

async fn stopped() {
    let world = mixed();
    until_no_task().await;
    let fds = count("/proc/self/fd");
    let overlay = world.start_ready(&config()).await;
    assert!(count("/proc/self/fd") > fds);
    assert_eq!(server_addresses(&world), 3);
    talk(&world.members[1], &world.members[2], "a word").await.expect("an answer");
    overlay.stop().await.expect("an end");
    assert_eq!(count("/proc/self/fd"), fds, "every descriptor is closed");
    until_no_task().await;
    assert_eq!(server_addresses(&world), 0);
    for member in &world.members {
        let links = member.namespace.netlink().expect("netlink").links().expect("links");
        assert!(links.iter().all(|link| link.name != "tailscale0"), "{}: {links:?}", member.node);
    }
}

async fn dropped() {
    let world = mixed();
    until_no_task().await;
    let fds = count("/proc/self/fd");
    drop(world.start_ready(&config()).await);
    let gone = async {
        while tasks() > 0 || count("/proc/self/fd") > fds {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("tasks and descriptors are gone without being waited for");
    for member in &world.members {
        let links = member.namespace.netlink().expect("netlink").links().expect("links");
        assert!(links.iter().all(|link| link.name != "tailscale0"), "{}: {links:?}", member.node);
    }
}
