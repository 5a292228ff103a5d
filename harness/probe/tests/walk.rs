//! The walk of packets that were seen by hand: what was done to them is found again, whatever was, and nothing that can
//! be seen stops it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use probe::Evidence;
use probe::capture::Trail;
use probe::capture::decode::{Fragment, IcmpError, Sealed};
use probe::capture::sighting::{Direction, Kind, Quoted, Sighting, Summary, Transport};
use probe::correlate::sealed::SealedSighting;
use probe::evidence::{Outcome, Silence, Stage};
use probe::walk::{Change, EndReason, Endpoint, Hop, Known, Walk, places, walk};
use proptest::prelude::*;

const UDP: u8 = 17;
const OVERLAY: &str = "tailscale0";

fn evidence(outcome: Outcome) -> Evidence {
    let silence = (outcome == Outcome::Silence).then_some(Silence::Deadline(Duration::from_secs(1)));
    Evidence {
        outcome,
        stage: Stage::Exchange,
        source_seen: None,
        answer: None,
        status: None,
        rtt: None,
        silence,
        marks: Vec::new(),
        detail: String::new(),
    }
}

fn at(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_000_000 + us)
}

fn summary(source: (u32, u16), destination: (u32, u16), ttl: u8, size: u16, id: u16) -> Summary {
    Summary {
        source: IpAddr::V4(source.0.into()),
        destination: IpAddr::V4(destination.0.into()),
        protocol: UDP,
        transport: Transport::Udp { source: source.1, destination: destination.1 },
        ttl,
        size,
        id,
        dont_fragment: false,
        fragment: None,
    }
}

fn sighting(namespace: &str, interface: &str, direction: Direction, us: u64, packet: Summary) -> Sighting {
    Sighting {
        namespace: Arc::from(namespace),
        interface: Arc::from(interface),
        direction,
        in_passing: false,
        time: at(us),
        kind: Kind::Request,
        packet,
        outer: Vec::new(),
        quoted: None,
        frame: None,
    }
}

fn walked(from: &str, evidence: &Evidence, trail: &Trail) -> Walk {
    walk(&Known { from, evidence, trail, overlay: Some(OVERLAY) }, &mut |_| None)
}

/// What a hop does.
#[derive(Debug, Clone)]
enum Step {
    Route,
    Source(u32, u16),
    Destination(u32, u16),
    Wrap((u32, u16), (u32, u16)),
    Unwrap,
}

fn step() -> impl Strategy<Value = Step> {
    let end = || (any::<u32>(), 1..u16::MAX);
    prop_oneof![
        Just(Step::Route),
        end().prop_map(|(address, port)| Step::Source(address, port)),
        end().prop_map(|(address, port)| Step::Destination(address, port)),
        (end(), end()).prop_map(|(source, destination)| Step::Wrap(source, destination)),
        Just(Step::Unwrap),
    ]
}

fn endpoint((address, port): (u32, u16)) -> Endpoint {
    Endpoint { address: IpAddr::V4(address.into()), port: Some(port) }
}

proptest! {
    #[test]
    fn what_was_done_is_found_again(
        start in ((any::<u32>(), 1..u16::MAX), (any::<u32>(), 1..u16::MAX)),
        id: u16,
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let ((mut source, mut destination), mut outer) = (start, None::<((u32, u16), (u32, u16))>);
        let mut ttl = 64;
        let mut expected: Vec<Vec<Change>> = vec![Vec::new()];
        let packet = |source, destination, ttl| summary(source, destination, ttl, 84, id);
        let mut seen = vec![sighting("n0", "eth0", Direction::Out, 0, packet(source, destination, ttl))];
        for (step, hop) in steps.iter().zip(1_u64..) {
            let mut changed = Vec::new();
            match *step {
                Step::Route => {}
                Step::Source(address, port) if source != (address, port) => {
                    changed.push(Change::Snat { from: endpoint(source), to: endpoint((address, port)), outer: false });
                    source = (address, port);
                }
                Step::Destination(address, port) if destination != (address, port) => {
                    let (from, to) = (endpoint(destination), endpoint((address, port)));
                    changed.push(Change::Dnat { from, to, outer: false });
                    destination = (address, port);
                }
                Step::Wrap(from, to) => match outer {
                    None => {
                        changed.push(Change::Encapsulated { src: endpoint(from), dst: endpoint(to) });
                        outer = Some((from, to));
                    }
                    Some((old, _)) if old != from => {
                        changed.push(Change::Snat { from: endpoint(old), to: endpoint(from), outer: true });
                        outer = outer.map(|(_, to)| (from, to));
                    }
                    Some(_) => {}
                },
                Step::Unwrap if outer.take().is_some() => changed.push(Change::Decapsulated {}),
                Step::Source(..) | Step::Destination(..) | Step::Unwrap => {}
            }
            ttl -= u8::from(hop % 2 == 0);
            let direction = if hop % 2 == 1 { Direction::In } else { Direction::Out };
            let namespace = format!("n{}", hop.div_ceil(2));
            let mut next = sighting(&namespace, "eth0", direction, hop * 10, packet(source, destination, ttl));
            next.outer = outer.map(|(from, to)| summary(from, to, 64, 134, 9)).into_iter().collect();
            seen.push(next);
            expected.push(changed);
        }
        let trail = Trail { sightings: seen, ..Trail::default() };
        let walk = walked("n0", &evidence(Outcome::Silence), &trail);
        let found: Vec<_> = walk.hops.iter().map(|hop| hop.changed.clone()).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(walk.end.reason, EndReason::Unknown, "nobody told anything");
        prop_assert!(walk.hops.last().is_some_and(|last| last.at == walk.end.at), "it ends where it was last seen");
    }

    /// Several packets of different sizes go through the overlay at once; each is tied to the datagram of its size.
    #[test]
    fn encrypted_legs_are_tied_by_size_and_time(blocks in prop::collection::btree_set(3_u16..80, 1..6), pick: usize) {
        let blocks: Vec<_> = blocks.into_iter().collect();
        let pick = pick % blocks.len();
        let inner = |block: u16| summary((1, 1), (2, 2), 64, block * 16 - 5, 7);
        let sent = sighting("master", OVERLAY, Direction::Out, 100, inner(blocks[pick]));
        let came = sighting("worker", OVERLAY, Direction::In, 900, inner(blocks[pick]));
        let mut sealed = Vec::new();
        for (block, counter) in blocks.iter().zip(0_u64..) {
            for (namespace, interface, direction, us) in [
                ("master", "enp0s6", Direction::Out, 200),
                ("vcn a", "subnet", Direction::In, 300),
                ("vcn a", "wan", Direction::Out, 400),
                ("worker", "enp0s6", Direction::In, 500),
            ] {
                sealed.push(SealedSighting {
                    namespace: Arc::from(namespace),
                    interface: Arc::from(interface),
                    direction,
                    in_passing: false,
                    time: at(us + counter),
                    sealed: Sealed { receiver: 5, counter },
                    packet: summary((3, 41641), (4, 41641), 64, block * 16 + 60, counter as u16),
                });
            }
        }
        sealed.sort_by_key(|seen| seen.time);
        let trail = Trail { sightings: vec![sent, came], sealed, ..Trail::default() };
        let walk = walked("master", &evidence(Outcome::Reply), &trail);
        let legs: Vec<&Hop> = walk.hops.iter().filter(|hop| hop.inferred).collect();
        let places: Vec<_> = legs.iter().map(|hop| hop.at.as_str()).collect();
        prop_assert_eq!(places, ["master/enp0s6", "vcn a/gateway", "vcn a/gateway", "worker/enp0s6"]);
        for leg in &legs {
            prop_assert_eq!(leg.outer.map(|outer| outer.size), Some(blocks[pick] * 16 + 60));
        }
        prop_assert_eq!(&walk.hops[1].changed, &[Change::Encrypted { inferred: true }]);
        prop_assert_eq!(&walk.hops[5].changed, &[Change::Decrypted { inferred: true }]);
    }

    /// Sightings that no network makes.
    #[test]
    fn nothing_seen_stops_it(seen in prop::collection::vec(anything(), 0..60), outcome in outcome(), from in place()) {
        let mut seen = seen;
        seen.sort_by_key(|sighting: &Sighting| sighting.time);
        let trail = Trail { sightings: seen, ..Trail::default() };
        let walk = walked(from.0, &evidence(outcome), &trail);
        prop_assert!(walk.all_hops().count() <= 2 * trail.sightings.len());
        prop_assert!(places(&trail.sightings).len() <= trail.sightings.len());
        let json = serde_json::to_string(&walk).expect("a walk is JSON");
        prop_assert_eq!(serde_json::from_str::<Walk>(&json).expect("and back"), walk);
    }
}

fn place() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("master", "enp0s6"),
        ("master", OVERLAY),
        ("worker", OVERLAY),
        ("master/pod", "eth0"),
        ("vcn a", "subnet"),
        ("vcn a", "wan"),
        ("vcn a", "port0.0"),
        ("internet", "lo"),
    ])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![
        Outcome::Reply,
        Outcome::Silence,
        Outcome::Refused,
        Outcome::Broken,
        Outcome::Unreachable { by: None, code: 1 },
        Outcome::TooBig { by: Some(Ipv4Addr::LOCALHOST), mtu: 68 },
        Outcome::NotPossible { errno: Some(1) },
    ])
}

fn any_packet() -> impl Strategy<Value = Summary> {
    let transport = prop_oneof![
        Just(Transport::None),
        Just(Transport::Icmp),
        Just(Transport::Echo { id: 7, sequence: 1 }),
        (0..3_u16, 0..3_u16).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        (0..3_u16, any::<bool>(), any::<bool>()).prop_map(|(source, syn, rst)| Transport::Tcp {
            source,
            destination: 80,
            syn,
            rst
        }),
    ];
    let fragment = prop::option::of((0..3_u16, any::<bool>()).prop_map(|(offset, more)| Fragment { offset, more }));
    (0..3_u32, 0..3_u32, 0..4_u8, any::<u16>(), 0..3_u16, transport, fragment).prop_map(
        |(source, destination, ttl, size, id, transport, fragment)| Summary {
            transport,
            fragment,
            ..summary((source, 0), (destination, 0), ttl, size, id)
        },
    )
}

fn anything() -> impl Strategy<Value = Sighting> {
    let kind = prop_oneof![
        Just(Kind::Request),
        Just(Kind::Answer),
        Just(Kind::IcmpError(IcmpError::Unreachable(1))),
        Just(Kind::IcmpError(IcmpError::TooBig(1280))),
    ];
    let quoted = prop::option::of(
        (any::<bool>(), any_packet(), prop::collection::vec(any_packet(), 0..2))
            .prop_map(|(answer, packet, outer)| Quoted { answer, packet, outer }),
    );
    let outer = prop::collection::vec(any_packet(), 0..3);
    (place(), any::<bool>(), any::<bool>(), 0..500_u64, kind, any_packet(), outer, quoted).prop_map(
        |((namespace, interface), out, in_passing, us, kind, packet, outer, quoted)| Sighting {
            in_passing,
            kind,
            outer,
            quoted,
            ..sighting(namespace, interface, if out { Direction::Out } else { Direction::In }, us, packet)
        },
    )
}

#[test]
fn in_json() {
    let inner = |ttl| summary((0x0af4_0005, 4000), (0x0808_0808, 53), ttl, 98, 1);
    let translated = Summary { source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 239)), ..inner(63) };
    let trail = Trail {
        sightings: vec![
            sighting("master/pod", "eth0", Direction::Out, 0, inner(64)),
            sighting("master", "enp0s6", Direction::Out, 70, translated),
        ],
        ..Trail::default()
    };
    let walk = walked("master/pod", &evidence(Outcome::Silence), &trail);
    assert_eq!(
        serde_json::to_value(&walk).expect("a walk is JSON"),
        serde_json::json!({
            "hops": [
                {"at": "master/pod", "direction": "out", "src": "10.244.0.5:4000", "dst": "8.8.8.8:53",
                 "size": 98, "ttl": 64, "us": 0},
                {"at": "master/enp0s6", "direction": "out", "src": "10.0.0.239:4000", "dst": "8.8.8.8:53",
                 "size": 98, "ttl": 63, "us": 70,
                 "changed": [{"snat": {"from": "10.244.0.5:4000", "to": "10.0.0.239:4000"}}]},
            ],
            "end": {"at": "master/enp0s6", "reason": "unknown", "detail": "last seen going out by enp0s6"},
            "complete": false,
        })
    );
}
