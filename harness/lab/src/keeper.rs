//! Who tidies up behind a process that was killed: cgroups are no namespaces, their directories stay.
//!
//! Another process, which does nothing until the one that started it has ended, however that came about. Then it kills
//! what is left in that one's cgroups, takes the directories away, and ends. Where it was killed too, the next run does so
//! ([`crate::cgroup::sweep`]).

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::behind;
use crate::cgroup;

/// How long a run's files may take to be closed behind it.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// Where it mounts cgroup2, in a mount namespace of its own: a directory that every host has.
const HIERARCHY: &str = "/sys";

/// The keeper, as the process that started it has it. It goes to work when that process has ended.
#[derive(Debug)]
pub struct Keeper {
    _line: UnixStream,
}

impl Keeper {
    /// Starts it. Call it while the process has one thread.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn start() -> io::Result<Self> {
        let of = std::process::id();
        Ok(Self { _line: behind::start(move |line| live(line, of))? })
    }
}

fn live(mut line: UnixStream, of: u32) -> io::Result<()> {
    // It ends when the other process has, and nothing ever comes over it.
    let _ = line.read(&mut [0]);

    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("cgroup2"), HIERARCHY, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
    let began = Instant::now();
    loop {
        cgroup::sweep(Path::new(HIERARCHY))?;
        if began.elapsed() > PATIENCE || cgroup::of_process(Path::new(HIERARCHY), of)?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
