//! Many labs side by side in one process: each its own, few threads for all, and nothing left of any.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lab::{Lab, Namespace};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use topology::Network;

const LABS: usize = 32;
/// Threads that wait in the kernel for the runtime's sake: fewer than the program has, so that labs have to share them.
const BLOCKING: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);
/// The kernel takes namespaces down behind us, one after the other.
const CLEANUP: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // The limits of a user namespace of our own count our network namespaces and nobody else's. Before the first thread.
    let entered = apart().map_err(|error| error.to_string());
    let entered = entered.and_then(|()| lab::sandbox::enter().map_err(|missing| missing.to_string()));
    let runtime = Builder::new_multi_thread().max_blocking_threads(BLOCKING).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let network = network();
    let barred = entered
        .err()
        .or_else(|| runtime.block_on(lab::doctor::try_for(&network)).err().map(|missing| missing.to_string()));
    if let (Some(reason), false) = (&barred, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    let test = move || side_by_side(&runtime, &network);
    let trials = vec![Trial::test("labs_side_by_side", test).with_ignored_flag(barred.is_some())];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn apart() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn network() -> Arc<Network> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/split-vcn.yaml");
    Arc::new(topology::load(&file).unwrap_or_else(|wrong| panic!("{wrong}")))
}

fn threads() -> Result<usize, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).ok_or("no line Threads")?;
    Ok(line.trim().parse()?)
}

fn open_files() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn side_by_side(runtime: &Runtime, network: &Arc<Network>) -> Result<(), Failed> {
    let files = open_files()?;
    runtime.block_on(async {
        let mut building = tokio::task::JoinSet::new();
        for _ in 0..LABS {
            building.spawn(Lab::build(Arc::clone(network)));
        }
        let mut labs = Vec::new();
        while let Some(built) = building.join_next().await {
            labs.push(built??);
        }
        let (cores, threads) = (std::thread::available_parallelism()?.get(), threads()?);
        // The runtime's workers and blocking threads, the test's own two.
        let most = cores + BLOCKING + 2;
        if threads > most {
            return Err(format!("{LABS} labs on {cores} cores may have {most} threads, there are {threads}").into());
        }
        apart_from_each_other(&labs).await
    })?;
    runtime.block_on(all_gone(files))
}

/// The same datagram in every lab at once, each with the lab's number in it: over the overlay, and out to the internet
/// by the NAT. Every receiver gets its own lab's and no other.
async fn apart_from_each_other(labs: &[Lab]) -> Result<(), Failed> {
    let overlay = Ipv4Addr::new(100, 64, 0, 2);
    let internet = Ipv4Addr::new(8, 8, 8, 8);
    let public = Ipv4Addr::new(168, 107, 2, 60);
    let master = Ipv4Addr::new(100, 64, 0, 1);
    let mut receivers = Vec::new();
    for lab in labs {
        let worker = &lab.node("worker").ok_or("split-vcn has a worker")?.namespace;
        receivers.push([(receiver(worker)?, master), (receiver(&lab.internet)?, public)]);
    }
    let mut senders = Vec::new();
    for (number, lab) in labs.iter().enumerate() {
        let namespace = &lab.node("master").ok_or("split-vcn has a master")?.namespace;
        let sender = namespace.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None)?;
        for to in [overlay, internet] {
            sender.send_to(&number.to_be_bytes(), SocketAddrV4::new(to, PORT)).await?;
        }
        senders.push(sender);
    }
    for (number, receivers) in receivers.iter().enumerate() {
        for (receiver, expected) in receivers {
            let mut buffer = [0; 64];
            let received = timeout(PATIENCE, receiver.recv_from(&mut buffer));
            let (length, from) =
                received.await.map_err(|_| format!("lab {number}: nothing came from {expected}"))??;
            if buffer[..length] != number.to_be_bytes() || from.ip() != IpAddr::V4(*expected) {
                let got = &buffer[..length];
                return Err(
                    format!("lab {number} should get its own number from {expected}, got {got:?} from {from}").into()
                );
            }
        }
    }
    for (number, receivers) in receivers.iter().enumerate() {
        for (receiver, _) in receivers {
            if let Ok((_, from)) = receiver.try_recv_from(&mut [0; 64]) {
                return Err(format!("lab {number} got a second datagram, from {from}: another lab's").into());
            }
        }
    }
    Ok(())
}

/// A port nobody serves.
const PORT: u16 = 9;

fn receiver(namespace: &Namespace) -> Result<tokio::net::UdpSocket, Failed> {
    Ok(namespace.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT), None)?)
}

/// Waits until the labs' files are closed and the kernel has taken down all network namespaces but the sandbox: then, and
/// only then, one more may be made where two is the limit (user_namespaces(7), `max_net_namespaces`).
async fn all_gone(files: usize) -> Result<(), Failed> {
    fs::write("/proc/sys/user/max_net_namespaces", "2")?;
    let gone = async {
        while open_files()? > files {
            sleep(PAUSE).await;
        }
        // A thread, since a namespace is a thread's; it ends, and the namespace with it.
        while !std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false) {
            sleep(PAUSE).await;
        }
        Ok::<_, io::Error>(())
    };
    match timeout(CLEANUP, gone).await {
        Ok(gone) => Ok(gone?),
        Err(_) => {
            let open = open_files()?;
            Err(format!("after {CLEANUP:?}: {open} open files where {files} were, or network namespaces left").into())
        }
    }
}
