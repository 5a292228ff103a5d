//! Sysdumps put together as cilium-cli lays them out, and folders filled by hand.

mod support;

use import::{Error, Networks, Options};
use support::*;
use topology::network::{Nat, NicKind, Role};

fn named(name: &str, bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    vec![(name.to_owned(), bytes)]
}

/// A folder that somebody filled by hand, with `ip`'s texts in one file a node.
fn by_hand() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = [MASTER, WORKER]
        .iter()
        .map(|machine| {
            let text = [machine.addresses(), machine.links(), machine.routes(), machine.rules()].concat();
            (format!("dump/{}.txt", machine.name), text.into_bytes())
        })
        .collect();
    files.extend(objects().into_iter().map(|(file, text)| (format!("dump/{file}"), text.into_bytes())));
    files
}

#[test]
fn all_forms_give_the_same_files() {
    let unpacked = import(&named("dump.zip", sysdump(Bugtools::Unpacked)), &options()).expect("a sound sysdump");
    for (form, files) in [
        ("archives in the archive", named("dump.zip", sysdump(Bugtools::Archives))),
        ("named otherwise", named("some file", sysdump(Bugtools::Archives))),
    ] {
        let other = import(&files, &options()).expect("a sound sysdump");
        assert_eq!(other.topology, unpacked.topology, "{form}");
        assert_eq!(other.scenario, unpacked.scenario, "{form}");
    }
    let folder = import(&by_hand(), &options()).expect("a folder filled by hand");
    assert_eq!(folder.topology, unpacked.topology, "a folder");
    // Nobody asked the agents.
    let status = folder.scenario.lines().collect::<Vec<_>>();
    let more = unpacked.scenario.lines().filter(|line| !status.contains(line)).collect::<Vec<_>>().join("\n");
    assert!(more.lines().all(|line| line.contains("masquerade") || line.contains("cilium status")), "{more}");
}

#[test]
fn what_is_seen_is_written() {
    let imported = import(&named("dump.zip", sysdump(Bugtools::Unpacked)), &options()).expect("a sound sysdump");
    let network = network(&imported);
    let nodes: Vec<_> = network.nodes.iter().map(|node| (node.name.as_str(), node.role)).collect();
    assert_eq!(nodes, [("master", Role::ControlPlane), ("worker", Role::Worker)]);
    let master = &network.nodes[0];
    assert_eq!(master.nics.len(), 1, "Cilium's and pods' interfaces are no NICs: {:?}", master.nics);
    let nic = &master.nics[0];
    assert_eq!((nic.name.as_str(), nic.mtu, nic.up), ("enp0s6", 9000, true));
    assert_eq!(nic.default_route, Some([10, 0, 0, 1].into()));
    assert_eq!(master.overlay_address, Some([100, 64, 0, 1].into()));
    assert_eq!(network.vcns.len(), 2, "nodes that meet on the overlay are taken to meet nowhere else");
    assert!(network.vcns.iter().all(|vcn| vcn.nat == Nat::OneToOne), "each node has an ExternalIP");
    assert!(network.overlay.as_ref().is_some_and(|overlay| overlay.policy_routing));
    for line in [
        "cilium: 1.18.2",
        "kubelet: {node-ip: overlay}",
        "cluster: {pod-cidr: 10.244.0.0/16, service-cidr: 10.96.0.0/16, api-server: overlay}",
        "  devices: enp0s6",
        "  kubeProxyReplacement: true",
        "  bpf:\n    masquerade: true",
        "  routingMode: tunnel",
        "      master: {node-ip: 100.64.0.1}",
        "      worker: {masquerade: \"BPF [enp0s6]\"}",
    ] {
        assert!(imported.scenario.contains(line), "the scenario must have {line:?}:\n{}", imported.scenario);
    }
    assert!(!imported.scenario.contains("hubble"), "nothing else of the ConfigMap is passed on");
    let left_out = imported.summary.left_out.join("\n");
    assert!(left_out.contains("route 169.254.0.0/16 dev enp0s6 metric 100"), "{left_out}");
    assert!(left_out.contains("3 options of cilium-config"), "{left_out}");
    assert_eq!(left_out.lines().count(), 3, "that route on two nodes, the options, and nothing else:\n{left_out}");
}

#[test]
fn public_addresses_are_replaced_everywhere_by_the_same() {
    let own = |text: String| text.replace("10.0.0.", "93.184.216.");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for machine in [MASTER, WORKER] {
        let text = own([machine.addresses(), machine.links(), machine.routes()].concat());
        files.push((format!("{}.txt", machine.name), text.into_bytes()));
    }
    let config = CONFIG_MAP.replace("devices: enp0s6", "nodeport-addresses: 93.184.216.0/24,168.107.2.60/32");
    files.push(("config.yaml".to_owned(), config.into_bytes()));
    let nodes = objects().remove(0).1;
    files.push(("nodes.yaml".to_owned(), nodes.into_bytes()));
    let imported = import(&files, &options()).expect("a sound dump");
    for text in [&imported.topology, &imported.scenario] {
        assert!(!text.contains("93.184.216.") && !text.contains("168.107."), "{text}");
    }
    assert!(imported.topology.contains("address: 198.19.0.239/24"), "hosts keep their numbers:\n{}", imported.topology);
    assert!(imported.topology.contains("gateway: 198.19.0.1"), "{}", imported.topology);
    let external = network(&imported).nodes[0].nics[0].public_address.expect("an ExternalIP");
    let written = format!("nodePort:\n    addresses: \"198.19.0.0/24,{external}/32\"");
    assert!(imported.scenario.contains(&written), "{written}:\n{}", imported.scenario);
}

#[test]
fn nodes_get_new_names_if_asked() {
    let options = Options { anonymize: true, ..options() };
    let imported = import(&named("dump.zip", sysdump(Bugtools::Unpacked)), &options).expect("a sound sysdump");
    for text in [&imported.topology, &imported.scenario] {
        assert!(!text.contains("master") && !text.contains("worker"), "{text}");
    }
    assert_eq!(imported.summary.nodes, ["node-1", "node-2"]);
}

fn files(files: impl IntoIterator<Item = (impl Into<String>, String)>) -> Vec<(String, Vec<u8>)> {
    files.into_iter().map(|(name, text)| (name.into(), text.into_bytes())).collect()
}

#[test]
fn new_names_hide_the_old_ones_of_what_is_left_out_too() {
    let own = |text: String| text.replace("enp0s6", "wlx0217aabbccdd");
    let files = files([
        ("master.txt", own([MASTER.addresses(), MASTER.routes()].concat())),
        // Of this one there is no `ip addr`, and of the worker nothing.
        ("spare.txt", MASTER.routes()),
        ("nodes.yaml", objects().remove(0).1),
        ("config.yaml", own(CONFIG_MAP.to_owned())),
    ]);
    let imported = import(&files, &Options { anonymize: true, ..options() }).expect("a sound dump");
    for text in [&imported.topology, &imported.scenario] {
        for old in ["master", "worker", "spare", "0217aabbccdd"] {
            assert!(!text.contains(old), "{old}:\n{text}");
        }
        assert!(text.contains("wlx000000000001"), "{text}");
    }
    let left_out = imported.summary.left_out.join("\n");
    assert!(left_out.contains("a node: there are routes or rules of it"), "{left_out}");
    assert!(left_out.contains("a node: it is a node of the cluster"), "{left_out}");
}

#[test]
fn no_name_holds_a_public_address() {
    let node = |name: &str| serde_json::json!({"kind": "Node", "metadata": {"name": name}});
    for (name, address) in [
        ("ec2-54-1-2-3.eu-west-1.compute.amazonaws.com", "54-1-2-3"),
        ("static.88.99.1.2.clients.example", "88.99.1.2"),
    ] {
        for seen in [name, "other"] {
            let nodes = serde_json::json!({"kind": "List", "items": [node(name), node("other")]});
            let files =
                files([(format!("{seen}.txt"), MASTER.addresses()), ("nodes.json".to_owned(), nodes.to_string())]);
            let imported = import(&files, &options()).expect("there is a node");
            let all = imported.topology + &imported.scenario + &imported.summary.left_out.join("\n");
            assert!(!all.contains(address), "{address}:\n{all}");
        }
    }
}

#[test]
fn helms_values_hold_no_public_address() {
    let values = "devices: enx0217aabbccdd\n\
                  nodePort: {addresses: \"93.184.216.34/32,2a01:4f8:1:2::1/128\"}\n\
                  ipMasqAgent: {enabled: true, config: {nonMasqueradeCIDRs: [10.0.0.0/8, 54.1.2.0/24]}}\n";
    let files = files([
        ("master.txt".to_owned(), MASTER.addresses().replace("enp0s6", "enx0217aabbccdd")),
        (format!("cilium-helm-values-{TIME}.yaml"), values.to_owned()),
    ]);
    let scenario = import(&files, &Options { anonymize: true, ..options() }).expect("there is a node").scenario;
    for public in ["93.184.", "2a01:", "54.1.2.", "0217aabbccdd"] {
        assert!(!scenario.contains(public), "{public}:\n{scenario}");
    }
    for kept in ["devices: enx000000000001", "2001:db8:0:1::1/128", "10.0.0.0/8"] {
        assert!(scenario.contains(kept), "{kept}:\n{scenario}");
    }
}

#[test]
fn values_are_about_the_pods_range_as_it_is() {
    let own = |text: String| text.replace("10.244.", "25.1.").replace("168.107.2.", "25.9.9.");
    let config = CONFIG_MAP.replace("devices: enp0s6", "ipv4-native-routing-cidr: 25.0.0.0/8");
    let files = files([
        ("master.txt", own([MASTER.addresses(), MASTER.routes()].concat())),
        ("worker.txt", own([WORKER.addresses(), WORKER.routes()].concat())),
        ("nodes.yaml", own(objects().remove(0).1)),
        ("config.yaml", own(config)),
    ]);
    let imported = import(&files, &options()).expect("a sound dump");
    for kept in ["pod-cidr: 25.1.0.0/16", "ipv4NativeRoutingCIDR: 25.0.0.0/8"] {
        assert!(imported.scenario.contains(kept), "{kept}:\n{}", imported.scenario);
    }
    assert!(!imported.topology.contains("25.9.9."), "what is no pod's is replaced:\n{}", imported.topology);
}

#[test]
fn who_knows_better_about_networks_says_so() {
    let count = |networks| {
        let options = Options { networks, ..options() };
        network(&import(&by_hand(), &options).expect("a sound dump")).vcns.len()
    };
    assert_eq!([Networks::Auto, Networks::Shared, Networks::Separate].map(count), [2, 1, 2]);
}

#[test]
fn a_node_alone_is_enough() {
    let files = named("dump/server.txt", MASTER.addresses().into_bytes());
    let imported = import(&files, &options()).expect("addresses are all that is needed");
    let network = network(&imported);
    assert_eq!(network.nodes[0].name, "server");
    assert_eq!(network.nodes[0].role, Role::ControlPlane, "a cluster needs one");
    assert!(matches!(network.nodes[0].nics[0].kind, NicKind::Vcn(_)));
    for unknown in ["version", "roles and kubelet's addresses", "all of them, for want of cilium-config"] {
        let all = imported.summary.unknown.join("\n");
        assert!(all.contains(unknown), "{unknown}:\n{all}");
    }
    assert_eq!(imported.topology.matches("# unknown:").count() + imported.scenario.matches("# unknown:").count(), {
        imported.summary.unknown.len() + 2 + 1
    });
}

#[test]
fn nothing_of_use_says_what_was_looked_for() {
    for files in [named("notes.txt", b"nothing here".to_vec()), named("a.zip", zip(Vec::new())), Vec::new()] {
        match import(&files, &options()) {
            Err(Error::Nothing { looked_for, .. }) => assert!(looked_for.contains("ip-a.md"), "{looked_for}"),
            other => panic!("{other:?}"),
        }
    }
}
