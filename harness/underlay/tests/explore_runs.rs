//! What `underlay explore` holds networks against: it holds of what really happened, and not of what is tampered with.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cilium::decisions::Egress;
use lab::doctor;
use libtest_mimic::{Arguments, Failed, Trial};
use probe::capture::Trail;
use probe::evidence::Outcome;
use probe::walk::{Known, walk};
use tokio::runtime::Runtime;
use topology::network::Nat;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::explore::invariants::{Invariant, findings};
use underlay::observed::{Agent, Engine, Observed};
use underlay::shrink::only_case;
use underlay::verdict::{CaseResult, Provenance, judge};

/// Two nodes alike in networks of their own, joined by an overlay, each with one device that takes everything.
const SCENARIO: &str = "\
topology:
  internet: {hosts: {dns.google: {address: 8.8.8.8, serves: [dns]}}}
  vcns:
    a: {cidr: 10.0.0.0/24, nat: endpoint-dependent, public-address: 203.0.113.1}
    b: {cidr: 10.0.0.0/24, nat: endpoint-dependent, public-address: 203.0.113.2}
  overlay: {}
  nodes:
    master:
      role: control-plane
      interfaces: {enp0s6: {vcn: a, address: 10.0.0.10/24, default-route: true}}
      overlay-address: 100.64.0.1
    worker:
      interfaces: {enp0s6: {vcn: b, address: 10.0.0.11/24, default-route: true}}
      overlay-address: 100.64.0.2
cilium: 1.18.2
deadline: 5s
kubelet: {node-ip: overlay}
values:
  kubeProxyReplacement: true
  bpf: {masquerade: true}
  devices: enp0s6
variants:
  nic: {}
probes:
  internet: {icmp: 8.8.8.8, from: master/pod}
  there: {icmp: worker/pod, from: master/pod}
  back: {icmp: master/pod, from: worker/pod}
  big: {icmp: {to: worker/pod, size: 8990, df: true}, from: master/pod}
";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Runtime::new().expect("a runtime starts");
    let missing = sandbox.and_then(|_| runtime.block_on(doctor::try_for(&case().network))).err();
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let trial = Trial::test("what_is_tampered_with_is_found", move || tampered(&runtime));
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(missing.is_some())]).exit_code()
}

fn case() -> Case {
    only_case("tampered.yaml", SCENARIO).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn result(case: Case, observed: Observed) -> CaseResult {
    judge(Arc::new(case), "netns", Provenance::Model, Duration::ZERO, Ok(observed))
}

fn tampered(runtime: &Runtime) -> Result<(), Failed> {
    let case = case();
    let mut observed = runtime.block_on(Netns.run(&case)).map_err(|error| error.to_string())?;
    // On a busy machine silence is doubted; here an answer is late by seconds then, or there is none.
    observed.doubts.clear();
    let all = findings(&result(case.clone(), observed.clone()));
    let broken: Vec<_> = all.iter().filter_map(|finding| finding.violation.as_ref()).collect();
    if !broken.is_empty() {
        return Err(format!("all of it holds of what happened: {broken:#?}").into());
    }
    if let Some(untried) =
        Invariant::ALL.iter().find(|invariant| !all.iter().any(|found| found.invariant == **invariant))
    {
        return Err(format!("{} is not put to the test", untried.name()).into());
    }

    type Tamper = fn(&mut Case, &mut Observed);
    let tampers: [(Invariant, Tamper); 10] = [
        (Invariant::Foretold, |_, observed| master(observed).device_mtu += 1),
        (Invariant::Egress, |_, observed| master(observed).egress = Egress::Device { device: "enp9s9".to_owned() }),
        (Invariant::Source, |_, observed| master(observed).devices[0].masquerade_source = Some([10, 0, 0, 99].into())),
        (Invariant::Tunnel, |_, observed| master(observed).tunnels[0].endpoint = Some([10, 0, 0, 99].into())),
        (Invariant::Mtu, |_, observed| master(observed).pod_mtu -= 1),
        (Invariant::Gateway, |case, _| {
            let public_address = [203, 0, 113, 99].into();
            Arc::make_mut(&mut case.network).vcns[0].nat = Nat::EndpointDependent { public_address };
        }),
        (Invariant::Symmetric, |_, observed| {
            let back = &mut observed.probes[2].1.outcome;
            *back = if *back == Outcome::Reply { Outcome::Silence } else { Outcome::Reply };
        }),
        (Invariant::Business, |_, observed| observed.traces[0].1.places.extend(["worker/enp0s6".to_owned()])),
        // Both halves: no answer where the way ends well, and one where it doesn't.
        (Invariant::Delivered, |_, observed| {
            observed.probes[0].1.outcome = Outcome::Silence;
            walk_again(observed);
        }),
        (Invariant::Delivered, |_, observed| {
            let trace = &mut observed.traces[0].1;
            let last = trace.sightings.iter().rposition(|seen| &*seen.namespace == FROM).expect("an answer came");
            trace.sightings.remove(last);
            walk_again(observed);
        }),
    ];
    for (invariant, tamper) in tampers {
        let (mut case, mut observed) = (case.clone(), observed.clone());
        tamper(&mut case, &mut observed);
        let all = findings(&result(case, observed));
        let mut own = all.iter().filter(|finding| finding.invariant == invariant);
        if !own.any(|finding| finding.violation.is_some()) {
            return Err(format!("{} should be found broken: {all:#?}", invariant.name()).into());
        }
    }
    observed.traces.iter_mut().for_each(|(_, trace)| trace.gaps = true);
    let by_hops = [Invariant::Egress, Invariant::Source, Invariant::Tunnel, Invariant::Gateway, Invariant::Delivered];
    match findings(&result(case, observed)).iter().find(|finding| by_hops.contains(&finding.invariant)) {
        Some(finding) => Err(format!("hops that went unseen prove nothing: {finding:?}").into()),
        None => Ok(()),
    }
}

/// Where the first probe is sent from.
const FROM: &str = "master/pod";

/// Makes the first probe's walk as it is made of such evidence.
fn walk_again(observed: &mut Observed) {
    let (evidence, trace) = (&observed.probes[0].1, &mut observed.traces[0].1);
    let trail = Trail { sightings: trace.sightings.clone(), ..Trail::default() };
    let known = Known { from: FROM, evidence, trail: &trail, overlay: Some("tailscale0") };
    trace.walk = walk(&known, &mut |_| None);
}

fn master(observed: &mut Observed) -> &mut cilium::Decisions {
    match &mut observed.nodes[0].1 {
        Agent::Running(decisions) => decisions,
        other => panic!("the agent should run: {other}"),
    }
}
