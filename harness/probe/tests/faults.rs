//! Faults put in one by one, and what the walk says of each: the hop and the reason.
//!
//! The table in docs/faults.md is made from this one; `BLESS=1 cargo test -p probe --test faults` writes it.
//!
//! The place is the shipped `split-vcn`, with a VXLAN between its nodes over the overlay:
//!
//! ```text
//! master cilium_vxlan 10.9.0.1 ─ tailscale0 ─ enp0s6 ─ vcn a ─ internet ─ vcn b ─ enp0s6 ─ tailscale0 ─ cilium_vxlan 10.9.0.2 worker
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use lab::netlink::{Listening, Neighbour, Route};
use lab::nft::{Chain, ChainType, Hook, Statement, Table, watch_drops};
use lab::{Lab, Namespace};
use libtest_mimic::{Arguments, Failed, Trial};
use probe::Probe;
use probe::capture::Capture;
use probe::evidence::Outcome::NotPossible as Refused;
use probe::walk::facts::Facts;
use probe::walk::{EndReason, Known, Walk};
use probe::witness::Witness;
use tokio::net::UdpSocket;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const MASTER_PUBLIC: Ipv4Addr = Ipv4Addr::new(168, 107, 2, 60);
/// The VXLAN's addresses.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const VXLAN: &str = "cilium_vxlan";
const VXLAN_PORT: u16 = 8472;
const WIREGUARD_PORT: u16 = 41641;
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// A port at which nobody listens, and one at which somebody does who never answers.
const CLOSED: u16 = 4444;
const MUTE: u16 = 4445;

/// Longer than any death takes to be witnessed; where none is, so long is waited.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A lab with the VXLAN on it, and what a fault leaves behind.
struct Site {
    lab: Lab,
    watches: Vec<Listening>,
    sockets: Vec<UdpSocket>,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Packet {
    /// A ping from the master to 8.8.8.8.
    Internet,
    /// The same with 1400 bytes that mustn't be fragmented.
    LargeInternet,
    /// A connection from the master to a port of 8.8.8.8.
    Connection(u16),
    /// A datagram from the master to a port of 8.8.8.8.
    Datagram(u16),
    /// A ping from the master to an address of its own VCN that nobody has.
    OwnNetwork,
    /// A ping through the VXLAN.
    Tunnel,
    /// A ping from the internet to the master's public address.
    FromInternet,
}

/// A fault and what must be found.
struct Fault {
    /// For the table in the book.
    what: &'static str,
    packet: Packet,
    inject: fn(&mut Site) -> BoxFuture<'_, Outcome>,
    at: &'static str,
    reason: EndReason,
    /// Whether it is the answer that dies.
    answer: bool,
    /// What the detail must contain.
    detail: &'static str,
}

fn net(address: Ipv4Addr) -> Ipv4Net {
    address.into()
}

impl Site {
    async fn build() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let network = topology::load(&root().join("topologies/split-vcn.yaml")).map_err(|wrong| wrong.to_string())?;
        let lab = Lab::build(Arc::new(network)).await?;
        let peers =
            [("master", NEAR, FAR, Ipv4Addr::new(100, 64, 0, 2)), ("worker", FAR, NEAR, Ipv4Addr::new(100, 64, 0, 1))];
        for (node, own, other, end) in peers {
            let mac = |address: Ipv4Addr| [2, 0, 0, 0, 0, address.octets()[3]];
            let mut netlink = lab.node(node).ok_or("a node")?.namespace.netlink()?;
            netlink.add_vxlan(VXLAN, 2, VXLAN_PORT, 1230, mac(own))?;
            netlink.link_up(VXLAN)?;
            netlink.add_address(VXLAN, Ipv4Net::new(own, 24)?)?;
            netlink.add_fdb(VXLAN, mac(other), IpAddr::V4(end))?;
            netlink.add_neighbour(VXLAN, Neighbour { address: other, mac: mac(other) })?;
        }
        let watches = vec![watch_drops(&lab.internet, lab.drops.clone())?];
        Ok(Self { lab, watches, sockets: Vec::new() })
    }

    fn node(&self, name: &str) -> &Namespace {
        &self.lab.node(name).expect("a node of the topology").namespace
    }

    fn vcn(&self, name: &str) -> &Namespace {
        &self.lab.vcn(name).expect("a VCN of the topology").namespace
    }

    /// Adds a rule that drops and tells its name.
    fn drop(&self, namespace: &Namespace, hook: Hook, matches: impl IntoIterator<Item = Statement>) -> Outcome {
        self.rule(namespace, |chain| chain.drop_rule("fault", matches), hook)
    }

    fn rule(&self, namespace: &Namespace, rule: impl FnOnce(Chain) -> Chain, hook: Hook) -> Outcome {
        let chain = rule(Chain::base("fault", ChainType::Filter, hook, -250));
        Ok(namespace.load_nft(&[Table::ipv4("fault").chain(chain)])?)
    }

    /// Replaces the source of what leaves by an interface.
    fn forge(&self, namespace: &Namespace, interface: &str) -> Outcome {
        let forged = Statement::Snat { to: Ipv4Addr::new(10, 66, 0, 1), random: false };
        let chain = Chain::base("fault", ChainType::Nat, Hook::Postrouting, 50);
        let chain = chain.rule([Statement::Output(interface.to_owned()), Statement::Protocol(ICMP), forged]);
        Ok(namespace.load_nft(&[Table::ipv4("fault").chain(chain)])?)
    }

    async fn walk(&self, packet: Packet) -> Result<Walk, Box<dyn std::error::Error + Send + Sync>> {
        let capture = Capture::start(&self.lab.namespaces())?;
        let witness = Witness::new(&capture, &self.lab.drops);
        let icmp = |target, size, dont_fragment| Probe::Icmp { target, size, dont_fragment };
        let (from, probe) = match packet {
            Packet::Internet => ("master", icmp(RESOLVER, 56, false)),
            Packet::LargeInternet => ("master", icmp(RESOLVER, 1400, true)),
            Packet::Connection(port) => {
                ("master", Probe::Tcp { target: SocketAddrV4::new(RESOLVER, port), tells_caller: false })
            }
            Packet::Datagram(port) => ("master", Probe::Udp { target: SocketAddrV4::new(RESOLVER, port) }),
            Packet::OwnNetwork => ("master", icmp(Ipv4Addr::new(10, 0, 0, 77), 56, false)),
            Packet::Tunnel => ("master", icmp(FAR, 56, false)),
            Packet::FromInternet => ("internet", icmp(MASTER_PUBLIC, 56, false)),
        };
        let namespace = if from == "internet" { &self.lab.internet } else { self.node(from) };
        let evidence = probe::run(&probe, namespace, DEADLINE, &witness).await;
        if let Some(mark) = evidence.marks.last().filter(|_| matches!(evidence.outcome, Refused { errno: Some(1) })) {
            // The sender was told at once; the rule's name comes by another way.
            let told = capture.until(mark, |_| capture.trail(mark).is_some_and(|trail| trail.death.is_some()));
            tokio::time::timeout(DEADLINE, told).await?;
        }
        let trail = evidence.marks.last().and_then(|mark| capture.trail(mark)).unwrap_or_default();
        let known = Known { from, evidence: &evidence, trail: &trail, overlay: Some("tailscale0") };
        let mut facts = |name: &str| capture.namespace(name).and_then(|namespace| Facts::of(&namespace).ok());
        let losses = capture.losses();
        if losses.any_packet() {
            return Err(format!("packets were lost: {losses:?}").into());
        }
        Ok(probe::walk::walk(&known, &mut facts))
    }
}

/// A fault of a drop rule.
macro_rules! dropped {
    ($what:expr, $packet:expr, $at:expr, $answer:expr, |$site:ident| $place:expr, $hook:expr, [$($matches:expr),*]) => {
        Fault {
            what: $what,
            packet: $packet,
            inject: |$site| Box::pin(async move { $site.drop($place, $hook, [$($matches),*]) }),
            at: $at,
            reason: EndReason::Firewall,
            answer: $answer,
            detail: "rule fault",
        }
    };
}

fn out(interface: &str) -> Statement {
    Statement::Output(interface.to_owned())
}

fn by(interface: &str) -> Statement {
    Statement::Input(interface.to_owned())
}

fn faults() -> Vec<Fault> {
    use EndReason as Why;
    use Packet::{Connection, Datagram, FromInternet, Internet, LargeInternet, OwnNetwork, Tunnel};
    vec![
        dropped!(
            "a drop rule on the sender",
            Internet,
            "master",
            false,
            |site| site.node("master"),
            Hook::Output,
            [Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule in the VCN's gateway",
            Internet,
            "vcn a/gateway",
            false,
            |site| site.vcn("a"),
            Hook::Forward,
            [Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule at the far end",
            Internet,
            "internet",
            false,
            |site| &site.lab.internet,
            Hook::Input,
            [Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule for the answer, at the far end",
            Internet,
            "internet",
            true,
            |site| &site.lab.internet,
            Hook::Output,
            [Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule for the answer, in the VCN's gateway",
            Internet,
            "vcn a/gateway",
            true,
            |site| site.vcn("a"),
            Hook::Forward,
            [by("wan"), Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule for the answer, on the sender",
            Internet,
            "master/enp0s6",
            true,
            |site| site.node("master"),
            Hook::Input,
            [Statement::Protocol(ICMP)]
        ),
        dropped!(
            "a drop rule before VXLAN",
            Tunnel,
            "master",
            false,
            |site| site.node("master"),
            Hook::Output,
            [out(VXLAN)]
        ),
        dropped!(
            "a drop rule on VXLAN's outer packet",
            Tunnel,
            "master/cilium_vxlan",
            false,
            |site| site.node("master"),
            Hook::Output,
            [Statement::Protocol(UDP), Statement::DestinationPort(VXLAN_PORT)]
        ),
        dropped!(
            "a drop rule on the encrypted packet, on its node",
            Tunnel,
            "master/tailscale0",
            false,
            |site| site.node("master"),
            Hook::Output,
            [Statement::Protocol(UDP), Statement::DestinationPort(WIREGUARD_PORT)]
        ),
        dropped!(
            "the same in the near VCN's gateway",
            Tunnel,
            "vcn a/gateway",
            false,
            |site| site.vcn("a"),
            Hook::Forward,
            [out("wan"), Statement::Protocol(UDP), Statement::DestinationPort(WIREGUARD_PORT)]
        ),
        dropped!(
            "the same in the internet",
            Tunnel,
            "internet",
            false,
            |site| &site.lab.internet,
            Hook::Forward,
            [
                Statement::Source(net(MASTER_PUBLIC)),
                Statement::Protocol(UDP),
                Statement::DestinationPort(WIREGUARD_PORT)
            ]
        ),
        dropped!(
            "the same in the far VCN's gateway",
            Tunnel,
            "vcn b/gateway",
            false,
            |site| site.vcn("b"),
            Hook::Forward,
            [by("wan"), Statement::Protocol(UDP), Statement::DestinationPort(WIREGUARD_PORT)]
        ),
        dropped!(
            "the same on the far node",
            Tunnel,
            "worker/enp0s6",
            false,
            |site| site.node("worker"),
            Hook::Input,
            [by("enp0s6"), Statement::Protocol(UDP), Statement::DestinationPort(WIREGUARD_PORT)]
        ),
        dropped!(
            "a drop rule on VXLAN's outer packet, decrypted",
            Tunnel,
            "worker/tailscale0",
            false,
            |site| site.node("worker"),
            Hook::Input,
            [by("tailscale0"), Statement::Protocol(UDP), Statement::DestinationPort(VXLAN_PORT)]
        ),
        dropped!(
            "a drop rule behind VXLAN",
            Tunnel,
            "worker/cilium_vxlan",
            false,
            |site| site.node("worker"),
            Hook::Input,
            [by(VXLAN)]
        ),
        dropped!(
            "a drop rule for the answer into VXLAN",
            Tunnel,
            "worker",
            true,
            |site| site.node("worker"),
            Hook::Output,
            [out(VXLAN)]
        ),
        dropped!(
            "a drop rule for the answer's outer packet, decrypted",
            Tunnel,
            "master/tailscale0",
            true,
            |site| site.node("master"),
            Hook::Input,
            [by("tailscale0"), Statement::Protocol(UDP), Statement::DestinationPort(VXLAN_PORT)]
        ),
        Fault {
            what: "a drop rule without a name in the VCN's gateway",
            packet: Internet,
            inject: |site| {
                Box::pin(async move {
                    let unnamed = |chain: Chain| chain.rule([Statement::Protocol(ICMP), Statement::Drop]);
                    site.rule(site.vcn("a"), unnamed, Hook::Forward)
                })
            },
            at: "vcn a/gateway",
            reason: Why::Unknown,
            answer: false,
            detail: "last seen coming in by subnet",
        },
        Fault {
            what: "the sender has no default route",
            packet: Internet,
            inject: |site| {
                Box::pin(async move {
                    let route = Route::default_via(Ipv4Addr::new(10, 0, 0, 1), "enp0s6");
                    Ok(site.node("master").netlink()?.delete_route(&route)?)
                })
            },
            at: "master",
            reason: Why::NoRoute,
            answer: false,
            detail: "",
        },
        Fault {
            what: "the VCN's gateway has no route to the internet",
            packet: Internet,
            inject: |site| {
                Box::pin(async move {
                    let route = Route::default_via(Ipv4Addr::new(198, 18, 0, 0), "wan");
                    Ok(site.vcn("a").netlink()?.delete_route(&route)?)
                })
            },
            at: "vcn a/gateway",
            reason: Why::NoRoute,
            answer: false,
            detail: "net unreachable, says 10.0.0.1 to 10.0.0.239",
        },
        Fault {
            what: "the far end has no route back",
            packet: Internet,
            inject: |site| {
                Box::pin(async move {
                    let near = Ipv4Addr::new(198, 18, 0, 1);
                    let route = Route::through(net(MASTER_PUBLIC), "vcn-0").via(near);
                    Ok(site.lab.internet.netlink()?.delete_route(&route)?)
                })
            },
            at: "internet",
            reason: Why::Unanswered,
            answer: false,
            detail: "sent no answer",
        },
        Fault {
            what: "the link behind the VCN's gateway has a smaller MTU, and the packet mustn't be cut",
            packet: LargeInternet,
            inject: |site| Box::pin(async move { Ok(site.vcn("a").netlink()?.set_mtu("wan", 1300)?) }),
            at: "vcn a/gateway",
            reason: Why::TooBig,
            answer: false,
            detail: "too big for an MTU of 1300",
        },
        Fault {
            what: "the sender's own link has a smaller MTU",
            packet: LargeInternet,
            inject: |site| Box::pin(async move { Ok(site.node("master").netlink()?.set_mtu("enp0s6", 1300)?) }),
            at: "master",
            reason: Why::TooBig,
            answer: false,
            detail: "1300",
        },
        Fault {
            what: "nobody on the link has the destination",
            packet: OwnNetwork,
            inject: |_| Box::pin(async { Ok(()) }),
            at: "master/enp0s6",
            reason: Why::NoArpReply,
            answer: false,
            detail: "10.0.0.239 asked for 10.0.0.77",
        },
        Fault {
            what: "VXLAN's far end is on the own link by its address, and nobody there has it",
            packet: Tunnel,
            inject: |site| {
                Box::pin(async move {
                    let mut netlink = site.node("master").netlink()?;
                    netlink.delete_link(VXLAN)?;
                    netlink.add_vxlan(VXLAN, 2, VXLAN_PORT, 1450, [2, 0, 0, 0, 0, 1])?;
                    netlink.link_up(VXLAN)?;
                    netlink.add_address(VXLAN, Ipv4Net::new(NEAR, 24)?)?;
                    netlink.add_fdb(VXLAN, [2, 0, 0, 0, 0, 2], Ipv4Addr::new(10, 0, 0, 24).into())?;
                    Ok(netlink.add_neighbour(VXLAN, Neighbour { address: FAR, mac: [2, 0, 0, 0, 0, 2] })?)
                })
            },
            at: "master/enp0s6",
            reason: Why::NoArpReply,
            answer: false,
            detail: "10.0.0.239 asked for 10.0.0.24",
        },
        Fault {
            what: "the far node has no VXLAN device",
            packet: Tunnel,
            inject: |site| Box::pin(async move { Ok(site.node("worker").netlink()?.delete_link(VXLAN)?) }),
            at: "worker/tailscale0",
            reason: Why::Refused,
            answer: false,
            detail: "port unreachable",
        },
        Fault {
            what: "the far node's overlay is dead",
            packet: Tunnel,
            inject: |site| {
                Box::pin(async move {
                    let overlay = site.lab.overlay.as_mut().ok_or("the topology has an overlay")?;
                    Ok(overlay.leave("worker").await?)
                })
            },
            at: "worker/enp0s6",
            reason: Why::OverlayDead,
            answer: false,
            detail: "no tailscale0 there gave it out",
        },
        Fault {
            what: "a route sends the internet into the overlay",
            packet: Internet,
            inject: |site| {
                Box::pin(async move {
                    let route = Route::through(net(RESOLVER), "tailscale0");
                    Ok(site.node("master").netlink()?.add_route(&route)?)
                })
            },
            at: "master/tailscale0",
            reason: Why::OverlayNoPeer,
            answer: false,
            detail: "100.64.0.1 → 8.8.8.8 was dropped",
        },
        Fault {
            what: "a source that isn't the sender's own, into the cloud",
            packet: Internet,
            inject: |site| Box::pin(async move { site.forge(site.node("master"), "enp0s6") }),
            at: "vcn a/gateway",
            reason: Why::SourceCheck,
            answer: false,
            detail: "10.66.0.1 → 8.8.8.8 was dropped",
        },
        Fault {
            what: "traffic from the internet that nobody asked for",
            packet: FromInternet,
            inject: |_| Box::pin(async { Ok(()) }),
            at: "vcn a/gateway",
            reason: Why::IngressDenied,
            answer: false,
            detail: "was dropped",
        },
        Fault {
            what: "nobody listens at the far end's port",
            packet: Connection(CLOSED),
            inject: |_| Box::pin(async { Ok(()) }),
            at: "internet",
            reason: Why::Refused,
            answer: false,
            detail: "",
        },
        Fault {
            what: "who listens at the far end never answers",
            packet: Datagram(MUTE),
            inject: |site| {
                Box::pin(async move {
                    site.sockets.push(site.lab.internet.udp(SocketAddrV4::new(RESOLVER, MUTE), None)?);
                    Ok(())
                })
            },
            at: "internet",
            reason: Why::Unanswered,
            answer: false,
            detail: "sent no answer",
        },
    ]
}

async fn try_one(fault: &Fault) -> Outcome {
    let mut site = Site::build().await?;
    (fault.inject)(&mut site).await?;
    let walk = site.walk(fault.packet).await?;
    drop(site.watches);
    let end = walk.last_end();
    let found = (end.at.as_str(), end.reason, walk.end.reason == EndReason::AnswerLost);
    if found != (fault.at, fault.reason, fault.answer) || !end.detail.contains(fault.detail) {
        let expected = (fault.at, fault.reason, fault.answer, fault.detail);
        return Err(format!("expected (place, reason, answer lost, detail) {expected:?}, the walk is {walk:#?}").into());
    }
    if !walk.complete && fault.reason != EndReason::Unknown {
        return Err(format!("nothing was lost, so the walk is complete: {walk:#?}").into());
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The page of the book.
fn page() -> String {
    let mut page = String::from(
        "# Where packets die\n\n\
         <!-- Made by `BLESS=1 cargo test -p probe --test faults`: change harness/probe/tests/faults.rs instead. -->\n\n\
         Each of these faults is put into a network, one at a time, and a packet is sent; the walk must name the place\n\
         and the reason. The network is `topologies/split-vcn.yaml` with a VXLAN between its nodes over the overlay. The\n\
         names are those that scenarios expect with `dies-at` and `reason`.\n\n\
         | fault | the packet | ends at | reason |\n|---|---|---|---|\n",
    );
    for fault in faults() {
        let packet = match fault.packet {
            Packet::Internet => "ping `master` → 8.8.8.8",
            Packet::LargeInternet => "ping of 1400 bytes, DF, `master` → 8.8.8.8",
            Packet::Connection(_) => "TCP `master` → 8.8.8.8",
            Packet::Datagram(_) => "UDP `master` → 8.8.8.8",
            Packet::OwnNetwork => "ping `master` → 10.0.0.77",
            Packet::Tunnel => "ping `master` → `worker` through VXLAN",
            Packet::FromInternet => "ping `internet` → 168.107.2.60",
        };
        let answer = if fault.answer { "`answer-lost`: " } else { "" };
        page.push_str(&format!("| {} | {packet} | `{}` | {answer}`{}` |\n", fault.what, fault.at, fault.reason));
    }
    page.push_str("\n## Reasons\n\n| reason | what it means |\n|---|---|\n");
    for reason in EndReason::ALL {
        page.push_str(&format!("| `{reason}` | {} |\n", reason.words()));
    }
    page
}

fn page_is_current() -> Result<(), Failed> {
    let path = root().join("docs/faults.md");
    if std::env::var_os("BLESS").is_some() {
        return Ok(std::fs::write(&path, page())?);
    }
    if std::fs::read_to_string(&path)? == page() {
        return Ok(());
    }
    Err("docs/faults.md isn't this table: write it with BLESS=1".into())
}

fn main() {
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let mut trials = vec![Trial::test("the_page_in_the_book_is_current", page_is_current)];
    for fault in faults() {
        let runtime = Arc::clone(&runtime);
        let name = fault.what.replace([' ', ','], "_").replace("__", "_").replace('\'', "");
        let run = move || runtime.block_on(try_one(&fault)).map_err(|error| Failed::from(error.to_string()));
        trials.push(Trial::test(name, run).with_ignored_flag(sandbox.is_err()));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(4));
    libtest_mimic::run(&arguments, trials).exit();
}
