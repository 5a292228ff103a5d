//! What `underlay explore` draws: right scenarios, the same from the same seed, and of every kind.

use underlay::explore::draw::scenario;
use underlay::shrink::only_case;

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
