//! A run sends nothing into the namespace it was started in, nor by way of a socket that some library opened behind our
//! back. With `lo` down there too: a lab needs nothing of its host's network.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use ipnet::Ipv4Net;
use lab::netlink::{Neighbour, Route, VethEnd, add_veth};
use lab::{Missing, Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use tokio::runtime::Runtime;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::runner;
use underlay::scenario::{self, Overrides};
use underlay::verdict::Verdict;

const SCENARIO: &str = "scenarios/guide/table.yaml";
const NEAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let missing = lacking(sandbox, &runtime);
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let trial = |name: &str, test: fn(&Runtime) -> Result<(), Failed>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || test(&runtime)).with_ignored_flag(missing.is_some())
    };
    let trials = vec![
        trial("the_program_sends_nothing", program),
        trial("its_libraries_send_nothing", |runtime| runtime.block_on(libraries())),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cases() -> Vec<Case> {
    scenario::load(&root().join(SCENARIO), &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn lacking<T>(sandbox: Result<T, Missing>, runtime: &Runtime) -> Option<Missing> {
    sandbox.and_then(|_| runtime.block_on(lab::doctor::try_for(&cases()[0].network))).err()
}

/// Gives a namespace a way out, so that nothing fails to leave for want of one, and returns a socket that gets whatever
/// passes on any link of it.
fn open_up(namespace: &Namespace, beyond: &Namespace) -> Result<std::os::fd::OwnedFd, Failed> {
    let mac = [0x02, 0, 0, 0, 0, 2];
    add_veth(
        VethEnd::new(namespace, "way-out", 1500),
        VethEnd { mac: Some(mac), ..VethEnd::new(beyond, "way-in", 1500) },
    )?;
    beyond.netlink()?.link_up("way-in")?;
    let mut netlink = namespace.netlink()?;
    netlink.add_address("way-out", Ipv4Net::new(NEAR, 24)?)?;
    netlink.link_up("way-out")?;
    netlink.add_neighbour("way-out", Neighbour { address: FAR, mac })?;
    netlink.add_route(&Route::default_via(FAR, "way-out"))?;
    drop(netlink);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll);
    Ok(namespace.enter(open)??)
}

/// The packets a socket has got, as far as their IP addresses.
fn packets(socket: &impl AsRawFd) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2048];
    let next = || {
        recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok().map(|size| buffer[..size.min(34)].to_vec())
    };
    std::iter::from_fn(next).collect()
}

/// Sends one datagram, to see that it would be seen.
fn proof(namespace: &Namespace, seen: &impl AsRawFd) -> Result<(), Failed> {
    let sender = namespace.enter(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    sender.send_to(b"would be seen", (Ipv4Addr::new(8, 8, 8, 8), 53))?;
    match packets(seen).is_empty() {
        true => Err("a datagram that was sent on purpose wasn't seen either: the test is blind".into()),
        false => Ok(()),
    }
}

fn program(_: &Runtime) -> Result<(), Failed> {
    let (host, beyond) = (Namespace::create("host", &Sysctls::HOST)?, Namespace::create("beyond", &Sysctls::HOST)?);
    let seen = open_up(&host, &beyond)?;
    host.netlink()?.link_down("lo")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
    command.args(["test", SCENARIO]).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A child belongs to the namespace of the thread that starts it.
    let child = host.enter(|| command.spawn())??;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("every case passes where `lo` is down: {}\n{said}", output.status).into());
    }
    let sent = packets(&seen);
    match sent.is_empty() {
        true => proof(&host, &seen),
        false => Err(format!("it sent packets into the namespace it was started in: {sent:02x?}").into()),
    }
}

/// Sockets opened where nobody chose a namespace would be in this process's own.
async fn libraries() -> Result<(), Failed> {
    let own = Namespace::open("own", Path::new("/proc/self/ns/net"))?;
    // IPv6 talks of itself; a kernel without it has nothing to switch off.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let beyond = Namespace::create("beyond", &Sysctls::HOST)?;
    let seen = open_up(&own, &beyond)?;
    for case in cases() {
        let result = runner::one(&Netns, Arc::new(case)).await;
        if result.verdict != Verdict::Pass {
            return Err(format!("{} passes where `lo` is down: {:?}", result.case.id(), result.verdict).into());
        }
        let sent = packets(&seen);
        if !sent.is_empty() {
            return Err(format!("{} sent packets by stray sockets: {sent:02x?}", result.case.id()).into());
        }
    }
    proof(&own, &seen)
}
