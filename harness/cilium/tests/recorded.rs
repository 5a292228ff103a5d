//! What a real agent put out, decided again from what it saw.

mod common;

use std::path::PathBuf;

use cilium::Decisions;
use cilium::inputs::{Address, Link, NodeInputs, Peer, Route, flags};
use common::{decided, ip, net};
use ipnet::IpNet;
use serde_json::{Value, json};

fn variants() -> [(&'static str, Value); 3] {
    [("unset", json!({})), ("enp0s6", json!({"devices": "enp0s6"})), ("tailscale0", json!({"devices": "tailscale0"}))]
}

fn read(variant: &str, file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/recorded/1.18.2").join(variant).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A table of Cilium's shell: columns stand below their headings, cells may be empty.
fn table(text: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines();
    let header = lines.next().expect("a header");
    let mut starts = Vec::new();
    let mut blank = true;
    for (position, letter) in header.char_indices() {
        if blank && letter != ' ' {
            starts.push(position);
        }
        blank = letter == ' ';
    }
    let cell = |line: &str, column: usize| {
        let end = starts.get(column + 1).copied().unwrap_or(line.len()).min(line.len());
        line.get(starts[column].min(end)..end).unwrap_or_default().trim().to_owned()
    };
    lines.map(|line| (0..starts.len()).map(|column| cell(line, column)).collect()).collect()
}

/// The node the agent saw: its own tables of devices and routes.
fn node(variant: &str) -> NodeInputs {
    let mut links = Vec::new();
    for row in table(&read(variant, "devices.txt")) {
        let [name, index, _, kind, mtu, mac, raw_flags, addresses, _] = row.try_into().expect("nine columns");
        let mut bits = 0;
        for flag in raw_flags.split('|') {
            bits |= match flag {
                "up" => flags::IFF_UP,
                "loopback" => flags::IFF_LOOPBACK,
                _ => 0,
            };
        }
        let address = |text: &str| Address {
            net: IpNet::new(text.parse().expect("an address"), 32).expect("a host"),
            secondary: false,
            scope: if text.starts_with("127.") { 254 } else { 0 },
        };
        links.push(Link {
            index: index.parse().expect("a number"),
            name,
            mtu: mtu.parse().expect("a number"),
            flags: bits,
            kind,
            master: None,
            hardware_address: mac.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect(),
            addresses: addresses.split(", ").filter(|text| !text.is_empty()).map(address).collect(),
        });
    }
    let routes = table(&read(variant, "routes.txt"))
        .into_iter()
        .map(|row| Route {
            destination: row[0].parse().expect("a network"),
            gateway: row[2].parse().ok(),
            link: row[3].parse().expect("a number"),
            table: row[4].parse().expect("a number"),
        })
        .collect();
    let router = links.iter().find(|link: &&Link| link.name == "cilium_host").and_then(|link| link.ipv4().next());
    NodeInputs {
        name: "master".to_owned(),
        router_ip: router.expect("cilium_host has an address").0,
        links,
        routes,
        internal_ip: Some(ip("100.64.0.1")),
        external_ip: None,
        pod_cidr: net("10.244.0.0/24"),
        peers: vec![Peer { name: "worker".to_owned(), node_ip: ip("100.64.0.2"), pod_cidr: net("10.244.1.0/24") }],
    }
}

fn decisions(variant: &str, values: Value) -> Decisions {
    decided("1.18.2", values, &node(variant))
}

#[test]
fn devices_tables() {
    for (variant, values) in variants() {
        let decisions = decisions(variant, values);
        for row in table(&read(variant, "devices.txt")) {
            let selected = decisions.device(&row[0]);
            assert_eq!(selected.is_some().to_string(), row[2], "{variant}: {} selected", row[0]);
            if let Some(device) = selected {
                assert_eq!(device.layer3, row[5].is_empty(), "{variant}: {} has no hardware address", row[0]);
            }
        }
    }
}

#[test]
fn node_address_tables() {
    for (variant, values) in variants() {
        let rows: Vec<_> = decisions(variant, values)
            .node_addresses
            .iter()
            .map(|row| {
                vec![row.address.to_string(), row.nodeport.to_string(), row.primary.to_string(), row.device.clone()]
            })
            .collect();
        assert_eq!(rows, table(&read(variant, "node-addresses.txt")), "{variant}");
    }
}

#[test]
fn mtu_tables() {
    for (variant, values) in variants() {
        let decisions = decisions(variant, values);
        let ipv4 = table(&read(variant, "mtu.txt")).into_iter().find(|row| row[0] == "0.0.0.0/0").expect("a row");
        assert_eq!(
            (decisions.device_mtu.to_string(), decisions.pod_mtu.to_string()),
            (ipv4[1].clone(), ipv4[2].clone())
        );
    }
}

#[test]
fn tunnel_endpoints() {
    for (variant, values) in variants() {
        let text = read(variant, "ipcache.txt");
        for tunnel in decisions(variant, values).tunnels {
            let line = text.lines().find(|line| line.starts_with(&tunnel.pod_cidr.to_string())).expect("an entry");
            let endpoint = tunnel.endpoint.expect("encapsulated");
            assert!(line.contains(&format!("tunnelendpoint={endpoint} ")), "{variant}: {line}");
        }
    }
}

/// The map of endpoints holds the addresses known as the host's; the ipcache has them under identity 1 all the same,
/// and in `enp0s6` the InternalIP too, which is why the two are not the same question.
#[test]
fn host_addresses() {
    for (variant, values) in variants() {
        let mut recorded: Vec<_> = read(variant, "bpf-endpoint.txt")
            .lines()
            .filter(|line| line.contains("(localhost)"))
            .map(|line| ip(line.split(':').next().expect("an address")))
            .collect();
        recorded.sort();
        assert_eq!(decisions(variant, values).host_addresses, recorded, "{variant}");
    }
}

#[test]
fn status() {
    for (variant, values) in variants() {
        let decisions = decisions(variant, values);
        let text = read(variant, "status.txt");
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).expect("a line").to_owned();
        let squeezed = line("Masquerading:").split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = format!("Masquerading: {} {} ", decisions.masquerading(), decisions.snat_exclusion);
        assert!(squeezed.starts_with(&wanted), "{variant}: `{squeezed}` starts with `{wanted}`");
        assert!(line("Routing:").ends_with("Host: BPF"));
        let device = decisions.direct_routing_device.expect("there is one");
        let (before, _) = text.split_once(" (Direct Routing)").expect("a direct routing device");
        let named = before.rsplit(['[', ',']).next().expect("its entry").split_whitespace().next();
        assert_eq!(named, Some(device.as_str()), "{variant}");
    }
}
