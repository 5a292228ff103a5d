//! Getting into a place where labs can be built: a network namespace of the process's own that leads nowhere, inside a
//! user namespace where the user isn't root.
//!
//! A socket that some library opens behind our back then reaches nothing at all.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use crate::host::{Capability, Missing};

/// How the process may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It may make namespaces as it is.
    Root,
    /// It is root inside a user namespace only.
    UserNamespace,
}

/// Moves the process into a fresh network namespace, by way of a user namespace where needed.
///
/// Call it first thing in `main`: a process with more than one thread can't enter a user namespace. Whether the
/// process is privileged is found by trying, since uid 0 in a container may not be.
///
/// # Errors
/// The host allows neither; with the remedy.
pub fn enter() -> Result<Privilege, Missing> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => return Ok(Privilege::Root),
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(missing(errno.desc())),
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|errno| missing(errno.desc()))?;
    let map = || -> io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
    };
    // AppArmor lets the user namespace be made and then takes its capabilities away: this is where it shows.
    map().map_err(|error| missing(&format!("user namespace: {error}")))?;
    Ok(Privilege::UserNamespace)
}

fn missing(reason: &str) -> Missing {
    Missing { capability: Capability::Namespaces, reason: reason.to_owned() }
}
