//! Network namespaces without names: held by a file descriptor, gone with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};
use crate::netlink::{Client, Netlink};
use crate::sysctl::Sysctls;
use crate::teardown;

/// A network namespace. Clones share it; it ends when the last clone, socket and device in it are gone, `kill -9`
/// included.
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    name: String,
    fd: OwnedFd,
    /// Whether it was made here, and ends with us.
    ours: bool,
    netlink: OnceLock<Mutex<Client>>,
    netfilter: OnceLock<Mutex<Client>>,
}

impl Inner {
    fn new(name: String, fd: OwnedFd, ours: bool) -> Self {
        Self { name, fd, ours, netlink: OnceLock::new(), netfilter: OnceLock::new() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ours {
            teardown::done_with(&self.fd);
        }
    }
}

/// The namespace this process calls its own, which every [`Namespace::enter`] comes back to.
fn home() -> io::Result<&'static OwnedFd> {
    static HOME: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let here = current()?;
    Ok(HOME.get_or_init(|| here))
}

fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Goes back home when dropped, so that a panic in between doesn't leave the thread in the wrong namespace.
struct ComeHome(&'static OwnedFd);

impl Drop for ComeHome {
    fn drop(&mut self) {
        setns(self.0, CloneFlags::CLONE_NEWNET).expect("a thread can return to its own network namespace");
    }
}

impl Namespace {
    /// Makes a new namespace with `sysctls` set, `lo` up and no IPv6. `name` is what messages and captures call it.
    ///
    /// # Errors
    /// The kernel's answer, where it refuses: no privileges, or a limit reached (`user.max_net_namespaces`).
    pub fn create(name: impl Into<String>, sysctls: &Sysctls) -> Result<Self> {
        let name = name.into();
        let failed = |step: &str| {
            let (namespace, step) = (name.clone(), step.to_owned());
            move |source: io::Error| Error::Namespace { namespace, step, source }
        };
        let home = home().map_err(failed("open this thread's network namespace"))?;
        let fd = {
            unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from).map_err(failed("create a network namespace"))?;
            let _home = ComeHome(home);
            let fd = current().map_err(failed("open the new network namespace"))?;
            sysctls.apply().map_err(|(path, error)| failed(&format!("set sysctl net/{path}"))(error))?;
            fd
        };
        let namespace = Self(Arc::new(Inner::new(name, fd, true)));
        namespace.netlink()?.loopback_up()?;
        Ok(namespace)
    }

    /// A namespace that is already there, by a path such as /proc/1234/ns/net.
    ///
    /// # Errors
    /// The path can't be opened.
    pub fn open(name: impl Into<String>, path: &Path) -> Result<Self> {
        let name = name.into();
        match File::open(path) {
            Ok(file) => Ok(Self(Arc::new(Inner::new(name, file.into(), false)))),
            Err(source) => Err(Error::Namespace { namespace: name, step: format!("open {}", path.display()), source }),
        }
    }

    /// A namespace that somebody else handed over.
    pub fn of_fd(name: impl Into<String>, fd: OwnedFd) -> Self {
        Self(Arc::new(Inner::new(name.into(), fd, false)))
    }

    /// Requests to the routing subsystem here. One at a time: hold it no longer than needed.
    ///
    /// # Errors
    /// The socket can't be opened.
    pub fn netlink(&self) -> Result<Netlink<'_>> {
        let client = self.client(&self.0.netlink, netlink_sys::protocols::NETLINK_ROUTE)?;
        Ok(Netlink { client, namespace: self })
    }

    /// Requests to the packet filter here, one at a time.
    ///
    /// The socket is kept: closing one waits for an RCU grace period, some 10 ms, while rules or tables that were
    /// replaced are still being freed (Linux 6.18, net/netfilter/nf_tables_api.c, `nft_rcv_nl_event`).
    pub(crate) fn netfilter(&self) -> Result<MutexGuard<'_, Client>> {
        self.client(&self.0.netfilter, netlink_sys::protocols::NETLINK_NETFILTER)
    }

    fn client<'a>(&'a self, kept: &'a OnceLock<Mutex<Client>>, protocol: isize) -> Result<MutexGuard<'a, Client>> {
        let socket = match kept.get() {
            Some(socket) => socket,
            None => {
                let client = self.enter(|| Client::open(protocol, self.name()))??;
                kept.get_or_init(|| Mutex::new(client))
            }
        };
        Ok(socket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its name in the lab, `master` or `vcn a`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `work` on this thread inside the namespace: what it opens belongs there. Costs about 10 µs. `work` must
    /// not wait: the thread may be one of the runtime's.
    ///
    /// # Panics
    /// When the thread can't get back home, which would put later sockets into the wrong namespace.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let failed = |source| Error::Namespace { namespace: self.0.name.clone(), step: "enter".to_owned(), source };
        let home = home().map_err(failed)?;
        setns(&self.0.fd, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        let _home = ComeHome(home);
        Ok(work())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Namespace({})", self.0.name)
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}
