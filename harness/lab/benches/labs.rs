//! How long labs take to build and to let go, and what they cost: `cargo bench -p lab`.
//!
//! Beside a star of 200 nodes stands its floor: the same requests sent raw ([`floor`]). Both are measured in turns, so
//! that what else the machine does meets both. With `--test` each is run once. Speed is told, never asserted: the exit
//! code is 0 whatever it is.

#[path = "labs/floor.rs"]
mod floor;

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::nft::{Chain, ChainType, Hook, Statement, Table};
use lab::{Lab, Namespace, Sysctls};
use tokio::runtime::Runtime;
use topology::Network;
use topology::generate::star;
use topology::network::{Ingress, Internet, Nat, Nic, NicKind, Node, Role, Vcn};

const ROUNDS: usize = 11;
/// Rounds of what has hundreds of namespaces.
const LARGE_ROUNDS: usize = 5;
const LARGE: usize = 200;
const SIDE_BY_SIDE: usize = 32;
/// Time the kernel takes to clear one namespace away, behind the back of who let it go; the next lab would wait for it.
const CLEARING: Duration = Duration::from_millis(12);

/// What one lab took.
#[derive(Clone, Copy)]
struct Times {
    build: Duration,
    close: Duration,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (rounds, large_rounds) = if quick { (1, 1) } else { (ROUNDS, LARGE_ROUNDS) };
    if let Err(missing) = lab::sandbox::enter() {
        println!("nothing to measure: {missing}");
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("labs on {processors} processors\n");

    // Memory first: later the allocator has room from before.
    footprint(&runtime, processors);

    println!("\n{:<44} {:>10} {:>10} {:>9} {:>8}", "build", "median", "fastest", "target", "ratio");
    let seven_open = small(&runtime, "7 namespaces, no NAT", &seven(false), rounds, Some(40));
    let seven_nat = small(&runtime, "7 namespaces, NAT on both gateways", &seven(true), rounds, Some(100));
    if let Some((with_overlay, without)) = split_vcn() {
        small(&runtime, "split-vcn without its overlay", &without, rounds, Some(100));
        small(&runtime, "split-vcn, handshakes included", &with_overlay, rounds, None);
    }
    large(&runtime, large_rounds);
    side_by_side(&runtime, &seven_nat, large_rounds.min(3));
    rule_sets(rounds);

    println!("\n{:<44} {:>10} {:>10}", "letting go (the call)", "median", "fastest");
    row("7 namespaces, no NAT", seven_open.iter().map(|times| times.close), None);
    row("7 namespaces, NAT on both gateways", seven_nat.iter().map(|times| times.close), None);
}

/// Two networks of two nodes each: with the internet seven namespaces, four to six veth pairs.
fn seven(nat: bool) -> Arc<Network> {
    let gateway = Ipv4Addr::new(10, 0, 0, 1);
    let vcn = |name: &str, host| Vcn {
        name: name.to_owned(),
        cidr: "10.0.0.0/24".parse().expect("a network"),
        gateway,
        nat: match nat {
            true => Nat::EndpointIndependent { public_address: Ipv4Addr::new(203, 0, 113, host) },
            false => Nat::None,
        },
        source_check: false,
        ingress: Ingress::Deny,
    };
    let node = |index: u8| Node {
        name: format!("node-{index}"),
        role: Role::Worker,
        nics: vec![Nic {
            name: "eth0".to_owned(),
            kind: NicKind::Vcn(if index < 2 { "a" } else { "b" }.to_owned()),
            addresses: vec![format!("10.0.0.{}/24", 10 + index).parse().expect("an address")],
            mtu: 1500,
            default_route: Some(gateway),
            public_address: None,
            up: true,
        }],
        overlay_address: None,
    };
    Arc::new(Network {
        name: "seven".to_owned(),
        internet: Internet::default(),
        vcns: vec![vcn("a", 1), vcn("b", 2)],
        overlay: None,
        nodes: (0..4).map(node).collect(),
    })
}

/// The guide's topology, as it is and without the overlay.
fn split_vcn() -> Option<(Arc<Network>, Arc<Network>)> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/split-vcn.yaml");
    let whole = topology::load(&file).ok()?;
    let mut bare = whole.clone();
    bare.overlay = None;
    for node in &mut bare.nodes {
        node.overlay_address = None;
    }
    Some((Arc::new(whole), Arc::new(bare)))
}

/// A star whose nodes reach each other and nobody else, so that all there is to it is links, addresses and routes.
fn plain_star(nodes: usize) -> Network {
    let mut network = star(nodes);
    network.vcns[0].nat = Nat::None;
    network
}

fn namespaces(network: &Network) -> u32 {
    1 + (network.vcns.len() + network.nodes.len()) as u32
}

fn one(runtime: &Runtime, network: &Arc<Network>) -> Result<Times, lab::Error> {
    runtime.block_on(async {
        let began = Instant::now();
        let lab = Lab::build(Arc::clone(network)).await?;
        let build = began.elapsed();
        let began = Instant::now();
        drop(lab);
        Ok(Times { build, close: began.elapsed() })
    })
}

fn small(runtime: &Runtime, name: &str, network: &Arc<Network>, rounds: usize, target: Option<u64>) -> Vec<Times> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        match one(runtime, network) {
            Ok(times) => all.push(times),
            Err(error) => {
                println!("{name:<44} {error}");
                return all;
            }
        }
        sleep(CLEARING * namespaces(network));
    }
    row(name, all.iter().map(|times| times.build), target.map(Duration::from_millis));
    all
}

fn large(runtime: &Runtime, rounds: usize) {
    let (plain, behind_nat) = (Arc::new(plain_star(LARGE)), Arc::new(star(LARGE)));
    let pause = CLEARING * namespaces(&plain);
    let (mut raw, mut bare, mut built, mut with_nat) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        raw.push(floor::star(LARGE));
        sleep(pause);
        bare.push(empty_namespaces(LARGE + 2));
        sleep(pause);
        for (network, times) in [(&plain, &mut built), (&behind_nat, &mut with_nat)] {
            match one(runtime, network) {
                Ok(one) => times.push(one),
                Err(error) => println!("star of {LARGE}: {error}"),
            }
            sleep(pause);
        }
    }
    row(&format!("star of {LARGE}: the same messages sent raw"), raw.iter().copied(), None);
    row(&format!("star of {LARGE}: its namespaces, empty"), bare.iter().copied(), None);
    row(&format!("star of {LARGE}"), built.iter().map(|times| times.build), None);
    row(&format!("star of {LARGE} behind NAT"), with_nat.iter().map(|times| times.build), None);
    let ratio = |times: &[Times], of: fn(&mut dyn Iterator<Item = Duration>) -> Duration| {
        of(&mut times.iter().map(|times| times.build)).as_secs_f64() / of(&mut raw.iter().copied()).as_secs_f64()
    };
    println!(
        "  star over raw: {:.2}× by medians, {:.2}× by the fastest (target: at most 1.7×)",
        ratio(&built, median),
        ratio(&built, fastest)
    );
    println!("  letting go of a star of {LARGE}: {}", ms(median(&mut built.iter().map(|times| times.close))));
}

/// What a lab's namespaces cost before anything is in them, sysctls and `lo` included.
fn empty_namespaces(count: usize) -> Duration {
    let began = Instant::now();
    let made: Vec<_> = (0..count).map(|_| Namespace::create("empty", &Sysctls::ROUTER)).collect();
    let took = began.elapsed();
    drop(made);
    took
}

fn side_by_side(runtime: &Runtime, alone: &[Times], rounds: usize) {
    let network = seven(true);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let labs = runtime.block_on(async {
            let labs = (0..SIDE_BY_SIDE).map(|_| tokio::spawn(Lab::build(Arc::clone(&network))));
            futures::future::join_all(labs).await
        });
        times.push(began.elapsed());
        let failed = labs.iter().filter(|lab| !matches!(lab, Ok(Ok(_)))).count();
        if failed > 0 {
            println!("{failed} of {SIDE_BY_SIDE} labs side by side failed");
        }
        drop(labs);
        sleep(CLEARING * namespaces(&network) * SIDE_BY_SIDE as u32);
    }
    row(&format!("{SIDE_BY_SIDE} labs of 7 with NAT side by side"), times.iter().copied(), None);
    if !alone.is_empty() && !times.is_empty() {
        let one_by_one = median(&mut alone.iter().map(|times| times.build)) * SIDE_BY_SIDE as u32;
        let ratio = median(&mut times.iter().copied()).as_secs_f64() / one_by_one.as_secs_f64();
        println!("  {ratio:.2}× of one after the other");
    }
}

/// What a namespace's rules cost: the first transaction, and one that replaces it.
fn rule_sets(rounds: usize) {
    let table = || {
        let forward = Chain::base("forward", ChainType::Filter, Hook::Forward, 0);
        let out = Statement::Output("wan".to_owned());
        Table::ipv4("rules")
            .chain(forward.drop_rule("nobody", [Statement::Input("wan".to_owned())]))
            .chain(Chain::base("nat", ChainType::Nat, Hook::Postrouting, 100).rule([out, Statement::Masquerade]))
    };
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let loaded = Namespace::create("rules", &Sysctls::ROUTER).and_then(|namespace| {
            let began = Instant::now();
            namespace.load_nft(&[table()])?;
            first.push(began.elapsed());
            let began = Instant::now();
            namespace.load_nft(&[table()])?;
            again.push(began.elapsed());
            Ok(())
        });
        if let Err(error) = loaded {
            println!("rules: {error}");
            return;
        }
        sleep(CLEARING);
    }
    println!("\n{:<44} {:>10} {:>10}", "rules of one namespace", "median", "fastest");
    row("first transaction", first.into_iter(), None);
    row("the same again, replacing it", again.into_iter(), None);
}

/// Threads and memory of a lab of many nodes.
fn footprint(runtime: &Runtime, processors: usize) {
    // What the first lab brings with it for all (certificates, threads) isn't the nodes'.
    if let Err(error) = one(runtime, &Arc::new(star(1))) {
        println!("no lab can be built: {error}");
        return;
    }
    sleep(CLEARING * 3);
    let (threads, memory) = (threads(), resident());
    let lab = runtime.block_on(Lab::build(Arc::new(star(LARGE))));
    let (threads_now, memory_now) = (self::threads(), resident());
    println!("{:<44} {:>10} {:>21}", format!("a lab of {LARGE} nodes, no overlay"), "measured", "target");
    println!(
        "{:<44} {:>10} {:>21}",
        "threads (one node before it)",
        format!("{threads_now} ({threads})"),
        format!("{processors} + a constant")
    );
    let grown = memory_now.saturating_sub(memory) as f64 / 1024.0;
    println!("{:<44} {:>10} {:>21}", "resident memory more than before", format!("{grown:.1} MiB"), "15 MiB");
    drop(lab);
    sleep(CLEARING * LARGE as u32);
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn row(name: &str, times: impl Iterator<Item = Duration>, target: Option<Duration>) {
    let times: Vec<_> = times.collect();
    if times.is_empty() {
        return;
    }
    let (median, fastest) = (median(&mut times.iter().copied()), fastest(&mut times.iter().copied()));
    let target = target.map_or_else(String::new, |target| {
        format!("{} {:>7.2}×", ms(target), median.as_secs_f64() / target.as_secs_f64())
    });
    println!("{name:<44} {} {} {target}", ms(median), ms(fastest));
}

fn median(times: &mut dyn Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn fastest(times: &mut dyn Iterator<Item = Duration>) -> Duration {
    times.min().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:>7.1} ms", time.as_secs_f64() * 1000.0)
}
