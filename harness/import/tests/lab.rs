//! import(lab) gives back the lab: what `ip` prints in the namespaces of every shipped topology, and a cluster's
//! objects that fit, make the topology again as far as it can be seen.
//!
//! What can't be seen, and isn't compared: VCNs' names, presets, kinds of NAT and source checks; the internet; the
//! overlay's port; public addresses, which are replaced; gateways that no default route names.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use import::{Files, Imported, Options};
use lab::{Lab, Missing, Namespace};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use topology::Network;
use topology::network::{NicKind, Node, OverlayBackend, Role};
use topology::source::Source;

/// How the outputs are handed in.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// `ip -j -d`, a file a node, beside kubectl's JSON.
    Json,
    /// As a bugtool of a sysdump keeps them.
    Text,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let iproute2 = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let mut trials = Vec::new();
    for path in topologies() {
        let file = topology::load(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
        for (backend, form) in [
            (OverlayBackend::Userspace, Form::Json),
            (OverlayBackend::Userspace, Form::Text),
            (OverlayBackend::Kernel, Form::Json),
        ] {
            let mut network = file.clone();
            match &mut network.overlay {
                None if backend == OverlayBackend::Kernel => continue,
                None => {}
                Some(overlay) => overlay.backend = backend,
            }
            let name = format!("{}::{backend:?}::{form:?}", network.name).to_lowercase();
            let lacking = if iproute2 {
                lacking(&sandbox, &network, &runtime).map(|missing| missing.to_string())
            } else {
                Some("no `ip` here: install iproute2".to_owned())
            };
            if let (Some(lacking), false) = (&lacking, arguments.list) {
                eprintln!("{name} is ignored: {lacking}");
            }
            let runtime = Arc::clone(&runtime);
            let test = move || runtime.block_on(comes_back(network, form));
            trials.push(Trial::test(name, test).with_ignored_flag(lacking.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn topologies() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies");
    let entries = std::fs::read_dir(folder).expect("the shipped topologies are there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 5, "only {} topologies: they went missing", files.len());
    files
}

fn lacking<T>(sandbox: &Result<T, Missing>, network: &Network, runtime: &Runtime) -> Option<Missing> {
    if let Err(missing) = sandbox {
        return Some(missing.clone());
    }
    runtime.block_on(lab::doctor::try_for(network)).err()
}

async fn comes_back(network: Network, form: Form) -> Result<(), Failed> {
    let network = Arc::new(network);
    let lab = Lab::build(Arc::clone(&network)).await?;
    let mut files = Files::new();
    for (path, text) in outputs(&lab, &network, form)? {
        files.add(&path, false, Cursor::new(text.into_bytes()));
    }
    let options = Options { name: network.name.clone(), ..Options::default() };
    let Imported { topology, summary, .. } = import::import(files, &options)?;
    if !summary.problems.is_empty() {
        return Err(format!("all files are sound, but {:?}", summary.problems).into());
    }
    let source = Source::from_bytes(format!("{}.yaml", network.name), topology.as_bytes()).expect("text");
    let again = topology::parse(&source).map_err(|wrong| wrong.to_string())?;
    let (expected, found) = (observable(&network), observable(&again));
    if expected != found {
        return Err(format!("expected {expected:#}\nfound {found:#}\n{topology}").into());
    }
    if summary.left_out.iter().any(|line| line.contains("route ") || line.contains("rule ")) {
        return Err(format!("the lab has no other routes and rules, but {:?}", summary.left_out).into());
    }
    Ok(())
}

/// What the nodes and the cluster print, by file.
fn outputs(lab: &Lab, network: &Network, form: Form) -> Result<Vec<(String, String)>, Failed> {
    const TIME: &str = "20250101-120000";
    let mut files = Vec::new();
    for node in &lab.nodes {
        let (name, namespace) = (&node.config.name, &node.namespace);
        match form {
            Form::Json => {
                let mut text = String::new();
                for arguments in ["-j -d addr", "-j -d link", "-j -d route show table all", "-j rule"] {
                    text += &ip(namespace, arguments)?;
                    text.push('\n');
                }
                files.push((format!("dump/{name}.json"), text));
            }
            Form::Text => {
                let folder = format!("cilium-sysdump-{TIME}/cilium-bugtool-cilium-{name}-{TIME}/cmd");
                for (file, arguments) in [
                    ("ip-a", "a"),
                    ("ip--d--s-l", "-d -s l"),
                    ("ip--4-r", "-4 r"),
                    ("ip-rule", "rule"),
                    ("ip--4-route-show-table-52", "-4 route show table 52"),
                ] {
                    files.push((format!("{folder}/{file}.md"), ip(namespace, arguments)?));
                }
                files.push((format!("{folder}/hostname.md"), format!("{name}\n")));
            }
        }
    }
    let nodes: Vec<Value> = network.cluster_nodes().enumerate().map(|(index, node)| object(index, node)).collect();
    let pods: Vec<Value> = network.cluster_nodes().map(pod).collect();
    let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let (nodes, pods) = (list(nodes), list(pods));
    files.extend(match form {
        Form::Json => [("dump/nodes.json".to_owned(), nodes), ("dump/pods.json".to_owned(), pods)],
        // JSON is YAML.
        Form::Text => [(format!("s/k8s-nodes-{TIME}.yaml"), nodes), (format!("s/k8s-pods-{TIME}.yaml"), pods)],
    });
    Ok(files)
}

/// What a cluster on that network would say of a node.
fn object(index: usize, node: &Node) -> Value {
    let primary = || node.nics.iter().find_map(|nic| nic.addresses.first()).map(|net| net.addr());
    let internal = node.overlay_address.or_else(primary);
    let external = node.nics.iter().find_map(|nic| nic.public_address);
    let mut addresses = vec![json!({"type": "InternalIP", "address": internal})];
    addresses.extend(external.map(|address| json!({"type": "ExternalIP", "address": address})));
    let labels = match node.role {
        Role::ControlPlane => json!({"node-role.kubernetes.io/control-plane": ""}),
        Role::Worker | Role::Host => json!({}),
    };
    json!({
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": format!("10.244.{index}.0/24")},
        "status": {"addresses": addresses},
    })
}

fn pod(node: &Node) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": format!("cilium-{}", node.name), "labels": {"k8s-app": "cilium"}},
        "spec": {
            "nodeName": node.name,
            "containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.18.2"}],
        },
    })
}

/// Runs `ip` in a namespace: the child is made there, and waited for at home.
fn ip(namespace: &Namespace, arguments: &str) -> Result<String, Failed> {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = namespace.enter(|| command.spawn())??.wait_with_output()?;
    // A table that nobody made is told as an error.
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !complaint.contains("FIB table does not exist") {
        return Err(format!("ip {arguments}: {complaint}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Of a network, what its nodes' outputs tell.
fn observable(network: &Network) -> Value {
    // A VCN is known by who is in it, by its subnet, and by its gateway where a default route names it.
    let vcns: Vec<Value> = network
        .vcns
        .iter()
        .map(|vcn| {
            let members: Vec<String> = network
                .members(&vcn.name)
                .filter(|(_, nic)| !nic.addresses.is_empty())
                .map(|(node, nic)| format!("{}/{}", node.name, nic.name))
                .collect();
            let gateway = network.members(&vcn.name).find_map(|(_, nic)| nic.default_route);
            json!({"cidr": vcn.cidr, "members": members, "gateway": gateway})
        })
        .collect();
    let mut nodes: Vec<Value> = network.nodes.iter().map(|node| node_seen(network, node)).collect();
    // Machines beside the cluster come last: there is no order to know.
    nodes.sort_by_key(|node| (node["role"] == "Host").then(|| node["name"].to_string()));
    let mut vcns: Vec<String> = vcns.iter().map(Value::to_string).collect();
    vcns.sort();
    let overlay = network.overlay.as_ref().map(|overlay| {
        json!({
            "cidr": overlay.cidr, "interface": overlay.interface, "mtu": overlay.mtu,
            "policy routing": overlay.policy_routing, "backend": format!("{:?}", overlay.backend),
        })
    });
    json!({"vcns": vcns, "nodes": nodes, "overlay": overlay})
}

fn node_seen(network: &Network, node: &Node) -> Value {
    let nics: Vec<Value> = node
        .nics
        .iter()
        .map(|nic| {
            let kind = match &nic.kind {
                NicKind::Vcn(_) => json!("NIC"),
                NicKind::Bridge(ports) => json!({ "bridge": ports }),
                NicKind::Bond(members) => json!({ "bond": members }),
                NicKind::Dummy => json!("dummy"),
            };
            json!({
                "name": nic.name, "kind": kind, "addresses": nic.addresses, "mtu": nic.mtu, "up": nic.up,
                "default route": nic.default_route, "public address": nic.public_address.is_some(),
            })
        })
        .collect();
    let overlay = network.overlay.as_ref().and(node.overlay_address);
    json!({"name": node.name, "role": format!("{:?}", node.role), "nics": nics, "overlay address": overlay})
}
