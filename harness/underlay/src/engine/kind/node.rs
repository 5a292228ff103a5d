//! One node of a cluster, and its agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use kind::Node;
use kind::kubernetes::PodObject;
use kind::node::CRICTL;
use lab::Namespace;
use lab::drops::DropLog;

use super::pool::failed;
use crate::engine::real::api::Api;
use crate::engine::real::drops::{self, Listener};
use crate::engine::real::settle::Settled;
use crate::engine::real::{AgentNode, Names, log};
use crate::observed::EngineError;

/// Its API's socket (chart 1.18: /var/run/cilium of the node).
const SOCKET: &str = "/run/cilium/cilium.sock";
/// kubelet's logs of pods.
const LOGS: &str = "/var/log/pods";
/// The agent's container, in its pod.
const CONTAINER: &str = "cilium-agent";

/// A node with its agent.
#[derive(Debug, Clone)]
pub struct KindNode {
    /// The node's name in the topology.
    pub name: String,
    /// Its container.
    pub node: Node,
    /// Its network namespace, the lab's too.
    pub namespace: Namespace,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
    /// What Kubernetes' names are in the topology.
    pub names: Arc<Names>,
    api: Api,
    state: Arc<Mutex<State>>,
}

/// What is known of the agent that runs.
#[derive(Debug, Default)]
struct State {
    /// Its container, once somebody asked for it.
    container: Option<String>,
    /// Its pod.
    pod: Option<PodObject>,
    settled: Option<Settled>,
}

impl KindNode {
    /// A node whose agent nobody knows yet.
    pub fn new(name: String, node: Node, namespace: Namespace, pod_cidr: Ipv4Net, names: Arc<Names>) -> Self {
        let api = Api::at(node.file(SOCKET));
        Self { name, node, namespace, pod_cidr, names, api, state: Arc::default() }
    }

    /// Its agent runs in that pod from now on.
    pub fn runs_in(&self, pod: PodObject) {
        let mut state = self.state();
        if state.pod.as_ref().is_none_or(|known| known.uid != pod.uid) {
            state.container = None;
        }
        state.pod = Some(pod);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its agent wrote, over all restarts of its container.
    pub fn log(&self) -> Vec<String> {
        let Some(pod) = self.state().pod.clone() else { return Vec::new() };
        let folder = format!("{LOGS}/kube-system_{}_{}/{CONTAINER}", pod.name, pod.uid);
        let files = fs::read_dir(self.node.file(folder)).into_iter().flatten().flatten();
        let mut files: Vec<_> =
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
        // 0.log, 1.log: one for each start.
        files.sort();
        let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
        texts.flat_map(|text| text.lines().map(line).collect::<Vec<_>>()).collect()
    }

    /// The last error its agent logged, else its last line.
    pub fn last_words(&self) -> String {
        log::last_words(&self.log())
    }

    /// Has the lab hear of what its programs drop.
    ///
    /// # Errors
    /// Its agent doesn't run.
    pub async fn listen(&self, log: DropLog) -> Result<Listener, EngineError> {
        let container = self.container().await?;
        let arguments = [&CRICTL[..], &["exec", &container, "cilium-dbg"], &drops::MONITOR[..]].concat();
        let monitor = self.node.start(&arguments).map_err(failed("listen to an agent's monitor"))?;
        let node = self.clone();
        let ask = move || -> BoxFuture<'static, Option<String>> {
            let node = node.clone();
            Box::pin(async move { node.ask(&drops::METRICS).await.ok() })
        };
        Ok(Listener::start(self.name.clone(), monitor, ask, log))
    }

    /// The agent's container.
    async fn container(&self) -> Result<String, EngineError> {
        if let Some(known) = self.state().container.clone() {
            return Ok(known);
        }
        let listed =
            self.node.crictl(&["ps", "--quiet", "--state", "Running", "--name", &format!("^{CONTAINER}$")]).await;
        let listed = listed.map_err(failed("look for an agent's container"))?;
        let Some(found) = listed.lines().next().map(str::to_owned) else {
            let reason = format!("none runs; its log ends with: {}", self.last_words());
            return Err(EngineError::Failed {
                step: format!("look for the agent's container on {}", self.name),
                reason,
            });
        };
        self.state().container = Some(found.clone());
        Ok(found)
    }
}

/// A line of a container's log: `2025-11-27T01:02:03.4Z stderr F time=… level=info …` (Kubernetes, CRI log format).
fn line(line: &str) -> String {
    line.splitn(4, ' ').nth(3).unwrap_or(line).to_owned()
}

impl AgentNode for KindNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn api(&self) -> &Api {
        &self.api
    }

    fn names(&self) -> Names {
        Names::clone(&self.names)
    }

    fn file(&self, path: &Path) -> PathBuf {
        self.node.file(path)
    }

    fn pause(&self) -> Duration {
        // Two programs run in one another for each question.
        Duration::from_millis(200)
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String, EngineError> {
        let container = self.container().await?;
        let arguments = [&["exec", &container, "cilium-dbg"], arguments].concat();
        self.node.crictl(&arguments).await.map_err(failed(&format!("ask the agent on {}", self.name)))
    }

    fn last_settled(&self) -> Option<Settled> {
        self.state().settled.clone()
    }

    fn settled(&self, now: Settled) {
        self.state().settled = Some(now);
    }
}
