//! Reports put together by hand, and the golden files of what is made of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use probe::walk::Walk;
use serde_json::{Value, json};
use underlay::case::{Case, ExpectedOutcome, NodeFact};
use underlay::nat::{NatEntry, Way};
use underlay::observed::{EngineError, Observed, Trace};
use underlay::report::schema::{self, Capability, Host, Report, SCHEMA};
use underlay::verdict::{Provenance, Summary, judge};

use super::{case, claim_fact, death, expect, expect_fact, observed, ping, reply};

/// Where all reports here were made.
pub fn host() -> Host {
    let capability = |name: &str, reason: Option<&str>| Capability {
        name: name.to_owned(),
        works: reason.is_none(),
        reason: reason.map(str::to_owned),
    };
    Host {
        os: "Linux".into(),
        kernel: "6.12".into(),
        arch: "x86_64".into(),
        rootless: false,
        cpus: 2,
        underlay: "0.1.0".into(),
        capabilities: vec![capability("veth pairs", None), capability("TUN devices", Some("/dev/net/tun: ENOENT"))],
        shard: None,
    }
}

/// What a run of these would report.
pub fn report(cases: Vec<(Case, Result<Observed, EngineError>)>) -> Report {
    let mut summary = Summary::default();
    let cases = cases
        .into_iter()
        .map(|(case, outcome)| {
            let result = judge(Arc::new(case), "netns", Provenance::Model, Duration::from_millis(812), outcome);
            summary.add(result.verdict, result.claims.iter().map(|claim| claim.held));
            schema::Case::from(&result)
        })
        .collect();
    let schema = SCHEMA.to_owned();
    let (interrupted, unfinished) = (None, Vec::new());
    Report { schema, host: host(), cases, summary, interrupted, unfinished, duration_ms: 1624, merge: None }
}

/// The guide's place in four variants: as it must be, a packet that died, nothing to run it on, a wrong claim.
pub fn mixed() -> Report {
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
    let mut arrived = observed(&good, &answers);
    arrived.traces = vec![("pod-to-pod".to_owned(), trace(over_the_overlay()))];
    let mut died = observed(&bad, &[("pod-to-pod", death()), ("internet", reply())]);
    died.drops = vec![("vcn a".to_owned(), "source-check".to_owned(), 2)];
    died.traces = vec![("pod-to-pod".to_owned(), trace(into_nowhere())), ("internet".to_owned(), trace(answer_lost()))];
    died.nat = vec![("master".to_owned(), vec![translation()])];
    let mut skipped = case("tailscale0");
    probes(&mut skipped);
    let missing = lab::Missing { capability: lab::Capability::Tun, reason: "/dev/net/tun: ENOENT".to_owned() };
    report(vec![
        (good, Ok(arrived)),
        (refuted.clone(), Ok(observed(&refuted, &answers))),
        (bad, Ok(died)),
        (skipped, Err(EngineError::Missing(missing))),
    ])
}

/// A walk without frames.
pub fn trace(walk: Walk) -> Trace {
    Trace { walk, places: Default::default(), sightings: Vec::new(), gaps: false, astray: None }
}

fn walk(value: Value) -> Walk {
    serde_json::from_value(value).expect("a walk as the schema has it")
}

fn hop(at: &str, direction: &str, src: &str, dst: &str, ttl: u8) -> Value {
    json!({"at": at, "direction": direction, "src": src, "dst": dst, "size": 84, "ttl": ttl})
}

fn with(mut hop: Value, key: &str, value: Value) -> Value {
    hop[key] = value;
    hop
}

/// VXLAN to an address that nobody has on the link.
fn into_nowhere() -> Walk {
    let (pod, far) = ("10.244.0.10", "10.244.1.10");
    walk(json!({
        "hops": [
            hop("master/pod", "out", pod, far, 64),
            hop("master/lxc-pod", "in", pod, far, 64),
            hop("master/cilium_vxlan", "out", pod, far, 63),
        ],
        "end": {"at": "master/enp0s6", "reason": "no-arp-reply",
            "detail": "10.0.0.239 asked for 10.0.0.24 3 times, nobody answered"},
        "complete": true,
    }))
}

/// VXLAN in WireGuard by way of both gateways.
fn over_the_overlay() -> Walk {
    let (pod, far) = ("10.244.0.10", "10.244.1.10");
    let vxlan = json!({"src": "100.64.0.1:41000", "dst": "100.64.0.2:8472", "size": 134, "ttl": 64});
    let sealed = |at: &str, direction: &str, src: &str, dst: &str| {
        let hop = with(hop(at, direction, pod, far, 63), "inferred", json!(true));
        with(hop, "outer", json!({"src": src, "dst": dst, "size": 192, "ttl": 64}))
    };
    let (inside, outside) = ("10.0.0.239:41641", "168.107.2.60:41641");
    let (far_outside, far_inside) = ("168.107.2.61:41641", "10.0.0.24:41641");
    let encapsulated = json!([{"encapsulated": {"src": "100.64.0.1:41000", "dst": "100.64.0.2:8472"}}]);
    let encrypted = json!([{"encrypted": {"inferred": true}}]);
    let snat = json!([{"snat": {"from": inside, "to": outside, "outer": true}}]);
    let dnat = json!([{"dnat": {"from": far_outside, "to": far_inside, "outer": true}}]);
    let arrived = with(hop("worker/tailscale0", "in", pod, far, 63), "outer", vxlan.clone());
    walk(json!({
        "hops": [
            hop("master/pod", "out", pod, far, 64),
            hop("master/lxc-pod", "in", pod, far, 64),
            with(with(hop("master/tailscale0", "out", pod, far, 63), "outer", vxlan), "changed", encapsulated),
            with(sealed("master/enp0s6", "out", inside, far_outside), "changed", encrypted),
            sealed("vcn a/gateway", "in", inside, far_outside),
            with(sealed("vcn a/gateway", "out", outside, far_outside), "changed", snat),
            sealed("internet", "in", outside, far_outside),
            sealed("internet", "out", outside, far_outside),
            sealed("vcn b/gateway", "in", outside, far_outside),
            with(sealed("vcn b/gateway", "out", outside, far_inside), "changed", dnat),
            sealed("worker/enp0s6", "in", outside, far_inside),
            with(arrived, "changed", json!([{"decrypted": {"inferred": true}}])),
            with(hop("worker/cilium_vxlan", "in", pod, far, 63), "changed", json!([{"decapsulated": {}}])),
            hop("worker/pod", "in", pod, far, 62),
        ],
        "end": {"at": "worker/pod", "reason": "delivered", "detail": ""},
        "complete": true,
    }))
}

/// Translated twice on the way there; the gateway lets the answer not in.
fn answer_lost() -> Walk {
    let (pod, node, public, far) = ("10.244.0.10", "10.0.0.239", "168.107.2.60", "8.8.8.8");
    let at_the_gateway = json!([{"snat": {"from": node, "to": public}}]);
    walk(json!({
        "hops": [
            hop("master/pod", "out", pod, far, 64),
            with(hop("master/enp0s6", "out", node, far, 63), "changed", json!([{"snat": {"from": pod, "to": node}}])),
            with(hop("vcn a/gateway", "out", public, far, 62), "changed", at_the_gateway),
            hop("internet", "in", public, far, 62),
        ],
        "end": {"at": "internet", "reason": "answer-lost", "detail": ""},
        "answer": {
            "hops": [hop("internet", "out", far, public, 64), hop("vcn a/gateway", "in", far, public, 63)],
            "end": {"at": "vcn a/gateway", "reason": "ingress-denied", "detail": "its counter rose by 1"},
            "complete": true,
        },
        "complete": true,
    }))
}

fn translation() -> NatEntry {
    let at = |text: &str| text.parse().expect("an address with a port");
    NatEntry {
        protocol: 1,
        way: Way::Out,
        source: at("10.244.0.10:7"),
        destination: at("8.8.8.8:0"),
        translated: at("10.0.0.239:7"),
    }
}

/// What would break out of a page, a table, a code block, a runner's command or a folder, all in one.
pub const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)> | `a` ```\n::error::x%0A, \
                           </details>]]>\u{1b}[31m\u{0}../../x";

/// The same report with [`HOSTILE`] behind every text in it that isn't one of the schema's own words.
pub fn hostile(report: &Report) -> Report {
    let mut value = serde_json::to_value(report).expect("a report is JSON");
    spoil(&mut value);
    serde_json::from_value(value).expect("texts may be any")
}

fn spoil(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str(HOSTILE),
        Value::Array(list) => list.iter_mut().for_each(spoil),
        Value::Object(map) => {
            let words = ["schema", "verdict", "outcome", "decisions"];
            map.iter_mut().filter(|(key, _)| !words.contains(&key.as_str())).for_each(|(_, value)| spoil(value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Compares with a file of `tests/report/`, which `BLESS=1` writes.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    if wanted == text {
        return;
    }
    let line = wanted.lines().zip(text.lines()).position(|(one, other)| one != other);
    let line = line.unwrap_or_else(|| wanted.lines().count().min(text.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    panic!("{name} is another now (BLESS=1 writes it); line {} was\n{}\nand is\n{}", line + 1, at(&wanted), at(text));
}
