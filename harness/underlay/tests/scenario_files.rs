//! Scenario files that are right: the shipped ones load, and variants, blocks and layers come to what the reference
//! says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use topology::source::Source;
use underlay::case::{Case, Expected, ExpectedOutcome, NodeFact, Place, ProbeKind, Service, Subject, Workload};
use underlay::scenario::{self, Overrides};
use underlay::step::Action;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cases of a scenario on the guide's network, of which `rest` is what follows `cilium`.
fn cases(rest: &str) -> Vec<Case> {
    let text = format!("topology: ../topologies/split-vcn.yaml\ncilium: 1.18.2\n{rest}");
    let file = root().join("scenarios/test.yaml").display().to_string();
    let source = Source::from_bytes(file, text).expect("text");
    scenario::parse(&source, &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

const PING: &str = "probes: {ping: {icmp: worker/pod, from: master/pod}}\n";

fn outcome(case: &Case, probe: &str) -> Option<ExpectedOutcome> {
    let subject = Subject::Probe(probe.to_owned());
    case.expectations.iter().find(|check| check.subject == subject).map(|check| match &check.expected {
        Expected::Probe(expected) => expected.outcome,
        Expected::Value(value) => panic!("a value for a probe: {value}"),
    })
}

#[test]
fn every_shipped_scenario_loads() {
    let all = scenario::load_all(&[root().join("scenarios")], &Overrides::default()).unwrap_or_else(|wrong| {
        panic!("{}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"));
    });
    let mut ids: Vec<String> = all.iter().map(Case::id).collect();
    for expected in [
        "guide/table::enp0s6",
        "guide/table::unset",
        "devices/node-ip-overlay::tailscale0",
        "devices/without-skip-fib::endpoint-routes/enp0s6",
        "overlay/fwmark-collision::264",
    ] {
        assert!(ids.iter().any(|id| id == expected), "{expected} is not among {ids:#?}");
    }
    for case in &all {
        assert!(!case.expectations.is_empty(), "{} asserts nothing", case.id());
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "two cases share a name");
}

#[test]
fn a_topology_stands_in_the_scenario_itself() {
    let text = "\
topology:
  vcns: {a: {preset: oci, cidr: 10.0.0.0/24}}
  nodes:
    master:
      role: control-plane
      interfaces: {eth0: {vcn: a, address: 10.0.0.5/24, default-route: true, public-address: 203.0.113.5}}
cilium: 1.18.2
probes: {ping: {icmp: 8.8.8.8, from: master/pod}}
";
    let read =
        |text: &str| scenario::parse(&Source::from_bytes("alone.yaml", text).expect("text"), &Overrides::default());
    let cases = read(text).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(cases[0].network.name, "alone", "as the file is called");
    assert_eq!(cases[0].network.nodes[0].nics[0].name, "eth0");

    let wrong = read(&text.replace("vcn: a,", "vcn: b,")).expect_err("there is no VCN `b`").to_string();
    assert!(wrong.contains("alone.yaml:6:32"), "a mistake in it has its place in the scenario's file: {wrong}");
}

#[test]
fn shipped_scenarios_name_their_schema() {
    let files = scenario::discover(&[root().join("scenarios")]).expect("scenarios are shipped");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it was found");
        let first = text.lines().next().unwrap_or_default();
        let named =
            first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{}", file.display()));
        let named = file.parent().expect("a folder").join(named);
        assert_eq!(
            named.canonicalize().ok(),
            root().join("docs/schema/scenario.json").canonicalize().ok(),
            "{} names another schema",
            file.display()
        );
    }
}

#[test]
fn defaults() {
    let all = cases(PING);
    let [case] = all.as_slice() else { panic!("one case without variants, not {}", all.len()) };
    assert_eq!(case.id(), "test::default");
    assert_eq!(case.model, cilium::Model::Cilium);
    assert_eq!(case.deadline, scenario::DEADLINE);
    let cluster = &case.cluster;
    assert_eq!(cluster.pod_cidr.to_string(), "10.244.0.0/16");
    assert_eq!(cluster.service_cidr.to_string(), "10.96.0.0/16");
    assert_eq!(cluster.upstream_dns.to_string(), "8.8.8.8");
    assert_eq!(cluster.node_port, 30080);
    assert_eq!(cluster.api_server.to_string(), "100.64.0.1", "the overlay's, where there is one");
    // What kubelet takes without --node-ip: where the default route leaves from.
    assert_eq!(cluster.node_ips["master"].to_string(), "10.0.0.239");
    assert_eq!(cluster.node_ips["worker"].to_string(), "10.0.0.24");
    assert!(cluster.identities.is_empty());
}

#[test]
fn node_ips() {
    let table = [
        ("overlay", "100.64.0.1", "100.64.0.2"),
        ("tailscale0", "100.64.0.1", "100.64.0.2"),
        ("enp0s6", "10.0.0.239", "10.0.0.24"),
        ("{master: 100.64.0.1}", "100.64.0.1", "10.0.0.24"),
        ("{master: enp0s6, worker: overlay}", "10.0.0.239", "100.64.0.2"),
    ];
    for (written, master, worker) in table {
        let all = cases(&format!("kubelet: {{node-ip: {written}}}\n{PING}"));
        assert_eq!(all[0].cluster.node_ips["master"].to_string(), master, "node-ip: {written}");
        assert_eq!(all[0].cluster.node_ips["worker"].to_string(), worker, "node-ip: {written}");
    }
}

#[test]
fn without_an_overlay_the_api_server_is_at_its_nodes_address() {
    let file = root().join("scenarios/test.yaml").display().to_string();
    let text = format!("topology: ../topologies/one-vcn.yaml\ncilium: 1.18.2\n{PING}");
    let all = scenario::parse(&Source::from_bytes(file, text).expect("text"), &Overrides::default());
    assert_eq!(all.expect("it is right")[0].cluster.api_server.to_string(), "10.0.0.239");
}

#[test]
fn a_matrix_has_every_combination_the_last_axis_fastest() {
    let all = cases(&format!("variants:\n- {{a: {{}}, b: {{}}}}\n- {{x: {{}}, y: {{}}, z: {{}}}}\n{PING}"));
    let names: Vec<&str> = all.iter().map(|case| case.variant.as_str()).collect();
    assert_eq!(names, ["a/x", "a/y", "a/z", "b/x", "b/y", "b/z"]);
}

#[test]
fn layers_are_laid_axis_after_axis() {
    let all = cases(&format!(
        "model: guide
kubelet: {{node-ip: overlay}}
values: {{devices: a, bpf: {{masquerade: true}}, MTU: 1400}}
set: [one=1]
variants:
- plain: {{}}
  first: {{values: {{devices: b, bpf: {{hostLegacyRouting: true}}}}, set: [two=2], model: cilium}}
- nothing:
  second: {{values: {{devices: null, MTU: 1500}}, set: [three=3], kubelet: {{node-ip: enp0s6}}, cilium: \"1.20\"}}
{PING}"
    ));
    let case = |name: &str| all.iter().find(|case| case.variant == name).expect("a variant");
    let plain = case("plain/nothing");
    assert_eq!(json!(plain.values), json!({"devices": "a", "bpf": {"masquerade": true}, "MTU": 1400}));
    assert_eq!(plain.model, cilium::Model::Guide);
    let both = case("first/second");
    assert_eq!(
        json!(both.values),
        json!({"devices": null, "bpf": {"masquerade": true, "hostLegacyRouting": true}, "MTU": 1500}),
        "maps merge, all else is replaced, null takes away by staying"
    );
    assert_eq!(both.set, ["one=1", "two=2", "three=3"]);
    assert_eq!(both.model, cilium::Model::Cilium);
    assert_eq!(both.version.to_string(), "1.20", "a version is text, though YAML would read a number");
    assert_eq!(both.cluster.node_ips["master"].to_string(), "10.0.0.239");
    assert_eq!(case("first/nothing").cluster.node_ips["master"].to_string(), "100.64.0.1");
}

/// What a variant says of kubelet stands in place of what the scenario says, if it is nothing too.
#[test]
fn a_variant_takes_the_node_ip_away() {
    let all = cases(&format!(
        "kubelet: {{node-ip: overlay}}
variants: {{as-it-is: {{}}, bare: {{kubelet: {{}}}}, none: {{kubelet: {{node-ip: null}}}}}}
{PING}"
    ));
    let addresses: Vec<String> = all.iter().map(|case| case.cluster.node_ips["master"].to_string()).collect();
    assert_eq!(addresses, ["100.64.0.1", "10.0.0.239", "10.0.0.239"]);
}

/// Helm takes `yes` for a boolean, and so wherever values stand; elsewhere in the file it is a word.
#[test]
fn values_are_what_helm_reads() {
    let all = cases(&format!(
        "values: {{bpf: {{masquerade: yes}}, cluster: {{name: \"no\"}}, mode: 0644}}
variants:
  y: {{values: {{debug: {{enabled: on}}}}, steps: [{{install: {{values: {{ipv6: {{enabled: off}}}}}}}}]}}
steps: [{{upgrade: {{values: {{ipv6: {{enabled: n}}}}}}}}]
{PING}"
    ));
    assert_eq!(all[0].variant, "y");
    let values = json!({
        "bpf": {"masquerade": true},
        "cluster": {"name": "no"},
        "mode": 420,
        "debug": {"enabled": true},
    });
    assert_eq!(json!(all[0].values), values);
    let chart = |case: &Case| match &case.steps[0].action {
        Action::Install(chart) | Action::Upgrade { chart, .. } => json!(chart.values),
        other => panic!("a chart, not {other}"),
    };
    assert_eq!(chart(&all[0]), json!({"ipv6": {"enabled": false}}));
    let plain = cases(&format!("steps: [{{upgrade: {{values: {{ipv6: {{enabled: n}}}}}}}}]\n{PING}"));
    assert_eq!(chart(&plain[0]), json!({"ipv6": {"enabled": false}}));
}

#[test]
fn the_command_line_overrides_the_file() {
    let file = root().join("scenarios/test.yaml").display().to_string();
    let text = format!("topology: ../topologies/split-vcn.yaml\ncilium: 1.18.2\ndeadline: 1s\n{PING}");
    let overrides = Overrides {
        model: Some(cilium::Model::Guide),
        version: Some(cilium::Version::parse("1.19").expect("a version")),
        deadline: Some(std::time::Duration::from_millis(50)),
    };
    let all = scenario::parse(&Source::from_bytes(file, text).expect("text"), &overrides).expect("it is right");
    assert_eq!(all[0].model, cilium::Model::Guide);
    assert_eq!(all[0].version.to_string(), "1.19");
    assert_eq!(all[0].deadline.as_millis(), 50);
}

#[test]
fn a_later_block_holds_in_the_place_of_an_earlier_one() {
    let all = cases(
        "variants: {a: {}, b: {}}
probes: {x: {icmp: worker/pod, from: master/pod}, y: {icmp: master/pod, from: worker/pod}}
expect:
- probes: {x: works, y: works}
  nodes: {\"*\": {pod-mtu: 1230}}
- in: [b]
  probes: {x: fails}
  nodes: {worker: {pod-mtu: 8950}}
claims:
- {by: somebody, probes: {x: works}}
- {by: somebody, in: [b], probes: {x: fails}}
- {by: somebody else, in: [b], probes: {x: silence}}
",
    );
    let (a, b) = (&all[0], &all[1]);
    assert_eq!((outcome(a, "x"), outcome(a, "y")), (Some(ExpectedOutcome::Works), Some(ExpectedOutcome::Works)));
    assert_eq!((outcome(b, "x"), outcome(b, "y")), (Some(ExpectedOutcome::Fails), Some(ExpectedOutcome::Works)));
    let order = |case: &Case| case.expectations.iter().map(|check| check.subject.clone()).collect::<Vec<_>>();
    assert_eq!(order(a), order(b), "columns stay where they are");
    let mtu = |case: &Case, node: &str| {
        let subject = Subject::Node { node: node.to_owned(), fact: NodeFact::PodMtu };
        case.expectations.iter().find(|check| check.subject == subject).map(|check| check.expected.to_value())
    };
    assert_eq!(mtu(b, "master"), Some(json!(1230)));
    assert_eq!(mtu(b, "worker"), Some(json!(8950)));
    let changed = b.expectations.iter().find(|check| check.subject == Subject::Probe("x".to_owned()));
    assert_eq!(changed.map(|check| check.line), Some(9), "it points at the block that holds");
    assert_eq!(a.claims.len(), 1);
    assert_eq!(b.claims.len(), 2, "what two people said stands side by side");
}

#[test]
fn patterns_name_variants() {
    let base = format!("variants:\n- {{a1: {{}}, a2: {{}}}}\n- {{b1: {{}}, b2: {{}}}}\n{PING}");
    let table = [
        ("[a1]", vec!["a1/b1", "a1/b2"]),
        ("[b2]", vec!["a1/b2", "a2/b2"]),
        ("[\"a*\"]", vec!["a1/b1", "a1/b2", "a2/b1", "a2/b2"]),
        ("[a1/b2]", vec!["a1/b2"]),
        ("[\"*/b1\"]", vec!["a1/b1", "a2/b1"]),
        ("[\"?2/b?\"]", vec!["a2/b1", "a2/b2"]),
        ("[a1/b1, b2]", vec!["a1/b1", "a1/b2", "a2/b2"]),
    ];
    for (pattern, expected) in table {
        let all = cases(&format!("{base}expect:\n- {{in: {pattern}, probes: {{ping: works}}}}\n"));
        let named: Vec<&str> =
            all.iter().filter(|case| outcome(case, "ping").is_some()).map(|case| case.variant.as_str()).collect();
        assert_eq!(named, expected, "in: {pattern}");
    }
}

#[test]
fn probes_and_places() {
    let all = cases(
        "probes:
  a: {icmp: worker/pod-2, from: master}
  b: {icmp: {to: 8.8.8.8, size: 1202, df: true}, from: master/enp0s6, deadline: 500ms}
  c: {tcp: kubernetes, from: worker/pod}
  d: {tcp: \"master/tailscale0:30080\", from: vcn/b}
  e: {tcp: {to: api-server}, from: master/pod}
  f: {udp: master/pod, from: worker/pod}
  g: {dns: Google.COM., from: master/pod}
  h: {dns: {name: google.com, server: 8.8.8.8}, from: internet}
  i: {http: \"https://api.ipify.org\", from: master/pod}
",
    );
    let probe = |id: &str| all[0].probes.iter().find(|probe| probe.id == id).expect("a probe").clone();
    let second = Place::Pod(Workload { node: "worker".to_owned(), index: 1 });
    assert_eq!(probe("a").kind, ProbeKind::Icmp { to: second, size: 56, dont_fragment: false });
    assert_eq!(probe("a").from, Place::Node("master".to_owned()));
    assert!(matches!(probe("b").kind, ProbeKind::Icmp { to: Place::Address(_), size: 1202, dont_fragment: true }));
    assert_eq!(probe("b").deadline.map(|deadline| deadline.as_millis()), Some(500));
    assert_eq!(probe("c").kind, ProbeKind::Tcp { to: Place::Service(Service::Kubernetes), port: Some(443) });
    let tailscale = Place::NodeInterface { node: "master".to_owned(), interface: "tailscale0".to_owned() };
    assert_eq!(probe("d").kind, ProbeKind::Tcp { to: tailscale, port: Some(30080) });
    assert_eq!(probe("d").from, Place::Vcn("b".to_owned()));
    assert_eq!(probe("e").kind, ProbeKind::Tcp { to: Place::ApiServer, port: Some(6443) });
    assert!(matches!(probe("f").kind, ProbeKind::Udp { port: None, .. }));
    assert_eq!(probe("g").kind, ProbeKind::Dns { name: "google.com".to_owned(), server: Place::Service(Service::Dns) });
    assert!(matches!(probe("h").kind, ProbeKind::Dns { server: Place::Address(_), .. }));
    assert!(matches!(probe("i").kind, ProbeKind::Http { server: Place::Service(Service::Dns), .. }));
}

#[test]
fn folders_stand_for_the_scenarios_in_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [
        "scenarios/b.yaml",
        "scenarios/a/x.yml",
        "scenarios/.hidden/y.yaml",
        "scenarios/topologies/t.yaml",
        "scenarios/notes.md",
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "").expect("written");
    }
    let scenarios = folder.path().join("scenarios");
    let found = scenario::discover(&[scenarios.clone(), scenarios.join("b.yaml")]).expect("there are some");
    let ids: Vec<String> = found.iter().map(|path| scenario::scenario_id(path)).collect();
    assert_eq!(ids, ["a/x", "b"], "each once, sorted, without hidden folders and topologies");
    let nothing = scenario::discover(&[scenarios.join(".hidden/none")]).expect_err("it isn't there");
    assert!(nothing.to_string().contains("can't be read"), "{nothing}");
    std::fs::create_dir(folder.path().join("empty")).expect("made");
    let empty = scenario::discover(&[folder.path().join("empty")]).expect_err("nothing in it");
    assert!(empty.to_string().contains("no scenario is in this folder"), "{empty}");
}

#[test]
fn two_files_of_one_name_are_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(root().join("scenarios/guide/table.yaml")).expect("shipped");
    let network = root().join("topologies/split-vcn.yaml").display().to_string();
    let text = text.replace("../../topologies/split-vcn.yaml", &network);
    for name in ["table.yaml", "table.yml"] {
        std::fs::write(folder.path().join(name), &text).expect("written");
    }
    let wrong = scenario::load_all(&[folder.path().to_owned()], &Overrides::default()).expect_err("two of one name");
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].to_string().contains("another file is called `table` too"), "{}", wrong[0]);
    let check = Command::new(env!("CARGO_BIN_EXE_underlay")).arg("check").arg(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(2), "what `test` refuses: {said}");
    assert!(said.contains("another file is called `table` too"), "{said}");
}

/// A leading zero is octal to some, and nothing to others.
#[test]
fn a_range_has_no_leading_zeros() {
    let text =
        format!("topology: topologies/split-vcn.yaml\ncilium: 1.18.2\ncluster: {{pod-cidr: 010.244.0.0/16}}\n{PING}");
    let source = Source::from_bytes(root().join("test.yaml").display().to_string(), text).expect("text");
    let wrong = scenario::parse(&source, &Overrides::default()).expect_err("it has one").to_string();
    assert!(wrong.contains("`010.244.0.0/16` is not a network") && wrong.contains("no leading zeros"), "{wrong}");
}
