//! Messages that come of the kernel's own accord, read as they come.

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::task::AbortHandle;

use super::Client;
use crate::error::Result;

/// More than the kernel puts into one datagram, in bytes.
const DATAGRAM: usize = 64 * 1024;

/// Listens, until it is dropped.
#[derive(Debug)]
pub struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Hands each datagram on to `hear`; none where some were lost. Call it within the runtime.
    ///
    /// # Errors
    /// The socket can't be registered with the runtime.
    pub(crate) fn listen(self, step: &str, mut hear: impl FnMut(Option<&[u8]>) + Send + 'static) -> Result<Listening> {
        let socket = self.into_async_fd(step)?;
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
        Ok(Listening(task.abort_handle()))
    }
}
