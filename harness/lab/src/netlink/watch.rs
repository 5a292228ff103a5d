//! Who hears when a namespace's links, addresses or routes change.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sys::socket::{MsgFlags, recv};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Client;
use crate::error::Result;
use crate::namespace::Namespace;

/// The kernel's groups of messages about links, IPv4 addresses and IPv4 routes (linux/rtnetlink.h, `RTNLGRP_…`).
const GROUPS: [u32; 3] = [1, 5, 7];

/// Hears of changes, until it is dropped.
#[derive(Debug)]
pub struct NetworkWatch(AbortHandle);

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has `changed` told whenever a link, address or route of `namespace` changes, whoever does it. Call it within the
/// runtime.
///
/// # Errors
/// The kernel's answer.
pub fn watch_network(namespace: &Namespace, changed: Arc<Notify>) -> Result<NetworkWatch> {
    const STEP: &str = "listen to changes of the network";
    let mut client = namespace.enter(|| Client::open(NETLINK_ROUTE, namespace.name()))??;
    client.join(STEP, &GROUPS)?;
    let socket = client.into_async_fd(STEP)?;
    let task = tokio::spawn(async move {
        // What has changed is looked up by whoever is told.
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(mut ready) = socket.readable().await {
            let received = ready.try_io(|socket| Ok(recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?));
            match received {
                // ENOBUFS: some were lost, so something has changed.
                Ok(Ok(_)) => changed.notify_one(),
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => changed.notify_one(),
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
    });
    Ok(NetworkWatch(task.abort_handle()))
}
