//! When a link that was set up begins to carry packets.
//!
//! A veth end that was up before its peer has no carrier then, so the kernel leaves it without a queue: it drops
//! everything, unseen and uncounted by captures, until the kernel's link watch has run, which on a busy host takes from
//! microseconds to more than a second (net/sched/sch_generic.c, `dev_activate`; net/core/link_watch.c). Flags don't
//! tell: IFF_RUNNING and IFF_LOWER_UP are set before.

use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, State};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::Netlink;
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Time between two looks at a link.
const PAUSE: Duration = Duration::from_millis(1);

impl Netlink<'_> {
    /// Whether a link's operational state is "up". Asking for one link (not a list of them) has the link watch run for
    /// it at once (Linux 6.8, net/core/rtnetlink.c, `rtnl_getlink`), so the first answer is right there.
    ///
    /// # Errors
    /// There is no such link.
    pub fn is_operational(&mut self, name: &str) -> Result<bool> {
        let step = format!("ask for {name}");
        let index = self.index(name)?;
        let message = RouteNetlinkMessage::GetLink(LinkMessageBuilder::<LinkUnspec>::new().index(index).build());
        let mut buffer = Vec::new();
        let sequence = self.client.serialize(&mut buffer, message, NLM_F_REQUEST);
        self.client.send(&step, &buffer)?;
        let mut up = false;
        self.client.receive(&step, |answer| {
            if answer.header.sequence_number != sequence {
                return Ok(false);
            }
            match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    up = link.attributes.contains(&LinkAttribute::OperState(State::Up));
                    Ok(true)
                }
                NetlinkPayload::Error(error) => Err((None, error.to_io())),
                _ => Ok(true),
            }
        })?;
        Ok(up)
    }
}

impl Namespace {
    /// Waits until a veth link carries packets. Both of its ends have to be up.
    ///
    /// # Errors
    /// There is no such link, or it doesn't carry packets within `deadline`.
    pub async fn operational(&self, link: &str, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        while !self.netlink()?.is_operational(link)? {
            if start.elapsed() >= deadline {
                let what = format!("{link} in {} to carry packets", self.name());
                return Err(Error::Timeout { what, waited_ms: deadline.as_millis() as u64 });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
