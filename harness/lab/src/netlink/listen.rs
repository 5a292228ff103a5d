//! Messages that come of the kernel's own accord, read as they come.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkSerializable};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::task::AbortHandle;

use super::Client;
use crate::error::Result;

/// More than the kernel puts into one datagram, in bytes.
const DATAGRAM: usize = 64 * 1024;

/// Listens, until it is dropped.
#[derive(Debug)]
pub struct Listening {
    task: AbortHandle,
    client: Client,
    farewell: Vec<u8>,
}

impl Listening {
    /// Says this when it is dropped: the task, and its socket with it, end some time later, and what the kernel gives to one
    /// socket at a time is free at once.
    pub(crate) fn at_last<M: NetlinkSerializable>(mut self, message: M) -> Self {
        self.client.serialize(&mut self.farewell, message, NLM_F_REQUEST);
        self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.farewell.is_empty() {
            // Where it doesn't get there the socket's end does it.
            let _ = self.client.socket.send(&self.farewell, 0);
        }
        self.task.abort();
    }
}

impl Client {
    /// Hands each datagram on to `hear`; none where some were lost. Call it within the runtime.
    ///
    /// # Errors
    /// The socket can't be registered with the runtime.
    pub(crate) fn listen(self, step: &str, mut hear: impl FnMut(Option<&[u8]>) + Send + 'static) -> Result<Listening> {
        let socket = self.async_fd(step)?;
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; DATAGRAM];
            while let Ok(mut ready) = socket.readable().await {
                let received = ready.try_io(|socket| Ok(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?));
                match received {
                    Ok(Ok(length)) => hear(Some(&buffer[..length])),
                    Ok(Err(error)) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => hear(None),
                    Ok(Err(_)) => break,
                    Err(_) => {}
                }
            }
        });
        Ok(Listening { task: task.abort_handle(), client: self, farewell: Vec::new() })
    }
}
