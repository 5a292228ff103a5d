//! The machines and their interfaces.

use std::{collections::HashMap, net::Ipv4Addr};

use indexmap::IndexMap;
use ipnet::Ipv4Net;

use super::{
    MAX_ADDRESSES, MAX_INTERFACES, MAX_NODES, Vcns, addresses,
    claims::Claims,
    limit, names,
    vcns::{DEFAULT_MTU, ReadVcn},
};
use crate::{
    file::{Addresses, InterfaceFile, NodeFile, RoleFile},
    network::{Nat, Nic, NicKind, Node, Overlay, Role},
    source::{Mistakes, Position, Spanned, choices, shown},
};

type Parts = Spanned<Vec<Spanned<String>>>;
type Interfaces = IndexMap<Spanned<String>, InterfaceFile>;

pub(super) fn read(
    files: &Spanned<IndexMap<Spanned<String>, NodeFile>>,
    vcns: &Vcns,
    overlay: Option<&Overlay>,
    public: &mut Claims,
    mistakes: &mut Mistakes<'_>,
) -> Vec<Node> {
    if files.is_empty() {
        mistakes.add(files.at, "there are no nodes").help("a network needs at least one");
    }
    if let Some((name, _)) = files.get_index(MAX_NODES) {
        limit(files.len(), MAX_NODES, "nodes", name.at, mistakes);
    }
    let mut reader = Reader {
        vcns,
        overlay,
        public,
        mistakes,
        overlay_addresses: Claims::new("is the overlay address of"),
        taken: HashMap::new(),
        control_plane: None,
    };
    // Beyond the limit nothing more is said: one mistake is enough.
    files.iter().take(MAX_NODES).map(|(name, file)| reader.node(name, file)).collect()
}

struct Reader<'a, 'm, 's> {
    vcns: &'a Vcns,
    overlay: Option<&'a Overlay>,
    public: &'a mut Claims,
    mistakes: &'m mut Mistakes<'s>,
    overlay_addresses: Claims,
    /// Addresses in use, by VCN.
    taken: HashMap<String, Claims>,
    control_plane: Option<Spanned<String>>,
}

impl Reader<'_, '_, '_> {
    fn node(&mut self, name: &Spanned<String>, file: &NodeFile) -> Node {
        names::node(name, self.mistakes);
        let role = match file.role.as_ref().map(|role| role.value) {
            Some(RoleFile::ControlPlane) => Role::ControlPlane,
            Some(RoleFile::Host) => Role::Host,
            Some(RoleFile::Worker) | None => Role::Worker,
        };
        if role == Role::ControlPlane {
            let at = file.role.as_ref().map_or(name.at, |role| role.at);
            match &self.control_plane {
                Some(first) => {
                    self.mistakes
                        .add(at, format!("`{name}` is a second control plane, after `{first}`"))
                        .related(first.at, "the first")
                        .help("one node of a network can be the control plane in this version: make it a worker");
                }
                None => self.control_plane = Some(Spanned { value: name.value.clone(), at }),
            }
        }
        let overlay_address = self.overlay_address(name, file);
        let mut node = Node { name: name.value.clone(), role, nics: Vec::new(), overlay_address };
        self.nics(name, &file.interfaces, &mut node);
        node
    }

    fn overlay_address(&mut self, node: &Spanned<String>, file: &NodeFile) -> Option<Ipv4Addr> {
        let text = file.overlay_address.as_ref()?;
        let address = addresses::address(text, self.mistakes)?;
        match self.overlay {
            None => {
                self.mistakes
                    .add(text.at, format!("`{node}` has an overlay address, but there is no overlay"))
                    .help("add `overlay: {}` to the file, or leave the address out");
            }
            Some(overlay) if !overlay.cidr.contains(&address) => {
                self.mistakes
                    .add(text.at, format!("{address} is outside the overlay's range, {}", overlay.cidr))
                    .help(format!("pick one from {}", addresses::range(overlay.cidr)));
            }
            Some(_) => self.overlay_addresses.claim(address, text.at, format!("node `{node}`"), self.mistakes),
        }
        Some(address)
    }

    fn nics(&mut self, node: &Spanned<String>, files: &Spanned<Interfaces>, read: &mut Node) {
        if let Some((last, _)) = files.last() {
            limit(files.len(), MAX_INTERFACES, "interfaces", last.at, self.mistakes);
        }
        for (name, file) in files.iter().take(MAX_INTERFACES) {
            names::interface(name, self.mistakes);
            if read.role != Role::Host {
                names::beside_pods(name, self.mistakes);
            }
            if self.overlay.is_some_and(|overlay| overlay.interface == name.value) {
                self.mistakes
                    .add(name.at, format!("`{name}` is the overlay's interface"))
                    .help("it is made on each node that has an `overlay-address`; don't list it here");
            }
            let kind = self.kind(name, file, files);
            let default = file.default_route.as_ref().is_some_and(|default| default.value);
            read.nics.push(Nic {
                name: name.value.clone(),
                mtu: 0,
                kind: kind.unwrap_or(NicKind::Dummy),
                addresses: Vec::new(),
                // The address is filled in below, once it is known which VCN it leads to.
                default_route: default.then_some(Ipv4Addr::UNSPECIFIED),
                public_address: None,
                up: file.up.unwrap_or(true),
            });
        }
        if !read.nics.iter().any(|nic| matches!(nic.kind, NicKind::Vcn(_))) && !misread(files) {
            self.mistakes
                .add(node.at, format!("node `{node}` is in no VCN"))
                .help("give one of its interfaces a `vcn`");
        }
        self.masters(files);
        self.loops(files, read);
        self.one_default_route(node, files);

        // Ports come before what is built on them, whatever the file's order: a bridge's MTU is its ports'.
        let level = |nic: &Nic| match nic.kind {
            NicKind::Vcn(_) | NicKind::Dummy => 0,
            NicKind::Bond(_) => 1,
            NicKind::Bridge(_) => 2,
        };
        let mut order: Vec<usize> = (0..read.nics.len()).collect();
        order.sort_by_key(|&index| level(&read.nics[index]));
        let mut own = HashMap::new();
        for index in order {
            let Some((name, file)) = files.get_index(index) else { continue };
            let nic = self.settings(node, name, file, read, index, &mut own);
            read.nics[index] = nic;
        }
    }

    /// What an interface is: exactly one of the four.
    fn kind(&mut self, name: &Spanned<String>, file: &InterfaceFile, all: &Interfaces) -> Option<NicKind> {
        let mut kinds: Vec<(&str, Position, NicKind)> = Vec::new();
        if let Some(vcn) = &file.vcn {
            kinds.push(("vcn", vcn.at, NicKind::Vcn(vcn.value.clone())));
        }
        let list = |parts: &Parts| first_parts(parts).iter().map(|part| part.value.clone()).collect::<Vec<_>>();
        if let Some(bridge) = &file.bridge {
            kinds.push(("bridge", bridge.at, NicKind::Bridge(list(bridge))));
        }
        if let Some(bond) = &file.bond {
            kinds.push(("bond", bond.at, NicKind::Bond(list(bond))));
        }
        if let Some(dummy) = file.dummy.as_ref().filter(|dummy| dummy.value) {
            kinds.push(("dummy", dummy.at, NicKind::Dummy));
        }
        let four = "exactly one of `vcn: NAME`, `bridge: [PORTS]`, `bond: [MEMBERS]`, `dummy: true`";
        if let [_, (_, at, _), ..] = kinds.as_slice() {
            let names: Vec<String> = kinds.iter().map(|(what, ..)| format!("`{what}`")).collect();
            self.mistakes
                .add(*at, format!("interface `{}` can't be {} at once", shown(name), names.join(" and ")))
                .help(four);
            return None;
        }
        let Some((_, at, kind)) = kinds.pop() else {
            self.mistakes.add(name.at, format!("interface `{}` is plugged in nowhere", shown(name))).help(four);
            return None;
        };
        match &kind {
            NicKind::Vcn(vcn) if !self.mistakes.is_full() && !self.vcns.contains_key(vcn) => {
                let known = choices(vcn, "VCNs here", self.vcns.keys().map(String::as_str));
                self.mistakes.add(at, format!("there is no VCN `{}`", shown(vcn))).help(known);
                return None;
            }
            NicKind::Bridge(_) => self.parts(name, file.bridge.as_ref()?, all, "bridge"),
            NicKind::Bond(_) => self.parts(name, file.bond.as_ref()?, all, "bond"),
            NicKind::Vcn(_) | NicKind::Dummy => {}
        }
        Some(kind)
    }

    /// The ports of a bridge or the members of a bond: there, no other than what the kernel takes, each once.
    fn parts(&mut self, name: &Spanned<String>, parts: &Parts, all: &Interfaces, what: &str) {
        limit(parts.len(), MAX_INTERFACES, "interfaces in one list", parts.at, self.mistakes);
        let ports = first_parts(parts);
        for (index, port) in ports.iter().enumerate() {
            if port.value == name.value {
                self.mistakes.add(port.at, format!("{what} `{name}` can't be a part of itself"));
            } else if let Some(file) = all.get(port) {
                let refused = match (what, file) {
                    (_, InterfaceFile { bridge: Some(_), .. }) => Some("a bridge"),
                    ("bond", InterfaceFile { bond: Some(_), .. }) => Some("a bond"),
                    _ => None,
                };
                if let Some(refused) = refused {
                    self.mistakes
                        .add(port.at, format!("`{port}` is {refused}, which can't be part of a {what}"))
                        .help("a bridge takes VCN interfaces, bonds and dummies; a bond, VCN interfaces and dummies");
                }
            } else if !self.mistakes.is_full() {
                let own = all.keys().map(|other| other.value.as_str()).filter(|other| *other != name.value);
                let known = choices(port, "interfaces of this node", own);
                self.mistakes.add(port.at, format!("this node has no interface `{}`", shown(port))).help(known);
            }
            if ports[..index].contains(port) {
                self.mistakes.add(port.at, format!("`{}` is listed twice", shown(port)));
            }
        }
    }

    /// An interface has one master at most.
    fn masters(&mut self, files: &Interfaces) {
        let mut masters: HashMap<&str, (&str, Position)> = HashMap::new();
        for (master, file) in files {
            let parts = file.bridge.iter().chain(&file.bond).flat_map(first_parts);
            // A part of itself: said already.
            for port in parts.filter(|port| port.value != master.value) {
                match masters.get(port.value.as_str()) {
                    Some((first, _)) if *first == master.value => {}
                    Some((first, at)) => {
                        self.mistakes
                            .add(port.at, format!("`{}` is part of `{}` already", shown(port), shown(first)))
                            .related(*at, "here")
                            .help("an interface is part of one bridge or bond at most");
                    }
                    None => {
                        masters.insert(&port.value, (&master.value, port.at));
                    }
                }
            }
        }
    }

    /// A bridge or bond leads to one VCN at most, and a bridge through one port only: two would be a loop.
    fn loops(&mut self, files: &Interfaces, node: &Node) {
        for (name, file) in files {
            let ports = match (&file.bridge, &file.bond) {
                (Some(ports), None) | (None, Some(ports)) => ports,
                _ => continue,
            };
            let mut first: Option<(&str, Position)> = None;
            for (index, port) in first_parts(ports).iter().enumerate() {
                // Said already, of each of these.
                let bridge = node.nic(port).is_some_and(|nic| matches!(nic.kind, NicKind::Bridge(_)));
                if bridge || ports[..index].contains(port) {
                    continue;
                }
                let Some(vcn) = node.vcn_of(port) else { continue };
                match first {
                    None => first = Some((vcn, port.at)),
                    Some((other, at)) if other != vcn => {
                        self.mistakes
                            .add(port.at, format!("`{}` would join VCN `{vcn}` to VCN `{other}`", shown(name)))
                            .related(at, format!("leads to VCN `{other}`"))
                            .help("its ports may lead to one VCN only");
                    }
                    Some((_, at)) if file.bridge.is_some() => {
                        self.mistakes
                            .add(port.at, format!("two ports of `{}` lead to VCN `{vcn}`: a loop", shown(name)))
                            .related(at, "the other")
                            .help("keep one of them, or make them a bond");
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn one_default_route(&mut self, node: &Spanned<String>, files: &Interfaces) {
        let mut first: Option<Position> = None;
        for file in files.values() {
            let Some(default) = file.default_route.as_ref().filter(|default| default.value) else { continue };
            match first {
                None => first = Some(default.at),
                Some(at) => {
                    self.mistakes
                        .add(default.at, format!("node `{node}` has two default routes"))
                        .related(at, "the other")
                        .help("the kernel takes one in its main table: keep one");
                }
            }
        }
    }

    /// Addresses, MTU, route and public address of one interface, whose kind is known.
    fn settings(
        &mut self,
        node: &Spanned<String>,
        name: &Spanned<String>,
        file: &InterfaceFile,
        read: &Node,
        index: usize,
        own: &mut HashMap<Ipv4Addr, Position>,
    ) -> Nic {
        let mut nic = read.nics[index].clone();
        // Two different questions: does it lead to a VCN, and could that VCN be read.
        let leads = read.vcn_of(name);
        let vcn = leads.and_then(|vcn| self.vcns.get(vcn)).and_then(Option::as_ref);
        let known = leads.is_none() || vcn.is_some();
        nic.mtu = self.mtu(file, &nic, read, vcn);
        nic.addresses = self.addresses(node, name, file, vcn, own);

        let default = file.default_route.as_ref().filter(|default| default.value);
        nic.default_route = None;
        match (default, vcn) {
            (Some(default), None) if known && !misread_kind(file) => {
                self.mistakes
                    .add(default.at, format!("a default route through `{name}` would lead nowhere"))
                    .help("it goes to a VCN's gateway, and this interface leads to no VCN");
            }
            (Some(default), Some(vcn)) => {
                let gateway = vcn.vcn.gateway;
                nic.default_route = Some(gateway);
                let written = file.address.is_some();
                if !written {
                    self.mistakes
                        .add(default.at, format!("`{name}` has a default route but no address"))
                        .help(format!("give it one from {}", addresses::range(vcn.vcn.cidr)));
                } else if !nic.addresses.is_empty() && !nic.addresses.iter().any(|net| net.contains(&gateway)) {
                    self.mistakes
                        .add(default.at, format!("the gateway {gateway} is in none of the networks of `{name}`"))
                        .help(format!("with the VCN's prefix length, /{}, it is", vcn.vcn.cidr.prefix_len()));
                }
            }
            _ => {}
        }
        nic.public_address = self.public_address(node, name, file, vcn, known);
        nic
    }

    fn mtu(&mut self, file: &InterfaceFile, nic: &Nic, read: &Node, vcn: Option<&ReadVcn>) -> u32 {
        if let Some(mtu) = &file.mtu {
            return addresses::mtu(mtu, 68, self.mistakes);
        }
        let default = match &nic.kind {
            NicKind::Vcn(_) => vcn.map(|vcn| vcn.mtu),
            NicKind::Bridge(ports) | NicKind::Bond(ports) => {
                ports.iter().filter_map(|port| read.nic(port)).map(|port| port.mtu).min()
            }
            NicKind::Dummy => None,
        };
        default.unwrap_or(DEFAULT_MTU)
    }

    fn addresses(
        &mut self,
        node: &Spanned<String>,
        name: &Spanned<String>,
        file: &InterfaceFile,
        vcn: Option<&ReadVcn>,
        own: &mut HashMap<Ipv4Addr, Position>,
    ) -> Vec<Ipv4Net> {
        let Some(written) = &file.address else { return Vec::new() };
        let list: Vec<(&str, Position)> = match &written.value {
            Addresses::One(address) => vec![(address, written.at)],
            Addresses::Many(list) => list.iter().map(|address| (address.as_str(), address.at)).collect(),
        };
        limit(list.len(), MAX_ADDRESSES, "addresses", written.at, self.mistakes);
        let mut read = Vec::new();
        for (text, at) in list.into_iter().take(MAX_ADDRESSES) {
            let Some(net) = addresses::with_prefix(text, at, self.mistakes) else { continue };
            read.push(net);
            if let Some(first) = own.insert(net.addr(), at) {
                self.mistakes
                    .add(at, format!("node `{node}` has {} twice", net.addr()))
                    .related(first, "first given here");
                continue;
            }
            if let Some(vcn) = vcn {
                self.in_vcn(node, name, net, at, vcn);
            }
        }
        read
    }

    fn in_vcn(&mut self, node: &Spanned<String>, name: &Spanned<String>, net: Ipv4Net, at: Position, read: &ReadVcn) {
        let (vcn, address) = (&read.vcn, net.addr());
        if !vcn.cidr.contains(&address) {
            self.mistakes
                .add(at, format!("{address} is outside VCN `{}`, {}", vcn.name, vcn.cidr))
                .related(read.at, "this VCN")
                .help(format!("pick one from {}", addresses::range(vcn.cidr)));
        } else if address == vcn.gateway {
            self.mistakes
                .add(at, format!("{address} is the gateway of VCN `{}`", vcn.name))
                .related(read.at, "this VCN")
                .help(format!("pick another from {}", addresses::range(vcn.cidr)));
        } else if address == vcn.cidr.network() || address == vcn.cidr.broadcast() {
            self.mistakes
                .add(at, format!("{address} is no host's address in VCN `{}`, {}", vcn.name, vcn.cidr))
                .help(format!("pick one from {}", addresses::range(vcn.cidr)));
        } else if net.prefix_len() < vcn.cidr.prefix_len() {
            self.mistakes
                .add(at, format!("a /{} is wider than VCN `{}`, {}", net.prefix_len(), vcn.name, vcn.cidr))
                .related(read.at, "this VCN")
                .help(format!("write {address}/{}", vcn.cidr.prefix_len()));
        } else {
            let owner = format!("`{}` of node `{node}` in VCN `{}`", shown(name), vcn.name);
            self.taken.entry(vcn.name.clone()).or_insert_with(|| Claims::new("belongs to")).claim(
                address,
                at,
                owner,
                self.mistakes,
            );
        }
    }

    fn public_address(
        &mut self,
        node: &Spanned<String>,
        name: &Spanned<String>,
        file: &InterfaceFile,
        vcn: Option<&ReadVcn>,
        known: bool,
    ) -> Option<Ipv4Addr> {
        let Some(text) = &file.public_address else {
            let needed = vcn.filter(|vcn| vcn.vcn.nat == Nat::OneToOne);
            if let (Some(default), Some(vcn)) = (file.default_route.as_ref().filter(|it| it.value), needed) {
                self.mistakes
                    .add(default.at, format!("`{name}` has a default route but no `public-address`"))
                    .related(vcn.at, "NAT one-to-one: each interface needs its own")
                    .help("without one, nothing it sends reaches the internet: add `public-address: 203.0.113.7`");
            }
            return None;
        };
        let address = addresses::address(text, self.mistakes)?;
        match vcn.map(|vcn| (vcn, vcn.vcn.nat)) {
            Some((_, Nat::OneToOne)) => {
                if file.address.is_none() {
                    self.mistakes
                        .add(text.at, format!("`{name}` has a public address but none in its VCN to translate it to"));
                }
                let owner = format!("`{}` of node `{node}`", shown(name));
                self.public.claim(address, text.at, owner, self.mistakes);
            }
            Some((vcn, Nat::None)) => {
                self.mistakes
                    .add(text.at, format!("VCN `{}` has no way to the internet", vcn.vcn.name))
                    .related(vcn.at, "`nat: none`")
                    .help("leave the public address out");
            }
            Some((vcn, Nat::EndpointIndependent { public_address } | Nat::EndpointDependent { public_address })) => {
                self.mistakes
                    .add(text.at, format!("all of VCN `{}` share the public address {public_address}", vcn.vcn.name))
                    .related(vcn.at, "this VCN")
                    .help("leave this one out, or say `nat: one-to-one` there");
            }
            None if known && !misread_kind(file) => {
                self.mistakes
                    .add(text.at, format!("`{name}` can't have a public address"))
                    .help("only an interface that leads to a VCN can");
            }
            None => {}
        }
        Some(address)
    }
}

/// The ports of a bridge, the members of a bond, as many as there may be.
fn first_parts(parts: &Parts) -> &[Spanned<String>] {
    &parts[..parts.len().min(MAX_INTERFACES)]
}

/// Whether an interface's kind was a mistake itself, so that nothing more is to be said about where it leads.
fn misread_kind(file: &InterfaceFile) -> bool {
    let dummy = file.dummy.as_ref().is_some_and(|dummy| dummy.value);
    let kinds = [file.vcn.is_some(), file.bridge.is_some(), file.bond.is_some(), dummy];
    file.vcn.is_some() || kinds.into_iter().filter(|given| *given).count() != 1
}

/// Whether some interface was meant for a VCN, or for nothing that can be told.
fn misread(files: &Interfaces) -> bool {
    files.values().any(misread_kind)
}
