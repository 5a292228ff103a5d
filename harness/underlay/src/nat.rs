//! A node's NAT table, as users know it from `cilium bpf nat list`.

use std::fmt;
use std::net::SocketAddrV4;

use ipnet::Ipv4Net;
use lab::conntrack::Flow;

/// An entry of a node's NAT table: one direction of a translated flow. Shown as `cilium-dbg bpf nat list` shows it,
/// without its age (Cilium 1.18, pkg/tuple/ipv4.go, `TupleKey4Global.Dump`; pkg/maps/nat/types.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatEntry {
    /// IP protocol number.
    pub protocol: u8,
    /// Which way.
    pub way: Way,
    /// Source. Of ICMP the port is the echo's identifier on the pod's side, 0 on the other.
    pub source: SocketAddrV4,
    /// Destination.
    pub destination: SocketAddrV4,
    /// What takes the source's place on the way out, the destination's on the way in.
    pub translated: SocketAddrV4,
}

/// Which way an entry translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// What pods send: `OUT`, `XLATE_SRC`.
    Out,
    /// What is sent back: `IN`, `XLATE_DST`.
    In,
}

impl fmt::Display for NatEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            1 => formatter.write_str("ICMP")?,
            6 => formatter.write_str("TCP")?,
            17 => formatter.write_str("UDP")?,
            number => write!(formatter, "{number}")?,
        }
        let (way, word) = match self.way {
            Way::Out => ("OUT", "XLATE_SRC"),
            Way::In => ("IN", "XLATE_DST"),
        };
        write!(formatter, " {way} {} -> {} {word} {}", self.source, self.destination, self.translated)
    }
}

/// The entries of a node's pods, in order: of each flow that a pod began and whose source is translated, the way out and
/// the way in. What a service's translation made of the destination is in them, as in Cilium's table.
pub fn entries(flows: &[Flow], pods: Ipv4Net) -> Vec<NatEntry> {
    let of_pods = |flow: &&Flow| pods.contains(flow.original.source.ip());
    let mut entries: Vec<_> = flows
        .iter()
        .filter(of_pods)
        .filter(|flow| flow.original.source.ip() != flow.reply.destination.ip())
        .flat_map(|flow| {
            let (pod, far, translated) = (flow.original.source, flow.reply.source, flow.reply.destination);
            [
                NatEntry { protocol: flow.protocol, way: Way::Out, source: pod, destination: far, translated },
                NatEntry {
                    protocol: flow.protocol,
                    way: Way::In,
                    source: far,
                    destination: translated,
                    translated: pod,
                },
            ]
        })
        .collect();
    entries.sort_unstable_by_key(|entry| (entry.protocol, entry.way, *entry));
    entries.dedup();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::conntrack::Direction;

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().expect("an address and a port")
    }

    fn flow(protocol: u8, original: (&str, &str), reply: (&str, &str)) -> Flow {
        let direction = |(source, destination)| Direction { source: at(source), destination: at(destination) };
        Flow { protocol, original: direction(original), reply: direction(reply) }
    }

    #[test]
    fn a_pods_translated_flow_has_two_lines() {
        let flows = [
            flow(1, ("10.244.0.62:7", "8.8.8.8:0"), ("8.8.8.8:0", "10.0.0.239:7")),
            // Not translated, and not a pod's.
            flow(17, ("10.244.0.62:4000", "10.244.1.5:53"), ("10.244.1.5:53", "10.244.0.62:4000")),
            flow(6, ("10.0.0.239:4000", "8.8.8.8:53"), ("8.8.8.8:53", "168.107.2.60:4000")),
        ];
        let lines: Vec<_> =
            entries(&flows, "10.244.0.0/24".parse().expect("a range")).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "ICMP OUT 10.244.0.62:7 -> 8.8.8.8:0 XLATE_SRC 10.0.0.239:7",
                "ICMP IN 8.8.8.8:0 -> 10.0.0.239:7 XLATE_DST 10.244.0.62:7",
            ]
        );
    }

    #[test]
    fn a_service_shows_as_its_backend() {
        let flows = [flow(6, ("10.244.1.10:4000", "10.96.0.1:443"), ("100.64.0.1:6443", "100.64.0.2:4000"))];
        let entries = entries(&flows, "10.244.1.0/24".parse().expect("a range"));
        assert_eq!(entries[0].to_string(), "TCP OUT 10.244.1.10:4000 -> 100.64.0.1:6443 XLATE_SRC 100.64.0.2:4000");
    }
}
