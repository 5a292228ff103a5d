//! One node's agent: where it runs, what it was told, whether it lives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use lab::drops::DropLog;
use lab::surroundings::{Config, Mount, Program};
use lab::{Namespace, Surroundings};

use super::process::{self, Log, Process, QUESTION};
use super::source::Root;
use super::store::Store;
use crate::engine::inputs;
use crate::engine::real::api::Api;
use crate::engine::real::drops::{self, Listener};
use crate::engine::real::settle::Settled;
use crate::engine::real::start::{self, Started};
use crate::engine::real::{AgentNode, NODE_CONFIG, log};
use crate::observed::EngineError;

/// Where agents keep what lives as long as their node.
const RUN: &str = "/run/cilium";
/// The BPF file system.
pub const BPFFS: &str = "/sys/fs/bpf";
/// The node's cgroup.
pub const CGROUP: &str = "/run/cilium/cgroupv2";
/// Where the agent finds what it compiles.
pub const LIBRARY: &str = "/run/cilium/lib";
/// Where it finds pods' namespaces, to give their interfaces another MTU (Cilium 1.18, pkg/defaults, `NetNsPath`).
pub const PODS: &str = "/run/cilium/netns";
/// Where it finds services.
pub const SERVICES: &str = "/run/cilium/services.json";
/// Its options, a file each.
const OPTIONS: &str = "/run/cilium/config";
/// Its API's socket.
const SOCKET: &str = "/run/cilium/cilium.sock";

/// How long an agent may take to answer after its start, on a machine that is busy.
const START: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// One node's agent.
#[derive(Debug)]
pub struct NodeAgent {
    /// The node's name.
    pub name: String,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
    /// Where its agent runs.
    pub surroundings: Surroundings,
    /// The agent's API.
    pub api: Api,
    /// What it said, over all restarts.
    pub log: Log,
    cgroup: PathBuf,
    root: Root,
    process: Option<Process>,
    settled: Mutex<Option<Settled>>,
}

impl NodeAgent {
    /// Makes a node's surroundings; no agent runs there yet.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn create(
        namespace: &Namespace,
        pod_cidr: Ipv4Net,
        root: Root,
        store: &Store,
    ) -> Result<Self, EngineError> {
        let name = namespace.name();
        let (cgroup, cgroup_inside) = store.cgroup(name)?;
        let mut mounts = Vec::new();
        if root.as_root().is_some() {
            mounts.push(Mount::Bind { from: "/run".into(), to: "/run".into(), read_only: false });
            mounts.push(Mount::Tmpfs("/tmp".into()));
        }
        let library = Path::new(LIBRARY).join("bpf");
        mounts.extend([
            Mount::Directory(RUN.into()),
            Mount::Tmpfs(RUN.into()),
            Mount::Directory(PODS.into()),
            Mount::Directory(CGROUP.into()),
            Mount::Bind { from: cgroup_inside, to: CGROUP.into(), read_only: false },
            Mount::Copy { from: root.programs(), to: library },
            Mount::Special { kind: "bpf", to: BPFFS.into() },
            // Agents set kernel.unprivileged_bpf_disabled and kernel.timer_migration, which are the host's; they do
            // without where they can't.
            Mount::ReadOnly("/proc/sys/kernel".into()),
        ]);
        let surroundings = Surroundings::create(Config {
            name,
            namespace,
            within: Some(store.surroundings()),
            root: root.as_root(),
            mounts,
        })
        .await?;
        remember_router(&surroundings, inputs::router_ip(pod_cidr))
            .map_err(|error| EngineError::failed("write what an agent remembers", &error))?;
        Ok(Self {
            name: name.to_owned(),
            namespace: namespace.clone(),
            pod_cidr,
            api: Api::at(surroundings.path(SOCKET)),
            surroundings,
            log: Log::default(),
            cgroup,
            root,
            process: None,
            settled: Mutex::default(),
        })
    }

    /// Starts the agent with these options, in place of the one that runs, and waits until it answers or has died.
    ///
    /// # Errors
    /// It can't be started, or neither answers nor dies.
    pub async fn start(&mut self, options: &BTreeMap<String, String>, root: Root) -> Result<Started, EngineError> {
        self.end().await;
        let failed = |error: std::io::Error| EngineError::failed("write an agent's options", &error);
        if root != self.root {
            if root.as_root().is_some() || self.root.as_root().is_some() {
                let what = "go on with another version's image in the same surroundings".to_owned();
                return Err(EngineError::Unsupported { engine: "agent", what });
            }
            // Each version compiles its own.
            let library = self.surroundings.path(Path::new(LIBRARY).join("bpf"));
            fs::remove_dir_all(&library).map_err(failed)?;
            lab::surroundings::copy(&root.programs(), &library).map_err(failed)?;
        }
        self.root = root;
        let folder = self.surroundings.path(OPTIONS);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir(&folder).map_err(failed)?;
        for (name, value) in options {
            fs::write(folder.join(name), value).map_err(failed)?;
        }
        let program = self.program(self.root.agent(), &["--config-dir", OPTIONS]);
        self.process = Some(Process::start(&self.surroundings, program, self.log.clone()).await?);
        self.answers().await
    }

    /// Ends the agent, if one runs.
    pub async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }

    /// A program of Cilium's, on this node.
    fn program(&self, path: PathBuf, arguments: &[&str]) -> Program {
        Program {
            path,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: self.root.environment(),
            directory: RUN.into(),
            cgroup: self.cgroup.clone(),
        }
    }

    /// `cilium-dbg` with these arguments, on this node.
    pub fn dbg(&self, arguments: &[&str]) -> Program {
        self.program(self.root.dbg(), arguments)
    }

    /// Has the lab hear of what its programs drop.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn listen(&self, log: DropLog) -> Result<Listener, EngineError> {
        let monitor = self.surroundings.start(self.dbg(&drops::MONITOR)).await?;
        let (surroundings, metrics) = (self.surroundings.clone(), self.dbg(&drops::METRICS));
        let ask = move || -> BoxFuture<'static, Option<String>> {
            let (surroundings, metrics) = (surroundings.clone(), metrics.clone());
            Box::pin(async move { process::output(&surroundings, metrics, QUESTION).await.ok() })
        };
        Ok(Listener::start(self.name.clone(), monitor, ask, log))
    }

    /// What the agent died of, if it was started and has.
    pub fn died(&mut self) -> Option<String> {
        self.process.as_mut()?.ended()?;
        self.process = None;
        Some(self.last_words())
    }

    /// The last error it logged, else its last line.
    pub fn last_words(&self) -> String {
        log::last_words(&self.log.lines())
    }

    async fn answers(&mut self) -> Result<Started, EngineError> {
        let began = Instant::now();
        loop {
            if let Some(words) = self.died() {
                return Ok(Started::Fatal(words));
            }
            let reason = match start::look(&self.api).await {
                Ok(()) => return Ok(Started::Running),
                Err(reason) => reason,
            };
            if began.elapsed() > START {
                let step = format!("start the agent on {}", self.name);
                return Err(EngineError::Failed { step, reason: format!("after {} s: {reason}", START.as_secs()) });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl AgentNode for NodeAgent {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn api(&self) -> &Api {
        &self.api
    }

    fn file(&self, path: &Path) -> PathBuf {
        self.surroundings.path(path)
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String, EngineError> {
        process::output(&self.surroundings, self.dbg(arguments), QUESTION)
            .await
            .map_err(|reason| EngineError::Failed { step: format!("ask the agent on {}", self.name), reason })
    }

    fn last_settled(&self) -> Option<Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn settled(&self, now: Settled) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

/// Has the first agent take this address as its own, as if one that ran before had had it. Left alone it takes any that is
/// free, at times one that a pod is to have. (Cilium 1.18, pkg/node/address.go, `getCiliumHostIPsFromFile`.)
fn remember_router(surroundings: &Surroundings, address: std::net::Ipv4Addr) -> std::io::Result<()> {
    let file = surroundings.path(NODE_CONFIG);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let number = u32::from_ne_bytes(address.octets());
    fs::write(file, format!("#define IPV4_GATEWAY {number:#x}\n"))
}
