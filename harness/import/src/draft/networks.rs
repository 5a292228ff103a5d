//! Which interfaces are in one network, and what is at its edge. Neither can be seen from inside; this is where it is
//! guessed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use topology::validate::MAX_VCNS;

use super::{NicKind, NodeDraft, Remarks, VcnDraft};
use crate::ip::Seen;
use crate::public::Renamer;
use crate::{Networks, Options};

/// Gives each interface that can be plugged in a VCN, and each VCN what is needed to build it.
pub(super) fn guess(
    nodes: &mut [NodeDraft],
    sights: &[Seen],
    overlay: Option<Ipv4Net>,
    options: &Options,
    renamer: &mut Renamer,
) -> Vec<VcnDraft> {
    let mut vcns: Vec<VcnDraft> = Vec::new();
    // Those with an address first: the others follow them.
    for with_address in [true, false] {
        for index in 0..nodes.len() {
            for nic in 0..nodes[index].nics.len() {
                let node = &nodes[index];
                let top = node.top(nic);
                let addressed = !node.nics[top].addresses.is_empty();
                if node.nics[nic].kind != NicKind::Vcn(None) || addressed != with_address {
                    continue;
                }
                let vcn = match addressed {
                    true => addressed_vcn(nodes, &mut vcns, &sights[index], options, index, top),
                    false => beside(&mut nodes[index], nic),
                };
                nodes[index].nics[nic].kind = NicKind::Vcn(vcn);
            }
        }
    }
    fit_routes(nodes, &vcns);
    vcns.iter_mut().for_each(gateway);
    for index in 0..vcns.len() {
        edge(nodes, &mut vcns, index, overlay, renamer);
        shared(nodes, &mut vcns[index]);
    }
    apart(nodes, &mut vcns);
    vcns
}

/// The network the addresses of an interface speak of: one that is there, or a new one.
fn addressed_vcn(
    nodes: &mut [NodeDraft],
    vcns: &mut Vec<VcnDraft>,
    seen: &Seen,
    options: &Options,
    index: usize,
    top: usize,
) -> Option<usize> {
    let nic = &nodes[index].nics[top];
    let gateway = seen.default_route().filter(|_| nic.default_route).and_then(|route| route.gateway);
    let (cidr, widened) = subnet(&nic.addresses, gateway)?;
    let mut addresses: Vec<Ipv4Addr> = nic.addresses.iter().map(Ipv4Net::addr).collect();
    addresses.retain(|address| cidr.contains(address) && Some(*address) != gateway);
    let fits = |vcn: &VcnDraft| {
        let gateways = vcn.gateway.zip(gateway).is_none_or(|(one, other)| one == other);
        let free = vcn
            .members
            .iter()
            .all(|(member, taken)| *member == index || taken.iter().all(|address| !addresses.contains(address)));
        let meets = vcn.members.iter().all(|(member, _)| *member == index || meet(nodes, *member, index, options));
        // A gateway is no machine of a topology: a node that is another's stays out of its network.
        let is_gateway = vcn.gateway.is_some_and(|gateway| addresses.contains(&gateway))
            || gateway.is_some_and(|gateway| vcn.members.iter().any(|(_, taken)| taken.contains(&gateway)));
        vcn.cidr == cidr && gateways && free && meets && !is_gateway
    };
    let found = match vcns.iter().position(fits) {
        Some(found) => found,
        None if vcns.len() == MAX_VCNS => return None,
        None => {
            vcns.push(VcnDraft {
                name: letters(vcns.len()),
                cidr,
                gateway: None,
                preset: None,
                nat: None,
                public_address: None,
                members: Vec::new(),
                remarks: Remarks::default(),
            });
            vcns.len() - 1
        }
    };
    let vcn = &mut vcns[found];
    vcn.gateway = vcn.gateway.or(gateway);
    match vcn.members.iter_mut().find(|(member, _)| *member == index) {
        Some((_, taken)) => taken.extend(addresses),
        None => vcn.members.push((index, addresses)),
    }
    let nic = &mut nodes[index].nics[top];
    if widened {
        let lengths: Vec<String> = nic.addresses.iter().map(|net| format!("/{}", net.prefix_len())).collect();
        let lengths = lengths.join(", ");
        nic.remarks.unknown.push(format!("the subnet, of which {lengths} tells nothing: assumed {cidr}"));
    }
    let mut kept = Vec::new();
    for net in std::mem::take(&mut nic.addresses) {
        let address = net.addr();
        let outside = !cidr.contains(&address) || address == cidr.network() || address == cidr.broadcast();
        if outside || Some(address) == vcn.gateway {
            nic.remarks.left_out.push(format!("{net}: it is outside {cidr}, and a VCN is one subnet"));
            continue;
        }
        let length = if widened { cidr.prefix_len() } else { net.prefix_len().max(cidr.prefix_len()) };
        kept.extend(
            Ipv4Net::new(address, length)
                .ok()
                .filter(|net| net.prefix_len() >= 31 || (address != net.network() && address != net.broadcast())),
        );
    }
    nic.addresses = kept;
    Some(found)
}

/// An interface without addresses: plugged in where the node's default route leads, or anywhere.
fn beside(node: &mut NodeDraft, nic: usize) -> Option<usize> {
    let plugged = |nic: &super::NicDraft| match nic.kind {
        NicKind::Vcn(vcn) => vcn,
        _ => None,
    };
    let default = (0..node.nics.len())
        .find(|other| node.nics[node.top(*other)].default_route && plugged(&node.nics[*other]).is_some());
    let found = default.or((0..node.nics.len()).find(|other| plugged(&node.nics[*other]).is_some()))?;
    let vcn = plugged(&node.nics[found]);
    let beside = node.nics[found].name.clone();
    let nic = &mut node.nics[nic];
    nic.remarks.unknown.push(format!("what it is plugged into, since it has no address: assumed the same as {beside}"));
    vcn
}

/// The network of these addresses: of the one that has the gateway in its range, else of the first whose prefix length
/// says something. True if the prefix lengths say nothing, as clouds' /32, and the range is a guess.
fn subnet(addresses: &[Ipv4Net], gateway: Option<Ipv4Addr>) -> Option<(Ipv4Net, bool)> {
    let speaks = |net: &&Ipv4Net| (8..=30).contains(&net.prefix_len());
    let own = match gateway {
        Some(gateway) => addresses.iter().filter(speaks).find(|net| net.contains(&gateway)),
        None => addresses.iter().find(speaks),
    };
    if let Some(net) = own {
        return Some((net.trunc(), false));
    }
    let first = addresses.first()?.addr();
    let holds = |net: &Ipv4Net| {
        let inside =
            |address: Ipv4Addr| net.contains(&address) && address != net.network() && address != net.broadcast();
        inside(first) && gateway.is_none_or(inside)
    };
    let wider = (8..=24).rev().map(|length| Ipv4Net::new_assert(first, length).trunc());
    wider.into_iter().find(holds).map(|net| (net, true))
}

/// Whether two nodes whose addresses are of one subnet are taken to be in one network.
fn meet(nodes: &[NodeDraft], one: usize, other: usize, options: &Options) -> bool {
    match options.networks {
        Networks::Shared => true,
        Networks::Separate => false,
        Networks::Auto => {
            // Who made nodes meet by an overlay had a reason, unless their node IPs are on the NICs.
            let by_overlay = |node: &NodeDraft| {
                let node_ip = node.object.as_ref().and_then(|object| object.internal_ip);
                node.overlay_address.is_some_and(|overlay| node_ip.is_none_or(|node_ip| node_ip == overlay))
            };
            !(by_overlay(&nodes[one]) && by_overlay(&nodes[other]))
        }
    }
}

/// A default route needs a gateway within reach of an address; one of another network's is taken away.
fn fit_routes(nodes: &mut [NodeDraft], vcns: &[VcnDraft]) {
    for node in nodes {
        for index in 0..node.nics.len() {
            if !node.nics[index].default_route {
                continue;
            }
            let under = (0..node.nics.len())
                .find(|nic| node.top(*nic) == index && matches!(node.nics[*nic].kind, NicKind::Vcn(Some(_))));
            let vcn = under.and_then(|nic| match node.nics[nic].kind {
                NicKind::Vcn(vcn) => vcns.get(vcn?),
                _ => None,
            });
            let nic = &mut node.nics[index];
            let reached = vcn
                .and_then(|vcn| vcn.gateway)
                .is_some_and(|gateway| nic.addresses.iter().any(|net| net.contains(&gateway)));
            if !reached {
                nic.default_route = false;
                nic.remarks.left_out.push("the default route: no gateway of a network this interface is in".to_owned());
            }
        }
    }
}

/// Where no default route names the gateway, it is at an address that nobody has: the first that is free.
fn gateway(vcn: &mut VcnDraft) {
    let taken = |address: &Ipv4Addr| vcn.members.iter().any(|(_, addresses)| addresses.contains(address));
    vcn.gateway = vcn.gateway.or_else(|| vcn.cidr.hosts().find(|address| !taken(address)));
}

/// NAT at the edge of a network: what a cloud's name tells, else what is least surprising.
fn edge(nodes: &mut [NodeDraft], vcns: &mut [VcnDraft], index: usize, overlay: Option<Ipv4Net>, renamer: &mut Renamer) {
    // The nodes whose default route leads here, with the interface it leads through.
    let out: Vec<(usize, usize)> = nodes
        .iter()
        .enumerate()
        .filter_map(|(at, node)| {
            let plugged = (0..node.nics.len()).find(|nic| {
                node.nics[*nic].kind == NicKind::Vcn(Some(index)) && node.nics[node.top(*nic)].default_route
            })?;
            Some((at, node.top(plugged)))
        })
        .collect();
    if out.is_empty() {
        vcns[index].preset = Some("isolated");
        vcns[index].remarks.unknown.push("where it leads: assumed nowhere, as no default route goes there".to_owned());
        return;
    }
    let provider = out.iter().find_map(|(at, _)| nodes[*at].object.as_ref()?.provider.clone());
    let preset = match provider.as_deref() {
        Some("oci") => Some("oci"),
        Some("aws") => Some("aws"),
        Some("gce") => Some("gcp"),
        Some("azure") => Some("azure"),
        _ => None,
    };
    // An address is one gateway's or one interface's, and none of a network's own, nor of the overlay's.
    let nics = nodes.iter().flat_map(|node| &node.nics).filter_map(|nic| nic.public_address);
    let claimed: Vec<Ipv4Addr> = nics.chain(vcns.iter().filter_map(|vcn| vcn.public_address)).collect();
    let free = |address: &Ipv4Addr| {
        !claimed.contains(address)
            && !vcns.iter().any(|vcn| vcn.cidr.contains(address))
            && !overlay.is_some_and(|overlay| overlay.contains(address))
            && super::nics::usable(&(*address).into())
    };
    let external: Vec<Option<Ipv4Addr>> =
        out.iter().map(|(at, _)| nodes[*at].object.as_ref()?.external_ip.filter(free)).collect();
    let own = out
        .iter()
        .all(|(at, nic)| nodes[*at].nics[*nic].addresses.iter().all(|net| crate::public::is_stand_in(net.addr())));
    let mut known: Vec<Ipv4Addr> = external.iter().flatten().copied().collect();
    known.sort_unstable();
    let shared = known.len() > 1 && known.windows(2).any(|pair| pair[0] == pair[1]);
    let vcn = &mut vcns[index];
    let words = match preset {
        Some(preset) => format!("as `preset: {preset}`, which the nodes' providerID names"),
        None => "no check of sources, and nothing new let in from outside".to_owned(),
    };
    vcn.preset = preset;
    if (known.is_empty() && !own) || shared {
        vcn.nat = Some("endpoint-independent");
        vcn.public_address = Some(known.first().copied().unwrap_or_else(|| renamer.fresh()));
        vcn.remarks.unknown.push(format!("the gateway's NAT: assumed one public address for all; {words}"));
        return;
    }
    if preset.is_none() {
        vcn.nat = Some("one-to-one");
    }
    vcn.remarks.unknown.push(match own {
        true => format!("the way out: the nodes have public addresses themselves, here they are translated; {words}"),
        false => format!("the gateway's NAT: assumed one-to-one, as nodes have an ExternalIP; {words}"),
    });
    for ((at, nic), address) in out.into_iter().zip(external) {
        let nic = &mut nodes[at].nics[nic];
        nic.public_address = Some(address.unwrap_or_else(|| {
            nic.remarks.unknown.push("its public address: any".to_owned());
            renamer.fresh()
        }));
    }
}

/// Says which nodes are taken to share a network.
fn shared(nodes: &[NodeDraft], vcn: &mut VcnDraft) {
    let names: Vec<&str> = vcn.members.iter().map(|(member, _)| nodes[*member].name.as_str()).collect();
    if let [first, .., last] = names[..] {
        let others = if names.len() > 2 { format!(" and {} more", names.len() - 2) } else { String::new() };
        vcn.remarks.unknown.insert(
            0,
            format!("whether {first}, {last}{others} are in one network: assumed so, as their subnet is the same"),
        );
    }
}

/// Says which networks are taken to be apart.
fn apart(nodes: &[NodeDraft], vcns: &mut [VcnDraft]) {
    for index in 0..vcns.len() {
        let twin = (0..index).find(|earlier| vcns[*earlier].cidr == vcns[index].cidr);
        if let Some(twin) = twin.map(|twin| vcns[twin].name.clone()) {
            let remark = format!("whether it is the same network as `{twin}`: assumed not, and that they don't meet");
            vcns[index].remarks.unknown.insert(0, remark);
        }
    }
    // Nodes that meet by their NICs' addresses though the subnets differ: there is a router, which topologies don't have.
    let by_nic = |node: &NodeDraft| {
        let node_ip = node.object.as_ref()?.internal_ip?;
        vcns.iter().position(|vcn| vcn.members.iter().any(|(_, addresses)| addresses.contains(&node_ip)))
    };
    let mut used: Vec<usize> = nodes.iter().filter_map(by_nic).collect();
    used.sort_unstable();
    used.dedup();
    for index in used.iter().skip(1).copied() {
        if vcns[used[0]].cidr != vcns[index].cidr {
            let remark = "a way from it to the other networks, which node IPs speak of: VCNs don't meet".to_owned();
            vcns[index].remarks.left_out.push(remark);
        }
    }
}

/// `a`, `b`, … `z`, `aa`.
fn letters(mut index: usize) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'a' + (index % 26) as u8));
        match index / 26 {
            0 => return name,
            more => index = more - 1,
        }
    }
}
