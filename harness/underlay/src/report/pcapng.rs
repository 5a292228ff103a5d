//! A case's packets as a pcapng file, which Wireshark and tshark read: an interface for each place where a packet was
//! seen, and a comment on the last sight of the packet that died.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use probe::capture::decode::LinkLayer;
use probe::capture::sighting::{Direction, Frame, Sighting};
use probe::walk::EndReason;

use crate::observed::{Observed, Trace};

/// Timestamps are in units of ten to the minus ninth of a second. The writer always counts in these, and a reader takes
/// microseconds where nothing is said.
const NANOSECONDS: u8 = 9;

/// The packets that were kept of a case, in time order. Gives how many were written.
///
/// # Errors
/// The writer can't be written to.
pub fn write(observed: &Observed, out: impl Write) -> io::Result<usize> {
    let mut seen: Vec<(&str, &Trace, &Sighting, &Frame)> = Vec::new();
    for (probe, trace) in &observed.traces {
        let kept = trace.sightings.iter().filter_map(|sighting| Some((sighting, sighting.frame.as_ref()?)));
        seen.extend(kept.map(|(sighting, frame)| (probe.as_str(), trace, sighting, frame)));
    }
    seen.sort_by_key(|(_, _, sighting, _)| sighting.time);

    let mut writer = PcapNgWriter::new(out).map_err(wrong)?;
    let mut interfaces: IndexMap<(&str, &str, bool), u32> = IndexMap::new();
    for (_, _, sighting, frame) in &seen {
        let ethernet = frame.link == LinkLayer::Ethernet;
        let key = (&*sighting.namespace, &*sighting.interface, ethernet);
        if interfaces.contains_key(&key) {
            continue;
        }
        writer.write_pcapng_block(interface(key)).map_err(wrong)?;
        interfaces.insert(key, u32::try_from(interfaces.len()).unwrap_or(u32::MAX));
    }
    for (probe, trace, sighting, frame) in &seen {
        let key = (&*sighting.namespace, &*sighting.interface, frame.link == LinkLayer::Ethernet);
        let mut options = vec![EnhancedPacketOption::Flags(direction(sighting.direction))];
        options.push(EnhancedPacketOption::Comment(Cow::Owned(comment(probe, trace, sighting))));
        let packet = EnhancedPacketBlock {
            interface_id: interfaces[&key],
            timestamp: sighting.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
            original_len: u32::try_from(frame.length).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&frame.bytes),
            options,
        };
        writer.write_pcapng_block(packet).map_err(wrong)?;
    }
    writer.into_inner().flush()?;
    Ok(seen.len())
}

fn interface((namespace, name, ethernet): (&str, &str, bool)) -> InterfaceDescriptionBlock<'static> {
    let description = format!("{name} in {namespace}");
    InterfaceDescriptionBlock {
        linktype: if ethernet { DataLink::ETHERNET } else { DataLink::RAW },
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(format!("{namespace}/{name}"))),
            InterfaceDescriptionOption::IfDescription(Cow::Owned(description)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ],
    }
}

/// The flags' lowest two bits: 1 is inbound, 2 outbound (pcapng, section 4.3.1).
fn direction(direction: Direction) -> u32 {
    match direction {
        Direction::In => 1,
        Direction::Out => 2,
    }
}

/// Whose packet it is, and of the last one seen of a packet that died, of what.
fn comment(probe: &str, trace: &Trace, sighting: &Sighting) -> String {
    let end = trace.walk.last_end();
    let is_last = trace.sightings.last().is_some_and(|last| std::ptr::eq(last, sighting));
    match end.reason {
        reason if reason == EndReason::Delivered || !is_last => probe.to_owned(),
        reason => {
            let detail = if end.detail.is_empty() { String::new() } else { format!(": {}", end.detail) };
            format!("{probe} died at {}: {}{detail}", end.at, reason.words())
        }
    }
}

fn wrong(error: pcap_file::PcapError) -> io::Error {
    match error {
        pcap_file::PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
