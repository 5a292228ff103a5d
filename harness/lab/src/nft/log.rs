//! Drops that rules report (NFLOG), on their way to the lab's [`DropLog`].

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_ACK, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigMode, PacketNla, ULogMessage, config_request};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::MsgFlags;
use tokio::task::AbortHandle;

use super::DROP_LOG_GROUP;
use crate::drops::{DropLog, DropReason, Dropped};
use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::Client;

/// The log prefix of a gateway's source check.
pub(crate) const SOURCE_CHECK: &str = "source-check";
/// The log prefix of a gateway's refusal of new traffic from the internet.
pub(crate) const INGRESS: &str = "ingress-deny";

/// Passes a namespace's reported drops on, until it is dropped.
#[derive(Debug)]
pub struct DropWatch(AbortHandle);

impl Drop for DropWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes what `namespace`'s drop rules report on to `log`, until the returned value is dropped. Call it within the
/// runtime, before the rules are loaded.
///
/// # Errors
/// The kernel has no NFLOG.
pub fn watch_drops(namespace: &Namespace, log: DropLog) -> Result<DropWatch> {
    let mut client = namespace.enter(|| Client::open(NETLINK_NETFILTER, namespace.name()))??;
    let bind = config_request(
        NetfilterProtoFamily::Unspec,
        DROP_LOG_GROUP,
        vec![ConfigCmd::Bind.into(), ConfigMode::PACKET_MAX.into()],
    );
    let NetlinkPayload::InnerMessage(bind) = bind.payload else { unreachable!("a config request is a request") };
    client.batch("listen to drop rules", vec![(bind, NLM_F_ACK)])?;
    let name = namespace.name().to_owned();
    let socket = client.into_async_fd("listen to drop rules")?;
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(mut ready) = socket.readable().await {
            let received =
                ready.try_io(|socket| Ok(nix::sys::socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?));
            match received {
                Ok(Ok(length)) => report(&buffer[..length], &name, &log),
                // ENOBUFS: some were lost; the counters still have them.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
    });
    Ok(DropWatch(task.abort_handle()))
}

fn report(mut bytes: &[u8], namespace: &str, log: &DropLog) {
    while bytes.len() >= 16 {
        let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(bytes) else { return };
        let length = (message.header.length as usize).next_multiple_of(4).min(bytes.len());
        bytes = &bytes[length.max(16)..];
        let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
        let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message.inner else { continue };
        let (mut prefix, mut packet) = (String::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                PacketNla::Prefix(text) => prefix = text.to_string_lossy().into_owned(),
                PacketNla::Payload(payload) => packet = payload,
                _ => {}
            }
        }
        let reason = match prefix.as_str() {
            SOURCE_CHECK => DropReason::SourceCheck,
            INGRESS => DropReason::IngressDenied,
            _ => DropReason::Rule(prefix),
        };
        log.report(Dropped { namespace: namespace.to_owned(), interface: None, reason, packet });
    }
}
