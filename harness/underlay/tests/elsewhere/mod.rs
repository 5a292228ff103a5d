//! The program, run on a host other than this one seems: by an ordinary user, without a TUN device, short of files, threads or memory.
//!
//! The test's own program is started again with [`VARIABLE`] set, changes what it may see or do while it has one thread,
//! and becomes `underlay`: nothing of it outlives that process.
#![allow(dead_code)] // Each test target uses its own part.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, getgid, getuid, setgid, setgroups, setuid};

/// Names the host, in the program's second life.
const VARIABLE: &str = "UNDERLAY_TEST_HOST";
/// `nobody`: nobody's in particular.
const NOBODY: u32 = 65534;
/// include/uapi/linux/major.h and miscdevice.h: MISC_MAJOR, TUN_MINOR.
const TUN: (u64, u64) = (10, 200);

/// How a host differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// Not at all.
    Same,
    /// The user is an ordinary one, and /dev/net/tun is open to all. Needs root; an ordinary user is one already.
    Ordinary,
    /// The user is an ordinary one, and /dev/net/tun is root's alone. Needs root.
    ClosedTun,
    /// There is no /dev/net/tun.
    NoTun,
    /// The user is an ordinary one, and the limit of user namespaces is zero.
    NoUserNamespaces,
    /// A process may have this many files open and no more.
    Files(u64),
    /// The user is an ordinary one, and may have this many processes and threads and no more.
    Threads(u64),
    /// A process may take this many MiB of addresses and no more.
    Memory(u64),
}

impl Elsewhere {
    fn read(text: &str) -> Option<Self> {
        match text {
            "same" => Some(Self::Same),
            "ordinary" => Some(Self::Ordinary),
            "closed-tun" => Some(Self::ClosedTun),
            "no-tun" => Some(Self::NoTun),
            "no-user-namespaces" => Some(Self::NoUserNamespaces),
            limited => {
                let (what, count) = limited.rsplit_once('-')?;
                let limit = match what {
                    "files" => Self::Files,
                    "threads" => Self::Threads,
                    "memory" => Self::Memory,
                    _ => return None,
                };
                Some(limit(count.parse().ok()?))
            }
        }
    }

    fn name(self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Ordinary => "ordinary".to_owned(),
            Self::ClosedTun => "closed-tun".to_owned(),
            Self::NoTun => "no-tun".to_owned(),
            Self::NoUserNamespaces => "no-user-namespaces".to_owned(),
            Self::Files(count) => format!("files-{count}"),
            Self::Threads(count) => format!("threads-{count}"),
            Self::Memory(count) => format!("memory-{count}"),
        }
    }

    /// Makes it so for this process.
    fn settle(self) -> io::Result<()> {
        match self {
            Self::Same => Ok(()),
            Self::Ordinary if !getuid().is_root() => Ok(()),
            Self::Ordinary => {
                hide_devices()?;
                tun(0o666)?;
                become_nobody()
            }
            Self::ClosedTun => {
                hide_devices()?;
                tun(0o600)?;
                become_nobody()
            }
            Self::NoTun => {
                if !getuid().is_root() {
                    user_namespace(0)?;
                }
                hide_devices()
            }
            Self::NoUserNamespaces => {
                // Inside, the user is root until the program begins; with another number it then is nobody special.
                user_namespace(NOBODY)?;
                fs::write("/proc/sys/user/max_user_namespaces", "0")
            }
            Self::Files(count) => Ok(setrlimit(Resource::RLIMIT_NOFILE, count, count)?),
            Self::Threads(count) => {
                // Root is not held to it.
                Self::Ordinary.settle()?;
                Ok(setrlimit(Resource::RLIMIT_NPROC, count, count)?)
            }
            Self::Memory(count) => Ok(setrlimit(Resource::RLIMIT_AS, count << 20, count << 20)?),
        }
    }

    /// Runs `underlay` there, in the project's own folder.
    pub fn underlay(self, arguments: &[&str]) -> io::Result<Output> {
        self.command(arguments)?.output()
    }

    /// What runs `underlay` there, in the project's own folder.
    pub fn command(self, arguments: &[&str]) -> io::Result<Command> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut again = Command::new(std::env::current_exe()?);
        again.args(arguments).env(VARIABLE, self.name()).current_dir(root);
        Ok(again)
    }

    /// A folder in which this host's user keeps labs, for XDG_RUNTIME_DIR.
    pub fn runtime_folder(self) -> io::Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        if self == Self::Ordinary && getuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(folder)
    }

    /// Why this host can't be made so, if it can't: told by a process that tried.
    pub fn barred(self) -> Option<String> {
        match self.underlay(&["--version"]) {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// A test that needs a host made so; ignored where it can't be. Says why on standard error, except while listing.
    pub fn trial(
        self,
        name: &str,
        list: bool,
        test: impl FnOnce(Self) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let barred = self.barred();
        if let (Some(reason), false) = (&barred, list) {
            eprintln!("{name} is ignored: {reason}");
        }
        Trial::test(name, move || test(self)).with_ignored_flag(barred.is_some())
    }
}

/// The program's second life, if this is it: never comes back then. Call it first thing in `main`.
pub fn second_life() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let error = match Elsewhere::read(&name) {
        Some(elsewhere) => become_underlay(elsewhere),
        None => io::Error::other(format!("{VARIABLE} names no host: {name}")),
    };
    eprintln!("a host with {name} can't be had here: {error}");
    std::process::exit(125);
}

fn become_underlay(elsewhere: Elsewhere) -> io::Error {
    let start = || -> io::Result<io::Error> {
        // By a descriptor, since an ordinary user may not be let into the folders on its way.
        let program = File::open(env!("CARGO_BIN_EXE_underlay"))?;
        fcntl(&program, FcntlArg::F_SETFD(FdFlag::empty()))?;
        elsewhere.settle()?;
        let arguments = std::env::args_os().skip(1);
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        Ok(Command::new(path).args(arguments).env_remove(VARIABLE).exec())
    };
    start().unwrap_or_else(|error| error)
}

/// An empty /dev/net, seen by this process alone.
fn hide_devices() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    if !Path::new("/dev/net").exists() {
        return Ok(());
    }
    Ok(mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?)
}

fn tun(mode: u32) -> io::Result<()> {
    mknod("/dev/net/tun", SFlag::S_IFCHR, Mode::empty(), makedev(TUN.0, TUN.1))?;
    // Not by mknod, which would heed the umask.
    fs::set_permissions("/dev/net/tun", fs::Permissions::from_mode(mode))
}

fn become_nobody() -> io::Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(NOBODY))?;
    Ok(setuid(Uid::from_raw(NOBODY))?)
}

/// A user namespace in which the user has this number.
fn user_namespace(number: u32) -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{number} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{number} {gid} 1"))
}

/// Checks how a run of the program ended.
pub fn ended(output: &Output, code: u8, why: &str) -> Result<(), Failed> {
    if output.status.code() == Some(i32::from(code)) {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("it should end with {code}, since {why}; {}\n{out}\n{err}", output.status).into())
}
