//! From evidence to verdicts: what passes, what fails, and what proves nothing.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use probe::Evidence;
use probe::evidence::{DnsFailure, Outcome};
use probe::walk::EndReason;
use serde_json::json;
use support::{case, claim_fact, come_to, death, expect, expect_fact, observed, on_probe, outcome, ping, reply};
use underlay::case::{Case, Check, Claim, Expected, ExpectedOutcome, ExpectedProbe, NodeFact, ProbeKind, Subject};
use underlay::nat;
use underlay::observed::{Agent, EngineError, Observed, Trace};
use underlay::verdict::{CaseResult, Provenance, Verdict, judge};

fn judged(case: Case, outcome: Result<Observed, EngineError>) -> CaseResult {
    judge(Arc::new(case), "fake", Provenance::Model, Duration::from_millis(5), outcome)
}

#[test]
fn outcomes() {
    use ExpectedOutcome as E;
    let unreachable = || Outcome::Unreachable { by: None, code: 1 };
    let too_big = || Outcome::TooBig { by: None, mtu: 1230 };
    let of = |what: Outcome| outcome(what, "");
    for (expected, evidence, verdict) in [
        (E::Works, reply(), Verdict::Pass),
        (E::Works, death(), Verdict::Fail),
        (E::Works, Evidence { status: Some(204), ..reply() }, Verdict::Pass),
        (E::Works, Evidence { status: Some(503), ..reply() }, Verdict::Fail),
        (E::Fails, reply(), Verdict::Fail),
        (E::Fails, death(), Verdict::Pass),
        (E::Fails, of(Outcome::DnsFailure(DnsFailure::ServerFailure)), Verdict::Pass),
        (E::Fails, of(Outcome::NotPossible { errno: None }), Verdict::Inconclusive),
        (E::Works, of(Outcome::NotPossible { errno: None }), Verdict::Inconclusive),
        (E::Silence, death(), Verdict::Pass),
        (E::Silence, of(unreachable()), Verdict::Fail),
        (E::Refused, of(Outcome::Refused), Verdict::Pass),
        (E::Refused, death(), Verdict::Fail),
        (E::Unreachable, of(unreachable()), Verdict::Pass),
        (E::TooBig, of(too_big()), Verdict::Pass),
        (E::TooBig, reply(), Verdict::Fail),
    ] {
        let told = format!("{expected} against {}", evidence.outcome);
        assert_eq!(on_probe(come_to(expected), evidence).verdict, verdict, "{told}");
    }
}

#[test]
fn what_comes_with_an_outcome() {
    let works = || come_to(ExpectedOutcome::Works);
    let source = |last| Some(Ipv4Addr::new(100, 64, 0, last));
    let verdict = |expected, evidence| on_probe(expected, evidence).verdict;

    assert_eq!(verdict(ExpectedProbe { source: source(1), ..works() }, reply()), Verdict::Pass);
    assert_eq!(verdict(ExpectedProbe { source: source(2), ..works() }, reply()), Verdict::Fail, "another source");
    let untold = Evidence { source_seen: None, ..reply() };
    let expected = ExpectedProbe { source: source(1), ..works() };
    assert_eq!(verdict(expected.clone(), untold), Verdict::Inconclusive, "nobody told the source");
    assert_eq!(verdict(expected, death()), Verdict::Fail, "no answer came, whatever its source would have been");

    let answer = |text: &str| Evidence { answer: Some(text.to_owned()), ..reply() };
    let wanted = ExpectedProbe { answer: Some("168.107.2.60".to_owned()), ..works() };
    assert_eq!(verdict(wanted.clone(), answer("you are 168.107.2.60\n")), Verdict::Pass);
    assert_eq!(verdict(wanted, answer("10.0.0.239")), Verdict::Fail);

    let too_big = |mtu| outcome(Outcome::TooBig { by: None, mtu }, "");
    let wanted = ExpectedProbe { mtu: Some(1230), ..come_to(ExpectedOutcome::TooBig) };
    assert_eq!(verdict(wanted.clone(), too_big(1230)), Verdict::Pass);
    let result = on_probe(wanted, too_big(1280));
    assert_eq!(result.verdict, Verdict::Fail);
    assert_eq!(result.checks[0].expected, json!("too-big, mtu 1230"));
    assert_eq!(result.checks[0].measured, json!("too-big, mtu 1280"));
}

#[test]
fn an_address_in_a_dns_answer_is_a_whole_one() {
    let mut case = case("enp0s6");
    let mut probe = ping("p");
    probe.kind = ProbeKind::Dns { name: "google.com".to_owned(), server: probe.from.clone() };
    case.probes = vec![probe];
    let expected = ExpectedProbe { answer: Some("10.0.0.2".to_owned()), ..come_to(ExpectedOutcome::Works) };
    case.expectations =
        vec![Check { subject: Subject::Probe("p".to_owned()), expected: Expected::Probe(expected), line: 7 }];
    for (answer, verdict) in [("10.0.0.1, 10.0.0.2", Verdict::Pass), ("10.0.0.24", Verdict::Fail)] {
        let evidence = Evidence { answer: Some(answer.to_owned()), ..reply() };
        let observed = observed(&case, &[("p", evidence)]);
        assert_eq!(judged(case.clone(), Ok(observed)).verdict, verdict, "10.0.0.2 in {answer}");
    }
}

#[test]
fn lost_frames_make_silence_doubtful_but_no_answer() {
    let mut case = case("enp0s6");
    case.probes = vec![ping("answered"), ping("silent")];
    case.expectations =
        vec![expect("answered", ExpectedOutcome::Works, 1), expect("silent", ExpectedOutcome::Silence, 2)];
    let mut observed = observed(&case, &[("answered", reply()), ("silent", death())]);
    observed.doubts = vec!["the capture lost 3 packets in master".to_owned()];
    let result = judged(case, Ok(observed));
    assert_eq!(result.checks[0].verdict, Verdict::Pass, "an answer is a proof by itself");
    assert_eq!(result.checks[1].verdict, Verdict::Inconclusive, "silence is not");
    assert!(result.checks[1].message.contains("lost 3 packets"), "{}", result.checks[1].message);
    assert_eq!(result.verdict, Verdict::Inconclusive);
}

/// Who isn't ready, and what isn't in a table, may have been too late.
#[test]
fn doubts_are_about_whatever_did_not_come() {
    let about =
        |subject: Subject, expected: serde_json::Value| Check { subject, expected: Expected::Value(expected), line: 7 };
    let nat = |pattern: &str| about(Subject::Nat { node: "master".to_owned() }, json!([pattern]));
    let verdict = |check: &Check, ready: u32, doubts: &[&str]| {
        let mut case = case("enp0s6");
        case.expectations = vec![check.clone()];
        let mut observed = observed(&case, &[]);
        observed.dns.replicas = 2;
        observed.dns.ready = ready;
        observed.nat = vec![("master".to_owned(), vec![])];
        observed.doubts = doubts.iter().map(|doubt| (*doubt).to_owned()).collect();
        judged(case, Ok(observed)).verdict
    };
    let doubt = ["this machine was too busy"];
    for (check, ready, sure, doubtful) in [
        (about(Subject::DnsReady, json!(2)), 2, Verdict::Pass, Verdict::Pass),
        (about(Subject::DnsReady, json!(2)), 1, Verdict::Fail, Verdict::Inconclusive),
        (about(Subject::DnsReady, json!(1)), 1, Verdict::Pass, Verdict::Inconclusive),
        (about(Subject::DnsRestarts, json!(0)), 2, Verdict::Pass, Verdict::Pass),
        (nat("ICMP OUT *"), 2, Verdict::Fail, Verdict::Inconclusive),
        (nat("! ICMP OUT *"), 2, Verdict::Pass, Verdict::Inconclusive),
    ] {
        assert_eq!(verdict(&check, ready, &[]), sure, "{check:?}");
        assert_eq!(verdict(&check, ready, &doubt), doubtful, "{check:?} in doubt");
    }
}

#[test]
fn a_probe_that_was_not_sent_proves_nothing() {
    let mut case = case("enp0s6");
    case.probes = vec![ping("p")];
    case.expectations = vec![expect("p", ExpectedOutcome::Fails, 1)];
    let mut observed = observed(&case, &[]);
    assert_eq!(judged(case.clone(), Ok(observed.clone())).verdict, Verdict::Inconclusive);

    observed.nodes[0].1 = Agent::Fatal("no device".to_owned());
    let result = judged(case.clone(), Ok(observed.clone()));
    assert!(result.checks[0].message.contains("the agent of master died: no device"), "{}", result.checks[0].message);

    observed.helm = Err("key \"tailscale0\" has no value".to_owned());
    let result = judged(case, Ok(observed));
    assert!(result.checks[0].message.contains("Helm refuses"), "{}", result.checks[0].message);
}

#[test]
fn decisions() {
    let case = case("enp0s6,tailscale0");
    for (fact, value, verdict) in [
        (NodeFact::Agent, json!("running"), Verdict::Pass),
        (NodeFact::Agent, json!("fatal"), Verdict::Fail),
        (NodeFact::NodeIp, json!("100.64.0.1"), Verdict::Pass),
        (NodeFact::NodeIp, json!("10.0.0.239"), Verdict::Fail),
        (NodeFact::Devices, json!(["enp0s6", "tailscale0"]), Verdict::Pass),
        (NodeFact::Devices, json!(["tailscale0", "enp0s6"]), Verdict::Fail),
        (NodeFact::NotSelected, json!({"lo": ""}), Verdict::Pass),
        (NodeFact::NotSelected, json!({"enp0s6": ""}), Verdict::Fail),
        (NodeFact::SkipFib, json!(false), Verdict::Pass),
        (NodeFact::HostRouting, json!("bpf"), Verdict::Pass),
        (NodeFact::Masquerade, json!("BPF [enp0s6, tailscale0]"), Verdict::Pass),
        (NodeFact::PodMtu, json!(1230), Verdict::Pass),
        (NodeFact::PodMtu, json!(8950), Verdict::Fail),
        (NodeFact::NodePortAddresses, json!(["10.0.0.239", "100.64.0.1"]), Verdict::Pass),
    ] {
        let mut case = case.clone();
        case.expectations = vec![expect_fact(fact, value.clone(), 3)];
        let observed = observed(&case, &[]);
        let result = judged(case, Ok(observed));
        assert_eq!(result.verdict, verdict, "{fact} {value}: measured {}", result.checks[0].measured);
    }
}

#[test]
fn a_dead_agent_decided_nothing() {
    let mut case = case("enp0s6");
    case.expectations =
        vec![expect_fact(NodeFact::Agent, json!("no such device"), 1), expect_fact(NodeFact::PodMtu, json!(1230), 2)];
    let mut observed = observed(&case, &[]);
    observed.nodes[0].1 = Agent::Fatal("level=fatal msg=\"no such device eth9\"".to_owned());
    let result = judged(case, Ok(observed));
    assert_eq!(result.checks[0].verdict, Verdict::Pass, "some of its last words were asked for");
    assert_eq!(result.checks[1].verdict, Verdict::Inconclusive);
    assert!(result.checks[1].measured.is_null());
}

#[test]
fn helm_and_dns() {
    let check = |subject, value| Check { subject, expected: Expected::Value(value), line: 1 };
    let mut case = case("enp0s6");
    case.expectations = vec![
        check(Subject::Helm, json!("refused")),
        check(Subject::Helm, json!("has no value")),
        check(Subject::DnsReady, json!(2)),
    ];
    let mut observed = observed(&case, &[]);
    let accepted = judged(case.clone(), Ok(observed.clone()));
    assert_eq!(
        accepted.checks.iter().map(|c| c.verdict).collect::<Vec<_>>(),
        [Verdict::Fail, Verdict::Fail, Verdict::Pass]
    );
    observed.helm = Err("key \"tailscale0\" has no value".to_owned());
    let refused = judged(case, Ok(observed));
    assert_eq!(
        refused.checks.iter().map(|c| c.verdict).collect::<Vec<_>>(),
        [Verdict::Pass, Verdict::Pass, Verdict::Inconclusive]
    );
}

#[test]
fn claims_are_measured_and_never_asserted() {
    let mut case = case("enp0s6,tailscale0");
    case.expectations = vec![expect_fact(NodeFact::PodMtu, json!(1230), 1)];
    case.claims = vec![
        claim_fact(NodeFact::NodeIp, json!("10.0.0.239"), 2),
        claim_fact(NodeFact::NodeIp, json!("100.64.0.1"), 3),
        Claim {
            by: "somebody".to_owned(),
            subject: Subject::Probe("never-sent".to_owned()),
            said: Expected::Probe(come_to(ExpectedOutcome::Works)),
            line: 4,
        },
    ];
    let observed = observed(&case, &[]);
    let result = judged(case, Ok(observed));
    assert_eq!(result.verdict, Verdict::Pass, "a wrong claim is nobody's failure");
    assert_eq!(result.claims.iter().map(|claim| claim.held).collect::<Vec<_>>(), [Some(false), Some(true), None]);
    assert_eq!(result.claims[0].measured, json!("100.64.0.1"));
}

#[test]
fn what_kept_a_case_from_being_observed() {
    let missing = lab::Missing { capability: lab::Capability::Tun, reason: "no such file".to_owned() };
    let result = judged(case("enp0s6"), Err(EngineError::Missing(missing.clone())));
    assert_eq!((result.verdict, &result.missing), (Verdict::Skip, &Some(missing)));

    let unsupported = EngineError::Unsupported { engine: "fake", what: "native routing".to_owned() };
    let result = judged(case("enp0s6"), Err(unsupported));
    assert_eq!(result.verdict, Verdict::Skip);
    assert_eq!(result.reason.as_deref(), Some("the fake engine can't: native routing"));

    let failed = EngineError::Failed { step: "build".to_owned(), reason: "no memory".to_owned() };
    assert_eq!(judged(case("enp0s6"), Err(failed)).verdict, Verdict::Error);
    let unread = EngineError::Unread {
        step: "read back what the agent on master decided".to_owned(),
        reason: "the table of devices: expected a number".to_owned(),
        said: "{\"Index\": \"x\"}".to_owned(),
    };
    let result = judged(case("enp0s6"), Err(unread));
    assert_eq!(result.verdict, Verdict::Inconclusive);
    assert!(
        result.reason.is_some_and(|reason| reason.ends_with("it said: {\"Index\": \"x\"}")),
        "the raw text is kept"
    );
}

#[test]
fn a_stub_passes_nothing() {
    let mut case = case("enp0s6,tailscale0");
    case.expectations =
        vec![expect_fact(NodeFact::PodMtu, json!(1230), 1), expect_fact(NodeFact::PodMtu, json!(1500), 2)];
    let observed = observed(&case, &[]);
    let result = judge(Arc::new(case), "fake", Provenance::Stub, Duration::ZERO, Ok(observed));
    assert_eq!(result.checks[0].verdict, Verdict::Inconclusive);
    assert_eq!(result.checks[1].verdict, Verdict::Fail);
}

/// Evidence of a ping that died at the overlay, with the source it had there.
fn walked(case: &Case, evidence: Evidence) -> Observed {
    let mut observed = observed(case, &[("p", evidence)]);
    let walk = json!({
        "hops": [
            {"at": "master/pod", "direction": "out", "src": "10.244.0.10", "dst": "8.8.8.8", "size": 84, "ttl": 64},
            {"at": "master/tailscale0", "direction": "out", "src": "100.64.0.1", "dst": "8.8.8.8", "size": 84, "ttl": 63},
        ],
        "end": {"at": "master/tailscale0", "reason": "overlay-no-peer", "detail": "nobody has 8.8.8.8"},
        "complete": true,
    });
    let trace = Trace {
        walk: serde_json::from_value(walk).expect("a walk"),
        places: ["master/pod", "master/tailscale0"].map(str::to_owned).into(),
        sightings: Vec::new(),
        gaps: false,
        astray: None,
    };
    observed.traces = vec![("p".to_owned(), trace)];
    observed
}

fn on_walk(expected: ExpectedProbe, change: impl FnOnce(&mut Observed)) -> CaseResult {
    let mut case = case("enp0s6");
    case.probes = vec![ping("p")];
    case.expectations =
        vec![Check { subject: Subject::Probe("p".to_owned()), expected: Expected::Probe(expected), line: 7 }];
    let mut observed = walked(&case, Evidence { source_seen: None, ..death() });
    change(&mut observed);
    judged(case, Ok(observed))
}

#[test]
fn a_packets_way() {
    let fails = || come_to(ExpectedOutcome::Fails);
    let places = |list: &[&str]| list.iter().map(|place| (*place).to_owned()).collect::<Vec<_>>();
    let via = |list| ExpectedProbe { via: places(list), ..fails() };
    let silent = |list| ExpectedProbe { silent_on: places(list), ..fails() };
    let dies = |at: &str| ExpectedProbe { dies_at: Some(at.to_owned()), ..fails() };
    let reason = |reason| ExpectedProbe { reason: Some(reason), ..fails() };
    let source = |last| ExpectedProbe { source: Some(Ipv4Addr::new(100, 64, 0, last)), ..fails() };
    for (expected, verdict) in [
        (via(&["master/pod", "master/tailscale0"]), Verdict::Pass),
        (via(&["master", "master/tailscale0"]), Verdict::Pass),
        (via(&["master/tailscale0", "master/pod"]), Verdict::Fail),
        (via(&["master/enp0s6"]), Verdict::Fail),
        (silent(&["master/enp0s6", "vcn/a", "vcn b"]), Verdict::Pass),
        (silent(&["master/enp0s6", "master/tailscale0"]), Verdict::Fail),
        (silent(&["master"]), Verdict::Fail),
        (dies("master/tailscale0"), Verdict::Pass),
        (dies("master"), Verdict::Pass),
        (dies("master/tailscale"), Verdict::Fail),
        (reason(EndReason::OverlayNoPeer), Verdict::Pass),
        (reason(EndReason::SourceCheck), Verdict::Fail),
        (source(1), Verdict::Pass),
        (source(2), Verdict::Fail),
    ] {
        let told = format!("{expected}");
        assert_eq!(on_walk(expected, |_| {}).verdict, verdict, "{told}");
    }
    let result = on_walk(dies("vcn a/gateway"), |_| {});
    assert_eq!(result.checks[0].measured, json!("silence, dies at master/tailscale0"));
    assert_eq!(result.checks[0].message, "it ended at master/tailscale0; nobody has 8.8.8.8");
}

#[test]
fn silence_at_a_place_needs_a_witness_without_gaps() {
    let silent = |place: &str| ExpectedProbe { silent_on: vec![place.to_owned()], ..come_to(ExpectedOutcome::Fails) };
    let gaps = |observed: &mut Observed| observed.traces[0].1.gaps = true;
    assert_eq!(on_walk(silent("master/enp0s6"), gaps).verdict, Verdict::Inconclusive, "it may have been there");
    assert_eq!(
        on_walk(silent("master/tailscale0"), gaps).verdict,
        Verdict::Fail,
        "it was there, whatever else went unseen"
    );
    let via = |place: &str| ExpectedProbe { via: vec![place.to_owned()], ..come_to(ExpectedOutcome::Fails) };
    assert_eq!(on_walk(via("master/enp0s6"), gaps).verdict, Verdict::Inconclusive, "it may have come by there");
    assert_eq!(on_walk(via("master/tailscale0"), gaps).verdict, Verdict::Pass, "it came by there");
    let source = ExpectedProbe { source: Some(Ipv4Addr::new(100, 64, 0, 1)), ..come_to(ExpectedOutcome::Fails) };
    assert_eq!(on_walk(source, gaps).verdict, Verdict::Inconclusive, "it may have had another later");
    let unwatched = |observed: &mut Observed| observed.traces.clear();
    assert_eq!(on_walk(silent("master/enp0s6"), unwatched).verdict, Verdict::Inconclusive, "nobody watched");
}

/// What was seen on an interface beside the lab may have been answered there, or lost.
#[test]
fn what_went_astray_proves_nothing() {
    let astray = |observed: &mut Observed| {
        observed.probes[0].1 = reply();
        observed.traces[0].1.astray = Some("master/eth0".to_owned());
        observed.doubts = vec!["packets of `p` were seen on master/eth0, beside the lab".to_owned()];
    };
    for outcome in [ExpectedOutcome::Works, ExpectedOutcome::Fails] {
        let result = on_walk(come_to(outcome), astray);
        assert_eq!(result.verdict, Verdict::Inconclusive, "{:?}", result.checks);
        assert!(result.checks[0].message.contains("beside the lab"), "{:?}", result.checks);
    }
}

#[test]
fn a_nodes_nat_table() {
    let subject = Subject::Nat { node: "master".to_owned() };
    let check =
        |patterns: serde_json::Value| Check { subject: subject.clone(), expected: Expected::Value(patterns), line: 3 };
    let mut case = case("enp0s6");
    case.expectations = vec![
        check(json!(["ICMP OUT 10.244.0.10:* -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:*", "!* XLATE_SRC 100.64.*"])),
        check(json!(["ICMP OUT 10.244.0.10:* -> 8.8.8.8:0 XLATE_SRC 100.64.0.1:*"])),
        check(json!(["!ICMP *"])),
    ];
    let at = |text: &str| text.parse().expect("an address and a port");
    let flow = lab::conntrack::Flow {
        protocol: 1,
        original: lab::conntrack::Direction { source: at("10.244.0.10:7"), destination: at("8.8.8.8:0") },
        reply: lab::conntrack::Direction { source: at("8.8.8.8:0"), destination: at("10.0.0.239:7") },
    };
    let mut observed = observed(&case, &[]);
    let unread = judged(case.clone(), Ok(observed.clone()));
    assert!(unread.checks.iter().all(|check| check.verdict == Verdict::Inconclusive), "no table, no verdict");
    observed.nat = vec![("master".to_owned(), nat::entries(&[flow], "10.244.0.0/24".parse().expect("a range")))];
    let result = judged(case, Ok(observed));
    let verdicts: Vec<_> = result.checks.iter().map(|check| check.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Fail, Verdict::Fail]);
    let but = "but `ICMP OUT 10.244.0.10:7 -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:7`";
    assert!(result.checks[1].message.ends_with(but), "what is there instead: {}", result.checks[1].message);
}
