//! The sysctls that decide what a namespace does with packets. New namespaces inherit some of the host's, so each one
//! that matters is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{self, Error};
use crate::namespace::Namespace;

/// A sysctl below /proc/sys/net, its value, and whether a kernel may do without it.
type Setting = (&'static str, &'static str, bool);

/// What a namespace's IPv6 is turned off with where there are links already.
const IPV6_OFF: Setting = ("ipv6/conf/all/disable_ipv6", "1", true);
const IPV6_OF_LINKS: &str = "ipv6/conf";
const LOOPBACK: &str = "ipv6/conf/lo/disable_ipv6";

/// What a namespace's sysctls are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sysctls {
    /// `net.ipv4.ip_forward`.
    pub forward: bool,
}

impl Sysctls {
    /// A machine that keeps to itself.
    pub const HOST: Self = Self { forward: false };
    /// A machine that passes packets on.
    pub const ROUTER: Self = Self { forward: true };

    fn settings(self) -> [Setting; 16] {
        let forward = if self.forward { "1" } else { "0" };
        [
            ("ipv4/ip_forward", forward, false),
            // A forwarded packet's MTU is the device's, not a learnt one: what Cilium's redirects do.
            ("ipv4/ip_forward_use_pmtu", "0", false),
            // Asymmetric paths are the subject here; `max(all, interface)` holds, so both are written.
            ("ipv4/conf/all/rp_filter", "0", false),
            ("ipv4/conf/default/rp_filter", "0", false),
            // tailscale 1.98 sets it on hosts and new namespaces inherit it (tailscale #19796).
            ("ipv4/conf/all/src_valid_mark", "0", false),
            ("ipv4/conf/default/src_valid_mark", "0", false),
            ("ipv4/conf/all/send_redirects", "0", false),
            ("ipv4/conf/default/send_redirects", "0", false),
            ("ipv4/conf/all/accept_redirects", "0", false),
            ("ipv4/conf/default/accept_redirects", "0", false),
            // An address answers ARP only on the interface that holds it: machines in one lab share CIDRs.
            ("ipv4/conf/all/arp_ignore", "1", false),
            ("ipv4/conf/default/arp_ignore", "1", false),
            // Otherwise ICMP errors of a busy lab are lost to a limit (Linux: 1000 in a second, one target each second).
            // No kind of them is subject to it; with icmp_ratelimit 0, older kernels (6.1, 6.12) would empty the bucket
            // that the errors about missing routes are paid from: net/ipv4/inetpeer.c, `inet_peer_xrlim_allow`, and
            // route.c, `ip_error`.
            ("ipv4/icmp_ratemask", "0", false),
            // A connection holds its namespace until the other end has confirmed its FIN. When the process is killed, the
            // overlay that carried it is gone: without this the kernel repeats the FIN for minutes.
            ("ipv4/tcp_orphan_retries", "2", false),
            // Frames on a lab's bridge are not for the IP tables; docker turns this on in the host's namespace.
            ("bridge/bridge-nf-call-iptables", "0", true),
            // IPv6 off keeps router solicitations out of captures; a kernel without IPv6 has nothing to switch off. New
            // links take it from here. Not from `all`: that write spins while anybody has the kernel's lock for links.
            ("ipv6/conf/default/disable_ipv6", "1", true),
        ]
    }

    /// Writes them for the namespace the calling thread is in, which is new. An error comes with the name of the sysctl.
    pub(crate) fn apply(self) -> Result<(), (&'static str, io::Error)> {
        self.settings().into_iter().try_for_each(write)
    }

    /// Writes them in a namespace that is somebody else's. What was there comes back, and loopback keeps the IPv6 it has:
    /// programs there may talk to themselves by it, as Kubernetes' API server does. Other links' IPv6 is off, so that
    /// nothing leaves by it; the addresses that this takes from them don't come back, save those the kernel gives.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn replace(self, namespace: &Namespace) -> error::Result<Saved> {
        // What is written to `all` goes to `default` and every link too, which therefore come after it, also on the way
        // back.
        let settings = || [IPV6_OFF].into_iter().chain(self.settings());
        let (saved, applied) = namespace.enter(|| {
            let paths = settings().map(|(path, ..)| path.to_owned()).chain(ipv6_of_links());
            let saved: Vec<_> = paths.filter_map(|path| Some((fs::read_to_string(file(&path)).ok()?, path))).collect();
            let loopback = saved.iter().find(|(_, path)| path == LOOPBACK).map(|(own, _)| own.clone());
            let kept = |()| loopback.map_or(Ok(()), |own| fs::write(file(LOOPBACK), own));
            (saved, settings().try_for_each(write).and_then(|done| kept(done).map_err(|error| (LOOPBACK, error))))
        })?;
        let saved = Saved(saved);
        if let Err((path, error)) = applied {
            // The first refusal counts.
            let _ = saved.restore(namespace);
            return Err(failed(namespace, path, error));
        }
        Ok(saved)
    }
}

/// Each link's `disable_ipv6`; none where the kernel has no IPv6.
fn ipv6_of_links() -> Vec<String> {
    let links = fs::read_dir(file(IPV6_OF_LINKS)).into_iter().flatten().filter_map(Result::ok);
    let names = links.map(|link| link.file_name().to_string_lossy().into_owned());
    let names = names.filter(|name| !["all", "default"].contains(&name.as_str()));
    names.map(|name| format!("{IPV6_OF_LINKS}/{name}/disable_ipv6")).collect()
}

/// Sysctls as somebody else had them, each value with its path.
#[derive(Debug)]
pub(crate) struct Saved(Vec<(String, String)>);

impl Saved {
    /// Writes them back, all that can be. Those of a link that is gone meanwhile go with it.
    ///
    /// # Errors
    /// The kernel's first refusal.
    pub(crate) fn restore(&self, namespace: &Namespace) -> error::Result<()> {
        let back = |(value, path): &(String, String)| match fs::write(file(path), value) {
            Err(error) if path.starts_with(IPV6_OF_LINKS) && error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(|error| failed(namespace, path, error)),
        };
        let written: Vec<_> = namespace.enter(|| self.0.iter().map(back).collect())?;
        written.into_iter().collect()
    }
}

fn write((path, value, optional): Setting) -> Result<(), (&'static str, io::Error)> {
    match fs::write(file(path), value) {
        Err(error) if !(optional && error.kind() == io::ErrorKind::NotFound) => Err((path, error)),
        _ => Ok(()),
    }
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(path)
}

fn failed(namespace: &Namespace, path: &str, source: io::Error) -> Error {
    Error::Namespace { namespace: namespace.name().to_owned(), step: format!("set sysctl net/{path}"), source }
}
