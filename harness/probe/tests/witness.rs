//! Deaths that are witnessed, and packets that only look dead.

mod wire;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use lab::drops::{DropLog, DropReason, Dropped};
use lab::netlink::{VethEnd, add_veth};
use lab::{Namespace, Sysctls};
use probe::capture::decode::IcmpError;
use probe::capture::sighting::{Kind, Sighting};
use probe::capture::{Capture, Options};
use probe::deathwatch::{Cause, Death, Deathwatch};
use probe::mark::Mark;
use probe::witness::{GRACE, Witness};
use tokio::time::timeout;
use wire::{
    B, DEADLINE, INNER_TWO, NOBODY, Outcome, Routed, Tunnelled, answered, block_on, join, marked, overrun, payload,
    ping, token,
};

/// Longer than a witness takes to find a death: for packets that mustn't die.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() {
    wire::run(vec![
        ("nobody_answers_for_the_destination", || block_on(silence())),
        ("a_question_already_open_counts", || block_on(open_question())),
        ("the_outer_packet_of_vxlan_waits_in_vain", || block_on(vxlan())),
        ("the_kernel_that_says_so_names_the_same_death", || block_on(kernel_says_so())),
        ("a_connection_that_never_left", || block_on(connection())),
        ("a_ping_that_never_left", || block_on(never_left())),
        ("a_host_that_answers_late_is_no_death", || block_on(late())),
        ("a_slow_server_is_no_death", || block_on(slow_server())),
        ("the_answers_way_back_counts", || block_on(way_back())),
        ("after_a_loss_silence_proves_nothing", || block_on(loss())),
        ("a_drop_is_a_death_with_its_reason", || block_on(drop_told())),
        ("a_drop_of_somebody_elses_packet_is_none", || block_on(others_drop())),
        ("what_only_the_tunnels_end_is_told_is_a_death", || block_on(told_elsewhere())),
        ("an_error_that_nobody_hears_is_a_death", || block_on(unheard())),
    ]);
}

fn expect<T: PartialEq + std::fmt::Debug>(measured: T, expected: T, what: &str) -> Outcome {
    if measured == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:#?}, measured {measured:#?}").into())
    }
}

async fn silence() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let watch = witness.watch(payload(id));
    let begun = Instant::now();
    ping(&net.a, NOBODY, id, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    eprintln!("ARP silence: {:?}: {death}: {}", begun.elapsed(), death.detail);
    expect(
        (death.namespace.as_str(), death.interface.as_deref(), death.cause),
        ("r", Some("right"), Cause::NoNeighbour(NOBODY)),
        "the death",
    )?;
    // The kernel itself gives up after three seconds, and says so.
    expect(capture.sightings(&payload(id)).iter().all(|seen| seen.kind == Kind::Request), true, "no ICMP error yet")
}

async fn open_question() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let (first, second) = (token(), token());
    let watch = witness.watch(payload(first));
    ping(&net.a, NOBODY, first, 56)?;
    timeout(DEADLINE, watch).await?;
    // The second waits behind the first: no question is asked for it.
    let watch = witness.watch(payload(second));
    let begun = Instant::now();
    ping(&net.a, NOBODY, second, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    eprintln!("question already open: {:?}", begun.elapsed());
    expect(death.cause, Cause::NoNeighbour(NOBODY), "the second packet's death")
}

/// The far end of the tunnel, on the near end's link, where nobody has it.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 24);

/// The death of a ping through a tunnel that leads nowhere, by a witness of this patience.
async fn through_vxlan(grace: Duration) -> Result<Death, Box<dyn std::error::Error>> {
    let net = Tunnelled::build(NOWHERE)?;
    let capture = Capture::start(&[net.one.clone(), net.two.clone()])?;
    let witness = Witness::new(&capture, &DropLog::default()).with_grace(grace);
    let id = token();
    let watch = witness.watch(payload(id));
    ping(&net.one, INNER_TWO, id, 56)?;
    Ok(timeout(DEADLINE, watch).await?)
}

async fn vxlan() -> Outcome {
    let death = through_vxlan(GRACE).await?;
    expect(
        (death.namespace.as_str(), death.interface.as_deref(), death.cause),
        ("one", Some("eth0"), Cause::NoNeighbour(NOWHERE)),
        "the death of the outer packet, which was never seen",
    )
}

/// As before, with a witness that is more patient than the kernel: that gives up asking after three seconds, and says so.
async fn kernel_says_so() -> Outcome {
    let death = through_vxlan(DEADLINE * 10).await?;
    expect(death.detail.contains("host unreachable"), true, "it is told by an ICMP error")?;
    expect(
        (death.namespace.as_str(), death.interface.as_deref(), death.cause),
        ("one", Some("eth0"), Cause::NoNeighbour(NOWHERE)),
        "the death",
    )
}

async fn connection() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let remote = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 77), 80);
    let socket = net.a.tcp(None)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    let SocketAddr::V4(local) = socket.local_addr()? else { return Err("an IPv4 socket".into()) };
    let watch = witness.watch(Mark::Tcp { namespace: net.a.clone(), local_port: local.port(), remote });
    let connect = tokio::spawn(socket.connect(remote.into()));
    let death = timeout(DEADLINE, watch).await?;
    connect.abort();
    expect(
        (death.namespace.as_str(), death.cause),
        ("a", Cause::NoNeighbour(*remote.ip())),
        "the death of a SYN that waits where it was made",
    )
}

async fn never_left() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let (id, nobody) = (token(), Ipv4Addr::new(10, 1, 0, 77));
    let watch = witness.watch_from(&payload(id), &net.a, nobody);
    ping(&net.a, nobody, id, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    expect((death.namespace.as_str(), death.cause), ("a", Cause::NoNeighbour(nobody)), "the death")
}

/// b comes up while r asks for it; r asks again after a second.
async fn late() -> Outcome {
    let (a, b) = (Namespace::create("a", &Sysctls::HOST)?, Namespace::create("b", &Sysctls::HOST)?);
    let switch = Namespace::create("switch", &Sysctls::HOST)?;
    switch.netlink()?.add_bridge("br0", 1500)?;
    switch.netlink()?.link_up("br0")?;
    join((&a, "eth0", "10.1.0.2/24"), (&switch, "to-a", ""))?;
    add_veth(VethEnd::new(&b, "eth0", 1500), VethEnd::new(&switch, "to-b", 1500))?;
    b.netlink()?.add_address("eth0", "10.1.0.3/24".parse()?)?;
    for port in ["to-a", "to-b"] {
        switch.netlink()?.set_controller(port, "br0")?;
        switch.netlink()?.link_up(port)?;
    }
    let capture = Capture::start(&[a.clone(), b.clone(), switch.clone()])?;
    // The kernel asks again after one second; the grace is longer than the test's deadline on anything.
    let witness = Witness::new(&capture, &DropLog::default()).with_grace(Duration::from_secs(2));
    let (id, to) = (token(), Ipv4Addr::new(10, 1, 0, 3));
    let mut watch = witness.watch_from(&payload(id), &a, to);
    ping(&a, to, id, 56)?;
    let received = || capture.statistics()[2].received;
    let asked = async {
        while received() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, asked).await?;
    b.netlink()?.link_up("eth0")?;
    let mark = payload(id);
    let seen = capture.until(&mark, |seen| answered(seen, "a"));
    tokio::select! {
        death = &mut watch => return Err(format!("not dead, but: {death}").into()),
        seen = timeout(DEADLINE, seen) => seen?,
    };
    expect(timeout(PATIENCE, watch).await.is_err(), true, "it lives")
}

/// The server has the request, while its namespace asks in vain for somebody else.
async fn slow_server() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let mut watch = witness.watch(payload(id));
    let (near, far) = (net.a.udp(any(), None)?, net.b.udp(SocketAddrV4::new(B, 5000), None)?);
    near.send_to(&marked(id, 100), (B, 5000)).await?;
    let mut buffer = [0; 200];
    let (length, from) = timeout(DEADLINE, far.recv_from(&mut buffer)).await??;
    // b, where the packet is, and r, where it was, ask for addresses nobody has.
    ping(&net.b, Ipv4Addr::new(10, 2, 0, 77), token(), 56)?;
    ping(&net.a, NOBODY, token(), 56)?;
    expect(timeout(PATIENCE, &mut watch).await.is_err(), true, "a request at its server isn't dead")?;
    far.send_to(&buffer[..length], from).await?;
    timeout(DEADLINE, near.recv_from(&mut buffer)).await??;
    Ok(())
}

fn any() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)
}

/// b's gateway is gone, so b's answer waits for it.
async fn way_back() -> Outcome {
    let net = Routed::build()?;
    let gone = Ipv4Addr::new(10, 2, 0, 66);
    net.b.netlink()?.delete_route(&lab::netlink::Route::default_via(Ipv4Addr::new(10, 2, 0, 1), "eth0"))?;
    net.b.netlink()?.add_route(&lab::netlink::Route::default_via(gone, "eth0"))?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let watch = witness.watch(payload(id));
    ping(&net.a, B, id, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    expect((death.namespace.as_str(), death.cause), ("b", Cause::NoNeighbour(gone)), "the answer's death")
}

async fn loss() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::with(&net.all(), Options { receive_buffer: 0, ..Options::default() })?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let watch = witness.watch(payload(id));
    ping(&net.a, NOBODY, id, 56)?;
    overrun(&net.a, B, &capture)?;
    expect(timeout(PATIENCE, watch).await.is_err(), true, "silence, when packets went unseen, is no death")
}

/// The IP packet in a sighting's frame.
fn packet(seen: &Sighting) -> Result<Vec<u8>, &'static str> {
    Ok(seen.frame.as_ref().ok_or("a frame was kept")?.bytes[14..].to_vec())
}

async fn drop_told() -> Outcome {
    let net = Tunnelled::build(Ipv4Addr::new(10, 0, 0, 2))?;
    let capture = Capture::start(&[net.one.clone(), net.two.clone()])?;
    let drops = DropLog::default();
    let witness = Witness::new(&capture, &drops);
    for outer in [0, 1] {
        // The packet really passes; what a part of the lab drops is taken from the wire.
        let id = token();
        capture.watch(&payload(id));
        ping(&net.one, INNER_TWO, id, 56)?;
        let seen = timeout(DEADLINE, capture.until(&payload(id), |seen| answered(seen, "one"))).await?;
        let of_kind = |kind| move |seen: &&Sighting| seen.kind == kind && seen.outer.len() == outer;
        let request = seen.iter().find(of_kind(Kind::Request)).ok_or("the request was seen")?;
        let answer = seen.iter().find(of_kind(Kind::Answer)).ok_or("the answer was seen")?;
        let (request, answer) = (packet(request)?, packet(answer)?);
        for (bytes, expected) in [(request, false), (answer, true)] {
            let report = || Dropped {
                namespace: "vcn a".to_owned(),
                interface: Some("gw".to_owned()),
                reason: DropReason::SourceCheck,
                packet: bytes.clone(),
            };
            let watch = witness.watch(payload(id));
            drops.report(report());
            let death = timeout(if expected { DEADLINE } else { PATIENCE }, watch).await;
            // An answer was seen before the request's drop was told: another copy got through.
            expect(death.is_ok(), expected, "a death")?;
            if let Ok(death) = death {
                let cause = Cause::Dropped(DropReason::SourceCheck);
                expect((death.namespace.as_str(), death.cause), ("vcn a", cause), "where and why")?;
            }
        }
    }
    Ok(())
}

/// The far node has no VXLAN, and says so to the near one, which keeps it to itself.
async fn told_elsewhere() -> Outcome {
    let far = Ipv4Addr::new(10, 0, 0, 2);
    let net = Tunnelled::build(far)?;
    net.two.netlink()?.delete_link("cilium_vxlan")?;
    let capture = Capture::start(&[net.one.clone(), net.two.clone()])?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let watch = witness.watch(payload(id));
    ping(&net.one, INNER_TWO, id, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    let cause = Cause::Told { error: IcmpError::Unreachable(3), by: far.into() };
    expect((death.namespace.as_str(), death.cause, death.answer), ("two", cause, false), "the death")
}

/// r says that it has no route, and a's probe has no socket that would be told.
async fn unheard() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let witness = Witness::new(&capture, &DropLog::default());
    let id = token();
    let watch = witness.watch(payload(id));
    let begun = Instant::now();
    ping(&net.a, Ipv4Addr::new(192, 0, 2, 1), id, 56)?;
    let death = timeout(DEADLINE, watch).await?;
    let cause = Cause::Told { error: IcmpError::Unreachable(0), by: Ipv4Addr::new(10, 1, 0, 1).into() };
    expect(
        (death.namespace.as_str(), death.cause, death.answer),
        ("r", cause, false),
        "the death, where it was told first",
    )?;
    expect(begun.elapsed() >= GRACE, true, "the probe had time to hear of it")
}

async fn others_drop() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let drops = DropLog::default();
    let witness = Witness::new(&capture, &drops);
    let (ours, other) = (token(), token());
    // Both wait for nobody's address, but with a grace that doesn't end: only drops can kill them.
    let witness = witness.with_grace(DEADLINE * 10);
    let (watch, other_watch) = (witness.watch(payload(ours)), witness.watch(payload(other)));
    ping(&net.a, NOBODY, ours, 56)?;
    ping(&net.a, NOBODY, other, 56)?;
    let seen = timeout(DEADLINE, capture.until(&payload(other), |seen| seen.len() >= 2)).await?;
    drops.report(Dropped {
        namespace: "r".to_owned(),
        interface: None,
        reason: DropReason::Rule("forward".to_owned()),
        packet: packet(&seen[0])?,
    });
    let death = timeout(DEADLINE, other_watch).await?;
    expect(death.cause, Cause::Dropped(DropReason::Rule("forward".to_owned())), "the dropped one's death")?;
    expect(timeout(PATIENCE, watch).await.is_err(), true, "the other one lives")
}
