//! A scenario drawn by chance: a small network, a Cilium version, values, and probes between all there is.

use std::fmt::Write as _;

use cilium::version::KNOWN;

use super::random::Random;

/// A VCN.
struct Vcn {
    name: &'static str,
    /// The third byte of its /24.
    net: u8,
    nat: &'static str,
    source_check: bool,
    mtu: u32,
}

/// How all nodes of a case are made, but for what is drawn node by node.
struct Node {
    name: &'static str,
    /// Index of its VCN.
    vcn: usize,
    host: u8,
    /// An interface beside its NIC.
    second: Option<Second>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    /// A NIC in the other VCN.
    Nic {
        /// Whether the default route leads through it, so that answers leave elsewhere than questions come in.
        default_route: bool,
    },
    /// An interface that leads nowhere.
    Dummy,
    /// A bridge without ports, of a name that detection leaves out, or not.
    Bridge(&'static str),
}

/// What `--seed` and the case's number give: a scenario's text.
pub fn scenario(seed: u64, case: u64) -> String {
    // Far apart whatever the seed: cases of neighbouring seeds are not each other's.
    let mut random = Random::new(Random::new(seed).number() ^ Random::new(!case).number());
    let vcns = vcns(&mut random);
    let nodes = nodes(&mut random, vcns.len());
    let overlay = vcns.len() > 1 || random.percent(50);
    let mut out = String::from("description: Drawn by underlay explore.\ndeadline: 1s\n");
    topology(&mut random, &vcns, &nodes, overlay, &mut out);
    cluster(&mut random, &nodes, overlay, &mut out);
    probes(&mut random, &nodes, &mut out);
    out
}

fn vcns(random: &mut Random) -> Vec<Vcn> {
    let count = if random.percent(60) { 2 } else { 1 };
    let overlapping = random.percent(50);
    let nats = ["one-to-one", "one-to-one", "endpoint-independent", "endpoint-dependent", "none"];
    (0..count)
        .map(|index| Vcn {
            name: ["a", "b"][index],
            net: if overlapping { 0 } else { index as u8 },
            nat: random.pick::<&'static str>(&nats),
            source_check: random.percent(60),
            mtu: *random.pick(&[1500, 1500, 9000, 1460, 1400]),
        })
        .collect()
}

fn nodes(random: &mut Random, vcns: usize) -> Vec<Node> {
    let count = if random.percent(70) { 2 } else { 3 };
    let alike = random.percent(50);
    let second = |random: &mut Random| {
        let all = [
            Second::Nic { default_route: false },
            Second::Nic { default_route: true },
            Second::Dummy,
            Second::Bridge("docker0"),
            Second::Bridge("br0"),
        ];
        // A NIC in another network needs another network.
        random
            .percent(40)
            .then(|| *random.pick(&all))
            .filter(|second| vcns > 1 || !matches!(second, Second::Nic { .. }))
    };
    let common = second(random);
    (0..count)
        .map(|index| Node {
            name: ["master", "worker", "third"][index],
            vcn: if index < vcns { index } else { random.below(vcns as u64) as usize },
            host: 10 + index as u8,
            second: if alike { common } else { second(random) },
        })
        .collect()
}

fn topology(random: &mut Random, vcns: &[Vcn], nodes: &[Node], overlay: bool, out: &mut String) {
    out.push_str("topology:\n  internet:\n    hosts:\n      dns.google: {address: 8.8.8.8, serves: [dns]}\n  vcns:\n");
    for (index, Vcn { name, net, nat, source_check, mtu }) in vcns.iter().enumerate() {
        let public = match nat.starts_with("endpoint") {
            true => format!(", public-address: 203.0.113.{}", 1 + index),
            false => String::new(),
        };
        let _ = writeln!(
            out,
            "    {name}: {{cidr: 10.0.{net}.0/24, nat: {nat}{public}, source-check: {source_check}, mtu: {mtu}}}"
        );
    }
    if overlay {
        let mtu = random.pick(&[1280, 1280, 1420, 1340]);
        let policy = random.percent(85);
        let _ = writeln!(out, "  overlay: {{mtu: {mtu}, policy-routing: {policy}}}");
    }
    out.push_str("  nodes:\n");
    for (index, node) in nodes.iter().enumerate() {
        let role = if index == 0 { "control-plane" } else { "worker" };
        let _ = writeln!(out, "    {}:\n      role: {role}\n      interfaces:", node.name);
        let elsewhere = node.second == Some(Second::Nic { default_route: true });
        nic(out, "enp0s6", &vcns[node.vcn], node.host, !elsewhere);
        match node.second {
            Some(Second::Nic { default_route }) => {
                nic(out, "enp1s0", &vcns[(node.vcn + 1) % vcns.len()], 100 + node.host, default_route);
            }
            Some(Second::Dummy) => {
                let _ = writeln!(out, "        dummy0: {{dummy: true, address: 172.16.{index}.1/24}}");
            }
            Some(Second::Bridge(name)) => {
                let _ = writeln!(out, "        {name}: {{bridge: [], address: 172.17.{index}.1/24}}");
            }
            None => {}
        }
        if overlay {
            let _ = writeln!(out, "      overlay-address: 100.64.0.{}", index + 1);
        }
    }
}

fn nic(out: &mut String, name: &str, vcn: &Vcn, host: u8, default_route: bool) {
    let public = match vcn.nat {
        "one-to-one" => format!(", public-address: 198.51.{}.{host}", if vcn.name == "a" { 100 } else { 101 }),
        _ => String::new(),
    };
    let address = format!("10.0.{}.{host}/24", vcn.net);
    let route = if default_route { ", default-route: true" } else { "" };
    let _ = writeln!(out, "        {name}: {{vcn: {}, address: {address}{route}{public}}}", vcn.name);
}

fn cluster(random: &mut Random, nodes: &[Node], overlay: bool, out: &mut String) {
    let version = *random.pick(&KNOWN);
    let _ = writeln!(out, "cilium: \"{version}\"");
    match random.below(3) {
        0 if overlay => out.push_str("kubelet: {node-ip: overlay}\n"),
        1 => out.push_str("kubelet: {node-ip: enp0s6}\n"),
        _ => {}
    }
    let mut devices = vec!["", "", "enp0s6", "enp+", "en+", "enp0s6,dummy0", "nothing-like-it"];
    if overlay {
        devices.extend(["tailscale0", "tailscale0", "enp0s6,tailscale0", "enp+,tailscale0", "tail+"]);
    }
    if nodes.iter().any(|node| matches!(node.second, Some(Second::Nic { .. }))) {
        devices.extend(["enp1s0", "enp1s0,enp0s6"]);
    }
    if version >= cilium::version::Minor::V1_19 {
        devices.extend(["!enp1s0,enp+", "!tailscale0"]);
    }
    let devices = *random.pick(&devices);
    let proxy = random.percent(80);
    // An agent that is to masquerade by eBPF without NodePort dies, in most versions: once in a while is enough.
    let masquerade = random.percent(if proxy { 85 } else { 20 });
    let _ = writeln!(
        out,
        "values:\n  routingMode: tunnel\n  tunnelProtocol: vxlan\n  kubeProxyReplacement: {proxy}\n  bpf: {{masquerade: \
         {masquerade}}}"
    );
    if !devices.is_empty() {
        let _ = writeln!(out, "  devices: \"{devices}\"");
    }
    if random.percent(10) {
        let _ = writeln!(out, "  MTU: {}", random.pick(&[1400, 1280]));
    }
    if random.percent(10) {
        out.push_str("  enableIPv4Masquerade: false\n");
    }
}

fn probes(random: &mut Random, nodes: &[Node], out: &mut String) {
    out.push_str("probes:\n");
    let mut probe = |name: &str, what: &str| {
        let _ = writeln!(out, "  {name}: {{{what}}}");
    };
    for from in nodes {
        let from = from.name;
        probe(&format!("{from}-same-node"), &format!("icmp: {from}/pod-2, from: {from}/pod"));
        probe(&format!("{from}-internet"), &format!("icmp: 8.8.8.8, from: {from}/pod"));
        probe(&format!("{from}-node-internet"), &format!("icmp: 8.8.8.8, from: {from}"));
        for to in nodes.iter().filter(|to| to.name != from) {
            probe(&format!("{from}-to-{}", to.name), &format!("icmp: {}/pod, from: {from}/pod", to.name));
        }
    }
    // Bigger than any pod's MTU but the largest.
    let size = random.pick(&[1202, 1322, 1422, 1452, 1474, 8922]);
    probe("big", &format!("icmp: {{to: worker/pod, size: {size}, df: true}}, from: master/pod"));
}
