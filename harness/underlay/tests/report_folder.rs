//! The folder that `--report` writes: what is in it, whatever the cases are called, and the packets.

mod support;

use std::fs;
use std::future::{pending, ready};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use probe::capture::decode::LinkLayer;
use probe::capture::sighting::{Direction, Frame, Kind, Sighting, Summary, Transport};
use support::reports::{HOSTILE, host, trace};
use support::{Fake, case, death, observed, ping};
use underlay::case::Case;
use underlay::observed::{Observed, Trace};
use underlay::report::folder::Folder;
use underlay::report::{pcapng, render};
use underlay::runner::{self, Reporter};

/// A sight of a ping, so many nanoseconds after the epoch.
fn sighting(interface: &str, link: LinkLayer, nanoseconds: u64) -> Sighting {
    let address = |text: &str| text.parse().expect("an address");
    Sighting {
        namespace: "master".into(),
        interface: interface.into(),
        direction: Direction::Out,
        in_passing: false,
        time: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds),
        kind: Kind::Request,
        packet: Summary {
            source: address("10.244.0.10"),
            destination: address("10.244.1.10"),
            protocol: 1,
            transport: Transport::Echo { id: 1, sequence: 1 },
            ttl: 64,
            size: 84,
            id: 1,
            dont_fragment: true,
            fragment: None,
        },
        outer: Vec::new(),
        quoted: None,
        frame: Some(Frame { link, length: 1500, bytes: vec![0x45; 60].into() }),
    }
}

fn died(case: &Case) -> Observed {
    let walk = serde_json::from_value(serde_json::json!({
        "hops": [], "complete": true,
        "end": {"at": "master/enp0s6", "reason": "no-arp-reply", "detail": "nobody answered"},
    }));
    let mut seen = trace(walk.expect("a walk"));
    // Not in time order, as those of several steps aren't.
    seen.sightings = vec![
        sighting("cilium_vxlan", LinkLayer::Ethernet, 1_700_000_000_123_456_789),
        sighting("eth0", LinkLayer::Ethernet, 5),
    ];
    seen.sightings.push(sighting("tailscale0", LinkLayer::Ip, 1_700_000_000_999_999_999));
    let silent =
        Trace { sightings: vec![Sighting { frame: None, ..sighting("lo", LinkLayer::Ethernet, 7) }], ..seen.clone() };
    let mut observed = observed(case, &[("pod-to-pod", death())]);
    observed.traces = vec![("pod-to-pod".to_owned(), seen), ("internet".to_owned(), silent)];
    observed
}

fn probed(variant: &str) -> Case {
    let mut case = case(variant);
    case.probes = vec![ping("pod-to-pod")];
    case
}

fn run(cases: Vec<Case>, folder: &Path) {
    let engine = Fake::new(|case| ready(Ok(died(case))));
    let mut reporters = [Box::new(Folder::create(folder, host()).expect("it can be made")) as Box<dyn Reporter>];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cases = cases.into_iter().map(Arc::new).collect();
    runtime.block_on(runner::run(cases, engine, 2, &mut reporters, pending())).expect("the reports can be written");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn everything_is_in_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("below/reports");
    run(vec![probed("enp0s6"), probed("enp0s6,tailscale0")], &folder);
    assert_eq!(names(&folder), ["junit.xml", "pcap", "report.html", "report.json", "summary.md"]);
    assert_eq!(names(&folder.join("pcap")), ["by-hand-enp0s6,tailscale0.pcapng", "by-hand-enp0s6.pcapng"]);
    let report = render::read(&fs::read_to_string(folder.join("report.json")).unwrap()).expect("a report");
    assert_eq!(report.cases.len(), 2);
}

#[test]
fn the_last_runs_packets_go_and_what_is_anothers_stays() {
    let place = tempfile::tempdir().unwrap();
    run(vec![probed("unset")], place.path());
    fs::write(place.path().join("notes.txt"), "mine").unwrap();
    fs::write(place.path().join("pcap/notes.txt"), "mine").unwrap();
    run(vec![probed("enp0s6")], place.path());
    assert_eq!(names(&place.path().join("pcap")), ["by-hand-enp0s6.pcapng", "notes.txt"]);
    assert!(names(place.path()).contains(&"notes.txt".to_owned()));
}

#[test]
fn no_name_leads_out_of_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("a/b/c");
    let mut cases = Vec::new();
    for (scenario, variant) in [("../../x", "../y"), ("/etc/x", "/y"), (HOSTILE, HOSTILE), ("..", ""), ("..", "")] {
        cases.push(Case { scenario: scenario.to_owned(), variant: variant.to_owned(), ..probed("unset") });
    }
    run(cases, &folder);
    assert_eq!(names(place.path()), ["a"]);
    assert_eq!(names(&place.path().join("a/b")), ["c"]);
    assert_eq!(names(&folder), ["junit.xml", "pcap", "report.html", "report.json", "summary.md"]);
    assert_eq!(names(&folder.join("pcap")).len(), 5, "each case has a file of its own");
}

#[test]
fn a_run_that_is_dropped_leaves_the_last_ones_files() {
    let place = tempfile::tempdir().unwrap();
    run(vec![probed("unset")], place.path());
    let before = fs::read(place.path().join("report.json")).unwrap();
    drop(Folder::create(place.path(), host()).unwrap());
    assert_eq!(fs::read(place.path().join("report.json")).unwrap(), before);
    assert_eq!(names(place.path()), ["junit.xml", "pcap", "report.html", "report.json", "summary.md"]);
}

#[test]
fn packets_are_as_wireshark_wants_them() {
    let mut bytes = Vec::new();
    let written = pcapng::write(&died(&probed("enp0s6")), &mut bytes).expect("it can be written");
    assert_eq!(written, 3, "a sight without its frame is none");
    let mut reader = PcapNgReader::new(&*bytes).expect("a pcapng file");
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block").into_owned() {
            Block::InterfaceDescription(interface) => interfaces.push(interface),
            Block::EnhancedPacket(packet) => packets.push(packet),
            other => panic!("nothing else is written: {other:?}"),
        }
    }
    let named = |interface: &pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock<'_>| {
        interface.options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
            _ => None,
        })
    };
    let found: Vec<_> = interfaces.iter().filter_map(named).collect();
    assert_eq!(found, ["master/eth0", "master/cilium_vxlan", "master/tailscale0"], "in the order of their packets");
    assert_eq!(interfaces[2].linktype, DataLink::RAW, "a TUN has no link header");
    for interface in &interfaces {
        assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)), "times are in nanoseconds");
    }
    let times: Vec<_> = packets.iter().map(|packet| packet.timestamp.as_nanos()).collect();
    assert_eq!(times, [5, 1_700_000_000_123_456_789, 1_700_000_000_999_999_999]);
    assert_eq!((packets[0].original_len, packets[0].data.len()), (1500, 60), "what was cut is said");
    let comments: Vec<_> = packets
        .iter()
        .flat_map(|packet| &packet.options)
        .filter_map(|option| match option {
            EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
            _ => None,
        })
        .collect();
    let death = "pod-to-pod died at master/enp0s6: nobody answers ARP for the next hop: nobody answered";
    assert_eq!(comments, ["pod-to-pod", "pod-to-pod", death]);
}
