//! The reports: what a person reads, what a program reads. Golden files are in `report/`; `BLESS=1` writes them.

mod support;

use serde_json::{Value, json};
use support::reports::{golden, mixed};
use underlay::report::human;
use underlay::report::paint::Paint;
use underlay::report::schema::Report;

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
