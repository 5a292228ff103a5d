//! What a capture sees of packets that a kernel really forwards, tunnels, translates and fragments.

mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use lab::nft::{Chain, ChainType, Hook, Statement, Table};
use lab::{Namespace, Sysctls};
use probe::capture::sighting::{Direction, Kind, Transport};
use probe::capture::{Capture, Options};
use probe::mark::Mark;
use tokio::time::timeout;
use wire::{
    B, DEADLINE, INNER_TWO, Outcome, Routed, Tunnelled, answered, block_on, lines, marked, overrun, payload, ping,
    token,
};

fn main() {
    wire::run(vec![
        ("a_ping_is_seen_at_each_interface_in_order", || block_on(router())),
        ("a_frame_on_lo_is_seen_once", || block_on(loopback())),
        ("the_inner_packet_of_vxlan_is_known", || block_on(vxlan())),
        ("a_translated_source_is_the_same_packet", || block_on(snat())),
        ("all_fragments_are_tied_to_the_first", || block_on(fragments())),
        ("dns_names_are_told_apart_by_case", || block_on(dns())),
        ("a_connection_is_known_by_its_first_sequence_number", || block_on(tcp())),
        ("a_quoting_icmp_error_is_seen", || block_on(icmp_error())),
        ("namespaces_join_a_running_capture", || block_on(added())),
        ("a_loss_is_told", || block_on(losses())),
        ("threads_do_not_grow_with_namespaces", || block_on(threads())),
        ("what_is_kept_is_bounded", || block_on(bounded())),
    ]);
}

fn expect<T: PartialEq + std::fmt::Debug>(measured: T, expected: T, what: &str) -> Outcome {
    if measured == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:#?}, measured {measured:#?}").into())
    }
}

async fn router() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let id = token();
    capture.watch(&payload(id));
    ping(&net.a, B, id, 56)?;
    let seen = timeout(DEADLINE, capture.until(&payload(id), |seen| answered(seen, "a"))).await?;
    let expected = [
        "a eth0 out 64 request",
        "r left in 64 request",
        "r right out 63 request",
        "b eth0 in 63 request",
        "b eth0 out 64 answer",
        "r right in 64 answer",
        "r left out 63 answer",
        "a eth0 in 63 answer",
    ];
    expect(lines(&seen), expected.map(str::to_owned).to_vec(), "the ping's way")?;
    expect(seen[0].packet.size, 84, "20 bytes of IP, 8 of ICMP and 56 of payload")?;
    let frame = seen[0].frame.as_ref().ok_or("the frame is kept")?;
    expect((frame.length, frame.bytes.len()), (98, 98), "the frame's length on the link and kept")?;
    expect(capture.losses().any_packet(), false, "a loss")
}

async fn loopback() -> Outcome {
    let host = Namespace::create("host", &Sysctls::HOST)?;
    let capture = Capture::start(std::slice::from_ref(&host))?;
    let id = token();
    capture.watch(&payload(id));
    ping(&host, Ipv4Addr::LOCALHOST, id, 56)?;
    let seen = timeout(DEADLINE, capture.until(&payload(id), |seen| answered(seen, "host"))).await?;
    expect(lines(&seen), vec!["host lo in 64 request".to_owned(), "host lo in 64 answer".to_owned()], "lo")
}

async fn vxlan() -> Outcome {
    let net = Tunnelled::build(Ipv4Addr::new(10, 0, 0, 2))?;
    let capture = Capture::start(&[net.one.clone(), net.two.clone()])?;
    let id = token();
    capture.watch(&payload(id));
    ping(&net.one, INNER_TWO, id, 56)?;
    let seen = timeout(DEADLINE, capture.until(&payload(id), |seen| answered(seen, "one"))).await?;
    let request: Vec<_> = seen.iter().filter(|seen| seen.kind == Kind::Request).collect();
    let way: Vec<_> = request.iter().map(|seen| (&*seen.namespace, &*seen.interface, seen.outer.len())).collect();
    let expected = vec![("one", "cilium_vxlan", 0), ("one", "eth0", 1), ("two", "eth0", 1), ("two", "cilium_vxlan", 0)];
    expect(way, expected, "inner, then within the outer, and inner again")?;
    let (outer, inner) = (request[1].outer[0], request[1].packet);
    expect(outer.destination, IpAddr::from([10, 0, 0, 2]), "the tunnel's far end")?;
    expect(inner.destination, IpAddr::V4(INNER_TWO), "the ping's destination")?;
    let Transport::Udp { destination: 8472, .. } = outer.transport else {
        return Err(format!("not VXLAN's port: {:?}", outer.transport).into());
    };
    Ok(())
}

async fn snat() -> Outcome {
    let net = Routed::build()?;
    let out =
        vec![Statement::Output("right".to_owned()), Statement::Snat { to: Ipv4Addr::new(10, 2, 0, 1), random: true }];
    let chain = Chain::base("out", ChainType::Nat, Hook::Postrouting, 100).rule(out);
    net.r.load_nft(&[Table::ipv4("nat").chain(chain)])?;
    let capture = Capture::start(&net.all())?;
    let id = token();
    capture.watch(&payload(id));
    let (near, far) = (net.a.udp(any(), None)?, net.b.udp(SocketAddrV4::new(B, 5000), None)?);
    near.send_to(&marked(id, 100), (B, 5000)).await?;
    let mut buffer = [0; 200];
    let (length, from) = timeout(DEADLINE, far.recv_from(&mut buffer)).await??;
    far.send_to(&buffer[..length], from).await?;
    timeout(DEADLINE, near.recv_from(&mut buffer)).await??;
    let seen = capture.sightings(&payload(id));
    let expected = [
        ("a", "eth0", Direction::Out, Kind::Request, [10, 1, 0, 2]),
        ("r", "left", Direction::In, Kind::Request, [10, 1, 0, 2]),
        ("r", "right", Direction::Out, Kind::Request, [10, 2, 0, 1]),
        ("b", "eth0", Direction::In, Kind::Request, [10, 2, 0, 1]),
        ("b", "eth0", Direction::Out, Kind::Answer, [10, 2, 0, 2]),
        ("r", "right", Direction::In, Kind::Answer, [10, 2, 0, 2]),
        ("r", "left", Direction::Out, Kind::Answer, [10, 2, 0, 2]),
        ("a", "eth0", Direction::In, Kind::Answer, [10, 2, 0, 2]),
    ];
    let measured: Vec<_> = seen
        .iter()
        .map(|seen| (&*seen.namespace, &*seen.interface, seen.direction, seen.kind, seen.packet.source))
        .collect();
    let expected: Vec<_> = expected.iter().map(|&(a, b, c, d, e)| (a, b, c, d, IpAddr::from(e))).collect();
    expect(measured, expected, "the source is translated at r, and back")
}

async fn fragments() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let id = token();
    capture.watch(&payload(id));
    let (near, far) = (net.a.udp(any(), None)?, net.b.udp(SocketAddrV4::new(B, 5000), None)?);
    // Linux sets don't-fragment on what fits only; this doesn't.
    near.send_to(&marked(id, 4000), (B, 5000)).await?;
    timeout(DEADLINE, far.recv_from(&mut [0; 5000])).await??;
    let seen = capture.sightings(&payload(id));
    for (namespace, interface) in [("a", "eth0"), ("r", "left"), ("r", "right"), ("b", "eth0")] {
        let here: Vec<_> =
            seen.iter().filter(|seen| &*seen.namespace == namespace && &*seen.interface == interface).collect();
        let offsets: Vec<_> = here.iter().filter_map(|seen| seen.packet.fragment.map(|part| part.offset)).collect();
        expect(offsets, vec![0, 1480, 2960], "a datagram of 4008 bytes on links of 1500")?;
        expect(here.iter().all(|seen| seen.kind == Kind::Request), true, "fragments of the request")?;
    }
    Ok(())
}

fn any() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)
}

fn query(id: u16, name: &str, answer: bool) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([if answer { 0x81 } else { 1 }, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

async fn dns() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let (ours, others) = (Mark::Dns("gOOgle.cOm.".to_owned()), Mark::Dns("GoogLe.com".to_owned()));
    capture.watch(&ours);
    capture.watch(&others);
    let (near, far) = (net.a.udp(any(), None)?, net.b.udp(SocketAddrV4::new(B, 53), None)?);
    near.send_to(&query(1, "gOOgle.cOm", false), (B, 53)).await?;
    let mut buffer = [0; 200];
    let (_, from) = timeout(DEADLINE, far.recv_from(&mut buffer)).await??;
    far.send_to(&query(1, "gOOgle.cOm", true), from).await?;
    timeout(DEADLINE, near.recv_from(&mut buffer)).await??;
    let seen = capture.sightings(&ours);
    let kinds = |kind| seen.iter().filter(|seen| seen.kind == kind).count();
    expect((kinds(Kind::Request), kinds(Kind::Answer)), (4, 4), "queries and answers")?;
    expect(capture.sightings(&others).len(), 0, "sightings of the same name in another case")
}

async fn tcp() -> Outcome {
    let net = Routed::build()?;
    let out =
        vec![Statement::Output("right".to_owned()), Statement::Snat { to: Ipv4Addr::new(10, 2, 0, 1), random: true }];
    let chain = Chain::base("out", ChainType::Nat, Hook::Postrouting, 100).rule(out);
    net.r.load_nft(&[Table::ipv4("nat").chain(chain)])?;
    let capture = Capture::start(&net.all())?;
    let listener = net.b.tcp_listener(SocketAddrV4::new(B, 80))?;
    let connect = |port: u16| {
        let socket = net.a.tcp(None)?;
        socket.bind(any().into())?;
        let SocketAddr::V4(local) = socket.local_addr()? else { return Err("an IPv4 socket".into()) };
        let mark = Mark::Tcp { namespace: net.a.clone(), local_port: local.port(), remote: SocketAddrV4::new(B, port) };
        capture.watch(&mark);
        Ok::<_, Box<dyn std::error::Error>>((socket, mark))
    };
    let (open, opened) = connect(80)?;
    let (closed, refused) = connect(81)?;
    let stream = timeout(DEADLINE, open.connect((B, 80).into())).await??;
    let (mut accepted, _) = timeout(DEADLINE, listener.accept()).await??;
    let refusal = timeout(DEADLINE, closed.connect((B, 81).into())).await?;
    expect(refusal.is_err(), true, "connecting to a closed port fails")?;
    tokio::io::AsyncWriteExt::write_all(&mut accepted, b"hello").await?;
    timeout(DEADLINE, stream.readable()).await??;

    let seen = capture.sightings(&opened);
    let places =
        |namespace: &str, kind| seen.iter().filter(|seen| &*seen.namespace == namespace && seen.kind == kind).count();
    // At b: SYN, ACK and the ACK of hello, which may not be sent yet; SYN-ACK and hello.
    expect(places("b", Kind::Request) >= 2, true, "SYN and ACK, translated, at b")?;
    expect(places("b", Kind::Answer), 2, "SYN-ACK and data at b")?;
    expect(places("a", Kind::Answer), 2, "SYN-ACK and data at a")?;
    let seen = capture.sightings(&refused);
    let resets: Vec<_> = seen.iter().filter(|seen| seen.kind == Kind::Answer).collect();
    expect(resets.len(), 4, "the reset at b, r twice, a")?;
    let is_reset = |transport| matches!(transport, Transport::Tcp { rst: true, .. });
    expect(resets.iter().all(|seen| is_reset(seen.packet.transport)), true, "the answer is a reset")
}

async fn icmp_error() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(&net.all())?;
    let id = token();
    capture.watch(&payload(id));
    let near = net.a.udp(any(), None)?;
    near.send_to(&marked(id, 100), (B, 5001)).await?;
    let done = |seen: &[probe::capture::sighting::Sighting]| {
        seen.last().is_some_and(|seen| &*seen.namespace == "a" && matches!(seen.kind, Kind::IcmpError(_)))
    };
    let seen = timeout(DEADLINE, capture.until(&payload(id), done)).await?;
    let errors: Vec<_> = seen.iter().filter(|seen| matches!(seen.kind, Kind::IcmpError(_))).collect();
    expect(errors.len(), 4, "port unreachable on its way back")?;
    let quoted = errors[3].quoted.as_ref().ok_or("the error quotes the packet")?.packet;
    expect(quoted.destination, IpAddr::V4(B), "the destination quoted")
}

async fn added() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::start(std::slice::from_ref(&net.a))?;
    let id = token();
    capture.watch(&payload(id));
    capture.add(&net.all())?;
    ping(&net.a, B, id, 56)?;
    let seen = timeout(DEADLINE, capture.until(&payload(id), |seen| answered(seen, "a"))).await?;
    expect(seen.len(), 8, "each interface once: a namespace given twice is captured once")?;
    let names: Vec<_> = capture.statistics().into_iter().map(|statistics| statistics.namespace).collect();
    expect(names, vec!["a".to_owned(), "r".to_owned(), "b".to_owned()], "namespaces captured")
}

async fn losses() -> Outcome {
    let net = Routed::build()?;
    let capture = Capture::with(&net.all(), Options { receive_buffer: 0, ..Options::default() })?;
    overrun(&net.a, B, &capture)?;
    let losses = capture.losses();
    let lost: u64 = losses.packets.iter().map(|(_, lost)| lost).sum();
    let statistics = capture.statistics();
    expect(statistics.iter().map(|statistics| statistics.lost).sum::<u64>() >= lost, true, "losses add up")?;
    expect(statistics.iter().all(|statistics| statistics.received >= statistics.lost), true, "received counts lost")
}

async fn threads() -> Outcome {
    let count = || std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let hosts: Vec<_> =
        (0..200).map(|index| Namespace::create(format!("host {index}"), &Sysctls::HOST)).collect::<Result<_, _>>()?;
    let before = count()?;
    let begun = Instant::now();
    let capture = Capture::start(&hosts)?;
    let started = begun.elapsed();
    let marks: Vec<_> = hosts.iter().map(|_| token()).collect();
    for (host, id) in hosts.iter().zip(&marks) {
        capture.watch(&payload(*id));
        ping(host, Ipv4Addr::LOCALHOST, *id, 56)?;
    }
    for (index, id) in marks.iter().enumerate() {
        let name = format!("host {index}");
        timeout(DEADLINE, capture.until(&payload(*id), |seen| answered(seen, &name))).await?;
    }
    // Tests that run beside this one have a few threads of their own.
    expect(count()? < before + 20, true, "threads of 200 namespaces are not 200")?;
    let begun = Instant::now();
    drop(capture);
    eprintln!("200 namespaces: start {started:?}, drop {:?}", begun.elapsed());
    Ok(())
}

async fn bounded() -> Outcome {
    let net = Routed::build()?;
    let mut options = Options::default();
    options.limits.sightings = 8;
    options.limits.frames = 300;
    let capture = Capture::with(&net.all(), options)?;
    let id = token();
    capture.watch(&payload(id));
    for _ in 0..10 {
        ping(&net.a, B, id, 56)?;
    }
    let answers = |count| move |statistics: &probe::capture::Statistics| statistics.received >= count;
    let done = async {
        while !capture.statistics().iter().all(answers(20)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, done).await?;
    let seen = capture.sightings(&payload(id));
    expect(seen.len(), 8, "sightings kept")?;
    expect(capture.losses().sightings, 72, "ten pings at eight places, less those kept")?;
    let bytes: usize = seen.iter().filter_map(|seen| seen.frame.as_ref()).map(|frame| frame.bytes.len()).sum();
    expect(bytes <= 300, true, "bytes of frames kept")?;
    capture.forget(&payload(id));
    expect(capture.sightings(&payload(id)).len(), 0, "sightings of a forgotten mark")
}
