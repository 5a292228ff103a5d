//! Drops that rules report (NFLOG), on their way to the lab's [`DropLog`].

use netlink_packet_core::{NLM_F_ACK, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigMode, ConfigNla, PacketNla, Timeout, ULogMessage, config_request,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::DROP_LOG_GROUP;
use crate::drops::{DropLog, DropReason, Dropped};
use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::{Client, Listening};

/// The log prefix of a gateway's source check.
pub(crate) const SOURCE_CHECK: &str = "source-check";
/// The log prefix of a gateway's refusal of new traffic from the internet.
pub(crate) const INGRESS: &str = "ingress-deny";

/// How long the kernel gathers reports, in hundredths of a second: the least there is. Left to itself it takes a second or
/// a hundred packets (Linux, net/netfilter/nfnetlink_log.c, `NFULNL_TIMEOUT_DEFAULT`), and a probe may not wait so long.
/// Not each packet by itself (`NFULA_CFG_QTHRESH` 1): each would take a page, and few fit into the socket.
const GATHERED: u32 = 1;
/// Bytes of reports that may wait to be read.
const BACKLOG: usize = 4 << 20;

/// Passes what `namespace`'s drop rules report on to `log`, until the returned value is dropped. Call it within the
/// runtime, before the rules are loaded.
///
/// # Errors
/// The kernel has no NFLOG.
pub fn watch_drops(namespace: &Namespace, log: DropLog) -> Result<Listening> {
    let mut client = namespace.enter(|| Client::open(NETLINK_NETFILTER, namespace.name()))??;
    let configure = |commands: Vec<ConfigNla>| {
        let request = config_request(NetfilterProtoFamily::Unspec, DROP_LOG_GROUP, commands);
        let NetlinkPayload::InnerMessage(request) = request.payload else { unreachable!("it is a request") };
        request
    };
    client.receive_buffer(BACKLOG);
    let settings = [ConfigCmd::Bind.into(), ConfigMode::PACKET_MAX.into(), ConfigNla::Timeout(Timeout::new(GATHERED))];
    let bind = configure(settings.into());
    client.batch("listen to drop rules", vec![(bind, NLM_F_ACK)])?;
    let name = namespace.name().to_owned();
    let listening = client.listen("listen to drop rules", move |datagram| match datagram {
        Some(bytes) => report(bytes, &name, &log),
        None => log.miss(),
    })?;
    // The kernel gives a group to one socket at a time (EBUSY), and another lab may be built here at once.
    Ok(listening.at_last(configure(vec![ConfigCmd::Unbind.into()])))
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
