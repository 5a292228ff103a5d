//! Packets that Cilium's programs drop, as `cilium-dbg monitor --type drop -v -v --hex` tells of them, and where in the
//! programs' source that stands, as `cilium-dbg bpf metrics list` does.

use serde::Deserialize;

/// The most bytes of a packet that are taken.
const MOST: usize = 4096;
/// Before the IP header, on devices that have hardware addresses (IEEE 802.3).
const ETHERNET: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// A packet that a program dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Cilium's reason, `Stale or unroutable IP`.
    pub reason: String,
    /// The packet from its IP header on, cut short.
    pub packet: Vec<u8>,
}

/// Reads a monitor's lines.
///
/// As of Cilium 1.18 (pkg/monitor/datapath_drop.go, `DumpVerbose`): a rule of dashes, the packet as `hexdump -C` has it,
/// then `CPU 01: MARK 0x0 FROM 1517 DROP: 98 bytes, reason Stale or unroutable IP, identity 22017->unknown`. Lines of
/// another form are passed over.
#[derive(Debug, Default)]
pub struct Monitor {
    frame: Vec<u8>,
}

impl Monitor {
    /// Takes a line; gives what it completes.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if line.starts_with("---") {
            self.frame.clear();
        } else if let Some(bytes) = hex(line) {
            self.frame.extend(bytes);
            self.frame.truncate(MOST);
        } else if let Some((_, rest)) = line.split_once(" DROP: ") {
            let (_, reason) = rest.split_once("reason ")?;
            // Identities are left out where none is known, and the endpoint it was for where there is none.
            let end = [", identity ", ", to endpoint "].iter().filter_map(|next| reason.find(next)).min();
            let reason = &reason[..end.unwrap_or(reason.len())];
            let packet = packet(std::mem::take(&mut self.frame))?;
            return Some(Event { reason: reason.trim().to_owned(), packet });
        }
        None
    }
}

/// The bytes of a line such as `00000010  00 54 73 9b  …  |.Ts.|`.
fn hex(line: &str) -> Option<Vec<u8>> {
    let (offset, rest) = line.split_once("  ")?;
    if offset.len() != 8 || !offset.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (bytes, _) = rest.split_once('|')?;
    bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// The IPv4 packet in a frame of an Ethernet device, or of one without hardware addresses.
fn packet(frame: Vec<u8>) -> Option<Vec<u8>> {
    let is_ipv4 = |bytes: &[u8]| bytes.first().is_some_and(|byte| byte >> 4 == 4);
    match frame.get(12..ETHERNET) {
        Some(kind) if kind == ETHERTYPE_IPV4 && is_ipv4(&frame[ETHERNET..]) => Some(frame[ETHERNET..].to_vec()),
        _ => is_ipv4(&frame).then_some(frame),
    }
}

/// Where in the programs' source packets are dropped for this reason, `bpf_host.c:865`; none where that is in several
/// places, or is not told.
///
/// `metrics` is what `cilium-dbg bpf metrics list -o json` says (Cilium 1.18, cilium-dbg/cmd/bpf_metrics_list.go).
pub fn source(metrics: &str, reason: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Row {
        reason: String,
        #[serde(default)]
        line: u32,
        #[serde(default)]
        file: String,
    }
    let rows: Vec<Row> = serde_json::from_str(metrics).ok()?;
    let named = rows.iter().filter(|row| row.reason == reason && !row.file.is_empty());
    let mut places: Vec<_> = named.map(|row| format!("{}:{}", row.file, row.line)).collect();
    places.sort_unstable();
    places.dedup();
    <[String; 1]>::try_from(places).ok().map(|[place]| place)
}
