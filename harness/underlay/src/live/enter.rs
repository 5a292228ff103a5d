//! Running a command in a place of a lab.
//!
//! The command's own parent is this process, which waits outside of the lab's pid namespace: terminal, signals and exit
//! code are then what they are for any child.

use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::protocol::{Entrance, NamespaceKind};
use super::resolver::nsswitch;

/// Enters a place: from here on, this process's children are in it, and files that name its DNS server are its own.
/// `scratch` is a folder that something can be mounted on for a moment.
///
/// The process has to have one thread.
///
/// # Errors
/// The kernel's answer; the step is in the text.
pub fn enter(entrance: &Entrance, descriptors: &[OwnedFd], scratch: &Path) -> io::Result<()> {
    let here = env::current_dir().ok();
    for (kind, descriptor) in entrance.joins.iter().zip(descriptors) {
        join(*kind, descriptor.as_fd())?;
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| step("make a mount namespace", errno.into()))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|errno| step("keep mounts to this command", errno.into()))?;
    replace_files(&entrance.resolv_conf, scratch).map_err(|error| step("give the place its resolv.conf", error))?;
    // So that /sys/class/net shows the place's links, as `ip netns exec` does it. Where that isn't allowed, it shows the
    // host's; nothing depends on it.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>);
    // Entering a mount namespace leads to its root.
    if let Some(here) = here {
        let _ = env::set_current_dir(here);
    }
    Ok(())
}

/// Joins a namespace. The lab's user namespace may be the one this process is in already, as in a lab's own shell.
///
/// # Errors
/// The kernel's answer; the step is in the text.
pub fn join(kind: NamespaceKind, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let (flag, name) = match kind {
        NamespaceKind::User => (CloneFlags::CLONE_NEWUSER, "user"),
        NamespaceKind::Network => (CloneFlags::CLONE_NEWNET, "net"),
        NamespaceKind::Pid => (CloneFlags::CLONE_NEWPID, "pid"),
        NamespaceKind::Mount => (CloneFlags::CLONE_NEWNS, "mnt"),
    };
    if kind == NamespaceKind::User {
        let own = fstat(File::open("/proc/self/ns/user")?)?;
        let wanted = fstat(descriptor)?;
        if (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(());
        }
    }
    setns(descriptor, flag).map_err(|errno| step(&format!("enter the lab's {name} namespace"), errno.into()))
}

/// Puts the place's resolv.conf and nsswitch.conf over the host's, for this mount namespace. Where the host has none,
/// there is nothing to put them over, and programs that ask it find nothing.
fn replace_files(resolv_conf: &str, scratch: &Path) -> io::Result<()> {
    mount(Some("tmpfs"), scratch, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
    let switch = fs::read_to_string("/etc/nsswitch.conf").map(|hosts| nsswitch(&hosts));
    let files = [("/etc/resolv.conf", Some(resolv_conf.to_owned())), ("/etc/nsswitch.conf", switch.ok())];
    for (index, (path, text)) in files.into_iter().enumerate() {
        let (Some(text), true) = (text, Path::new(path).exists()) else { continue };
        let own = scratch.join(index.to_string());
        fs::write(&own, text)?;
        mount(Some(&own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    // The files stay with their mounts. nscd would answer from the host's network.
    umount(scratch)?;
    if Path::new("/run/nscd").is_dir() {
        let _ = mount(Some("tmpfs"), "/run/nscd", Some("tmpfs"), MsFlags::empty(), None::<&str>);
    }
    Ok(())
}

/// Runs a command to its end, with this process's terminal and streams; signals that are meant for it are passed on.
/// Needs a runtime of this one thread.
///
/// # Errors
/// It can't be started.
pub async fn run(mut command: Command) -> io::Result<ExitStatus> {
    // First, so that none is missed that comes while it starts.
    let mut signals = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::quit())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];
    let mut child = command.spawn()?;
    let pid = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
    let [interrupt, quit, terminate, hangup] = &mut signals;
    let status = loop {
        let (passed_on, by_terminal) = tokio::select! {
            status = child.wait() => break status?,
            _ = interrupt.recv() => (Signal::SIGINT, true),
            _ = quit.recv() => (Signal::SIGQUIT, true),
            _ = terminate.recv() => (Signal::SIGTERM, false),
            _ = hangup.recv() => (Signal::SIGHUP, false),
        };
        // A terminal tells the command itself.
        if let Some(pid) = pid.filter(|_| !(by_terminal && in_foreground())) {
            let _ = kill(pid, passed_on);
        }
    };
    take_terminal_back();
    Ok(status)
}

/// Whether the terminal's signals come to us and to the command alike.
fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

/// A shell with job control can't give the terminal back to a process group that its pid namespace doesn't know, and
/// leaves it to nobody.
fn take_terminal_back() {
    let stdin = io::stdin();
    let is_nobodys = |group: Pid| killpg(group, None) == Err(Errno::ESRCH);
    if !stdin.is_terminal() || !tcgetpgrp(&stdin).is_ok_and(is_nobodys) {
        return;
    }
    // Whoever isn't in the foreground would be stopped for it.
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    if stop.thread_block().is_ok() {
        let _ = tcsetpgrp(stdin, getpgrp());
        let _ = stop.thread_unblock();
    }
}

/// The code a shell would give for the way a command ended.
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code & 0xff).unwrap_or(1)
}

fn step(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
