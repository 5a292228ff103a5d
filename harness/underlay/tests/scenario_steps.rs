//! Steps: what is read is what was written; what can be taken after others, in a lab that is up.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use topology::source::Source;
use underlay::case::{Case, ExpectedOutcome, Subject};
use underlay::scenario::{self, Overrides};
use underlay::step::{Action, Condition, Step, flat, installed_at_start};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cases of a scenario on the guide's network, of which `rest` is what follows the probe.
fn cases(rest: &str) -> Vec<Case> {
    let text = format!(
        "topology: ../topologies/split-vcn.yaml\ncilium: 1.18.2\n\
         probes: {{ping: {{icmp: worker/pod, from: master/pod}}}}\n{rest}"
    );
    let file = root().join("scenarios/test.yaml").display().to_string();
    let source = Source::from_bytes(file, text).expect("text");
    scenario::parse(&source, &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// The same steps without the lines they were written on.
fn bare(steps: &[Step]) -> Vec<Step> {
    let bare_step = |step: &Step| {
        let mut action = step.action.clone();
        if let Action::During { streams, steps } = &mut action {
            streams.iter_mut().for_each(|stream| stream.line = 0);
            *steps = bare(steps);
        }
        Step { action, line: 0 }
    };
    steps.iter().map(bare_step).collect()
}

/// One of each kind of step with what it may hold, some of which make sense only after others.
fn any_step() -> impl Strategy<Value = Value> {
    let node = || prop_oneof![Just("master"), Just("worker")];
    let link = || prop_oneof![Just("master/enp0s6"), Just("worker/enp0s6"), Just("master/tailscale0")];
    let plain = prop_oneof![
        Just(json!({"restart": "agents"})),
        Just(json!({"restart": "coredns"})),
        Just(json!({"restart": "kubelet"})),
        Just(json!({"uninstall": "cilium"})),
        Just(json!({"wait-for": {"agents": "running"}})),
        Just(json!({"wait-for": {"dns-ready": 2, "within": "1500ms"}})),
        Just(json!({"wait-for": {"overlay": ["master", "worker"]}})),
        Just(json!({"unblock": "filter"})),
    ];
    let values = prop_oneof![
        Just(json!({})),
        Just(json!({"values": {"devices": null, "bpf": {"masquerade": false}}})),
        Just(json!({"set": ["devices={enp0s6,tailscale0}"], "values": {"MTU": 1400}})),
    ];
    let flag = prop_oneof![
        Just(None),
        Just(Some("reuse-values")),
        Just(Some("reset-values")),
        Just(Some("reset-then-reuse-values"))
    ];
    let upgrade = (values.clone(), flag, 14..=20_u32).prop_map(|(mut upgrade, flag, minor)| {
        if let Some(flag) = flag {
            upgrade[flag] = json!(true);
        }
        if minor > 17 {
            upgrade["cilium"] = json!(format!("1.{minor}.3"));
            upgrade["downgrade"] = json!(minor % 2 == 0);
        }
        json!({"upgrade": upgrade})
    });
    let changes = prop_oneof![
        node().prop_map(|node| json!({"overlay-down": node})),
        node().prop_map(|node| json!({"overlay-up": node})),
        node().prop_map(|node| json!({"overlay-roam": node})),
        link().prop_map(|link| json!({"link-down": link})),
        link().prop_map(|link| json!({"link-up": link})),
        link().prop_map(|link| json!({"link-delete": link})),
        link().prop_map(|link| json!({"device-appears": link})),
        link().prop_map(|link| json!({"repair": link})),
        (link(), 1..9_u32)
            .prop_map(|(link, ms)| json!({"impair": {"link": link, "delay": format!("{ms}0ms"), "loss": ms}})),
        (link(), 2..5_u32).prop_map(|(link, host)| json!({"address-add": {link: format!("10.0.0.{host}/24")}})),
        (link(), 2..5_u32).prop_map(|(link, host)| json!({"address-remove": {link: format!("10.0.0.{host}/24")}})),
        node().prop_map(|node| json!({"node-ip": {node: "10.0.0.24"}})),
        (node(), any::<bool>()).prop_map(|(node, add)| {
            let route = json!({"on": node, "to": "default", "via": "10.0.0.1", "dev": "enp0s6"});
            if add { json!({"route-add": route}) } else { json!({"route-remove": route}) }
        }),
        (1..65_535_u16).prop_map(|port| {
            json!({"block": {"name": "filter", "at": "vcn/a", "from": "10.0.0.0/24", "protocol": "udp", "port": port}})
        }),
    ];
    let looks = (1..400_u32, 0..3_u64).prop_map(|(tens, max)| {
        json!({"during": {
            "probes": {"ping": {"every": format!("{}ms", tens * 10), "lost": {"max": max}, "gap": {"max": "2s"}}},
            "steps": [{"restart": "kubelet"}, {"wait-for": {"probe": "ping", "outcome": "fails"}}],
        }})
    });
    prop_oneof![3 => plain, 2 => upgrade, 1 => values.prop_map(|values| json!({"install": values})), 8 => changes, 1 => looks]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was taken one after the other is what a file comes to that has it all.
    #[test]
    fn one_after_the_other_is_all_together(candidates in prop::collection::vec(any_step(), 1..24)) {
        let case = &cases("")[0];
        let (mut taken, mut written): (Vec<Step>, Vec<Value>) = (Vec::new(), Vec::new());
        for candidate in candidates {
            // What makes no sense after the others is refused, and is left out.
            if let Ok(steps) = scenario::steps(&candidate.to_string(), "candidate", case, &taken) {
                taken.extend(steps);
                written.push(candidate);
            }
        }
        prop_assert!(installed_at_start(&taken), "it is there from the beginning: {:#?}", written);
        let again = cases(&format!("steps: {}", Value::from(written.clone())));
        prop_assert_eq!(bare(&again[0].steps), bare(&taken), "{:#?}", written);
        // And in words they differ where they differ.
        for step in flat(&taken) {
            prop_assert!(!step.action.to_string().is_empty());
        }
    }
}

#[test]
fn sets_are_taken_by_name_and_by_variant() {
    let all = cases(
        "checks:
  healthy:
    - probes: {ping: works}
    - {in: [b], probes: {ping: fails}}
variants: {a: {}, b: {}}
steps: [{check: healthy}, {expect: {in: [a], nodes: {\"*\": {agent: running}}}}]
",
    );
    let outcome = |case: &Case| match &case.steps[0].action {
        Action::Check { name, expectations } => {
            assert_eq!(name.as_deref(), Some("healthy"));
            expectations[0].expected.to_value()
        }
        other => panic!("a check, not {other}"),
    };
    assert_eq!((outcome(&all[0]), outcome(&all[1])), (json!("works"), json!("fails")));
    let nodes = |case: &Case| match &case.steps[1].action {
        Action::Check { name: None, expectations } => expectations.len(),
        other => panic!("an expectation, not {other}"),
    };
    assert_eq!((nodes(&all[0]), nodes(&all[1])), (2, 0), "`in` holds in a step too");
}

#[test]
fn waiting_and_streams_have_their_defaults() {
    let all = cases("steps: [{wait-for: {probe: ping}}, {during: {probes: {ping: {}}, steps: [{restart: agents}]}}]");
    match &all[0].steps[0].action {
        Action::WaitFor { condition: Condition::Probe { probe, outcome }, within } => {
            assert_eq!((probe.as_str(), *outcome, within.as_secs()), ("ping", ExpectedOutcome::Works, 30));
        }
        other => panic!("waiting, not {other}"),
    }
    match &all[0].steps[1].action {
        Action::During { streams, steps } => {
            assert_eq!((streams[0].every.as_millis(), streams[0].lost, streams[0].gap), (20, None, None));
            assert_eq!(steps.len(), 1);
        }
        other => panic!("a stream, not {other}"),
    }
    assert_eq!(flat(&all[0].steps).len(), 3);
}

#[test]
fn cilium_is_there_from_the_beginning_unless_a_step_installs_it() {
    let starts = |steps: &str| installed_at_start(&cases(&format!("steps: {steps}"))[0].steps);
    assert!(starts("[]"));
    assert!(starts("[{restart: agents}]"));
    assert!(starts("[{uninstall: cilium}, {install: {}}]"));
    assert!(!starts("[{overlay-down: worker}, {install: {}}]"));
}

#[test]
fn what_a_step_outside_of_a_file_gets_wrong_is_told() {
    let case = &cases("")[0];
    let down = scenario::steps("{link-down: master/enp0s6}", "here", case, &[]).expect("it is up");
    let wrong = scenario::steps("{link-down: master/enp0s6}", "here", case, &down).expect_err("it is down").to_string();
    assert!(wrong.contains("`master/enp0s6` is down when this step comes"), "{wrong}");
    assert!(wrong.contains("link-up"), "{wrong}");
    let expected = scenario::steps("{expect: {probes: {ping: works}}}", "here", case, &down).expect("a check");
    match &expected[0].action {
        Action::Check { expectations, .. } => assert_eq!(expectations[0].subject, Subject::Probe("ping".to_owned())),
        other => panic!("a check, not {other}"),
    }
}

/// Whatever a scenario's own steps are, and whatever version it is brought up with, its lab takes further ones.
#[test]
fn after_the_steps_of_any_shipped_scenario_others_can_be_taken() {
    for version in [None, Some("1.20")] {
        let version = version.map(|version| cilium::Version::parse(version).expect("a version"));
        let overrides = Overrides { version, ..Overrides::default() };
        let cases = scenario::load_all(&[root().join("scenarios")], &overrides).expect("they are right");
        for case in cases.iter().filter(|case| !case.steps.is_empty()) {
            let next = scenario::steps("restart: kubelet", "here", case, &case.steps);
            assert!(next.is_ok(), "{}: {}", case.id(), next.expect_err("it isn't"));
        }
    }
}

#[test]
fn what_was_taken_counts_and_is_not_judged_again() {
    let after = |step: &str, case: &Case, taken: &[Step]| scenario::steps(step, "here", case, taken);
    let refused = |step: &str, case: &Case, taken: &[Step]| after(step, case, taken).expect_err(step).to_string();

    let case = &cases("")[0];
    let older = after("upgrade: {cilium: 1.17.8, downgrade: true}", case, &[]).expect("it may be older");
    after("restart: agents", case, &older).expect("it runs");
    let wrong = refused("upgrade: {cilium: 1.17.8}", case, &older);
    assert!(wrong.contains("it is Cilium 1.17.8 already"), "{wrong}");

    // Looks within a stream, of which nothing is known outside of the file.
    let looks = "[{link-down: worker/enp0s6}, {check: broken}, {expect: {probes: {ping: fails}}}]";
    let during = format!(
        "checks: {{broken: {{probes: {{ping: fails}}}}}}\nsteps: [{{during: {{probes: {{ping: {{}}}}, steps: {looks}}}}}]"
    );
    let case = &cases(&during)[0];
    after("link-up: worker/enp0s6", case, &case.steps).expect("it is down");
    let wrong = refused("link-down: worker/enp0s6", case, &case.steps);
    assert!(wrong.contains("`worker/enp0s6` is down when this step comes"), "{wrong}");
}

#[test]
fn addresses_have_no_leading_zeros() {
    let case = &cases("")[0];
    for step in [
        "address-add: {master/enp0s6: 010.0.0.77/24}",
        "route-add: {on: master, to: 010.9.0.0/16, via: 10.0.0.1, dev: enp0s6}",
        "block: {name: filter, at: vcn/a, from: 010.0.0.0/24}",
    ] {
        let wrong = scenario::steps(step, "here", case, &[]).expect_err(step).to_string();
        assert!(wrong.contains("no leading zeros"), "{wrong}");
    }
}

/// A lab has Cilium from its beginning on, or from the step on that installs it; Helm may refuse that one.
#[test]
fn cilium_is_installed_once() {
    let with = &cases("")[0];
    let wrong = scenario::steps("install: {}", "here", with, &[]).expect_err("it is there").to_string();
    assert!(wrong.contains("Cilium is installed already"), "{wrong}");
    let without = &cases("steps: [{install: {}}]")[0];
    scenario::steps("install: {}", "here", without, &[]).expect("the file's own was not taken");
    scenario::steps("restart: agents", "here", without, &without.steps).expect("it was taken");
}

/// `underlay test --cilium 1.20` must not find a file wrong whose upgrade goes to an older one.
#[test]
fn a_version_from_outside_makes_no_step_wrong() {
    let file = root().join("scenarios/time/upgrade.yaml");
    let version = Some(cilium::Version::parse("1.20").expect("a version"));
    let overrides = Overrides { version, ..Overrides::default() };
    let cases = scenario::load(&file, &overrides).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(cases.iter().all(|case| case.version.to_string() == "1.20"));
}
