//! Input that is damaged, or made to do harm: never a panic, always a message that names the file, and within bounds.

mod support;

use std::time::{Duration, Instant};

use import::{Error, Imported};
use proptest::prelude::*;
use support::*;

/// What is said of the files: problems of an import, or of one that came to nothing.
fn problems(outcome: &Result<Imported, Error>) -> Vec<String> {
    match outcome {
        Ok(imported) => imported.summary.problems.iter().map(ToString::to_string).collect(),
        Err(Error::Nothing { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        Err(Error::Invalid { mistakes, text }) => panic!("what is written must be valid: {mistakes}\n{text}"),
    }
}

fn one(name: &str, bytes: Vec<u8>) -> Vec<String> {
    problems(&import(&[(name.to_owned(), bytes)], &options()))
}

#[test]
fn an_archive_cut_anywhere_is_named() {
    for bugtools in [Bugtools::Unpacked, Bugtools::Archives] {
        let whole = sysdump(bugtools);
        for end in (1..whole.len()).step_by(97) {
            let said = one("dump.zip", whole[..end].to_vec());
            // Three bytes don't tell a zip yet; nothing is in them either.
            assert!(end < 4 || said.iter().any(|text| text.contains("dump.zip")), "cut at {end}: {said:?}");
        }
    }
    let whole = gzip(&tar(vec![("master/addr.txt".to_owned(), MASTER.addresses().into_bytes())]));
    let archive = |bytes: &[u8]| import(&[("dump.tar.gz".to_owned(), bytes.to_vec())], &options());
    let all = archive(&whole).expect("a sound archive").topology;
    for end in (3..whole.len()).step_by(13) {
        let outcome = archive(&whole[..end]);
        let said = problems(&outcome);
        // What ends behind the last file has lost nothing.
        let complete = outcome.is_ok_and(|imported| imported.topology == all);
        assert!(complete || said.iter().any(|text| text.contains("dump.tar.gz")), "cut at {end}: {said:?}");
    }
}

#[test]
fn texts_cut_anywhere_do_no_harm() {
    let list: serde_json::Value = serde_json::json!([{"ifindex": 2, "ifname": "eth0", "flags": ["UP"], "mtu": 1500,
        "addr_info": [{"family": "inet", "local": "10.0.0.5", "prefixlen": 24}]}]);
    let json = list.to_string();
    for end in 1..json.len() {
        let said = one("node.json", json.as_bytes()[..end].to_vec());
        assert!(said.iter().any(|text| text.contains("node.json")), "cut at {end}: {said:?}");
    }
    let nodes = objects().remove(0).1;
    for end in (0..nodes.len()).step_by(7) {
        let files = [
            ("master.txt".to_owned(), MASTER.addresses().into_bytes()),
            ("k8s-nodes-20250101-120000.yaml".to_owned(), nodes.as_bytes()[..end].to_vec()),
        ];
        problems(&import(&files, &options()));
    }
    let text = [MASTER.addresses(), MASTER.links(), MASTER.routes(), MASTER.rules()].concat();
    for end in (0..text.len()).step_by(11) {
        problems(&import(&[("master.txt".to_owned(), text.as_bytes()[..end].to_vec())], &options()));
    }
}

#[test]
fn bombs_are_refused_in_time() {
    let started = Instant::now();
    // Zeros in a few hundred KiB: larger than any file that is read.
    let zeros = vec![0; 65 << 20];
    let said = one("dump.zip", zip(vec![("x/k8s-nodes-20250101-120000.yaml".to_owned(), zeros.clone())]));
    assert!(said.iter().any(|text| text.contains("larger than 64 MiB")), "{said:?}");
    let said = one("nodes.yaml", gzip(&zeros));
    assert!(said.iter().any(|text| text.contains("larger than 64 MiB") && text.contains("nodes.yaml")), "{said:?}");
    drop(zeros);
    let inner = gzip(&tar(vec![("cmd/ip-a.md".to_owned(), MASTER.addresses().into_bytes())]));
    let twice = one("dump.gz", gzip(&inner));
    assert!(twice.iter().any(|text| text.contains("compressed once more")), "{twice:?}");
    let nested = tar(vec![("cilium-bugtool-b-20250101-120000.tar.gz".to_owned(), inner)]);
    let said = one("dump.tar.gz", gzip(&nested));
    assert!(said.iter().any(|text| text.contains("cilium-bugtool-b") && text.contains("not read")), "{said:?}");
    let deep = "[".repeat(100_000);
    for name in ["node.json", "nodes.yaml"] {
        let text = format!("kind: List\nitems: {deep}");
        let bytes = if name == "node.json" { deep.clone() } else { text };
        let said = one(name, bytes.into_bytes());
        assert!(said.iter().any(|text| text.contains(name)), "{name}: {said:?}");
    }
    let laughs = (1..30).fold("kind: List\na0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1)
    });
    let said = one("nodes.yaml", laughs.into_bytes());
    assert!(said.iter().any(|text| text.contains("nodes.yaml")), "{said:?}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// A tar archive with this member before one of use.
fn after(kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let addresses = MASTER.addresses();
    for (kind, name, content) in
        [(kind, "././@LongLink", content), (tar::EntryType::Regular, "x", addresses.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.extend(header.as_bytes());
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive
}

#[test]
fn names_in_extensions_are_bounded() {
    use tar::EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
    let path = format!("{}/master.txt", "d".repeat(200));
    let record = format!(" path={path}\n");
    let length = (record.len()..).find(|length| length.to_string().len() + record.len() == *length).expect("it ends");
    let pax = format!("{length}{record}");
    for (kind, content) in [(GNULongName, format!("{path}\0")), (XHeader, pax)] {
        let imported = import(&[("dump.tar".to_owned(), after(kind, content.as_bytes()))], &options());
        assert_eq!(imported.expect("a name may be long").summary.nodes, ["master"], "{kind:?}");
    }
    let huge = vec![b'n'; 2 << 20];
    for kind in [GNULongName, XHeader] {
        let said = one("dump.tar", after(kind, &huge));
        assert!(said.iter().any(|text| text.contains("a name of 2097152 bytes")), "{kind:?}: {said:?}");
    }
    for kind in [GNULongLink, XGlobalHeader] {
        let imported = import(&[("dump/master.tar".to_owned(), after(kind, &huge))], &options());
        assert!(imported.is_ok(), "{kind:?}: what is of no use is skipped");
    }
    let said = one("dump.tar", after(XHeader, b"13 size=0000\n"));
    assert!(said.iter().any(|text| text.contains("a size that no header holds")), "{said:?}");
}

#[test]
fn names_lead_nowhere() {
    let text = MASTER.addresses().into_bytes();
    for path in ["../../etc/passwd.txt", "/etc/cron.d/addr.txt", "a/../../addr.json", "..", "a\u{1b}[31m.txt"] {
        for archive in [zip(vec![(path.to_owned(), text.clone())]), tar(vec![(path.to_owned(), text.clone())])] {
            let outcome = import(&[("dump".to_owned(), archive)], &options());
            problems(&outcome);
            if let Ok(imported) = outcome {
                let text = imported.topology + &imported.scenario;
                assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
            }
        }
    }
    assert!(!std::path::Path::new("../../etc/passwd.txt").exists());
}

/// What files say of a node is put together in a time that grows as they do.
#[test]
fn a_node_has_only_so_much() {
    let started = Instant::now();
    let addresses = |count: u32| -> String {
        let address =
            |number: u32| format!("    inet {}/32 scope global\n", std::net::Ipv4Addr::from(0x0a00_0000 + number));
        (0..count).map(address).collect()
    };
    let link =
        |index: u32| format!("{index}: eth{index}: <UP> mtu 1500\n    inet 10.0.{}.5/24 scope global\n", index % 250);
    let route = |number: u32| format!("{} dev eth0 metric 5\n", std::net::Ipv4Addr::from(0x0b00_0000 + number));
    let json = |number: u32| format!("[{{\"dst\":\"{}\"}}]\n", std::net::Ipv4Addr::from(0x0b00_0000 + number));
    for text in [
        MASTER.addresses() + &addresses(50_000),
        MASTER.addresses() + &(20..20_000).map(link).collect::<String>(),
        MASTER.addresses() + &(0..50_000).map(route).collect::<String>(),
        "[{\"ifname\":\"eth0\",\"ifindex\":2,\"flags\":[]}]\n".to_owned() + &(0..50_000).map(json).collect::<String>(),
    ] {
        let said = one("master.txt", text.into_bytes());
        assert!(said.iter().any(|text| text.contains("too many")), "{said:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// Files are written that a topology's reader takes, however much has no place in them.
#[test]
fn of_a_kind_only_the_first_are_told() {
    let routes: String = (0..200).map(|number| format!("172.20.{number}.0/24 via 10.0.0.7 dev enp0s6\n")).collect();
    let rules: String = (0..100).map(|number| format!("{}: from 10.0.0.9 lookup 77\n", 1000 + number)).collect();
    let name = "n".repeat(200);
    let node = |name: String| serde_json::json!({"kind": "Node", "metadata": {"name": name}});
    let nodes: Vec<_> =
        (0..6000).map(|number| node(format!("{name}-{number}"))).chain([node("master".into())]).collect();
    let nodes = serde_json::json!({"kind": "List", "items": nodes}).to_string();
    let text = MASTER.addresses() + &MASTER.routes() + &routes + &rules;
    let files = [("master.txt", text), ("nodes.json", nodes)].map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let left_out = import(&files, &options()).expect("a node's outputs are there").summary.left_out;
    for (kind, more) in
        [("route 172.20.", "and 181 more"), ("rule 10", "and 80 more"), (name.as_str(), "and 5980 more")]
    {
        let told = left_out.iter().filter(|text| text.contains(kind)).count();
        assert!((1..=20).contains(&told), "{told} of {kind}");
        assert!(left_out.iter().any(|text| text.contains(more)), "{more}: {left_out:?}");
    }
}

#[test]
fn what_is_no_text_is_named() {
    for bytes in [b"\xff\xfe1\0:\0".to_vec(), b"1: eth0: <UP> mtu \xc3\x28".to_vec()] {
        let said = one("node.txt", bytes);
        assert!(said.iter().any(|text| text.contains("node.txt") && text.contains("UTF-8")), "{said:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..8_usize) {
        let heads: [&[u8]; 8] = [b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"[{\"ifname\":\"", b"kind: List\nitems:\n", b"1: eth0: <UP>",
            b"default via ", b"{"];
        let mut all = heads[at].to_vec();
        all.extend(bytes);
        let files = [("master.txt".to_owned(), MASTER.addresses().into_bytes()), ("x".to_owned(), all)];
        problems(&import(&files, &options()));
    }

    /// Whatever `ip` may print, what is written is a topology.
    #[test]
    fn any_links_make_a_topology(text in links(), external in external()) {
        let files = [("node-a.txt", text.0), ("node-b.txt", text.1), ("nodes.json", external)]
            .map(|(name, text)| (name.to_owned(), text.into_bytes()));
        let outcome = import(&files, &options());
        problems(&outcome);
        if let Ok(imported) = outcome {
            network(&imported);
        }
    }

    #[test]
    fn flipped_bytes_do_no_harm(at in any::<prop::sample::Index>(), value in any::<u8>(), bit in 0..6_usize) {
        let (name, text) = objects().swap_remove(bit);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let files = [("master.txt".to_owned(), MASTER.addresses().into_bytes()), (name, bytes)];
        problems(&import(&files, &options()));
    }
}

#[test]
fn an_external_address_on_the_overlay_is_no_public_one() {
    let addresses = "1: tailscale0: <POINTOPOINT,UP> mtu 1280\n    inet 100.64.0.1/32 scope global tailscale0\n\
                     2: eth1: <BROADCAST,UP> mtu 1500\n    link/ether 02:00:00:00:00:01\n    inet 10.0.0.5/24 scope global eth1\n\
                     default via 10.0.0.1 dev eth1\n";
    let node = serde_json::json!({"kind": "List", "items": [{"kind": "Node", "metadata": {"name": "node-a"},
        "status": {"addresses": [{"type": "ExternalIP", "address": "100.64.0.7"}]}}]});
    let files = [("node-a.txt", addresses.to_owned()), ("nodes.json", node.to_string())]
        .map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let outcome = import(&files, &options());
    problems(&outcome);
    let text = outcome.expect("there is a node with a network").topology;
    assert!(!text.contains("100.64.0.7"), "nobody on the internet has it: {text}");
}

/// The two nodes' objects, with external addresses of all sorts.
fn external() -> impl Strategy<Value = String> {
    let address = prop::sample::select(vec![
        "",
        "168.107.2.60",
        "168.107.2.61",
        "10.0.0.9",
        "93.184.216.34",
        "100.64.0.7",
        "127.0.0.1",
    ]);
    let provider = prop::sample::select(vec!["", "aws:///a/i-1", "gce://p/z/n", "ocid1.instance.oc1", "kind://x"]);
    (address.clone(), address, provider).prop_map(|(one, other, provider)| {
        let node = |name: &str, address: &str| {
            let address = serde_json::json!({"type": "ExternalIP", "address": address});
            serde_json::json!({"kind": "Node", "metadata": {"name": name}, "spec": {"providerID": provider},
                "status": {"addresses": [address]}})
        };
        serde_json::json!({"kind": "List", "items": [node("node-a", one), node("node-b", other)]}).to_string()
    })
}

/// Two nodes' outputs, with addresses, prefix lengths, kinds and routes of all sorts.
fn links() -> impl Strategy<Value = (String, String)> {
    let name = prop::sample::select(vec![
        "eth0",
        "eth1",
        "br0",
        "docker0",
        "bond0",
        "dummy0",
        "tailscale0",
        "wg0",
        "eth0.5@eth0",
        "veth1@if2",
        "cilium_host",
        "a-name-that-is-far-too-long",
        "true",
        "1e5",
        "x%d",
        "kube-ipvs0",
        "lo",
    ]);
    let address = prop::sample::select(vec![
        "10.0.0.5/24",
        "10.0.0.1/24",
        "10.0.0.0/24",
        "10.0.0.255/24",
        "10.0.0.5/32",
        "10.0.0.5/8",
        "10.0.0.5/0",
        "10.0.0.5/31",
        "93.184.216.34/26",
        "93.184.216.1/26",
        "100.64.0.1/32",
        "100.64.0.2/10",
        "172.17.0.1/16",
        "127.0.0.2/8",
        "224.0.0.1/4",
        "0.0.0.0/0",
        "169.254.1.1/16",
        "255.255.255.255/32",
        "192.168.0.1 peer 192.168.0.2/32",
    ]);
    let kind = prop::sample::select(vec![
        "",
        "veth",
        "bridge forward_delay",
        "bond mode",
        "dummy",
        "tun type",
        "vlan id 5",
        "vxlan id",
    ]);
    let master = prop::sample::select(vec!["", "master br0", "master bond0", "master eth0"]);
    let flags = prop::sample::select(vec!["BROADCAST,UP", "BROADCAST", "POINTOPOINT,UP", "UP"]);
    let link = (name, flags, 0..70_000_u32, master, kind, prop::collection::vec(address, 0..4), any::<bool>());
    let gateway = prop::sample::select(vec!["10.0.0.1", "10.0.0.5", "93.184.216.1", "192.168.7.7", "100.64.0.9"]);
    let device = prop::sample::select(vec!["eth0", "br0", "bond0", "tailscale0", "eth1"]);
    let node = (prop::collection::vec(link, 0..7), prop::collection::vec((gateway, device), 0..3)).prop_map(
        |(links, routes)| {
            let mut text = String::new();
            for (index, (name, flags, mtu, master, kind, addresses, detailed)) in links.into_iter().enumerate() {
                text += &format!("{}: {name}: <{flags}> mtu {mtu} {master}\n", index + 1);
                text += if detailed { "    link/ether 0 promiscuity 0\n" } else { "    link/ether 0\n" };
                text += &format!("    {kind}\n");
                text.extend(addresses.iter().map(|address| format!("    inet {address} scope global\n")));
            }
            text.extend(routes.iter().map(|(gateway, device)| format!("default via {gateway} dev {device}\n")));
            text
        },
    );
    (node.clone(), node)
}
