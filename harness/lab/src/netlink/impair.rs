//! What leaves by an interface, delayed, lost or slowed down: the kernel's netem (net/sched/sch_netem.c).

use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::libc;

use super::Netlink;
use crate::error::Result;
use crate::host::{Capability, Missing};

/// Attributes of linux/rtnetlink.h and linux/pkt_sched.h.
const TCA_OPTIONS: u16 = 2;
const TCA_NETEM_RATE: u16 = 6;
const TCA_NETEM_RATE64: u16 = 8;
const TCA_NETEM_LATENCY64: u16 = 10;
const TCA_NETEM_JITTER64: u16 = 11;
/// Packets that wait at most: more than netem's own 1000, which a slow link fills at once.
const LIMIT: u32 = 10_000;

/// What is done to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Netem {
    /// How much later they leave.
    pub delay: Duration,
    /// How much that varies, up and down.
    pub jitter: Duration,
    /// How many are lost, of 100.
    pub loss: f64,
    /// How much leaves at most, in bits a second.
    pub rate: Option<u64>,
}

impl Netem {
    /// `struct tc_netem_qopt` and the attributes behind it.
    fn options(self) -> Vec<u8> {
        // Of all ones: each packet.
        let loss = (self.loss.clamp(0.0, 100.0) / 100.0 * f64::from(u32::MAX)) as u32;
        // latency, limit, loss, gap, duplicate, jitter
        let mut options: Vec<u8> = [0, LIMIT, loss, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut add = |kind: u16, value: &[u8]| {
            options.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            options.extend_from_slice(&kind.to_ne_bytes());
            options.extend_from_slice(value);
            options.resize(options.len().next_multiple_of(4), 0);
        };
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes();
        add(TCA_NETEM_LATENCY64, &nanoseconds(self.delay));
        add(TCA_NETEM_JITTER64, &nanoseconds(self.jitter));
        if let Some(bits) = self.rate {
            let bytes = bits / 8;
            add(TCA_NETEM_RATE64, &bytes.to_ne_bytes());
            // rate, packet_overhead, cell_size, cell_overhead
            let rate = [u32::try_from(bytes).unwrap_or(u32::MAX), 0, 0, 0];
            add(TCA_NETEM_RATE, &rate.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<_>>());
        }
        options
    }
}

impl Netlink<'_> {
    /// Impairs what leaves by an interface, in place of how it was impaired before.
    ///
    /// # Errors
    /// [`Missing`] with [`Capability::Netem`] where the kernel has none; else its answer.
    pub fn impair(&mut self, link: &str, how: Netem) -> Result<()> {
        let mut message = self.root_discipline(link)?;
        message.header.handle = TcHandle { major: 1, minor: 0 };
        message.attributes = vec![
            TcAttribute::Kind("netem".to_owned()),
            TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, how.options())),
        ];
        let asked = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.request(&format!("impair {link}"), asked, NLM_F_CREATE | NLM_F_REPLACE).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP) => {
                    Missing { capability: Capability::Netem, reason: error.to_string() }.into()
                }
                _ => error,
            }
        })
    }

    /// Impairs nothing any more.
    ///
    /// # Errors
    /// The kernel's answer: nothing was impaired there.
    pub fn repair(&mut self, link: &str) -> Result<()> {
        let message = self.root_discipline(link)?;
        self.request(&format!("repair {link}"), RouteNetlinkMessage::DelQueueDiscipline(message), 0)
    }

    fn root_discipline(&mut self, link: &str) -> Result<TcMessage> {
        let mut message = TcMessage::default();
        message.header.index = self.index(link)?.cast_signed();
        message.header.parent = TcHandle::ROOT;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `tc qdisc add … netem delay 50ms loss 50% rate 8mbit` lays them out.
    #[test]
    fn options_are_laid_out_as_the_kernel_reads_them() {
        let how = Netem { delay: Duration::from_millis(50), loss: 50.0, rate: Some(8_000_000), ..Netem::default() };
        let options = how.options();
        let word = |at: usize| u32::from_ne_bytes(options[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((word(4), word(8)), (LIMIT, u32::MAX / 2));
        let mut rest = &options[24..];
        let mut found = Vec::new();
        while let [a, b, c, d, ..] = *rest {
            let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
            found.push((kind, rest[4..length].to_vec()));
            rest = &rest[length.next_multiple_of(4)..];
        }
        assert_eq!(found[0], (TCA_NETEM_LATENCY64, 50_000_000_i64.to_ne_bytes().to_vec()));
        assert_eq!(found[2], (TCA_NETEM_RATE64, 1_000_000_u64.to_ne_bytes().to_vec()));
        assert_eq!(found[3].1[..4], 1_000_000_u32.to_ne_bytes());
    }
}
