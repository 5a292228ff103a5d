//! Where agents meet without Kubernetes: an etcd, and the surroundings all nodes' are made within.
//!
//! It is reached over a Unix socket, not over the lab's network: what a scenario does to that network is to meet the
//! datapath, not the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::cgroup::Cgroup;
use lab::surroundings::{Config, Mount, Program};
use lab::{Namespace, Surroundings, Sysctls};

use super::process::{Log, Process};
use crate::observed::EngineError;

/// etcd's directory, and its socket's name in there. etcd 3.4 takes a Unix socket only by a name that looks like a host
/// and a port, in its working directory.
const FOLDER: &str = "/run/underlay/store";
const SOCKET: &str = "store:0";
/// Where cgroup2 is mounted.
const HIERARCHY: &str = "/run/underlay/cgroup";
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// The store.
#[derive(Debug)]
pub struct Store {
    process: Process,
    /// Before the surroundings: what runs is killed, then its directories go.
    cgroup: Cgroup,
    surroundings: Surroundings,
}

impl Store {
    /// Starts it.
    ///
    /// # Errors
    /// The kernel's answer, or etcd's last words.
    pub async fn start(etcd: &Path) -> Result<Self, EngineError> {
        let namespace = Namespace::create("store", &Sysctls::HOST)?;
        let surroundings = Surroundings::create(Config {
            name: "store",
            namespace: &namespace,
            within: None,
            root: None,
            mounts: vec![
                Mount::Tmpfs("/run".into()),
                Mount::Directory(FOLDER.into()),
                Mount::Directory(HIERARCHY.into()),
                Mount::Special { kind: "cgroup2", to: HIERARCHY.into() },
            ],
        })
        .await?;
        let cgroup = Cgroup::create(&surroundings.path(HIERARCHY))
            .map_err(|error| EngineError::failed("make a cgroup", &error))?;
        let own = cgroup.child("store").map_err(|error| EngineError::failed("make a cgroup", &error))?;
        let url = format!("unix://{SOCKET}");
        let arguments = [
            ("--data-dir", "data"),
            ("--listen-client-urls", &url),
            ("--advertise-client-urls", &url),
            ("--listen-peer-urls", "unix://peer:0"),
            ("--initial-advertise-peer-urls", "http://localhost:1"),
            ("--initial-cluster", "default=http://localhost:1"),
        ];
        let program = Program {
            path: etcd.to_owned(),
            arguments: arguments.iter().flat_map(|(name, value)| [*name, *value]).map(str::to_owned).collect(),
            environment: Default::default(),
            directory: FOLDER.into(),
            cgroup: own,
        };
        let process = Process::start(&surroundings, program, Log::default()).await?;
        let mut store = Self { process, cgroup, surroundings };
        store.ready().await?;
        Ok(store)
    }

    /// Waits until the socket is there.
    async fn ready(&mut self) -> Result<(), EngineError> {
        let socket = self.surroundings.path(Path::new(FOLDER).join(SOCKET));
        let failed = |reason| EngineError::Failed { step: "start etcd".to_owned(), reason };
        let began = Instant::now();
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            if let Some(status) = self.process.ended() {
                let last = self.process.log.lines().pop().unwrap_or_default();
                return Err(failed(format!("{status}: {last}")));
            }
            if began.elapsed() > PATIENCE {
                return Err(failed(format!("it doesn't answer within {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Its endpoint, as agents are told.
    pub fn endpoint(&self) -> String {
        format!("unix://{FOLDER}/{SOCKET}")
    }

    /// The surroundings all nodes' are made within.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Makes a node's cgroup. Gives its path as this process knows it, and as the surroundings do.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn cgroup(&self, node: &str) -> Result<(PathBuf, PathBuf), EngineError> {
        let outside = self.cgroup.child(node).map_err(|error| EngineError::failed("make a node's cgroup", &error))?;
        let run = self.cgroup.path().file_name().unwrap_or_default();
        Ok((outside, Path::new(HIERARCHY).join(run).join(node)))
    }
}
