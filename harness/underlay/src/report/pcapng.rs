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

    let mut packets = Packets::new(out)?;
    for (probe, trace, sighting, frame) in &seen {
        packets.write(&Packet {
            namespace: &sighting.namespace,
            interface: &sighting.interface,
            ethernet: frame.link == LinkLayer::Ethernet,
            direction: sighting.direction,
            time: sighting.time,
            length: frame.length,
            bytes: &frame.bytes,
            comment: Some(comment(probe, trace, sighting)),
        })?;
    }
    packets.flush()?;
    Ok(seen.len())
}

/// A packet at a place.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// The namespace's name in the lab.
    pub namespace: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// Whether it has an Ethernet header; else it begins with its IP header.
    pub ethernet: bool,
    /// Which way it went.
    pub direction: Direction,
    /// When it passed.
    pub time: SystemTime,
    /// Its length in bytes.
    pub length: usize,
    /// As much of it as was kept.
    pub bytes: &'a [u8],
    /// What is said beside it.
    pub comment: Option<String>,
}

/// A stream of packets, each interface described before its first packet.
pub struct Packets<W: Write> {
    writer: PcapNgWriter<W>,
    interfaces: IndexMap<(String, String, bool), u32>,
}

impl<W: Write> Packets<W> {
    /// Begins with the section's header.
    ///
    /// # Errors
    /// The writer can't be written to.
    pub fn new(out: W) -> io::Result<Self> {
        Ok(Self { writer: PcapNgWriter::new(out).map_err(wrong)?, interfaces: IndexMap::new() })
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// The writer can't be written to.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let key = (packet.namespace.to_owned(), packet.interface.to_owned(), packet.ethernet);
        let interface_id = match self.interfaces.get(&key) {
            Some(id) => *id,
            None => {
                let id = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
                self.writer
                    .write_pcapng_block(interface(packet.namespace, packet.interface, packet.ethernet))
                    .map_err(wrong)?;
                self.interfaces.insert(key, id);
                id
            }
        };
        let mut options = vec![EnhancedPacketOption::Flags(direction(packet.direction))];
        options.extend(packet.comment.as_deref().map(|comment| EnhancedPacketOption::Comment(Cow::Borrowed(comment))));
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: packet.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
            original_len: u32::try_from(packet.length).unwrap_or(u32::MAX),
            data: Cow::Borrowed(packet.bytes),
            options,
        };
        self.writer.write_pcapng_block(block).map(drop).map_err(wrong)
    }

    /// Hands on what was written so far.
    ///
    /// # Errors
    /// The writer can't be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }
}

fn interface(namespace: &str, name: &str, ethernet: bool) -> InterfaceDescriptionBlock<'static> {
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
