//! What `underlay explore` draws: right scenarios, the same from the same seed, and of every kind. What it holds them
//! against, where that can be put together by hand.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use probe::Evidence;
use probe::capture::Trail;
use probe::capture::decode::IcmpError;
use probe::capture::sighting::{Direction, Kind, Quoted, Sighting, Summary, Transport};
use probe::evidence::{Outcome, Silence};
use probe::walk::{Known, walk};
use support::{case, observed, outcome, ping, reply};
use underlay::explore::draw::scenario;
use underlay::explore::invariants::{Invariant, findings};
use underlay::observed::{Observed, Trace};
use underlay::shrink::only_case;
use underlay::verdict::{Provenance, judge};

#[test]
fn every_draw_is_a_scenario_of_one_case() {
    for number in 0..600 {
        let text = scenario(number % 7, number);
        let case = only_case("drawn.yaml", &text).unwrap_or_else(|wrong| panic!("{number}: {wrong:?}\n{text}"));
        assert!(case.probes.len() >= 9, "{text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_and_another_another() {
    assert_eq!(scenario(7, 412), scenario(7, 412));
    assert_ne!(scenario(7, 412), scenario(7, 413));
    assert_ne!(scenario(7, 412), scenario(8, 412));
}

#[test]
fn every_kind_of_network_comes_up() {
    let all: Vec<_> = (0..300).map(|number| scenario(1, number)).collect();
    for needle in [
        "nat: one-to-one",
        "nat: endpoint-independent",
        "nat: endpoint-dependent",
        "nat: none",
        "b: {cidr: 10.0.0.0/24",
        "b: {cidr: 10.0.1.0/24",
        "enp1s0: {vcn: b, address: 10.0.1.110/24, default-route: true",
        "policy-routing: false",
        "  third:",
        "enp+",
        "!tailscale0",
        "cilium: \"1.14\"",
        "cilium: \"1.20\"",
        "node-ip: overlay",
        "node-ip: enp0s6",
    ] {
        let with = all.iter().filter(|text| text.contains(needle)).count();
        assert!((1..300).contains(&with), "{needle} is in {with} of 300");
    }
}

const PING: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
const PONG: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 10);

fn sighting(us: u64, kind: Kind, namespace: &str, direction: Direction) -> Sighting {
    let (source, destination) = if kind == Kind::Request { (PING, PONG) } else { (PONG, PING) };
    let packet = Summary {
        source: IpAddr::V4(source),
        destination: IpAddr::V4(destination),
        protocol: 1,
        transport: Transport::Echo { id: 7, sequence: 1 },
        ttl: 64,
        size: 84,
        id: 7,
        dont_fragment: false,
        fragment: None,
    };
    let quoted = matches!(kind, Kind::IcmpError(_)).then(|| Quoted { answer: false, packet, outer: Vec::new() });
    Sighting {
        namespace: Arc::from(namespace),
        interface: Arc::from("eth0"),
        direction,
        in_passing: false,
        time: UNIX_EPOCH + Duration::from_micros(us),
        kind,
        packet,
        outer: Vec::new(),
        quoted,
        frame: None,
    }
}

/// What is found about `delivered` of a ping that came to that and was seen there, its walk made as it always is:
/// whether it holds, if it was put to the test.
fn delivered(evidence: Evidence, sightings: Vec<Sighting>, gaps: bool) -> Option<bool> {
    let mut case = case("enp0s6");
    case.probes = vec![ping("p")];
    let trail = Trail { sightings, ..Trail::default() };
    let known = Known { from: "master/pod", evidence: &evidence, trail: &trail, overlay: None };
    let walk = walk(&known, &mut |_| None);
    let trace = Trace { walk, places: Default::default(), sightings: trail.sightings.clone(), gaps, astray: None };
    let observed = Observed { traces: vec![("p".to_owned(), trace)], ..observed(&case, &[("p", evidence)]) };
    let result = judge(Arc::new(case), "fake", Provenance::Model, Duration::ZERO, Ok(observed));
    let all = findings(&result);
    let own = all.iter().find(|finding| finding.invariant == Invariant::Delivered)?;
    Some(own.violation.is_none())
}

/// A walk's end is made from what the probe came to, so both have to be held against where the answer was seen.
#[test]
fn an_answer_came_where_one_was_seen_to_reach_who_had_asked() {
    use Direction::{In, Out};
    let there = || vec![sighting(1, Kind::Request, "master/pod", Out), sighting(2, Kind::Request, "worker/pod", In)];
    let sent_back = || [there(), vec![sighting(3, Kind::Answer, "worker/pod", Out)]].concat();
    let back = || [sent_back(), vec![sighting(4, Kind::Answer, "master/pod", In)]].concat();
    let told = Kind::IcmpError(IcmpError::Unreachable(1));
    let error = || [there(), vec![sighting(3, told, "master/pod", In)]].concat();
    let silence = || {
        let silence = Some(Silence::Deadline(Duration::from_secs(1)));
        Evidence { silence, ..outcome(Outcome::Silence, "") }
    };
    let unreachable = || outcome(Outcome::Unreachable { by: Some(Ipv4Addr::new(10, 0, 0, 1)), code: 1 }, "");
    for (what, evidence, sightings, holds) in [
        ("it came, and was seen", reply(), back(), true),
        ("none came, and one was seen", silence(), back(), false),
        ("it came, and got lost", reply(), sent_back(), false),
        ("it came, and none was seen at all", reply(), there(), false),
        ("none came, and it got lost", silence(), sent_back(), true),
        ("an error came", unreachable(), error(), true),
    ] {
        assert_eq!(delivered(evidence.clone(), sightings.clone(), false), Some(holds), "{what}");
        assert_eq!(delivered(evidence, sightings, true), None, "{what}, in a capture with gaps");
    }
}
