//! A cluster: made by kind on a docker network of its own, found again by that network's labels.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use ipnet::Ipv4Net;
use serde_json::Value;

use crate::config::{Role, Spec};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::tools::{Call, Tool, Tools};
use crate::wait::until;

/// How long kind may take, the node image on the host.
const CREATE: Duration = Duration::from_secs(600);
const DELETE: Duration = Duration::from_secs(120);

/// The label of a cluster's docker network that holds its name.
pub const NAME_LABEL: &str = "dev.underlay.cluster";
/// The label that holds what it was made as.
pub const SPEC_LABEL: &str = "dev.underlay.spec";
/// The label of one that somebody wants to keep.
pub const KEEP_LABEL: &str = "dev.underlay.keep";
/// The label that holds who made it, in words of the caller's own.
pub const OWNER_LABEL: &str = "dev.underlay.owner";
/// kind's label of a node: the cluster's name (kind 0.30, pkg/cluster/internal/providers/docker/constants.go).
pub const KIND_LABEL: &str = "io.x-k8s.kind.cluster";

/// Where kind's provider looks for the network's name (kind 0.30, pkg/cluster/internal/providers/docker/provider.go).
const NETWORK_VARIABLE: &str = "KIND_EXPERIMENTAL_DOCKER_NETWORK";

/// Networks for docker, a /24 each: of the range for benchmarks (RFC 2544), which nobody's network has.
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const NETWORKS: u32 = 512;

/// A cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name, and its docker network's.
    pub name: String,
    /// What it was made as.
    pub spec: Spec,
    /// Its nodes, in the specification's order.
    pub nodes: Vec<Node>,
    tools: Tools,
    kubeconfig: PathBuf,
}

/// How a cluster is to be made.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is to be.
    pub spec: &'a Spec,
    /// The address under which its API server is to be reached from pods at first; [`crate::api_server::advertise`]
    /// changes it later.
    pub advertised: Ipv4Addr,
    /// Whether it shall be kept by whoever tidies up.
    pub keep: bool,
    /// Who makes it, in one line: whoever tidies up tells by it what may be somebody else's.
    pub owner: &'a str,
    /// Where its kubeconfig goes: nobody else's is touched.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// Makes a cluster. Its nodes aren't ready when this ends: they have no network plugin.
    ///
    /// # Errors
    /// docker's or kind's answer; what was made until then is gone.
    pub async fn create(tools: &Tools, wanted: Wanted<'_>) -> Result<Self> {
        add_network(tools, &wanted).await?;
        match Self::create_nodes(tools, &wanted).await {
            Ok(cluster) => Ok(cluster),
            Err(error) => {
                // What went wrong first is what counts.
                let _ = delete(tools, wanted.name).await;
                Err(error)
            }
        }
    }

    async fn create_nodes(tools: &Tools, wanted: &Wanted<'_>) -> Result<Self> {
        let kubeconfig = wanted.kubeconfig.display().to_string();
        let create = Call::new(Tool::Kind, ["create", "cluster", "--name", wanted.name, "--config", "-"])
            .with(["--kubeconfig", &kubeconfig])
            .with(wanted.spec.image.iter().flat_map(|image| ["--image", image]))
            .environment(NETWORK_VARIABLE, wanted.name)
            .input(wanted.spec.config(wanted.advertised).to_string())
            .patience(CREATE);
        // As soon as there is a container; that there is none ever, kind says.
        let add = lend(wanted, "add");
        let lent = until("the API server's address is lent", CREATE, || async {
            Ok(tools.run(&add).await.map_err(|error| error.to_string()))
        });
        match select(pin!(lent), pin!(tools.run(&create))).await {
            Either::Left((lent, creating)) => {
                creating.await?;
                lent?;
                tools.run(&lend(wanted, "delete")).await?;
            }
            Either::Right((created, _)) => drop(created?),
        }
        let nodes = nodes(tools, wanted.name, wanted.spec).await?;
        Ok(Self {
            name: wanted.name.to_owned(),
            spec: wanted.spec.clone(),
            nodes,
            tools: tools.clone(),
            kubeconfig: wanted.kubeconfig.clone(),
        })
    }

    /// A cluster that is there, by its name; its kubeconfig is written anew.
    ///
    /// # Errors
    /// There is none of that name, or it wasn't made here; docker's or kind's answer.
    pub async fn find(tools: &Tools, name: &str, kubeconfig: PathBuf) -> Result<Self> {
        let inspect = Call::new(Tool::Docker, ["network", "inspect", name]);
        let network = tools.json(&inspect).await?;
        let spec = network.pointer("/0/Labels").and_then(|labels| labels.get(SPEC_LABEL)?.as_str());
        let spec =
            spec.ok_or_else(|| Error::unread("the labels of a cluster's network", format!("{name} wasn't made here")))?;
        let spec: Spec =
            serde_json::from_str(spec).map_err(|error| Error::unread("what a cluster was made as", error))?;
        let export = Call::new(Tool::Kind, ["export", "kubeconfig", "--name", name, "--kubeconfig"])
            .with([kubeconfig.display().to_string()]);
        tools.run(&export).await?;
        let nodes = nodes(tools, name, &spec).await?;
        Ok(Self { name: name.to_owned(), spec, nodes, tools: tools.clone(), kubeconfig })
    }

    /// Looks at its nodes again, after a restart.
    ///
    /// # Errors
    /// docker's answer, or one doesn't run.
    pub async fn refresh(&mut self) -> Result<()> {
        self.nodes = nodes(&self.tools, &self.name, &self.spec).await?;
        Ok(())
    }

    /// The node with the API server.
    pub fn control_plane(&self) -> &Node {
        let node = self.nodes.iter().find(|node| node.role == Role::ControlPlane);
        node.expect("kind makes no cluster without one")
    }

    /// Where its kubeconfig is.
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// Who runs programs for it.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }
}

/// Lends the control plane's loopback interface the address that the API server tells, or takes it back, while the lab isn't
/// there yet: kubeadm waits until the API server answers under it (Kubernetes 1.34, cmd/kubeadm/app/util/apiclient/wait.go;
/// not 1.31).
fn lend(wanted: &Wanted<'_>, verb: &str) -> Call {
    let nodes = wanted.spec.nodes.iter().zip(wanted.spec.containers(wanted.name));
    let control_plane = nodes.into_iter().find_map(|(role, name)| (*role == Role::ControlPlane).then_some(name));
    let container = control_plane.expect("kind makes no cluster without one");
    let address = format!("{}/32", wanted.advertised);
    Call::new(Tool::Docker, ["exec", &container, "ip", "address", verb, &address, "dev", "lo"])
}

/// Deletes a cluster by its name, as far as it is there.
///
/// # Errors
/// docker's or kind's answer.
pub async fn delete(tools: &Tools, name: &str) -> Result<()> {
    let cluster = Call::new(Tool::Kind, ["delete", "cluster", "--name", name]).patience(DELETE);
    // kind touches the user's kubeconfig if it isn't told of another: there is nothing of this cluster in it. Beside that
    // one it makes a lock, which a killed one leaves (kind 0.30, pkg/cluster/internal/kubeconfig/internal/kubeconfig/lock.go).
    let nodes = match tempfile::tempdir() {
        Ok(folder) => {
            let kubeconfig = folder.path().join("kubeconfig").display().to_string();
            tools.run(&cluster.with(["--kubeconfig", &kubeconfig])).await
        }
        Err(source) => Err(Error::File { path: "a folder for a kubeconfig".to_owned(), source }),
    };
    let network = tools.run(&Call::new(Tool::Docker, ["network", "rm", name])).await;
    nodes?;
    match network {
        Err(Error::Failed { said, .. }) if said.contains("not found") => Ok(()),
        other => other.map(drop),
    }
}

/// Makes the cluster's docker network: of its own, so that two clusters have nothing in common.
async fn add_network(tools: &Tools, wanted: &Wanted<'_>) -> Result<()> {
    let spec = serde_json::to_string(wanted.spec).expect("it is plain data");
    let label = |name: &str, value: &str| ["--label".to_owned(), format!("{name}={value}")];
    let mut refused = None;
    for subnet in subnets(wanted.name) {
        let call = Call::new(Tool::Docker, ["network", "create", "--driver", "bridge", "--subnet"])
            .with([subnet.to_string()])
            .with(label(NAME_LABEL, wanted.name))
            .with(label(SPEC_LABEL, &spec))
            .with(label(OWNER_LABEL, wanted.owner))
            .with(wanted.keep.then(|| label(KEEP_LABEL, "true")).into_iter().flatten())
            .with([wanted.name]);
        match tools.run(&call).await {
            Ok(_) => return Ok(()),
            // Another cluster has the range.
            Err(Error::Failed { said, call }) if said.contains("overlap") => {
                refused = Some(Error::Failed { said, call })
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::unread("a range for docker's network", "there is none left")))
}

/// Ranges to try for a cluster's docker network; two clusters begin at different ones.
pub fn subnets(name: &str) -> impl Iterator<Item = Ipv4Net> {
    // FNV-1a: any spread will do.
    let start = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..16).map(move |step| {
        let number = (start.wrapping_add(step)) % NETWORKS;
        Ipv4Net::new((u32::from(RANGE) + (number << 8)).into(), 24).expect("24 is a prefix length")
    })
}

/// What is asked of a node's container, a line of JSON each.
const CONTAINER: &str =
    r#"{"Name":{{json .Name}},"State":{{json .State}},"Networks":{{json .NetworkSettings.Networks}}}"#;

async fn nodes(tools: &Tools, cluster: &str, spec: &Spec) -> Result<Vec<Node>> {
    let names = spec.containers(cluster);
    let text = tools.run(&Call::new(Tool::Docker, ["inspect", "--format", CONTAINER]).with(names.clone())).await?;
    let what = "what docker says of a node";
    let containers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| Error::unread(what, format!("{error}: {line}"))))
        .collect::<Result<_>>()?;
    let read = |(role, name): (&Role, &String)| {
        let named = |container: &&Value| {
            let found = container.get("Name").and_then(Value::as_str);
            found.is_some_and(|found| found.trim_start_matches('/') == name)
        };
        let container = containers.iter().find(named);
        let container = container.ok_or_else(|| Error::unread(what, format!("{name} is missing")))?;
        Node::read(tools, *role, cluster, container)
    };
    spec.nodes.iter().zip(&names).map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;

    use super::*;
    use crate::tools::stand_in::{By, done};

    #[test]
    fn a_cluster_is_deleted_with_a_kubeconfig_that_nobody_has() {
        let told = Arc::new(Mutex::new(PathBuf::new()));
        let hears = Arc::clone(&told);
        let tools = Tools::by(By(move |call: &Call| {
            if call.tool == Tool::Kind {
                let kubeconfig = PathBuf::from(call.arguments.last().expect("it has arguments"));
                // kind's lock is beside it.
                let folder = kubeconfig.parent().map(|folder| folder.read_dir().map(Iterator::count));
                assert!(matches!(folder, Some(Ok(0))), "a folder of its own: {}", kubeconfig.display());
                *hears.lock().expect("nobody panicked") = kubeconfig;
            }
            done("")
        }));
        delete(&tools, "underlay-1").now_or_never().expect("nobody waits").unwrap_or_else(|error| panic!("{error}"));
        let kubeconfig = told.lock().expect("nobody panicked");
        assert!(kubeconfig.ends_with("kubeconfig") && !kubeconfig.starts_with("/dev"), "{}", kubeconfig.display());
        assert!(kubeconfig.parent().is_some_and(|folder: &Path| !folder.exists()), "the folder is gone with it");
    }

    #[test]
    fn ranges_are_of_the_benchmark_networks_and_differ() {
        let all: Ipv4Net = "198.18.0.0/15".parse().expect("a range");
        let tried: Vec<_> = subnets("underlay-00000000").collect();
        assert!(tried.iter().all(|net| all.contains(net)), "{tried:?}");
        assert_ne!(tried.first(), subnets("underlay-00000001").collect::<Vec<_>>().first());
    }
}
