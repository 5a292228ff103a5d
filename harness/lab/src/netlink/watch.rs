//! Who hears when a namespace's links, addresses or routes change.

use std::sync::Arc;

use netlink_sys::protocols::NETLINK_ROUTE;
use tokio::sync::Notify;

use super::{Client, Listening};
use crate::error::Result;
use crate::namespace::Namespace;

/// The kernel's groups of messages about links, IPv4 addresses and IPv4 routes (linux/rtnetlink.h, `RTNLGRP_…`).
const GROUPS: [u32; 3] = [1, 5, 7];

/// Has `changed` told whenever a link, address or route of `namespace` changes, whoever does it, until the returned value
/// is dropped. Call it within the runtime.
///
/// # Errors
/// The kernel's answer.
pub fn watch_network(namespace: &Namespace, changed: Arc<Notify>) -> Result<Listening> {
    const STEP: &str = "listen to changes of the network";
    let mut client = namespace.enter(|| Client::open(NETLINK_ROUTE, namespace.name()))??;
    client.join(STEP, &GROUPS)?;
    // What has changed is looked up by whoever is told; where messages were lost, something has.
    client.listen(STEP, move |_| changed.notify_one())
}
