//! Where Cilium comes from: a directory, either a complete root file system (an image, unpacked) or the tree of an own
//! build, which has little more than the agent.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use cilium::Version;

use crate::observed::EngineError;

/// The agent, below a root.
const AGENT: &str = "usr/bin/cilium-agent";
/// The program users ask agents with.
const DBG: &str = "usr/bin/cilium-dbg";
/// What the agent compiles.
const PROGRAMS: &str = "var/lib/cilium/bpf";

/// Where Cilium and etcd come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Cilium.
    pub cilium: Cilium,
    /// etcd's program, or why there is none.
    pub etcd: Result<PathBuf, String>,
}

/// Where Cilium comes from.
#[derive(Debug, Clone)]
pub enum Cilium {
    /// A Cilium's root, or a folder of such, by version.
    Tree(PathBuf),
    /// Each version's own root, or why it isn't to be had.
    Official(BTreeMap<String, Result<PathBuf, String>>),
}

impl Sources {
    /// etcd's program.
    ///
    /// # Errors
    /// There is none: cases are skipped, with the remedy.
    pub fn etcd(&self) -> Result<&Path, EngineError> {
        let missing =
            |reason: &String| EngineError::Unsupported { engine: "agent", what: format!("run etcd: {reason}") };
        self.etcd.as_deref().map_err(missing)
    }

    /// The root of this version.
    ///
    /// # Errors
    /// There is none: the case is skipped, with the remedy.
    pub fn root(&self, version: &Version) -> Result<Root, EngineError> {
        let cilium = match &self.cilium {
            Cilium::Tree(path) => path,
            Cilium::Official(versions) => {
                let unknown = || Err("it was not asked for".to_owned());
                let found = versions.get(version.as_str()).cloned().unwrap_or_else(unknown);
                return found.map_err(|reason| missing(version, &reason)).and_then(|path| Root::open(&path));
            }
        };
        if cilium.join(AGENT).exists() {
            return Root::open(cilium);
        }
        let bare = version.as_str().trim_start_matches('v');
        let names = [bare.to_owned(), format!("v{bare}"), version.minor().to_string()];
        let found = names.iter().map(|name| cilium.join(name)).find(|root| root.join(AGENT).exists());
        let Some(root) = found else {
            let (folder, minor) = (cilium.display(), version.minor());
            let reason = format!("there is no {AGENT} in {folder}, nor below {bare}/ or {minor}/ in there");
            return Err(missing(version, &reason));
        };
        Root::open(&root)
    }
}

/// A Cilium that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is.
    path: PathBuf,
    /// Whether it is a complete root file system: then agents see it in place of the host's.
    complete: bool,
}

impl Root {
    /// What is at `path`.
    ///
    /// # Errors
    /// Something is missing in it.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        for part in [AGENT, DBG, PROGRAMS] {
            if !path.join(part).exists() {
                let what = format!("run Cilium from {}: there is no {part} in it", path.display());
                return Err(EngineError::Unsupported { engine: "agent", what });
            }
        }
        // Every image has these; an own build's tree has no use for them.
        let complete = ["etc", "usr/lib"].iter().all(|part| path.join(part).is_dir());
        let root = Self { path: path.to_owned(), complete };
        for program in if complete { &[][..] } else { &["clang", "iptables"] } {
            if !root.search_path().split(':').any(|folder| Path::new(folder).join(program).exists()) {
                let what = format!("run Cilium from {}: it needs {program}, which is not in PATH", path.display());
                return Err(EngineError::Unsupported { engine: "agent", what });
            }
        }
        Ok(root)
    }

    /// The root agents are to see, if it is not the host's.
    pub fn as_root(&self) -> Option<&Path> {
        self.complete.then_some(self.path.as_path())
    }

    /// What the agent calls itself: name, version and commit, `cilium-agent 1.18.2 5bd307a8`.
    pub fn component(&self) -> Option<String> {
        let said = std::process::Command::new(self.path.join(AGENT)).arg("--version").output().ok()?;
        let said = String::from_utf8(said.stdout).ok()?;
        Some(said.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
    }

    /// The agent's program, as seen from where it runs.
    pub fn agent(&self) -> PathBuf {
        self.inside(AGENT)
    }

    /// The program that asks it, as seen from there.
    pub fn dbg(&self) -> PathBuf {
        self.inside(DBG)
    }

    /// What the agent compiles, as named outside.
    pub fn programs(&self) -> PathBuf {
        self.path.join(PROGRAMS)
    }

    fn inside(&self, part: &str) -> PathBuf {
        if self.complete { Path::new("/").join(part) } else { self.path.join(part) }
    }

    /// Environment of the agent and of the programs it runs.
    pub fn environment(&self) -> BTreeMap<String, String> {
        [
            ("PATH", self.search_path()),
            ("HOME", "/root".to_owned()),
            // iptables' lock would be shared between the nodes, and is in the host's /run otherwise.
            ("XTABLES_LOCKFILE", "/run/cilium/xtables.lock".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn search_path(&self) -> String {
        const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        if self.complete {
            return USUAL.to_owned();
        }
        let own = ["usr/local/bin", "usr/bin"].map(|part| self.path.join(part).display().to_string()).join(":");
        format!("{own}:{}", env::var("PATH").unwrap_or_else(|_| USUAL.to_owned()))
    }
}

fn missing(version: &Version, reason: &str) -> EngineError {
    EngineError::Unsupported { engine: "agent", what: format!("run Cilium {version}: {reason}") }
}

/// A program that is in PATH.
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
