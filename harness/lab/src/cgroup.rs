//! Control groups of a run: one directory for all it starts, one in it for each node.
//!
//! Cgroups are no namespaces: a directory outlives whoever made it. A run's is locked (flock(2)) as long as the run
//! lives, so that the next one can tell what is left over from what is in use, and takes away what is left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// What every run's directory is called, before its process's number and its own: `underlay-4242-0`.
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
        if !is_a_runs(&name) || !entry.file_type()?.is_dir() {
            continue;
        }
        if let Ok(Some(_lock)) = lock(&entry.path())
            && remove(&entry.path()).is_ok()
        {
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Whether a run calls its directory so. Others may have groups of their own, `underlay-ci` for one, with whatever they
/// run in them.
fn is_a_runs(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix(PREFIX).and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(pid, own)| number(pid) && number(own))
}

/// Names of the directories a process made.
///
/// # Errors
/// The hierarchy can't be read.
pub fn of_process(hierarchy: &Path, pid: u32) -> io::Result<Vec<String>> {
    let names = fs::read_dir(hierarchy)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let of_pid = format!("{PREFIX}{pid}-");
    Ok(names.into_iter().filter(|name| name.starts_with(&of_pid) && is_a_runs(name)).collect())
}

/// Locks a directory, unless a run that lives holds it, or another that sweeps has taken it away.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        // Between the two calls it may have gone, and a run may have made another of its name.
        Ok(lock) if is_at(path, &lock)? => Ok(Some(lock)),
        Ok(_) | Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Whether a path still leads to this directory.
fn is_at(path: &Path, directory: &File) -> io::Result<bool> {
    let held = directory.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory like a hierarchy: plain files, which tell what was written to them. Taken away when dropped.
    struct Hierarchy(PathBuf);

    impl Hierarchy {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lab-cgroup-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn group(&self, name: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("cgroup.events"), "populated 0\n").unwrap();
            path
        }
    }

    impl Drop for Hierarchy {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_what_a_run_made_and_nobody_holds_is_killed() {
        let hierarchy = Hierarchy::new("sweep");
        let others = ["underlay-ci", "underlay-1", "underlay-1-", "underlay--1", "underlay-1-x", "underlay-1-2-3"];
        let others = others.map(|name| hierarchy.group(name));
        let (left, held) = (hierarchy.group("underlay-11-0"), hierarchy.group("underlay-12-0"));
        let _lock = lock(&held).unwrap().expect("nobody else holds it");
        sweep(&hierarchy.0).unwrap();
        let killed = |group: &PathBuf| group.join("cgroup.kill").exists();
        assert!(killed(&left), "a run that is no more left it");
        assert!(!killed(&held), "a run that lives has it");
        assert_eq!(others.iter().find(|group| killed(group)), None, "it is somebody else's");
        assert_eq!(of_process(&hierarchy.0, 1).unwrap(), Vec::<String>::new());
        assert_eq!(of_process(&hierarchy.0, 11).unwrap(), ["underlay-11-0"]);
    }

    #[test]
    fn a_directory_that_is_swept_before_it_is_locked_is_nobodys() {
        let hierarchy = Hierarchy::new("lock");
        let path = hierarchy.0.join("underlay-11-0");
        assert!(lock(&path).unwrap().is_none(), "it is gone");
        fs::create_dir(&path).unwrap();
        let first = File::open(&path).unwrap();
        assert!(is_at(&path, &first).unwrap());
        fs::remove_dir(&path).unwrap();
        assert!(!is_at(&path, &first).unwrap(), "it is gone");
        // The number isn't free while the first is open.
        fs::create_dir(&path).unwrap();
        assert!(!is_at(&path, &first).unwrap(), "it is another of that name");
        assert!(lock(&path).unwrap().is_some());
    }
}
