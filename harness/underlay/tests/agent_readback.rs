//! What a real agent says, read: recorded answers in, decisions out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use cilium::decisions::{HostRouting, Masquerade, Routing};
use serde_json::Value;
use underlay::engine::real::Names;
use underlay::engine::real::readback::{Answers, drops, nat};

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/agent/1.18.2").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&recorded(name)).expect("the recording is JSON")
}

fn answers() -> Answers {
    Answers {
        status: json("status.json"),
        nodes: json("nodes.json"),
        devices: recorded("devices.txt"),
        addresses: recorded("node-addresses.txt"),
        mtu: recorded("mtu.txt"),
        ipcache: recorded("ipcache.json"),
        endpoints: recorded("endpoints.json"),
        ..Answers::default()
    }
}

#[test]
fn a_recorded_agents_decisions() {
    let made = answers().decisions().expect("all is there");
    let devices: Vec<_> = made.devices.iter().map(|device| (device.name.as_str(), device.masquerade_source)).collect();
    let (nic, overlay) = (Ipv4Addr::new(10, 0, 0, 239), Ipv4Addr::new(100, 64, 0, 1));
    assert_eq!(devices, [("enp0s6", Some(nic)), ("tailscale0", Some(overlay))]);
    assert!(made.devices[1].layer3 && !made.devices[0].layer3, "a TUN has no hardware address");
    assert_eq!(made.devices[0].nodeport_addresses, [nic]);
    let lo = made.not_selected.iter().find(|device| device.name == "lo").expect("lo is left out");
    assert_eq!(lo.reason, "excluded flag set (mask=0x808, flags=0x10049)");
    assert_eq!((made.node_ip, made.direct_routing_device.as_deref()), (overlay, Some("tailscale0")));
    assert_eq!((made.device_mtu, made.pod_mtu), (1280, 1230));
    assert_eq!((made.host_routing, made.routing), (HostRouting::Bpf, Routing::Vxlan));
    assert_eq!((made.masquerade, made.snat_exclusion.to_string().as_str()), (Masquerade::Bpf, "10.244.0.0/24"));
    assert_eq!(made.host_addresses, [nic, Ipv4Addr::new(10, 244, 0, 86), overlay]);
    let tunnels: Vec<_> = made.tunnels.iter().map(|tunnel| (tunnel.peer.as_str(), tunnel.endpoint)).collect();
    assert_eq!(tunnels, [("worker", Some(Ipv4Addr::new(100, 64, 0, 2)))]);
}

#[test]
fn a_clusters_names_are_told_as_the_topologys() {
    let nodes = [("worker".to_owned(), "site-b".to_owned())].into();
    let beside = |interface: &str, address| {
        let names = Names { management: Some((interface.to_owned(), address)), nodes: BTreeMap::clone(&nodes) };
        Answers { names, ..answers() }.decisions().expect("all is there")
    };
    let made = beside("lo", Ipv4Addr::LOCALHOST);
    let tunnels: Vec<_> = made.tunnels.iter().map(|tunnel| tunnel.peer.as_str()).collect();
    assert_eq!(tunnels, ["site-b"]);
    assert!(made.not_selected.iter().all(|device| device.name != "lo"), "it is beside the lab");
    let (nic, overlay) = (Ipv4Addr::new(10, 0, 0, 239), Ipv4Addr::new(100, 64, 0, 1));
    let made = beside("enp0s6", nic);
    let devices: Vec<_> = made.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(devices, ["enp0s6", "tailscale0"], "one that is selected is told: that would be the fault to be found");
    assert_eq!(made.host_addresses, [Ipv4Addr::new(10, 244, 0, 86), overlay]);
}

#[test]
fn skip_fib_is_read_from_a_pods_constants_and_not_guessed() {
    let made = |compiled: Option<&str>| {
        let answers = Answers { compiled: compiled.map(str::to_owned), ..answers() };
        answers.decisions().expect("all is there")
    };
    let on = made(Some("#define LXC_ID 7\n#define ENABLE_SKIP_FIB 1\n#define DIRECT_ROUTING_DEV_IFINDEX 2\n"));
    assert_eq!(on.skip_fib.as_deref(), Some("enp0s6"));
    let off = made(Some("#define DIRECT_ROUTING_DEV_IFINDEX 3 \n"));
    assert_eq!((off.skip_fib, off.unread.len()), (None, 0));
    let unknown = made(None);
    assert!(unknown.unread.contains_key("skip-fib"), "without a pod nobody knows");
    let nowhere = Answers {
        compiled: Some("#define ENABLE_SKIP_FIB 1\n#define DIRECT_ROUTING_DEV_IFINDEX 99\n".to_owned()),
        ..answers()
    };
    assert!(nowhere.decisions().is_err(), "no device has that index");
}

#[test]
fn what_is_missing_is_named() {
    let without = |spoil: fn(&mut Answers)| {
        let mut answers = answers();
        spoil(&mut answers);
        answers.decisions().expect_err("something is missing").to_string()
    };
    assert!(without(|answers| answers.status["routing"] = Value::Null).contains("routing"));
    assert!(without(|answers| answers.nodes["self"] = "nobody".into()).contains("nobody is not in it"));
    assert!(without(|answers| answers.mtu.clear()).contains("MTU"));
    assert!(without(|answers| answers.devices = "{\"Index\": \"x\"}".to_owned()).contains("table of devices"));
}

#[test]
fn the_nat_table_holds_what_pods_began() {
    let pods = "10.244.0.0/24".parse().expect("a range");
    let lines: Vec<_> = nat::entries(&recorded("nat.txt"), pods).iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert!(lines.contains(&"ICMP OUT 10.244.0.126:18206 -> 100.64.0.2:0 XLATE_SRC 100.64.0.1:18206".to_owned()));
    assert!(lines.contains(&"TCP IN 8.8.8.8:80 -> 10.0.0.239:47558 XLATE_DST 10.244.0.126:47558".to_owned()));
    let odd = "SCTP OUT x\nICMP OUT 1.2.3.4:5 ->\n\nTCP IN [::1]:5 -> [::1]:6 XLATE_DST [::1]:5\nnonsense";
    assert!(nat::entries(odd, pods).is_empty(), "lines of another form are left out");
}

#[test]
fn a_recorded_drop_with_ciliums_reason() {
    let mut monitor = drops::Monitor::default();
    let text = recorded("monitor-drop.txt");
    let events: Vec<_> = text.lines().filter_map(|line| monitor.line(line)).collect();
    let [event] = events.as_slice() else { panic!("one packet was dropped: {events:?}") };
    assert_eq!(event.reason, "Stale or unroutable IP");
    assert_eq!(event.packet[..4], [0x45, 0, 0, 0x54], "it begins with its IP header");
    assert_eq!(event.packet[12..20], [10, 244, 0, 10, 10, 244, 0, 99], "from the pod to an address nobody has");
}

#[test]
fn a_monitors_strange_lines_are_no_drop() {
    let text = recorded("monitor-drop.txt");
    for end in 0..text.len() {
        let mut monitor = drops::Monitor::default();
        for event in text.get(..end).unwrap_or_default().lines().filter_map(|line| monitor.line(line)) {
            assert!(text.contains(&event.reason), "cut after {end} bytes, {:?} was never said", event.reason);
        }
    }
    let mut monitor = drops::Monitor::default();
    for line in
        ["CPU 01: MARK 0x0 FROM 1 DROP: 98 bytes, reason Policy denied, identity 1->2", "00000000  zz", "", "xx drop"]
    {
        assert_eq!(monitor.line(line), None, "{line:?} comes without a packet");
    }
}

#[test]
fn a_table_that_isnt_there_is_told_from_other_trouble() {
    let path = "/sys/fs/bpf/tc/globals/cilium_snat_v4_external";
    let said =
        format!("exit status: 1: Error: Unable to open {path}: loading pinned map {path}: no such file or directory");
    assert!(nat::has_no_table(&said), "as 1.18.2 says it without NodePort and BPF masquerading");
    assert!(!nat::has_no_table(&said.replace("no such file or directory", "operation not permitted")));
}

#[test]
fn where_a_program_says_so() {
    let metrics = recorded("metrics.json");
    assert_eq!(drops::source(&metrics, "Stale or unroutable IP").as_deref(), Some("bpf_host.c:865"));
    assert_eq!(drops::source(&metrics, "Success"), None, "two places say so");
    for strange in ["", "{}", "[{}]", "[1]", &metrics[..metrics.len() - 3]] {
        assert_eq!(drops::source(strange, "Stale or unroutable IP"), None, "{strange:?}");
    }
}
