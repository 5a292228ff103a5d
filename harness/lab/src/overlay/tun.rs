//! A TUN device: the program's end of `tailscale0`. It lives as long as this value.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};
use crate::host::{Capability, Missing};
use crate::namespace::Namespace;
use crate::sys::async_fd;

mod ioctl {
    #![allow(unsafe_code)]
    use super::libc;
    // linux/if_tun.h: _IOW('T', 202, int), though what it takes is an ifreq.
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
}

/// An open TUN device without packet information headers: what is read and written starts at the IP header.
#[derive(Debug)]
pub(super) struct Tun(AsyncFd<OwnedFd>);

impl Tun {
    /// Makes the device `name` in `namespace`. Call it within the runtime.
    ///
    /// # Errors
    /// [`Missing`] with [`Capability::Tun`] where /dev/net/tun isn't there or isn't for us; [`Error::Namespace`] where
    /// the namespace already has such a link.
    pub(super) fn open(namespace: &Namespace, name: &str) -> Result<Self> {
        let failed = |source: io::Error| match source.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::ENOENT | Errno::ENXIO | Errno::ENODEV | Errno::EPERM | Errno::EACCES)) => {
                Missing { capability: Capability::Tun, reason: format!("/dev/net/tun: {}", errno.desc()) }.into()
            }
            _ => Error::Namespace {
                namespace: namespace.name().to_owned(),
                step: format!("make TUN device {name}"),
                source,
            },
        };
        // The device belongs to the namespace in which the file is opened.
        let fd = namespace.enter(|| open(name))?.map_err(failed)?;
        Ok(Self(async_fd(fd, Interest::READABLE).map_err(failed)?))
    }

    /// Waits until there is a packet to read.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub(super) async fn readable(&self) -> io::Result<()> {
        // The guard keeps the readiness until a read finds nothing.
        self.0.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reads one packet. `WouldBlock` where there is none.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_io(Interest::READABLE, |fd| Ok(nix::unistd::read(fd, buffer)?))
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// The device is down (`EIO`) or gone.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        // Not through the runtime: a TUN takes a packet or drops it, it doesn't make the writer wait.
        Ok(nix::unistd::write(self.0.get_ref(), packet).map(|_| ())?)
    }
}

fn open(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    #[allow(unsafe_code)]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let Some(target) = request.ifr_name.get_mut(..name.len()).filter(|target| target.len() < libc::IFNAMSIZ) else {
        return Err(Errno::ENAMETOOLONG.into());
    };
    for (to, from) in target.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // IFF_TUN_EXCL: a device that is there already is somebody else's.
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    // SAFETY: the descriptor is open for the call and the kernel reads and writes no more than the `ifreq` it is given.
    #[allow(unsafe_code)]
    unsafe { ioctl::set_interface(file.as_raw_fd(), &raw const request) }?;
    Ok(file.into())
}
