//! One engine held against another: what is a difference, what isn't, and what is known to be one.

use std::fs;

use underlay::report::paint::Paint;
use underlay::truth::facts::{Facts, Kind, Node, Probe, UNCLEAR};
use underlay::truth::known::Known;
use underlay::truth::recording::{self, Recording};
use underlay::truth::{Compared, Difference, Outdated, SCHEMA, Truth, compare, fidelity, human};

fn facts() -> Facts {
    let decisions = [("devices", "enp0s6, tailscale0"), ("pod-mtu", "1230")];
    let master = Node {
        runs: true,
        decisions: decisions.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect(),
        nat: [("ICMP 10.244.0.10 → 8.8.8.8".to_owned(), "10.0.0.239".to_owned())].into_iter().collect(),
    };
    let internet = Probe {
        outcome: "works".to_owned(),
        source: Some("168.107.2.60".to_owned()),
        exit: Some("enp0s6".to_owned()),
        hops: vec!["master/pod out".to_owned()],
        end: None,
    };
    Facts {
        helm: Some(true),
        nodes: [("master".to_owned(), master)].into_iter().collect(),
        dns_ready: Some("2 of 2".to_owned()),
        probes: [("internet".to_owned(), internet)].into_iter().collect(),
    }
}

fn known(text: &str) -> Known {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("known.yaml");
    fs::write(&file, text).expect("write a file");
    Known::read(&file).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn against(other: &Facts, known: &Known) -> Compared {
    compare("guide/table::unset", "1.18.2", &facts(), other, known)
}

#[test]
fn the_same_facts_agree_in_every_cell() {
    let compared = against(&facts(), &Known::default());
    assert_eq!((compared.cells, compared.differences.len()), (9, 0), "{compared:?}");
}

#[test]
fn every_changed_fact_is_a_difference_and_is_named() {
    type Change = fn(&mut Facts);
    let changes: [(&str, Change); 9] = [
        ("helm", |facts| facts.helm = Some(false)),
        ("agent of master", |facts| facts.nodes["master"].runs = false),
        ("pod-mtu of master", |facts| facts.nodes["master"].decisions["pod-mtu"] = "8950".to_owned()),
        ("nat of master: ICMP 10.244.0.10 → 8.8.8.8", |facts| facts.nodes["master"].nat.clear()),
        ("dns-ready", |facts| facts.dns_ready = Some("1 of 2".to_owned())),
        ("internet", |facts| facts.probes["internet"].outcome = "silence".to_owned()),
        ("internet source", |facts| facts.probes["internet"].source = Some("100.64.0.1".to_owned())),
        ("internet exit", |facts| facts.probes["internet"].exit = Some("tailscale0".to_owned())),
        ("internet", |facts| facts.probes.clear()),
    ];
    for (cell, change) in changes {
        let mut other = facts();
        change(&mut other);
        let compared = against(&other, &Known::default());
        let named: Vec<_> = compared.differences.iter().map(|difference| difference.cell.as_str()).collect();
        assert_eq!(named, [cell]);
    }
}

#[test]
fn what_only_one_can_tell_is_no_difference() {
    let mut other = facts();
    let probe = &mut other.probes["internet"];
    (probe.source, probe.exit) = (None, None);
    probe.hops.clear();
    let compared = against(&other, &Known::default());
    assert_eq!((compared.cells, compared.differences.len()), (7, 0), "{compared:?}");

    other.probes["internet"].outcome = UNCLEAR.to_owned();
    assert_eq!(against(&other, &Known::default()).cells, 6, "doubtful evidence proves nothing");
}

#[test]
fn a_known_difference_must_be_one() {
    let known = known(
        "differences:\n- {cases: 'guide/*', cells: ['internet exit'], versions: '1.18*', because: a reason}\n\
         - {cases: 'guide/*', cells: ['internet'], versions: '1.19*', because: another version's}\n",
    );
    let mut other = facts();
    other.probes["internet"].exit = Some("tailscale0".to_owned());
    let compared = against(&other, &known);
    assert_eq!(compared.differences[0].because.as_deref(), Some("a reason"));
    assert!(compared.outdated.is_empty(), "of another version nothing is said: {compared:?}");

    let compared = against(&facts(), &known);
    let [outdated] = compared.outdated.as_slice() else { panic!("it is out of date: {compared:?}") };
    assert_eq!((outdated.cell.as_str(), outdated.value.as_str()), ("internet exit", "enp0s6"));
}

#[test]
fn a_wrong_list_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("known.yaml");
    fs::write(&file, "differences:\n- {cases: a, cells: [b]}\n").expect("write a file");
    let wrong = Known::read(&file).expect_err("the reason is missing").to_string();
    assert!(wrong.contains("known.yaml:2") && wrong.contains("because"), "{wrong}");
}

#[test]
fn the_shipped_list_is_right() {
    Known::shipped().unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = Recording {
        schema: recording::SCHEMA.to_owned(),
        scenario: "guide/table".to_owned(),
        engine: "agent".to_owned(),
        file: "scenarios/guide/table.yaml".to_owned(),
        component: "cilium-agent 1.18.2 5bd307a8".to_owned(),
        version: "1.18.2".to_owned(),
        kernel: "Linux 6.18".to_owned(),
        arch: "x86_64".to_owned(),
        date: "2026-11-25".to_owned(),
        cases: [("unset".to_owned(), facts())].into_iter().collect(),
    };
    let path = recording.write(folder.path()).expect("it can be written");
    assert!(path.ends_with("1.18.2/guide/table.json"), "{}", path.display());
    let read = recording::read_all(folder.path()).expect("it can be read");
    assert_eq!(read, std::slice::from_ref(&recording));
    let compared = fidelity::against(&recording, "unset", &facts(), &Known::default()).expect("the case is recorded");
    assert!(compared.differences.is_empty());

    fs::write(&path, fs::read_to_string(&path).expect("text").replace("recording/1", "recording/9")).expect("write");
    let error = recording::read_all(folder.path()).expect_err("another schema").to_string();
    assert!(error.contains("table.json") && error.contains("recording/9"), "{error}");
}

#[test]
fn nothing_of_a_case_moves_the_terminal() {
    let wild = || "\u{1b}[2J\u{9b}31m\n".to_owned();
    let difference = |because| Difference { cell: wild(), kind: Kind::Outcome, values: [wild(), wild()], because };
    let compared = Compared {
        id: wild(),
        version: "1.18.2".to_owned(),
        cells: 3,
        differences: vec![difference(None), difference(Some(wild()))],
        outdated: vec![Outdated { cell: wild(), value: wild(), because: wild() }],
    };
    let engines = ["netns (model)".to_owned(), "agent (real)".to_owned()];
    let not_compared = vec![(wild(), wild())];
    let truth = Truth { schema: SCHEMA.to_owned(), engines, cases: vec![compared], not_compared };
    let text = human::render(&truth, Paint(false), 80);
    let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert_eq!(control, None, "a control character came through:\n{text:?}");
}
