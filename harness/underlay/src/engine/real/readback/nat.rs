//! A node's NAT table, from `cilium-dbg bpf nat list`.

use ipnet::Ipv4Net;

use crate::nat::{NatEntry, Way};

/// The entries of flows that pods of this range began and whose source is translated.
///
/// Lines as of Cilium 1.18, pkg/tuple/ipv4.go and pkg/maps/nat/types.go: `ICMP OUT 10.244.0.10:7 -> 8.8.8.8:0 XLATE_SRC
/// 10.0.0.239:7 Created=3sec ago NeedsCT=0`, at times with `related` or `service` before XLATE. Lines of another form,
/// and of IPv6, are left out.
pub fn entries(text: &str, pods: Ipv4Net) -> Vec<NatEntry> {
    let of_pods = |entry: &NatEntry| match entry.way {
        Way::Out => pods.contains(entry.source.ip()) && entry.translated.ip() != entry.source.ip(),
        Way::In => pods.contains(entry.translated.ip()) && entry.translated.ip() != entry.destination.ip(),
    };
    let mut entries: Vec<_> = text.lines().filter_map(entry).filter(of_pods).collect();
    entries.sort_unstable_by_key(|entry| (entry.protocol, entry.way, *entry));
    entries.dedup();
    entries
}

/// Whether what `cilium-dbg` complains of is that there is no table: neither NodePort nor BPF masquerading is on.
pub fn has_no_table(complaint: &str) -> bool {
    complaint.contains("cilium_snat_v4_external: no such file or directory")
}

fn entry(line: &str) -> Option<NatEntry> {
    let mut words = line.split_whitespace();
    let protocol = match words.next()? {
        "ICMP" => 1,
        "TCP" => 6,
        "UDP" => 17,
        _ => return None,
    };
    let way = match words.next()? {
        "OUT" => Way::Out,
        "IN" => Way::In,
        _ => return None,
    };
    let source = words.next()?.parse().ok()?;
    let destination = words.by_ref().find(|word| *word != "->")?.parse().ok()?;
    words.by_ref().find(|word| word.starts_with("XLATE_"))?;
    Some(NatEntry { protocol, way, source, destination, translated: words.next()?.parse().ok()? })
}
