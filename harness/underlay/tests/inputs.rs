//! What plans foretell of a node is what its agent finds once the topology is built, for every shipped topology.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use cilium::inputs::{Link, NodeInputs};
use ipnet::IpNet;
use lab::{Lab, Missing};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use topology::Network;
use topology::network::OverlayBackend;
use underlay::case::Case;
use underlay::engine::netns::agents;
use underlay::engine::{inputs, install};
use underlay::scenario::{self, Overrides};

/// net/if.h: these follow the carrier, which a prediction can't know and no rule of Cilium's reads.
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const LOCAL: u32 = 255;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let mut trials = Vec::new();
    for path in topologies() {
        let file = topology::load(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
        for backend in [OverlayBackend::Userspace, OverlayBackend::Kernel] {
            let mut network = file.clone();
            let name = match &mut network.overlay {
                None if backend == OverlayBackend::Kernel => continue,
                None => network.name.clone(),
                Some(overlay) => {
                    overlay.backend = backend;
                    let backend = format!("{backend:?}").to_lowercase();
                    format!("{}::{backend}", network.name)
                }
            };
            let missing = lacking(&sandbox, &network, &runtime);
            if let (Some(missing), false) = (&missing, arguments.list) {
                eprintln!("{name} is ignored: {missing}");
            }
            let runtime = Arc::clone(&runtime);
            let test = move || runtime.block_on(same(network));
            trials.push(Trial::test(name, test).with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn topologies() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("topologies")).expect("the shipped topologies are there");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("it can be listed").path()).collect();
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

/// A cluster on `network`: the guide's, with each node's `--node-ip` on the overlay, or on its first NIC without one.
fn case(network: Network) -> Result<Case, Failed> {
    let file = root().join("scenarios/guide/table.yaml");
    let cases = scenario::load(&file, &Overrides::default()).map_err(|wrong| wrong.to_string())?;
    let mut case = cases.into_iter().find(|case| case.variant == "unset").ok_or("no variant `unset`")?;
    case.model = cilium::Model::Cilium;
    case.cluster.node_ips = network
        .cluster_nodes()
        .filter_map(|node| {
            let address = node.overlay_address.or_else(|| Some(node.nics.first()?.addresses.first()?.addr()));
            Some((node.name.clone(), address?))
        })
        .collect();
    case.network = Arc::new(network);
    Ok(case)
}

async fn same(network: Network) -> Result<(), Failed> {
    let case = case(network)?;
    let lab = Lab::build(Arc::clone(&case.network)).await?;
    let (mut read, mut predicted) = (Vec::new(), Vec::new());
    for node in case.network.cluster_nodes() {
        let built = lab.node(&node.name).ok_or("a node of the topology was not built")?;
        read.push(inputs::read(&case, node, &built.namespace)?);
        predicted.push(inputs::predict(&case, node));
    }
    for (read, predicted) in read.iter().zip(&predicted) {
        equal(&format!("{}: what the agent sees", read.name), &facts(predicted), &facts(read))?;
    }
    // Each list leads the decisions by other rules.
    let lists =
        [json!(null), json!(""), json!("e+"), json!("enp0s6"), json!("tailscale0"), json!(["enp0s6", "tailscale0"])];
    for (devices, version) in
        lists.iter().flat_map(|list| ["1.15.0", "1.18.2", "1.19.0"].map(|version| (list, version)))
    {
        let mut case = case.clone();
        case.version = cilium::Version::parse(version).map_err(|error| error.to_string())?;
        case.values.insert("devices".to_owned(), devices.clone());
        let config = install::install(&case)?.config;
        let decided = |nodes: &[NodeInputs]| {
            let agents = agents::decide(&case, &config, nodes);
            let told = agents.into_iter().map(|(name, agent)| match agent {
                Ok(decisions) => json!({ name: decisions }),
                Err(fatal) => json!({ name: fatal.to_string() }),
            });
            Value::Array(told.collect())
        };
        let (predicted, read) = (unflagged(&decided(&predicted)), unflagged(&decided(&read)));
        equal(&format!("devices {devices} on {version}: what agents decide"), &predicted, &read)?;
    }
    Ok(())
}

/// Names a difference line by line.
fn equal(what: &str, predicted: &Value, read: &Value) -> Result<(), Failed> {
    if predicted == read {
        return Ok(());
    }
    let lines = |value: &Value| format!("{value:#}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (predicted, read) = (lines(predicted), lines(read));
    let only = |these: &[String], those: &[String], mark: &str| -> String {
        let those: BTreeSet<_> = those.iter().collect();
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n{mark} {line}")).collect()
    };
    let differences = only(&predicted, &read, "predicted") + &only(&read, &predicted, "built    ");
    Err(format!("{what} must be foretold, but:{differences}").into())
}

/// Reasons quote flags, those of the carrier among them.
fn unflagged(decisions: &Value) -> Value {
    let text = decisions.to_string();
    let mut parts = text.split("flags=0x");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(part.len());
        let flags = u32::from_str_radix(&part[..end], 16).unwrap_or_default() & !(IFF_RUNNING | IFF_LOWER_UP);
        clean += &format!("flags={flags:#x}{}", &part[end..]);
    }
    serde_json::from_str(&clean).expect("JSON stays JSON")
}

/// What can be compared: names in place of indices, no order among routes, of hardware addresses whether there is one.
fn facts(node: &NodeInputs) -> Value {
    let name = |index: u32| node.link(index).map_or_else(|| format!("index {index}"), |link| link.name.clone());
    let link = |link: &Link| {
        let addresses: Vec<_> = link
            .addresses
            .iter()
            .map(|address| format!("{} scope {} secondary {}", address.net, address.scope, address.secondary))
            .collect();
        json!({
            "name": link.name,
            "mtu": link.mtu,
            "flags": format!("{:#x}", link.flags & !(IFF_RUNNING | IFF_LOWER_UP)),
            "kind": link.kind,
            "master": link.master.map(name),
            "hardware address": !link.hardware_address.is_empty(),
            "addresses": addresses,
        })
    };
    let routes: BTreeSet<_> = node
        .routes
        .iter()
        .filter(|route| !of_old_kernels(&route.destination, route.table))
        .map(|route| {
            let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            format!("{}{via} dev {} table {}", route.destination, name(route.link), route.table)
        })
        .collect();
    let links: Vec<_> = node.links.iter().map(link).collect();
    json!({
        "links": links, "routes": routes, "internal ip": node.internal_ip, "pods": node.pod_cidr, "router": node.router_ip,
    })
}

/// Up to 5.13 the kernel made a broadcast route for a range's first address too (net/ipv4/fib_frontend.c,
/// `fib_add_ifaddr`).
fn of_old_kernels(destination: &IpNet, table: u32) -> bool {
    let IpNet::V4(destination) = destination else { return false };
    table == LOCAL && destination.prefix_len() == 32 && destination.addr().octets()[3] == 0
}
