//! Drops that rules report (NFLOG), on their way to the lab's [`DropLog`].

use netlink_packet_core::{NLM_F_ACK, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage, config_request};
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
    let bind = configure(vec![ConfigCmd::Bind.into(), ConfigMode::PACKET_MAX.into()]);
    client.batch("listen to drop rules", vec![(bind, NLM_F_ACK)])?;
    let name = namespace.name().to_owned();
    // Where some were lost the counters still have them.
    let listening = client.listen("listen to drop rules", move |datagram| {
        if let Some(bytes) = datagram {
            report(bytes, &name, &log);
        }
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
