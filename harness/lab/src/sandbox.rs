//! Getting into a place where labs can be built: a network namespace of the process's own that leads nowhere, inside a
//! user namespace where the user isn't root.
//!
//! A socket that some library opens behind our back then reaches nothing at all.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use crate::host::{Capability, Missing};
use crate::limits;
use crate::namespace::Namespace;

/// Where the process came from, once it has left.
static OUTSIDE: OnceLock<Namespace> = OnceLock::new();

/// Whether it came in by way of a user namespace.
static ROOTLESS: AtomicBool = AtomicBool::new(false);

/// The network namespace the process was started in; none before [`enter`], or where it can't get back there since it
/// isn't root. Only for programs that are run for what is there: this one's own sockets belong into a lab.
pub fn outside() -> Option<&'static Namespace> {
    OUTSIDE.get()
}

/// Whether the process may act in namespaces of its own only, since it came in by way of a user namespace.
pub fn is_rootless() -> bool {
    ROOTLESS.load(Ordering::Relaxed)
}

/// How the process may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// It may make namespaces as it is.
    Root,
    /// It is root inside a user namespace only.
    UserNamespace,
}

/// Moves the process into a fresh network namespace, by way of a user namespace where needed, and lets it open as many
/// files as the host allows.
///
/// Call it first thing in `main`: a process with more than one thread can't enter a user namespace. Whether the
/// process is privileged is found by trying, since uid 0 in a container may not be.
///
/// # Errors
/// The host allows neither; with the remedy.
pub fn enter() -> Result<Privilege, Missing> {
    limits::raise();
    let outside = Namespace::open("the host", Path::new("/proc/self/ns/net"));
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {
            if let Ok(outside) = outside {
                // Entered twice, the first is where it came from.
                let _ = OUTSIDE.set(outside);
            }
            return Ok(Privilege::Root);
        }
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(refused(errno, "net")),
    }
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused(errno, "user"))?;
    let map = || -> io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
    };
    // AppArmor lets the user namespace be made and then takes its capabilities away: this is where it shows.
    map().map_err(|error| missing(format!("user namespace: {error}")))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| refused(errno, "net"))?;
    ROOTLESS.store(true, Ordering::Relaxed);
    Ok(Privilege::UserNamespace)
}

/// `kind` is `net` or `user`. The kernel's ENOSPC is about a limit here, not about disks (user_namespaces(7)).
fn refused(errno: Errno, kind: &str) -> Missing {
    missing(match errno {
        Errno::ENOSPC => format!("no more allowed by user.max_{kind}_namespaces"),
        errno => format!("{kind} namespace: {}", errno.desc()),
    })
}

fn missing(reason: String) -> Missing {
    Missing { capability: Capability::Namespaces, reason }
}
