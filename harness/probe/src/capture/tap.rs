//! One namespace's packet socket, and the names of its interfaces.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::Namespace;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::decode::LinkLayer;
use super::sighting::Direction;
use super::{Error, Result, sys};

/// How long an interface's name is believed: links are renamed when pods are wired up.
const NAME_HOLDS: Duration = Duration::from_secs(1);

/// ARPHRD_LOOPBACK (linux/if_arp.h).
const LOOPBACK: u16 = 772;

/// A frame as read from the socket.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) link: u32,
    pub(super) layer: LinkLayer,
    pub(super) direction: Direction,
    pub(super) in_passing: bool,
    pub(super) time: SystemTime,
    pub(super) length: usize,
    pub(super) bytes: Box<[u8]>,
}

/// A namespace's packet socket.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) namespace: Namespace,
    pub(super) name: Arc<str>,
    pub(super) socket: OwnedFd,
    names: HashMap<u32, Arc<str>>,
    named: Option<Instant>,
    /// Packets the socket saw.
    pub(super) received: u64,
    /// Packets among them that it had no room for.
    pub(super) lost: u64,
}

impl Tap {
    /// A socket that sees nothing until [`Tap::begin`].
    pub(super) fn open(namespace: &Namespace, receive_buffer: usize) -> Result<Self> {
        let socket = namespace.packet()?;
        let set = || -> nix::Result<()> {
            lab::sys::receive_buffer(&socket, receive_buffer)?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
        };
        set().map_err(|errno| Error::socket(namespace, "prepare a packet socket", errno.into()))?;
        let mut tap = Self {
            namespace: namespace.clone(),
            name: Arc::from(namespace.name()),
            socket,
            names: HashMap::new(),
            named: None,
            received: 0,
            lost: 0,
        };
        tap.read_names();
        Ok(tap)
    }

    /// Begins to see every packet.
    pub(super) fn begin(&self) -> Result<()> {
        sys::bind_all(self.socket.as_fd())
            .map_err(|source| Error::socket(&self.namespace, "bind a packet socket to all protocols", source))
    }

    /// The next frame, cut to `buffer`; none when all are read.
    pub(super) fn receive(&self, buffer: &mut [u8], control: &mut [u8]) -> Option<Option<Raw>> {
        let mut slices = [IoSliceMut::new(buffer)];
        // MSG_TRUNC makes the kernel tell the frame's whole length.
        let message = recvmsg::<LinkAddr>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(control),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EINTR | Errno::ENETDOWN) => return Some(None),
            Err(_) => return None,
        };
        let (length, address) = (message.bytes, message.address);
        let stamp = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(system_time(stamp)),
                _ => None,
            })
        });
        let Some(address) = address else { return Some(None) };
        let direction = match address.pkttype() {
            libc::PACKET_OUTGOING if address.hatype() == LOOPBACK => return Some(None),
            libc::PACKET_OUTGOING => Direction::Out,
            _ => Direction::In,
        };
        Some(Some(Raw {
            link: address.ifindex() as u32,
            layer: LinkLayer::of_hardware(address.hatype()),
            direction,
            in_passing: address.pkttype() == libc::PACKET_OTHERHOST,
            time: stamp.unwrap_or_else(SystemTime::now),
            length,
            bytes: Box::from(&buffer[..length.min(buffer.len())]),
        }))
    }

    /// The name of an interface. One that is gone before it could be asked for is called `if` and its index.
    pub(super) fn name_of(&mut self, link: u32) -> Arc<str> {
        if !self.names.contains_key(&link) || self.named.is_none_or(|named| named.elapsed() > NAME_HOLDS) {
            self.read_names();
        }
        Arc::clone(self.names.entry(link).or_insert_with(|| Arc::from(format!("if{link}"))))
    }

    /// Names of interfaces that are gone are kept: their frames may still wait in the socket.
    fn read_names(&mut self) {
        if let Ok(Ok(interfaces)) = self.namespace.enter(if_nameindex) {
            for interface in &interfaces {
                let name = interface.name().to_string_lossy();
                if self.names.get(&interface.index()).is_none_or(|known| **known != *name) {
                    self.names.insert(interface.index(), Arc::from(&*name));
                }
            }
        }
        self.named = Some(Instant::now());
    }

    /// Takes the socket's own count of what it saw and lost; the kernel begins anew each time it is asked.
    pub(super) fn count(&mut self) {
        if let Ok((received, lost)) = sys::statistics(self.socket.as_fd()) {
            self.received += u64::from(received);
            self.lost += u64::from(lost);
        }
    }
}

/// Waits until the kernel stamps packets as they pass. It begins to some time after the first socket that wants stamps
/// asks for them (`net_enable_timestamp` leaves it to a work queue); until then it stamps them as they are read, and
/// the order of hops is lost. Sends packets to itself on `lo`; where there is no `lo` to do it on, it doesn't wait.
pub(super) fn stamps_work(namespace: &Namespace) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let socket = namespace.udp(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0), None)?;
    let probe = |socket: &tokio::net::UdpSocket| -> io::Result<bool> {
        let to = socket.local_addr()?;
        nix::sys::socket::sendto(
            socket.as_raw_fd(),
            &[0],
            &nix::sys::socket::SockaddrStorage::from(to),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let before_reading = SystemTime::now();
        let mut byte = [0];
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(&mut byte)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
        let stamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(system_time(stamp)),
            _ => None,
        });
        Ok(stamp.is_some_and(|stamp| stamp <= before_reading))
    };
    if setsockopt(&socket, sockopt::ReceiveTimestampns, &true).is_err() {
        return Ok(());
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match probe(&socket) {
            Ok(true) => return Ok(()),
            Ok(false) => std::thread::yield_now(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return Ok(()),
        }
    }
    Err(Error::socket(namespace, "get packets stamped as they pass", io::ErrorKind::TimedOut.into()))
}

fn system_time(stamp: TimeSpec) -> SystemTime {
    UNIX_EPOCH + Duration::new(stamp.tv_sec().max(0) as u64, stamp.tv_nsec().clamp(0, 999_999_999) as u32)
}
