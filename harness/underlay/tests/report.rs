//! The reports: what a person reads, what a program reads. Golden files are in `report/`; `BLESS=1` writes them.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::{case, claim_fact, death, expect, expect_fact, observed, ping, reply};
use underlay::case::{Case, ExpectedOutcome, NodeFact};
use underlay::observed::{EngineError, Observed};
use underlay::report::human;
use underlay::report::paint::Paint;
use underlay::report::schema::{self, Host, Report, SCHEMA};
use underlay::verdict::{Provenance, Summary, judge};

fn host() -> Host {
    Host { os: "Linux".into(), kernel: "6.12".into(), arch: "x86_64".into(), cpus: 2, underlay: "0.1.0".into() }
}

fn report(cases: Vec<(Case, Result<Observed, EngineError>)>) -> Report {
    let mut summary = Summary::default();
    let cases = cases
        .into_iter()
        .map(|(case, outcome)| {
            let result = judge(Arc::new(case), "netns", Provenance::Model, Duration::from_millis(812), outcome);
            summary.add(result.verdict, result.claims.iter().map(|claim| claim.held));
            schema::Case::from(&result)
        })
        .collect();
    Report { schema: SCHEMA.to_owned(), host: host(), cases, summary, interrupted: None, duration_ms: 1624 }
}

/// The guide's place in four variants: as it must be, a packet that died, nothing to run it on, a wrong claim.
fn mixed() -> Report {
    let probes = |case: &mut Case| {
        case.probes = vec![ping("pod-to-pod"), ping("internet")];
        case.expectations = vec![
            expect("pod-to-pod", ExpectedOutcome::Works, 31),
            expect_fact(NodeFact::NodeIp, json!("100.64.0.1"), 32),
            expect_fact(NodeFact::Devices, json!(["enp0s6", "tailscale0"]), 33),
            expect_fact(NodeFact::Masquerade, json!("BPF [enp0s6, tailscale0]"), 34),
        ];
    };
    let answers = [("pod-to-pod", reply()), ("internet", reply())];
    let mut good = case("unset");
    probes(&mut good);
    let mut refuted = case("enp0s6,tailscale0");
    probes(&mut refuted);
    refuted.claims =
        vec![claim_fact(NodeFact::NodeIp, json!("10.0.0.239"), 41), claim_fact(NodeFact::PodMtu, json!(1230), 42)];
    let mut bad = case("enp0s6");
    probes(&mut bad);
    bad.expectations.truncate(2);
    let mut died = observed(&bad, &[("pod-to-pod", death()), ("internet", reply())]);
    died.drops = vec![("vcn a".to_owned(), "source-check".to_owned(), 2)];
    let mut skipped = case("tailscale0");
    probes(&mut skipped);
    let missing = lab::Missing { capability: lab::Capability::Tun, reason: "/dev/net/tun: ENOENT".to_owned() };
    report(vec![
        (good.clone(), Ok(observed(&good, &answers))),
        (refuted.clone(), Ok(observed(&refuted, &answers))),
        (bad, Ok(died)),
        (skipped, Err(EngineError::Missing(missing))),
    ])
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{name} is another now (BLESS=1 writes it); it was\n{wanted}\nand is\n{text}");
}

#[test]
fn a_person_reads() {
    let text = human::render(&mixed(), Paint(false), 80);
    golden("mixed.txt", &text);
    for line in text.lines().take_while(|line| !line.starts_with("!!")) {
        assert!(line.chars().count() <= 80, "tables keep within 80 columns: {line}");
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let plain = human::render(&mixed(), Paint(false), 80);
    let coloured = human::render(&mixed(), Paint(true), 80);
    assert!(coloured.contains('\u{1b}'));
    let words = |text: &str| console::strip_ansi_codes(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&coloured), words(&plain));
}

#[test]
fn a_narrow_place_gets_bands() {
    let text = human::render(&mixed(), Paint(false), 50);
    golden("narrow.txt", &text);
}

#[test]
fn a_program_reads() {
    let written = mixed();
    let text = format!("{:#}\n", serde_json::to_value(&written).unwrap());
    golden("mixed.json", &text);
    let read: Report = serde_json::from_str(&text).expect("what is written can be read");
    assert_eq!(read, written);
}

/// The keys that were promised, with the values' kinds.
#[test]
fn promised_keys() {
    let report = serde_json::to_value(mixed()).unwrap();
    assert_eq!(report["schema"], "underlay.report/1");
    let case = &report["cases"][2];
    for (key, value) in [
        ("scenario", json!("by/hand")),
        ("variant", json!("enp0s6")),
        ("engine", json!("netns")),
        ("model", json!("guide")),
        ("cilium", json!("1.18.2")),
        ("verdict", json!("fail")),
        ("duration_ms", json!(812)),
    ] {
        assert_eq!(case[key], value, "{key}");
    }
    let node = &case["nodes"]["master"];
    assert_eq!(node["node_ip"], "10.0.0.239");
    assert_eq!(node["devices"], json!(["enp0s6"]));
    assert_eq!(node["direct_routing_device"], "enp0s6");
    assert_eq!(node["pod_mtu"], 8950);
    assert!(node["not_selected"]["lo"].is_string());
    let probe = &case["probes"][0];
    let promised = json!({
        "id": "pod-to-pod", "kind": "icmp", "from": "master/pod", "to": "worker/pod", "outcome": "silence",
        "source_seen": null, "rtt_us": null, "verdict": "fail",
    });
    for (key, value) in promised.as_object().unwrap() {
        assert_eq!(&probe[key], value, "{key}");
    }
    let claim = &report["cases"][1]["claims"][0];
    let promised = json!({
        "by": "guide §3", "id": "node-ip", "said": "10.0.0.239", "measured": "100.64.0.1", "held": false,
    });
    for (key, value) in promised.as_object().unwrap() {
        assert_eq!(&claim[key], value, "{key}");
    }
    let summary: Value = json!({
        "pass": 2, "fail": 1, "error": 0, "skip": 1, "inconclusive": 0, "claims_held": 1, "claims_refuted": 1,
    });
    assert_eq!(report["summary"], summary);
}
