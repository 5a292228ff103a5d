//! The decoder takes any bytes, and a mark is found through any chain of translations and encapsulations.

use std::net::SocketAddrV4;

use etherparse::PacketBuilder;
use probe::capture::decode::{Decoded, Decoder, LinkLayer};
use probe::capture::sighting::Kind;
use probe::correlate::identify::{Identifier, Key};
use probe::correlate::{MarkId, Place};
use probe::mark::MAGIC;
use proptest::prelude::*;

const MARK: MarkId = MarkId(7);

fn payload(token: u64, rest: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &token.to_be_bytes(), rest].concat()
}

/// One hop's addresses and ports, and the VXLAN headers around the packet there.
#[derive(Debug, Clone)]
struct Hop {
    source: ([u8; 4], u16),
    destination: ([u8; 4], u16),
    ttl: u8,
    tunnels: Vec<([u8; 4], [u8; 4])>,
}

fn hop() -> impl Strategy<Value = Hop> {
    // Ports of services would make a packet something else.
    let end = || (any::<[u8; 4]>(), 1024_u16..4000);
    let tunnels = prop::collection::vec(any::<([u8; 4], [u8; 4])>(), 0..=2);
    (end(), end(), 1..=64_u8, tunnels).prop_map(|(source, destination, ttl, tunnels)| Hop {
        source,
        destination,
        ttl,
        tunnels,
    })
}

impl Hop {
    fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(self.source.0, self.destination.0, self.ttl)
            .udp(self.source.1, self.destination.1)
            .write(&mut bytes, payload)
            .expect("it fits");
        self.wrap(bytes)
    }

    fn echo(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(self.source.0, self.destination.0, self.ttl)
            .icmpv4_echo_request(self.source.1, 1)
            .write(&mut bytes, payload)
            .expect("it fits");
        self.wrap(bytes)
    }

    /// `answers`: the sequence number of the SYN that this SYN-ACK answers, the other way round.
    fn tcp(&self, sequence: u32, answers: Option<u32>) -> Vec<u8> {
        let (from, to) =
            if answers.is_some() { (self.destination, self.source) } else { (self.source, self.destination) };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(from.0, to.0, self.ttl)
            .tcp(from.1, to.1, sequence, 64_000)
            .syn();
        let builder = match answers {
            Some(answered) => builder.ack(answered.wrapping_add(1)),
            None => builder,
        };
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[]).expect("it fits");
        self.wrap(bytes)
    }

    fn wrap(&self, mut frame: Vec<u8>) -> Vec<u8> {
        for (source, destination) in &self.tunnels {
            let inner = [&[8, 0, 0, 0, 0, 0, 2, 0][..], &frame].concat();
            frame = Vec::new();
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(*source, *destination, 64)
                .udp(40_000, 8472)
                .write(&mut frame, &inner)
                .expect("it fits");
        }
        frame
    }
}

const POD: Place = Place(0);
const NODE: Place = Place(1);
const OF_POD: MarkId = MarkId(1);
const OF_NODE: MarkId = MarkId(2);
const PORT: u16 = 40_000;
const SERVER: ([u8; 4], u16) = ([203, 0, 113, 9], 80);
/// Initial sequence numbers.
const PODS: u32 = 1000;
const NODES: u32 = 2000;

/// From [`PORT`] of a pod or a node to a server.
fn from(host: u8, destination: ([u8; 4], u16)) -> Hop {
    Hop { source: ([10, 0, 0, host], PORT), destination, ttl: 64, tunnels: Vec::new() }
}

fn opened(place: Place) -> Key {
    Key::Tcp { place, local_port: PORT, remote: SocketAddrV4::new(SERVER.0.into(), SERVER.1) }
}

fn see(identifier: &mut Identifier, place: Place, frame: &[u8]) -> Option<(MarkId, Kind)> {
    identifier.identify(place, &ip(&Decoder::default(), frame)).map(|found| (found.mark, found.kind))
}

#[test]
fn a_nodes_connection_is_told_from_a_pods_that_passes_from_the_same_port_in_either_order() {
    // What the node sends may have been translated before it is seen.
    for (pod_first, to) in [(true, SERVER), (false, SERVER), (true, ([10, 0, 1, 7], 80)), (false, ([10, 0, 1, 7], 80))]
    {
        let (pods, nodes) = (from(5, SERVER), from(1, to));
        let mut identifier = Identifier::default();
        identifier.insert(&opened(POD), OF_POD);
        identifier.insert(&opened(NODE), OF_NODE);
        let request = |mark| Some((mark, Kind::Request));
        for pods_turn in [pod_first, !pod_first] {
            if pods_turn {
                for place in [POD, NODE] {
                    let found = see(&mut identifier, place, &pods.tcp(PODS, None));
                    assert_eq!(found, request(OF_POD), "at {place:?}, pod first: {pod_first}, node to {to:?}");
                }
            } else {
                let found = see(&mut identifier, NODE, &nodes.tcp(NODES, None));
                assert_eq!(found, request(OF_NODE), "pod first: {pod_first}, node to {to:?}");
            }
        }
        for (hop, sequence, mark) in [(&pods, PODS, OF_POD), (&nodes, NODES, OF_NODE)] {
            let found = see(&mut identifier, NODE, &hop.tcp(5, Some(sequence)));
            assert_eq!(found, Some((mark, Kind::Answer)), "pod first: {pod_first}, node to {to:?}");
        }
    }
}

#[test]
fn what_passes_through_a_node_is_not_taken_for_its_own_though_nobody_looks_for_it() {
    let (pods, nodes) = (from(5, SERVER), from(1, SERVER));
    let mut identifier = Identifier::default();
    identifier.insert(&opened(NODE), OF_NODE);
    for place in [POD, NODE] {
        assert_eq!(see(&mut identifier, place, &pods.tcp(PODS, None)), None);
    }
    assert_eq!(see(&mut identifier, NODE, &nodes.tcp(NODES, None)), Some((OF_NODE, Kind::Request)));
    assert_eq!(see(&mut identifier, NODE, &pods.tcp(5, Some(PODS))), None);
}

#[test]
fn a_connection_is_learnt_though_it_was_seen_elsewhere_before_its_place_was_seen_into() {
    let pods = from(5, SERVER);
    let mut identifier = Identifier::default();
    assert_eq!(see(&mut identifier, NODE, &pods.tcp(PODS, None)), None);
    identifier.insert(&opened(POD), OF_POD);
    identifier.forget_beginnings();
    assert_eq!(see(&mut identifier, POD, &pods.tcp(PODS, None)), Some((OF_POD, Kind::Request)), "it is repeated");
}

#[test]
fn a_port_that_had_another_mark_is_the_later_ones() {
    let nodes = from(1, SERVER);
    let mut identifier = Identifier::default();
    // Nothing was ever sent for it.
    identifier.insert(&opened(NODE), OF_POD);
    identifier.insert(&opened(NODE), OF_NODE);
    assert_eq!(see(&mut identifier, NODE, &nodes.tcp(NODES, None)), Some((OF_NODE, Kind::Request)));
}

fn ip<'a>(decoder: &Decoder, frame: &'a [u8]) -> probe::capture::decode::Packet<'a> {
    match decoder.frame(LinkLayer::Ethernet, frame) {
        Decoded::Ip(packet) => packet,
        other => panic!("an IP packet was built, not {other:?}"),
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_to_something(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let decoder = Decoder::default();
        let _ = decoder.frame(LinkLayer::Ethernet, &bytes);
        let _ = decoder.frame(LinkLayer::Ip, &bytes);
    }

    #[test]
    fn broken_packets_decode_to_something(
        hop in hop(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let decoder = Decoder::default();
        let mut identifier = Identifier::default();
        identifier.insert(&Key::Payload(1), MARK);
        for mut frame in [hop.udp(&payload(1, b"rest")), hop.echo(&payload(1, b"rest")), hop.tcp(5, None)] {
            for (index, value) in &flips {
                let index = index.index(frame.len());
                frame[index] = *value;
            }
            frame.truncate(cut.index(frame.len() + 1));
            for link in [LinkLayer::Ethernet, LinkLayer::Ip] {
                if let Decoded::Ip(packet) = decoder.frame(link, &frame) {
                    let _ = identifier.identify(Place(0), &packet);
                }
            }
        }
    }

    #[test]
    fn a_payload_mark_survives_any_way(hops in prop::collection::vec(hop(), 1..8), token: u64, rest: Vec<u8>) {
        let decoder = Decoder::default();
        let mut identifier = Identifier::default();
        identifier.insert(&Key::Payload(token), MARK);
        let (ours, others) = (payload(token, &rest), payload(token.wrapping_add(1), &rest));
        for (place, hop) in (0..8).map(Place).zip(&hops) {
            for frame in [hop.udp(&ours), hop.echo(&ours)] {
                let found = identifier.identify(place, &ip(&decoder, &frame)).expect("the mark is in it");
                prop_assert_eq!((found.mark, found.outer.len()), (MARK, hop.tunnels.len()));
                prop_assert_eq!(found.packet.ttl, hop.ttl);
            }
            prop_assert_eq!(identifier.identify(place, &ip(&decoder, &hop.udp(&others))), None);
        }
    }

    #[test]
    fn an_answer_is_told_from_its_request(hops in prop::collection::vec(hop(), 1..8), token: u64) {
        let decoder = Decoder::default();
        let mut identifier = Identifier::default();
        identifier.insert(&Key::Payload(token), MARK);
        let bytes = payload(token, b"");
        for (place, hop) in (0..8).map(Place).zip(&hops) {
            let found = identifier.identify(place, &ip(&decoder, &hop.udp(&bytes)));
            prop_assert_eq!(found.map(|found| found.kind), Some(Kind::Request));
        }
        for (place, hop) in hops.iter().enumerate().map(|(index, hop)| (Place(index as u32), hop)).rev() {
            let back = Hop { source: hop.destination, destination: hop.source, ..hop.clone() };
            let found = identifier.identify(place, &ip(&decoder, &back.udp(&bytes)));
            prop_assert_eq!(found.map(|found| found.kind), Some(Kind::Answer));
        }
    }

    #[test]
    fn a_connection_is_known_through_any_translation(
        hops in prop::collection::vec(hop(), 1..8),
        initial: u32,
        servers: u32,
    ) {
        let decoder = Decoder::default();
        let mut identifier = Identifier::default();
        let first = Hop { tunnels: Vec::new(), ..hops[0].clone() };
        let remote = SocketAddrV4::new(first.destination.0.into(), first.destination.1);
        identifier.insert(&Key::Tcp { place: Place(0), local_port: first.source.1, remote }, MARK);
        let hops: Vec<_> = std::iter::once(&first).chain(&hops[1..]).collect();
        for (place, hop) in (0..8).map(Place).zip(&hops) {
            let found = identifier.identify(place, &ip(&decoder, &hop.tcp(initial, None)));
            prop_assert_eq!(found.map(|found| (found.mark, found.kind)), Some((MARK, Kind::Request)));
        }
        for (place, hop) in hops.iter().enumerate().map(|(index, hop)| (Place(index as u32), hop)).rev() {
            let found = identifier.identify(place, &ip(&decoder, &hop.tcp(servers, Some(initial))));
            prop_assert_eq!(found.map(|found| (found.mark, found.kind)), Some((MARK, Kind::Answer)));
        }
    }

    #[test]
    fn an_icmp_error_is_known_by_what_it_quotes(hop in hop(), token: u64, quoted in 44..576_usize) {
        let decoder = Decoder::default();
        let mut identifier = Identifier::default();
        identifier.insert(&Key::Payload(token), MARK);
        let bare = Hop { tunnels: Vec::new(), ..hop.clone() };
        let packet = &bare.udp(&payload(token, &[0; 600]))[14..];
        let mut frame = Vec::new();
        let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Host);
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(hop.destination.0, hop.source.0, 64)
            .icmpv4(unreachable)
            .write(&mut frame, &packet[..quoted])
            .expect("it fits");
        let frame = hop.wrap(frame);
        let found = identifier.identify(Place(0), &ip(&decoder, &frame)).expect("the mark is quoted");
        prop_assert_eq!(found.mark, MARK);
        prop_assert!(matches!(found.kind, Kind::IcmpError(_)));
        prop_assert_eq!(found.quoted.map(|quoted| quoted.packet.ttl), Some(hop.ttl));
    }
}
