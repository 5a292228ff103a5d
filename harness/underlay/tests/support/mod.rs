//! Cases and evidence put together by hand.
#![allow(dead_code)] // Each test target uses its own part.

pub mod reports;

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use probe::evidence::{Outcome, Silence, Stage};
use probe::{Evidence, deathwatch};
use underlay::case::{
    Case, Check, Claim, Expected, ExpectedOutcome, ExpectedProbe, NodeFact, Place, ProbeKind, ProbeSpec, Subject,
    Workload,
};
use underlay::engine::netns::agents;
use underlay::engine::{inputs, install};
use underlay::observed::{Agent, DnsState, Engine, EngineError, Observed};
use underlay::scenario::{self, Overrides};
use underlay::timeline::Timeline;
use underlay::verdict::{CaseResult, Provenance, judge};

/// A case of the guide's place without probes, expectations and claims: the shipped one with those taken away.
pub fn case(variant: &str) -> Case {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/guide/table.yaml");
    let cases = scenario::load(&file, &Overrides::default()).expect("the shipped scenario is right");
    let mut case = cases.into_iter().find(|case| case.variant == variant).expect("a variant of the shipped scenario");
    case.scenario = "by/hand".to_owned();
    case.file = "scenarios/by/hand.yaml".into();
    case.probes.clear();
    case.expectations.clear();
    case.claims.clear();
    case
}

/// A ping from the master's pod to the worker's.
pub fn ping(id: &str) -> ProbeSpec {
    let pod = |node: &str| Place::Pod(Workload { node: node.to_owned(), index: 0 });
    ProbeSpec {
        id: id.to_owned(),
        from: pod("master"),
        kind: ProbeKind::Icmp { to: pod("worker"), size: 56, dont_fragment: false },
        deadline: None,
    }
}

/// A probe that must come to `outcome`.
pub fn expect(id: &str, outcome: ExpectedOutcome, line: u32) -> Check {
    Check { subject: Subject::Probe(id.to_owned()), expected: Expected::Probe(come_to(outcome)), line }
}

/// The bare outcome.
pub fn come_to(outcome: ExpectedOutcome) -> ExpectedProbe {
    ExpectedProbe::of(outcome)
}

/// A decision of the master's agent that must be `value`.
pub fn expect_fact(fact: NodeFact, value: serde_json::Value, line: u32) -> Check {
    let subject = Subject::Node { node: "master".to_owned(), fact };
    Check { subject, expected: Expected::Value(value), line }
}

/// What somebody said of the same.
pub fn claim_fact(fact: NodeFact, value: serde_json::Value, line: u32) -> Claim {
    let Check { subject, expected, line } = expect_fact(fact, value, line);
    Claim { by: "guide §3".to_owned(), subject, said: expected, line }
}

/// An answer that came.
pub fn reply() -> Evidence {
    Evidence {
        outcome: Outcome::Reply,
        stage: Stage::Exchange,
        source_seen: Some(Ipv4Addr::new(100, 64, 0, 1)),
        answer: None,
        status: None,
        rtt: Some(Duration::from_micros(812)),
        silence: None,
        marks: Vec::new(),
        detail: "reply from 10.244.1.10, ttl 62".to_owned(),
    }
}

/// Another outcome, without an answer.
pub fn outcome(outcome: Outcome, detail: &str) -> Evidence {
    Evidence { outcome, source_seen: None, rtt: None, detail: detail.to_owned(), ..reply() }
}

/// Silence whose reason was witnessed.
pub fn death() -> Evidence {
    let death = deathwatch::Death {
        answer: false,
        namespace: "master".to_owned(),
        interface: Some("enp0s6".to_owned()),
        cause: deathwatch::Cause::NoNeighbour(Ipv4Addr::new(10, 0, 0, 24)),
        detail: "10.0.0.239 asked for 10.0.0.24 3 times, nobody answered".to_owned(),
    };
    Evidence { silence: Some(Silence::Death(death)), ..outcome(Outcome::Silence, "") }
}

/// The verdict on one probe with one expectation.
pub fn on_probe(expected: ExpectedProbe, evidence: Evidence) -> CaseResult {
    let mut case = case("enp0s6");
    case.probes = vec![ping("p")];
    case.expectations =
        vec![Check { subject: Subject::Probe("p".to_owned()), expected: Expected::Probe(expected), line: 7 }];
    let observed = observed(&case, &[("p", evidence)]);
    judge(Arc::new(case), "fake", Provenance::Model, Duration::from_millis(5), Ok(observed))
}

/// What an engine would have seen: the model's decisions, CoreDNS well, and these probes.
pub fn observed(case: &Case, probes: &[(&str, Evidence)]) -> Observed {
    let installed = install::install(case).expect("Helm takes the values");
    let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(case, node)).collect();
    let nodes = agents::decide(case, &installed.config, &seen).into_iter().map(|(name, agent)| {
        let agent = match agent {
            Ok(decisions) => Agent::Running(Box::new(decisions)),
            Err(fatal) => Agent::Fatal(fatal.to_string()),
        };
        (name, agent)
    });
    Observed {
        helm: Ok(()),
        values_not_modelled: installed.not_modelled,
        values_unknown: installed.unknown,
        nodes: nodes.collect(),
        dns: DnsState { replicas: 2, ready: 2, ..DnsState::default() },
        probes: probes.iter().map(|(id, evidence)| ((*id).to_owned(), evidence.clone())).collect(),
        traces: Vec::new(),
        nat: Vec::new(),
        capture: Vec::new(),
        overlay_paths: vec![("master".to_owned(), "worker".to_owned(), "direct 168.107.2.61:41641".to_owned())],
        drops: Vec::new(),
        doubts: Vec::new(),
        late: false,
        logs: Vec::new(),
        phases: vec![("lab", Duration::from_millis(40)), ("probes", Duration::from_millis(300))],
        timeline: Timeline::default(),
    }
}

type Run = dyn Fn(&Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send>> + Send + Sync;

/// An engine that builds nothing.
pub struct Fake(Box<Run>);

impl Fake {
    /// One that does `run` for each case.
    pub fn new<R>(run: impl Fn(&Case) -> R + Send + Sync + 'static) -> Arc<Self>
    where
        R: Future<Output = Result<Observed, EngineError>> + Send + 'static,
    {
        Arc::new(Self(Box::new(move |case| Box::pin(run(case)))))
    }
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        (self.0)(case)
    }
}
