//! The two files' text. Written by hand, since half of what they say is comments.

use std::fmt::Write as _;

use cilium::Values;
use indexmap::IndexMap;

use crate::draft::{ClusterDraft, Draft, NicDraft, NicKind, NodeDraft, NodeIps, Remarks, Role};

/// Width of comments, in characters.
const WIDTH: usize = 110;

const HEAD: &str = "\
# Written by `underlay import` from what a cluster's nodes say of themselves. `# unknown:` marks what they can't say,
# with what was assumed in its place: whoever knows better should change it. `# left out:` marks what was there and
# has no place in this file.
";

/// Whom a cluster's checks want to find on the internet.
const INTERNET: &str = "\
# unknown: whom the cluster talks to on the internet: assumed those that checks are made with.
internet:
  hosts:
    dns.google: {address: 8.8.8.8, serves: [dns]}
    google.com: {address: 142.250.74.78, serves: [http, https]}
    api.ipify.org: {address: 104.26.12.205, serves: [https]}
    deb.debian.org: {address: 151.101.2.132, serves: [http]}
";

/// So many nodes beside the first two get a probe of their own.
const MORE_NODES: usize = 8;

/// The topology file.
pub(crate) fn topology(draft: &Draft, name: &str) -> String {
    let mut out = format!("{HEAD}name: {name}\n\n{INTERNET}\n");
    remarks(&mut out, 0, &draft.remarks);
    out.push_str("vcns:\n");
    for vcn in &draft.vcns {
        remarks(&mut out, 2, &vcn.remarks);
        let mut map = Flow::default();
        map.put("preset", vcn.preset);
        map.put("cidr", Some(vcn.cidr));
        map.put("gateway", vcn.gateway);
        map.put("nat", vcn.nat);
        map.put("public-address", vcn.public_address);
        let _ = writeln!(out, "  {}: {map}", vcn.name);
    }
    if let Some(overlay) = &draft.overlay {
        out.push('\n');
        remarks(&mut out, 0, &overlay.remarks);
        let mut map = Flow::default();
        map.put("cidr", Some(overlay.cidr));
        map.put("interface", Some(scalar(&overlay.interface)));
        map.put("mtu", Some(overlay.mtu));
        map.put("policy-routing", Some(overlay.policy_routing));
        map.put("backend", Some(if overlay.kernel { "kernel" } else { "userspace" }));
        let _ = writeln!(out, "overlay: {map}");
    }
    out.push_str("\nnodes:\n");
    for node in &draft.nodes {
        write_node(&mut out, node, draft);
    }
    out
}

fn write_node(out: &mut String, node: &NodeDraft, draft: &Draft) {
    remarks(out, 2, &node.remarks);
    let _ = writeln!(out, "  {}:", scalar(&node.name));
    match node.role {
        Role::ControlPlane => out.push_str("    role: control-plane\n"),
        Role::Worker => {}
        Role::Host => out.push_str("    role: host\n"),
    }
    out.push_str("    interfaces:\n");
    for nic in &node.nics {
        remarks(out, 6, &nic.remarks);
        let _ = writeln!(out, "      {}: {}", scalar(&nic.name), interface(nic, draft));
    }
    if let Some(address) = node.overlay_address.filter(|_| draft.overlay.is_some()) {
        let _ = writeln!(out, "    overlay-address: {address}");
    }
}

fn interface(nic: &NicDraft, draft: &Draft) -> Flow {
    let mut map = Flow::default();
    let list = |parts: &[String]| format!("[{}]", parts.iter().map(|part| scalar(part)).collect::<Vec<_>>().join(", "));
    match &nic.kind {
        NicKind::Vcn(vcn) => map.put("vcn", vcn.and_then(|vcn| draft.vcns.get(vcn)).map(|vcn| &vcn.name)),
        NicKind::Bridge(parts) => map.put("bridge", Some(list(parts))),
        NicKind::Bond(parts) => map.put("bond", Some(list(parts))),
        NicKind::Dummy => map.put("dummy", Some(true)),
    }
    match &nic.addresses[..] {
        [] => {}
        [only] => map.put("address", Some(only)),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            map.put("address", Some(format!("[{}]", several.join(", "))));
        }
    }
    map.put("mtu", nic.mtu);
    map.put("default-route", nic.default_route.then_some(true));
    map.put("public-address", nic.public_address);
    map.put("up", (!nic.up).then_some(false));
    map
}

/// The scenario file; `topology` is the path of the other one from this one.
pub(crate) fn scenario(draft: &Draft, topology: &str) -> String {
    let cluster = &draft.cluster;
    let mut out = format!("{HEAD}topology: {}\n", scalar(topology));
    remarks(&mut out, 0, &cluster.version_remarks);
    let _ = writeln!(out, "cilium: {}", scalar(&cluster.version));
    remarks(&mut out, 0, &cluster.cluster_remarks);
    match &cluster.node_ips {
        NodeIps::Default => {}
        NodeIps::All(word) => {
            let _ = writeln!(out, "kubelet: {{node-ip: {}}}", scalar(word));
        }
        NodeIps::Each(words) => {
            out.push_str("kubelet:\n  node-ip:\n");
            for (node, word) in words {
                let _ = writeln!(out, "    {}: {}", scalar(node), scalar(word));
            }
        }
    }
    write_cluster(&mut out, cluster);
    write_values(&mut out, &cluster.values, &cluster.values_remarks);
    let probes = probes(&draft.nodes);
    out.push_str("\nprobes:\n");
    for (name, probe) in &probes {
        let _ = writeln!(out, "  {name}: {probe}");
    }
    out.push_str(
        "\n# What holds in a cluster in order. Change it to what was seen in yours, and a pass means: reproduced.\nexpect:\n  \
         - probes:\n",
    );
    for name in probes.keys() {
        let _ = writeln!(out, "      {name}: works");
    }
    write_claims(&mut out, &draft.nodes);
    out
}

fn write_cluster(out: &mut String, cluster: &ClusterDraft) {
    let mut map = Flow::default();
    map.put("pod-cidr", cluster.pod_cidr);
    map.put("service-cidr", cluster.service_cidr);
    map.put("api-server", cluster.api_server.as_deref().map(scalar));
    if !map.0.is_empty() {
        let _ = writeln!(out, "cluster: {map}");
    }
}

fn write_values(out: &mut String, values: &Values, said: &Remarks) {
    out.push('\n');
    remarks(out, 0, said);
    if values.as_map().is_empty() {
        return;
    }
    out.push_str("values:\n");
    write_map(out, 2, values.as_map());
}

/// A map in block style; lists and texts as JSON, which YAML takes as they are.
fn write_map(out: &mut String, indent: usize, map: &serde_json::Map<String, serde_json::Value>) {
    for (key, value) in map {
        let key = scalar(key);
        match value {
            serde_json::Value::Object(inner) if !inner.is_empty() => {
                let _ = writeln!(out, "{:indent$}{key}:", "");
                write_map(out, indent + 2, inner);
            }
            serde_json::Value::String(text) => {
                let _ = writeln!(out, "{:indent$}{key}: {}", "", scalar(text));
            }
            other => {
                let _ = writeln!(out, "{:indent$}{key}: {other}", "");
            }
        }
    }
}

/// What anybody would try first: pods of two nodes with each other, then all that a pod needs.
fn probes(nodes: &[NodeDraft]) -> IndexMap<String, String> {
    let cluster = || nodes.iter().filter(|node| node.role != Role::Host).map(|node| node.name.as_str());
    let plane = nodes.iter().find(|node| node.role == Role::ControlPlane).map(|node| node.name.as_str());
    let mut probes = IndexMap::new();
    let Some(one) = plane.or(cluster().next()) else { return probes };
    let mut others = cluster().filter(|name| *name != one);
    let other = others.next();
    let far = other.unwrap_or(one);
    let mut put = |name: &str, what: &str, to: &str, from: &str| {
        probes.insert(name.to_owned(), format!("{{{what}: {}, from: {}}}", scalar(to), scalar(from)));
    };
    let pod = |node: &str| format!("{node}/pod");
    put("same-node", "icmp", &format!("{one}/pod-2"), &pod(one));
    if let Some(other) = other {
        put("pod-to-pod", "icmp", &pod(other), &pod(one));
        put("pod-to-pod-back", "icmp", &pod(one), &pod(other));
        put("other-node", "icmp", other, &pod(one));
    }
    for node in others.take(MORE_NODES) {
        put(&format!("pod-to-{node}"), "icmp", &pod(node), &pod(one));
    }
    put("own-node", "icmp", one, &pod(one));
    put("api-server", "tcp", "api-server", &pod(far));
    put("kubernetes", "tcp", "kubernetes", &pod(far));
    put("cluster-dns", "dns", "kubernetes.default.svc.cluster.local", &pod(one));
    put("dns", "dns", "google.com", &pod(one));
    put("internet", "icmp", "8.8.8.8", &pod(one));
    put("internet-far", "icmp", "8.8.8.8", &pod(far));
    if other.is_none() {
        probes.shift_remove("internet-far");
    }
    probes
}

/// What the cluster's agents said they decided: held against the model, never asserted.
fn write_claims(out: &mut String, nodes: &[NodeDraft]) {
    let claims = |read: &dyn Fn(&NodeDraft) -> Option<String>| -> Vec<String> {
        nodes.iter().filter_map(|node| Some(format!("      {}: {}\n", scalar(&node.name), read(node)?))).collect()
    };
    let node_ips = claims(&|node| Some(format!("{{node-ip: {}}}", node.agent_ip?)));
    let masquerading = claims(&|node| Some(format!("{{masquerade: {}}}", scalar(node.masquerading.as_ref()?))));
    let all = [("the cluster's CiliumNodes", node_ips), ("the cluster's cilium status", masquerading)];
    let mut all = all.into_iter().filter(|(_, lines)| !lines.is_empty()).peekable();
    if all.peek().is_some() {
        out.push_str(
            "\n# What the cluster's own agents said. It is measured, and told where it doesn't hold here.\nclaims:\n",
        );
    }
    for (by, lines) in all {
        let _ = write!(out, "  - by: {by}\n    nodes:\n{}", lines.concat());
    }
}

/// Comments above what they are about.
fn remarks(out: &mut String, indent: usize, remarks: &Remarks) {
    let unknown = remarks.unknown.iter().map(|text| ("unknown", text));
    let left_out = remarks.left_out.iter().map(|text| ("left out", text));
    for (kind, text) in unknown.chain(left_out) {
        let mut line = format!("{:indent$}# {kind}:", "");
        // Whatever a name brought along, a comment ends at its line's end.
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = format!("{:indent$}#  ", "");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(out, "{line}");
    }
}

/// A map on one line, `{a: 1, b: 2}`.
#[derive(Default)]
struct Flow(Vec<String>);

impl Flow {
    fn put(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        self.0.extend(value.map(|value| format!("{key}: {value}")));
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{}}}", self.0.join(", "))
    }
}

/// A text as YAML: plain where that can't be taken for anything else, quoted otherwise.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
    let letter = text.starts_with(|c: char| c.is_ascii_alphabetic());
    // Of what begins with a digit, addresses and versions of three parts are no numbers.
    let dotted = text.starts_with(|c: char| c.is_ascii_digit()) && text.matches('.').count() >= 2;
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let path = text.starts_with("../");
    if (letter || dotted || path) && text.chars().all(plain) && !word {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn texts_stay_texts() {
        for text in ["master", "10.0.0.1", "1.18.2", "../topologies/a.yaml", "enp0s6", "eth+"] {
            assert_eq!(scalar(text), text);
        }
        for text in ["", "true", "No", "1.18", "12", "0x10", "1e5", "a: b", "#", "[a]", "a\nb", "-", "enp0s6,eth0", "ä"]
        {
            let written = scalar(text);
            assert!(written.starts_with('"'), "{text:?} must be quoted, is {written}");
            let read: String = serde_saphyr::from_str(&written).expect("YAML");
            assert_eq!(read, text);
        }
    }
}
