//! Control groups of a run: one directory for all it starts, one in it for each node.
//!
//! Cgroups are no namespaces: a directory outlives whoever made it. A run's is locked (flock(2)) as long as the run
//! lives, so that the next one can tell what is left over from what is in use, and takes away what is left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// What every run's directory is called, before its number.
const PREFIX: &str = "underlay-";
/// How long the kernel may take to end what it was told to kill.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// A run's directory at the top of a cgroup2 hierarchy. Dropping it takes it away, with all processes in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Cgroup {
    /// Makes a run's directory below `hierarchy`, where cgroup2 is mounted, and takes away those of runs that are no
    /// more.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn create(hierarchy: &Path) -> io::Result<Self> {
        sweep(hierarchy)?;
        // Pids repeat in every pid namespace, and two of those may share a hierarchy.
        let free = (0..).map(|number| hierarchy.join(format!("{PREFIX}{}-{number}", std::process::id())));
        for path in free {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    if let Some(lock) = lock(&path)? {
                        return Ok(Self { path, _lock: lock });
                    }
                }
            }
        }
        Err(io::Error::other("no name is free"))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn child(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What can't be taken away now is the next run's to find.
        let _ = remove(&self.path);
    }
}

/// Takes away the directories of runs that are no more. Gives their names.
///
/// # Errors
/// The hierarchy can't be read.
pub fn sweep(hierarchy: &Path) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(hierarchy)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) || !entry.file_type()?.is_dir() {
            continue;
        }
        // Another run may sweep at the same time, so that it is gone by now.
        if let Ok(Some(_lock)) = lock(&entry.path())
            && remove(&entry.path()).is_ok()
        {
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Names of the directories a process made.
///
/// # Errors
/// The hierarchy can't be read.
pub fn of_process(hierarchy: &Path, pid: u32) -> io::Result<Vec<String>> {
    let names = fs::read_dir(hierarchy)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    Ok(names.into_iter().filter(|name| name.starts_with(&format!("{PREFIX}{pid}-"))).collect())
}

/// Locks a directory, unless a run that lives holds it.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Kills every process in a directory and below (Linux 5.14, `cgroup.kill`) and waits until they are no more.
///
/// # Errors
/// The kernel's answer, or that they don't end.
pub fn kill(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.kill"), "1")?;
    let began = Instant::now();
    while fs::read_to_string(path.join("cgroup.events"))?.lines().any(|line| line == "populated 1") {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("processes in {} don't end", path.display())));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Takes away a directory, with those below it and all their processes.
fn remove(path: &Path) -> io::Result<()> {
    kill(path)?;
    remove_empty(path)
}

fn remove_empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
