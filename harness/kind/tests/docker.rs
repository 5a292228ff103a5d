//! With the real docker and the real kind, on nodes in which there is nothing (`stub`): containers, networks, labels, what
//! is plugged in, and what is left behind.
//!
//! `cargo test -p kind --test docker -- --ignored`. Where docker or kind aren't there, it says so and runs nothing.

mod stub;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use kind::cluster::{Cluster, Wanted};
use kind::config::{Role, Spec};
use kind::tools::Tool;
use kind::transcript::{Entry, Player, Recorder};
use kind::{Tools, api_server, kubelet, leftovers};
use lab::Lab;
use lab::machine::MANAGEMENT;
use libtest_mimic::{Arguments, Failed, Trial};
use topology::Network;

type Outcome = Result<(), Failed>;

/// Who makes the cluster: nobody whom `underlay gc` takes for itself.
const OWNER: &str = "the tests of kind";

fn main() {
    let arguments = Arguments::from_args();
    // Inside of a user namespace everybody is.
    let is_root = nix::unistd::geteuid().is_root();
    let sandbox = lab::sandbox::enter();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let wanted = arguments.ignored || arguments.include_ignored;
    let missing = match sandbox {
        _ if !wanted => None,
        _ if !is_root => Some("only root enters containers' namespaces".to_owned()),
        Err(missing) => Some(missing.to_string()),
        Ok(_) => runtime.block_on(missing()),
    };
    let mut tests = Vec::new();
    match missing {
        Some(missing) => eprintln!("skipped: {missing}"),
        None => {
            let trial = move || runtime.block_on(a_life());
            tests.push(Trial::test("kind_nodes_live_in_a_lab_and_leave_nothing", trial).with_ignored_flag(true));
        }
    }
    libtest_mimic::run(&arguments, tests).exit();
}

/// What these tests can't do without.
async fn missing() -> Option<String> {
    let tools = Tools::of_host();
    for tool in [Tool::Docker, Tool::Kind] {
        if let Err(error) = tools.run(&tool.version()).await {
            return Some(error.to_string());
        }
    }
    stub::missing()
}

/// Deletes the cluster whatever comes of the test.
struct Tidy(String);

impl Drop for Tidy {
    fn drop(&mut self) {
        let name = self.0.clone();
        // Its own runtime: this may be a panic in the other.
        let tidy = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| {
                runtime.block_on(kind::cluster::delete(&Tools::of_host(), &name)).map_err(|e| e.to_string())
            })
        });
        if let Ok(Ok(Err(error))) = tidy.join() {
            eprintln!("{} was not deleted: {error}", self.0);
        }
    }
}

fn network() -> Arc<Network> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/split-vcn.yaml");
    Arc::new(topology::load(&file).unwrap_or_else(|wrong| panic!("{wrong}")))
}

async fn a_life() -> Outcome {
    let folder = tempfile::tempdir()?;
    let recorder = Recorder::new(Tools::of_host());
    let tools = Tools::by(recorder.clone());
    stub::import(&Tools::of_host(), folder.path()).await?;

    let name = format!("{}test-{:x}", leftovers::PREFIX, std::process::id());
    let overlay = Ipv4Addr::new(100, 64, 0, 1);
    let spec = Spec {
        nodes: vec![Role::ControlPlane, Role::Worker],
        pods: "10.244.0.0/16".parse()?,
        services: "10.96.0.0/16".parse()?,
        image: Some(stub::IMAGE.to_owned()),
        api_addresses: vec![overlay],
    };
    let kubeconfig = folder.path().join("kubeconfig");
    let _tidy = Tidy(name.clone());
    let wanted = Wanted {
        name: &name,
        spec: &spec,
        advertised: overlay,
        keep: false,
        owner: OWNER,
        kubeconfig: kubeconfig.clone(),
    };
    let mut cluster = Cluster::create(&tools, wanted).await?;
    the_same_transcript(&recorder.entries(), &name, &cluster, &spec)?;

    let again = Cluster::find(&Tools::of_host(), &name, folder.path().join("other")).await?;
    same("the specification is found again", &again.spec, &spec)?;
    same("so are the nodes", &again.nodes.iter().map(|node| node.pid).collect::<Vec<_>>(), &pids(&cluster))?;

    let network = network();
    in_a_lab(&network, &cluster).await?;

    let node = cluster.control_plane().clone();
    kubelet::set_node_ip(&node, overlay).await?;
    holds("kubelet is told", node.read_file(kubelet::ARGUMENTS)?.contains("--node-ip=100.64.0.1"))?;
    same("and started anew", &node.read_file("/var/log/systemctl")?, &"restart kubelet\n".to_owned())?;
    holds("the API server was told from the start", !api_server::advertise(&node, overlay)?)?;
    let loopback = node.run(&["ip", "-o", "address", "show", "dev", "lo"]).await?;
    holds(&format!("an address that was lent is gone: {loopback}"), !loopback.contains("100.64.0.1"))?;
    let other = Ipv4Addr::new(10, 0, 0, 70);
    holds("it is told of another", api_server::advertise(&node, other)?)?;
    holds("once", !api_server::advertise(&node, other)?)?;

    let before = pids(&cluster);
    node.restart().await?;
    cluster.refresh().await?;
    holds("a restarted node has another first process", pids(&cluster)[0] != before[0])?;
    in_a_lab(&network, &cluster).await?;

    let found = leftovers::list(&Tools::of_host()).await?;
    let own = found.iter().find(|leftover| leftover.name == name).ok_or("the cluster is not found by its labels")?;
    same("with its containers", &own.containers.len(), &2)?;
    holds("and its network, not to be kept", own.network && !own.kept)?;
    same("and who made it", &own.owner.as_deref(), &Some(OWNER))?;
    leftovers::remove(&Tools::of_host(), own).await?;
    let found = leftovers::list(&Tools::of_host()).await?;
    holds("afterwards nothing is left of it", found.iter().all(|leftover| leftover.name != name))
}

fn pids(cluster: &Cluster) -> Vec<u32> {
    cluster.nodes.iter().map(|node| node.pid).collect()
}

/// The lab's links carry packets between the nodes, docker's interface is silent meanwhile, and afterwards all is as it was.
async fn in_a_lab(network: &Arc<Network>, cluster: &Cluster) -> Outcome {
    let mut machines = BTreeMap::new();
    for (config, node) in network.cluster_nodes().zip(&cluster.nodes) {
        machines.insert(config.name.clone(), node.machine(&config.name)?);
    }
    let names: Vec<_> = machines.keys().cloned().collect();
    let lab = Lab::build_on(Arc::clone(network), machines).await?;
    let node = |name: &str| lab.node(name).ok_or_else(|| Failed::from(format!("no node {name}")));
    let overlay = |name: &str| -> Result<Ipv4Addr, Failed> {
        node(name)?.config.overlay_address.ok_or_else(|| Failed::from(format!("{name} has no overlay address")))
    };
    let [first, second] = [&names[0], &names[1]];
    let docker = cluster.nodes.iter().map(|node| node.address);
    for (to, arrives) in std::iter::once((overlay(second)?, true)).chain(docker.skip(1).map(|address| (address, false)))
    {
        let control = cluster.control_plane();
        let target = to.to_string();
        // Pinged by a program of the node's own.
        let pinged = control.run(&["busybox", "ping", "-c", "1", "-W", "2", &target]).await;
        holds(&format!("a ping from {first} to {to} arrives: {arrives}, seen {pinged:?}"), pinged.is_ok() == arrives)?;
    }
    let counters = node(first)?.namespace.nft_counters()?;
    let dropped =
        counters.iter().filter(|counter| counter.rule == MANAGEMENT).map(|counter| counter.packets).sum::<u64>();
    holds("what docker's interface was to carry is counted", dropped > 0)?;
    drop(lab);
    let left = cluster.control_plane().run(&["ip", "-o", "link"]).await?;
    holds(&format!("the lab's links are gone: {left}"), !left.contains("enp0s6") && !left.contains("tailscale0"))?;
    let routes = cluster.control_plane().run(&["ip", "route"]).await?;
    holds(&format!("docker's default route is back: {routes}"), routes.contains("default via"))
}

/// What was asked of docker and kind is what the golden transcript holds (`BLESS=1` writes it anew); played from that, the
/// same cluster comes out.
fn the_same_transcript(entries: &[Entry], name: &str, cluster: &Cluster, spec: &Spec) -> Outcome {
    const NAME: &str = "underlay-golden";
    const KUBECONFIG: &str = "/run/kubeconfig";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/create.json");
    // Which range is free is docker's affair.
    let entries: Vec<_> = entries.iter().filter(|entry| entry.said.code == Some(0)).collect();
    let used = entries.first().and_then(|entry| entry.arguments.iter().find(|argument| argument.ends_with("/24")));
    let used = used.ok_or("the first call makes the network")?;
    let first = kind::cluster::subnets(NAME).next().ok_or("there is a range")?.to_string();
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let text = serde_json::to_string_pretty(&entries)? + "\n";
    let text = text.replace(name, NAME).replace(&kubeconfig, KUBECONFIG).replace(used, &first);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &text)?;
    }
    let golden: Vec<Entry> = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let seen: Vec<Entry> = serde_json::from_str(&text)?;
    let asked = |entries: &[Entry]| -> Vec<_> {
        entries.iter().map(|entry| (entry.tool.program(), entry.arguments.clone(), entry.input.clone())).collect()
    };
    same("docker and kind are asked as in the transcript", &asked(&seen), &asked(&golden))?;
    let played = Tools::by(Player::new(golden));
    let again = std::thread::scope(|scope| {
        let play = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let wanted = Wanted {
                name: NAME,
                spec,
                advertised: spec.api_addresses[0],
                keep: false,
                owner: OWNER,
                kubeconfig: KUBECONFIG.into(),
            };
            runtime.block_on(Cluster::create(&played, wanted)).map_err(std::io::Error::other)
        });
        play.join()
    });
    let again = again.map_err(|_| "playing the transcript panicked")??;
    same("nodes are read from what docker said", &again.nodes.len(), &2)
}

fn holds(what: &str, so: bool) -> Outcome {
    if so { Ok(()) } else { Err(what.into()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> Outcome {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?}, expected {expected:?}").into()) }
}
