//! The picture in Mermaid's language, for places that draw it themselves: GitHub's Markdown, wikis.

use std::fmt::Write as _;

use super::super::schema::topology::{Interface, Topology};

/// A flowchart of a network. Names are quoted; nothing in them ends the quotes.
pub fn draw(topology: &Topology) -> String {
    let mut out = String::from("flowchart TB\n");
    let _ = writeln!(out, "  subgraph internet[\"internet\"]");
    for (index, host) in topology.internet.iter().enumerate() {
        let _ = writeln!(out, "    i{index}[\"{}<br>{}\"]", quoted(&host.name), quoted(&host.address));
    }
    if topology.internet.is_empty() {
        let _ = writeln!(out, "    i0[\" \"]");
    }
    let _ = writeln!(out, "  end");
    for (index, vcn) in topology.vcns.iter().enumerate() {
        let _ = writeln!(out, "  subgraph v{index}[\"VCN {} {}\"]", quoted(&vcn.name), quoted(&vcn.cidr));
        let check = if vcn.source_check { "<br>source check" } else { "" };
        let _ = writeln!(
            out,
            "    g{index}{{{{\"gateway {}<br>NAT {}{check}\"}}}}",
            quoted(&vcn.gateway),
            quoted(&vcn.nat)
        );
        for (number, node) in topology.nodes.iter().enumerate() {
            if super::home(node) == Some(vcn.name.as_str()) {
                machine(&mut out, topology, number, "    ");
            }
        }
        let _ = writeln!(out, "  end");
    }
    for (number, node) in topology.nodes.iter().enumerate() {
        if super::home(node).is_none() {
            machine(&mut out, topology, number, "  ");
        }
    }
    for (index, vcn) in topology.vcns.iter().enumerate() {
        if vcn.nat != "none" {
            match &vcn.public_address {
                Some(address) => {
                    let _ = writeln!(out, "  internet ---|\"as {}\"| g{index}", quoted(address));
                }
                None => {
                    let _ = writeln!(out, "  internet --- g{index}");
                }
            }
        }
        for (number, node) in topology.nodes.iter().enumerate() {
            for (nic, interface) in node.interfaces.iter().enumerate() {
                if interface.vcn.as_ref() == Some(&vcn.name) {
                    let _ = writeln!(out, "  g{index} --- n{number}_{nic}");
                }
            }
        }
    }
    for (number, node) in topology.nodes.iter().enumerate() {
        for (nic, interface) in node.interfaces.iter().enumerate() {
            for port in &interface.ports {
                if let Some(port) = node.interfaces.iter().position(|other| other.name == *port) {
                    let _ = writeln!(out, "  n{number}_{port} --- n{number}_{nic}");
                }
            }
        }
    }
    if let Some(overlay) = &topology.overlay {
        let _ = writeln!(out, "  overlay([\"overlay {}<br>WireGuard, MTU {}\"])", quoted(&overlay.cidr), overlay.mtu);
        for (number, _) in topology.nodes.iter().enumerate().filter(|(_, node)| node.overlay_address.is_some()) {
            let _ = writeln!(out, "  n{number}_o -.- overlay");
        }
    }
    out
}

fn machine(out: &mut String, topology: &Topology, number: usize, indent: &str) {
    let node = &topology.nodes[number];
    let _ = writeln!(out, "{indent}subgraph n{number}[\"{} ({})\"]", quoted(&node.name), quoted(&node.role));
    for (index, nic) in node.interfaces.iter().enumerate() {
        let _ = writeln!(out, "{indent}  n{number}_{index}[\"{}\"]", interface(nic));
    }
    if let (Some(overlay), Some(address)) = (&topology.overlay, &node.overlay_address) {
        let _ = writeln!(out, "{indent}  n{number}_o[\"{}<br>{}\"]", quoted(&overlay.interface), quoted(address));
    }
    let _ = writeln!(out, "{indent}end");
}

fn interface(nic: &Interface) -> String {
    let detail = super::nic_detail(nic);
    match detail.is_empty() {
        true => quoted(&nic.name),
        false => format!("{}<br>{}", quoted(&nic.name), quoted(&detail)),
    }
}

/// Text between Mermaid's quotes: what has a meaning there, or in the HTML that it makes of it, as an entity.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            ' ' | '-' | '_' | '.' | ',' | '/' | '(' | ')' | '↔' => out.push(letter),
            letter if letter.is_alphanumeric() => out.push(letter),
            letter if letter.is_control() => out.push(' '),
            letter => {
                let _ = write!(out, "#{};", u32::from(letter));
            }
        }
    }
    out
}
