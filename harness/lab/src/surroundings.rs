//! Where a program of a node runs: the node's network namespace, a mount namespace and a host name of its own, a cgroup.
//!
//! Network and mount namespaces belong to threads. One thread stays in there for as long as there is anything to do:
//! what it starts begins its life there, and what it mounts nobody else sees. Files in there are reached from outside
//! through /proc, see [`Surroundings::path`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chdir, gettid, pivot_root, sethostname};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Something to be mounted, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// An empty file system in memory.
    Tmpfs(PathBuf),
    /// A directory or file of the file system as it was before, made visible here too; its mount point is made where it
    /// is missing.
    Bind {
        /// What, as named outside of a new root.
        from: PathBuf,
        /// Where.
        to: PathBuf,
        /// Whether it can't be written to.
        read_only: bool,
    },
    /// A file system without a device: `bpf`, `cgroup2`.
    Special {
        /// Its type.
        kind: &'static str,
        /// Where.
        to: PathBuf,
    },
    /// A directory, made where it is missing.
    Directory(PathBuf),
    /// A directory's files, copied: what is done to them is done here only.
    Copy {
        /// What, as named outside of a new root.
        from: PathBuf,
        /// Where.
        to: PathBuf,
    },
    /// What is mounted there can't be written to any more.
    ReadOnly(PathBuf),
}

/// What surroundings are to be.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// What messages call them: the node's name.
    pub name: &'a str,
    /// The network namespace.
    pub namespace: &'a Namespace,
    /// Others whose mounts are there too.
    pub within: Option<&'a Surroundings>,
    /// A root file system in place of the host's; it can't be written to, but for what is mounted on it. Its own /dev,
    /// /proc and /sys are the host's.
    pub root: Option<&'a Path>,
    /// Mounts, in order; paths are those inside.
    pub mounts: Vec<Mount>,
}

/// A program to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its path inside, or a name to be found in PATH.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, all of it.
    pub environment: BTreeMap<String, String>,
    /// Its working directory inside.
    pub directory: PathBuf,
    /// Its cgroup's directory, as this process can open it.
    pub cgroup: PathBuf,
}

type Work = Box<dyn FnOnce() + Send>;

/// Surroundings, kept by a thread. They end when the last clone is dropped, and what runs there with them.
#[derive(Clone)]
pub struct Surroundings(Arc<Kept>);

struct Kept {
    name: String,
    /// The thread in /proc.
    thread: PathBuf,
    work: mpsc::Sender<Work>,
}

impl Surroundings {
    /// Makes them.
    ///
    /// # Errors
    /// The kernel's answer, with the step in words.
    pub async fn create(config: Config<'_>) -> Result<Self> {
        let name = config.name.to_owned();
        let failed = {
            let name = name.clone();
            move |(step, source): (String, io::Error)| Error::Surroundings { name: name.clone(), step, source }
        };
        let at = |step: &str| {
            let step = step.to_owned();
            move |source: io::Error| (step, source)
        };
        let plan = Plan {
            name: name.clone(),
            namespace: config.namespace.clone(),
            within: config
                .within
                .map(|other| File::open(other.0.thread.join("ns/mnt")))
                .transpose()
                .map_err(at("open the mount namespace they are within"))
                .map_err(&failed)?,
            root: config.root.map(Path::to_owned),
            mounts: config.mounts,
        };
        let (work, waiting) = mpsc::channel::<Work>();
        let (tell, told) = oneshot::channel();
        let keep = move || {
            let entered = plan.enter();
            match entered {
                Ok(()) => {
                    let thread = PathBuf::from(format!("/proc/self/task/{}", gettid()));
                    if tell.send(Ok(thread)).is_ok() {
                        waiting.into_iter().for_each(|work| work());
                    }
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        thread::Builder::new().name(format!("in {name}")).spawn(keep).map_err(at("start a thread")).map_err(&failed)?;
        let thread = told.await.unwrap_or_else(|_| Err(("enter".to_owned(), io::Error::other("the thread died"))));
        Ok(Self(Arc::new(Kept { name, thread: thread.map_err(&failed)?, work })))
    }

    /// An absolute path inside, as this process can open it.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        self.0.thread.join("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    async fn within<T: Send + 'static>(
        &self,
        step: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move || drop(tell.send(work())));
        let gone = || io::Error::other("the thread died");
        let done = match self.0.work.send(work) {
            Ok(()) => told.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        done.map_err(|source| Error::Surroundings { name: self.0.name.clone(), step: step.to_owned(), source })
    }

    /// Starts a program; its output comes through pipes. It is killed when the handle is dropped, and when this process
    /// ends.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn start(&self, program: Program) -> Result<Child> {
        let runtime = Handle::current();
        let step = format!("start {}", program.path.display());
        self.within(&step, move || {
            let _runtime = runtime.enter();
            let mut command = Command::new(&program.path);
            command
                .args(&program.arguments)
                .env_clear()
                .envs(&program.environment)
                .current_dir(&program.directory)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let cgroup = OpenOptions::new().write(true).open(program.cgroup.join("cgroup.procs"))?;
            crate::sys::begin_bound(&mut command, cgroup.as_raw_fd());
            tokio::process::Command::from(command).kill_on_drop(true).spawn()
        })
        .await
    }

    /// Makes a namespace visible as a file at `path` inside, for programs that look for namespaces there.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn pin(&self, namespace: &Namespace, path: PathBuf) -> Result<()> {
        let namespace = namespace.clone();
        let step = format!("bind a namespace to {}", path.display());
        self.within(&step, move || {
            use std::os::fd::AsFd;
            File::create(&path)?;
            let from = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
            Ok(mount(Some(from.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
        })
        .await
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Surroundings({})", self.0.name)
    }
}

/// What the thread is to do.
struct Plan {
    name: String,
    namespace: Namespace,
    within: Option<File>,
    root: Option<PathBuf>,
    mounts: Vec<Mount>,
}

type Step<T> = std::result::Result<T, (String, io::Error)>;

fn step<T>(what: impl Into<String>, done: nix::Result<T>) -> Step<T> {
    done.map_err(|errno| (what.into(), errno.into()))
}

impl Plan {
    /// Moves the calling thread there, for good.
    fn enter(self) -> Step<()> {
        step("leave the process's file system", unshare(CloneFlags::CLONE_FS))?;
        if let Some(within) = &self.within {
            step("enter a mount namespace", setns(within, CloneFlags::CLONE_NEWNS))?;
        }
        step("make mount and UTS namespaces", unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS))?;
        step("enter the node's network namespace", setns(&self.namespace, CloneFlags::CLONE_NEWNET))?;
        step("set the host name", sethostname(&self.name))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        step("keep mounts to itself", mount(None::<&str>, "/", None::<&str>, private, None::<&str>))?;
        match &self.root {
            None => {
                for wanted in &self.mounts {
                    self::mount_one(wanted, Path::new("/"))?;
                }
            }
            Some(root) => self.change_root(root)?,
        }
        Ok(())
    }

    /// Makes `root` the root, when all that is wanted is mounted on it.
    fn change_root(&self, root: &Path) -> Step<()> {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        step(format!("bind {}", root.display()), mount(Some(root), root, None::<&str>, bind, None::<&str>))?;
        read_only(root)?;
        for host in ["dev", "proc", "sys"] {
            let (from, to) = (Path::new("/").join(host), root.join(host));
            step(format!("bind /{host}"), mount(Some(&from), &to, None::<&str>, bind, None::<&str>))?;
        }
        for wanted in &self.mounts {
            mount_one(wanted, root)?;
        }
        step("enter the new root", chdir(root))?;
        // The old root is put over the new one and taken from there: no directory for it is needed (pivot_root(2)).
        step("change the root", pivot_root(".", "."))?;
        step("leave the old root", umount2(".", MntFlags::MNT_DETACH))?;
        step("enter the new root", chdir("/"))
    }
}

fn read_only(path: &Path) -> Step<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    step(format!("make {} read-only", path.display()), mount(None::<&str>, path, None::<&str>, flags, None::<&str>))
}

fn mount_one(wanted: &Mount, root: &Path) -> Step<()> {
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let make = |path: &Path| fs::create_dir_all(path).map_err(|error| (format!("make {}", path.display()), error));
    match wanted {
        Mount::Directory(path) => make(&inside(path)),
        Mount::Copy { from, to } => {
            copy(from, &inside(to)).map_err(|error| (format!("copy {}", from.display()), error))
        }
        Mount::Tmpfs(path) => {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            let mounted = mount(Some("tmpfs"), &inside(path), Some("tmpfs"), flags, Some("mode=0755"));
            step(format!("mount a tmpfs on {}", path.display()), mounted)
        }
        Mount::Special { kind, to } => {
            let mounted = mount(Some(*kind), &inside(to), Some(*kind), MsFlags::empty(), None::<&str>);
            step(format!("mount {kind} on {}", to.display()), mounted)
        }
        Mount::Bind { from, to, read_only: keep } => {
            let target = inside(to);
            if from.is_dir() {
                make(&target)?;
            } else if !target.exists() {
                File::create(&target).map_err(|error| (format!("make {}", to.display()), error))?;
            }
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            let bound = mount(Some(from), &target, None::<&str>, flags, None::<&str>);
            step(format!("bind {} on {}", from.display(), to.display()), bound)?;
            if *keep { read_only(&target) } else { Ok(()) }
        }
        Mount::ReadOnly(path) => {
            let target = inside(path);
            let flags = MsFlags::MS_BIND;
            let bound = mount(Some(&target), &target, None::<&str>, flags, None::<&str>);
            step(format!("bind {}", path.display()), bound)?;
            read_only(&target)
        }
    }
}

/// Copies a directory's files and directories; links are followed.
///
/// # Errors
/// The kernel's answer.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::metadata(entry.path())?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
