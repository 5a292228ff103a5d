//! A network as a picture: where everything is drawn. Pure geometry, in units of one pixel; [`svg`] and [`mermaid`]
//! draw.
//!
//! The internet is above, below it the private networks side by side, each with its gateway on top and its machines
//! under it, and at the bottom the overlay, which joins machines across all networks.

pub mod mermaid;
pub mod svg;

use super::schema::topology::{Interface, Machine, Topology, Vcn};

/// Between frames and what is in them.
const PAD: i32 = 14;
/// Room for a frame's title.
const HEAD: i32 = 30;
/// A chip's height.
const CHIP: i32 = 40;
/// A pod's chip's height.
const POD: i32 = 30;
/// Between chips.
const GAP: i32 = 8;
/// A machine's width.
const MACHINE: i32 = 256;
/// Left of a machine's chips, where wires go.
const WIRES: i32 = 22;
/// Right of a machine's chips.
const MARGIN: i32 = 12;
/// A gateway's width.
const GATEWAY: i32 = 232;
/// An internet host's width.
const HOST: i32 = 176;
/// Between private networks.
const BETWEEN: i32 = 36;
/// Around everything.
const EDGE: i32 = 12;
/// From the internet down to the private networks.
const UPLINK: i32 = 46;
/// The overlay's band's height.
const BAND: i32 = 34;
/// The place of the internet's routers, drawn where a packet only passed through.
pub const TRANSIT: &str = "internet";
/// Room for it.
const ROUTERS: Area = Area { x: 0, y: 0, w: 156, h: 26 };
/// How deep bridges and bonds may lie on each other.
const LEVELS: usize = 3;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Of the whole.
    pub width: i32,
    /// Of the whole.
    pub height: i32,
    /// What the picture is of.
    pub name: String,
    /// Boxes around other things, outermost first.
    pub frames: Vec<Frame>,
    /// Where packets can be seen.
    pub chips: Vec<Chip>,
    /// What joins them.
    pub wires: Vec<Wire>,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub w: i32,
    /// Height.
    pub h: i32,
}

impl Area {
    fn right(self) -> i32 {
        self.x + self.w
    }

    fn bottom(self) -> i32 {
        self.y + self.h
    }

    fn middle(self) -> i32 {
        self.y + self.h / 2
    }

    fn centre(self) -> i32 {
        self.x + self.w / 2
    }
}

/// A box around other things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Where it is drawn.
    pub area: Area,
    /// Its name.
    pub title: String,
    /// What else is to be said of it.
    pub detail: String,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The internet.
    Internet,
    /// A private network.
    Vcn,
    /// A machine.
    Machine,
    /// The overlay.
    Overlay,
}

/// Something that packets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// The place's name, as walks have it.
    pub place: String,
    /// What it is.
    pub kind: ChipKind,
    /// Where it is drawn.
    pub area: Area,
    /// Its name.
    pub title: String,
    /// Its addresses, or what else is to be said of it.
    pub detail: String,
    /// The machine it belongs to, if it belongs to one.
    pub machine: Option<String>,
}

/// What a chip is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChipKind {
    /// An internet host.
    Host,
    /// The internet's routers.
    Transit,
    /// A private network's gateway.
    Gateway,
    /// A private network's subnet, drawn where a packet was switched there.
    Subnet,
    /// An interface of a machine.
    Interface,
    /// One that is down.
    Down,
    /// The overlay's interface.
    Overlay,
    /// An interface that only a packet's walk tells of: Cilium's, a pod's other end.
    Seen,
    /// A pod.
    Pod,
}

/// A line from one thing to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// Its corners.
    pub points: Vec<(i32, i32)>,
    /// Whether it belongs to the overlay.
    pub overlay: bool,
    /// Whether it is drawn below machines.
    pub behind: bool,
    /// What is to be said of it, and where that ends.
    pub label: Option<(i32, i32, String)>,
}

impl Wire {
    fn new(points: Vec<(i32, i32)>) -> Self {
        Self { points, overlay: false, behind: false, label: None }
    }
}

impl Picture {
    /// Lays a network out. Of the places in `seen`, those that the network doesn't name are drawn on their machine.
    pub fn of(topology: &Topology, seen: &[&str]) -> Self {
        Layout::new(topology, seen).draw()
    }

    /// The chip of a place: its own, else that of what it is a part of.
    pub fn chip(&self, place: &str) -> Option<&Chip> {
        let mut place = place;
        loop {
            if let Some(chip) = self.chips.iter().find(|chip| chip.place == place) {
                return Some(chip);
            }
            (place, _) = place.rsplit_once('/')?;
        }
    }

    /// The overlay's band.
    pub fn band(&self) -> Option<Area> {
        self.frames.iter().find(|frame| frame.kind == FrameKind::Overlay).map(|frame| frame.area)
    }
}

/// A private network with the machines in it; none for machines that are plugged in nowhere.
struct Site<'a> {
    vcn: Option<&'a Vcn>,
    machines: Vec<&'a Machine>,
}

impl Site<'_> {
    fn width(&self) -> i32 {
        let machines = i32::try_from(self.machines.len()).unwrap_or(0);
        let inside = (machines * (MACHINE + PAD) - PAD).max(GATEWAY);
        inside + 2 * PAD
    }
}

struct Layout<'a> {
    topology: &'a Topology,
    seen: &'a [&'a str],
    picture: Picture,
}

impl<'a> Layout<'a> {
    fn new(topology: &'a Topology, seen: &'a [&'a str]) -> Self {
        let picture = Picture {
            width: 0,
            height: 0,
            name: topology.name.clone(),
            frames: Vec::new(),
            chips: Vec::new(),
            wires: Vec::new(),
        };
        Self { topology, seen, picture }
    }

    fn draw(mut self) -> Picture {
        let sites = self.sites();
        let count = i32::try_from(sites.len()).unwrap_or(0);
        let inside = sites.iter().map(Site::width).sum::<i32>() + BETWEEN * (count - 1).max(0);
        let width = inside.max(2 * HOST + GAP + 2 * PAD);
        self.picture.width = width + 2 * EDGE;
        let internet = self.internet(width);
        let top = internet.bottom() + UPLINK;
        let tallest = self.topology.nodes.iter().map(|node| self.machine_height(node)).max().unwrap_or(0);
        let mut left = EDGE + (width - inside) / 2;
        let mut bottom = top;
        let mut buses = Vec::new();
        for site in &sites {
            let area = self.site(site, (left, top), tallest, internet);
            if let Some(vcn) = site.vcn {
                buses.push((vcn.name.clone(), area));
            }
            left = area.right() + BETWEEN;
            bottom = bottom.max(area.bottom());
        }
        self.far_wires(&sites, &buses);
        bottom = self.overlay(bottom, width);
        self.picture.height = bottom + EDGE;
        self.picture
    }

    /// Each private network with the machines that live there; one that nobody lives in stands behind that of the
    /// machine that is plugged into it.
    fn sites(&self) -> Vec<Site<'a>> {
        let mut sites: Vec<Site<'a>> =
            self.topology.vcns.iter().map(|vcn| Site { vcn: Some(vcn), machines: Vec::new() }).collect();
        let mut nowhere = Vec::new();
        for machine in &self.topology.nodes {
            let home = home(machine);
            match sites.iter_mut().find(|site| home.is_some() && site.vcn.map(|vcn| vcn.name.as_str()) == home) {
                Some(site) => site.machines.push(machine),
                None => nowhere.push(machine),
            }
        }
        let (mut ordered, empty): (Vec<_>, Vec<_>) = sites.into_iter().partition(|site| !site.machines.is_empty());
        for site in empty {
            let name = site.vcn.map(|vcn| vcn.name.as_str());
            let plugged = |machine: &&Machine| machine.interfaces.iter().any(|nic| nic.vcn.as_deref() == name);
            match ordered.iter().position(|other| other.machines.iter().any(plugged)) {
                Some(at) => ordered.insert(at + 1, site),
                None => ordered.push(site),
            }
        }
        if !nowhere.is_empty() {
            ordered.push(Site { vcn: None, machines: nowhere });
        }
        ordered
    }

    fn internet(&mut self, width: i32) -> Area {
        let hosts = &self.topology.internet;
        let per_row = ((width - 2 * PAD + GAP) / (HOST + GAP)).max(1);
        let rows = i32::try_from(hosts.len().div_ceil(usize::try_from(per_row).unwrap_or(1))).unwrap_or(1).max(1);
        let transit = self.seen.contains(&TRANSIT);
        let room = if transit { ROUTERS.h + GAP } else { 0 };
        let area = Area { x: EDGE, y: EDGE, w: width, h: HEAD + rows * (CHIP + GAP) - GAP + PAD + room };
        self.picture.frames.push(Frame {
            kind: FrameKind::Internet,
            area,
            title: "internet".to_owned(),
            detail: String::new(),
        });
        let columns = i32::try_from(hosts.len()).unwrap_or(0).max(1);
        let columns = columns / rows + i32::from(columns % rows > 0);
        let left = area.centre() - (columns * (HOST + GAP) - GAP) / 2;
        let mut chips = Vec::new();
        for (index, host) in (0..).zip(hosts) {
            let (x, y) = (left + index % columns * (HOST + GAP), area.y + HEAD + index / columns * (CHIP + GAP));
            chips.push(Chip {
                place: format!("internet/{}", host.address),
                kind: ChipKind::Host,
                area: Area { x, y, w: HOST, h: CHIP },
                title: host.name.clone(),
                detail: host.address.clone(),
                machine: None,
            });
        }
        if transit {
            let (x, y) = (area.centre() - ROUTERS.w / 2, area.bottom() - GAP - ROUTERS.h);
            chips.push(Chip {
                place: TRANSIT.to_owned(),
                kind: ChipKind::Transit,
                area: Area { x, y, ..ROUTERS },
                title: "routers".to_owned(),
                detail: String::new(),
                machine: None,
            });
        }
        self.picture.chips.extend(chips);
        area
    }

    fn site(&mut self, site: &Site<'a>, (x, y): (i32, i32), tallest: i32, internet: Area) -> Area {
        let width = site.width();
        let gateway = Area { x: x + (width - GATEWAY) / 2, y: y + HEAD, w: GATEWAY, h: CHIP };
        let bus = gateway.bottom() + 20;
        let machines = bus + 18;
        let bottom = if site.machines.is_empty() { bus + PAD } else { machines + tallest + PAD };
        let area = Area { x, y, w: width, h: bottom - y };
        let (title, detail) = match site.vcn {
            Some(vcn) => (format!("VCN {}", vcn.name), vcn.cidr.clone()),
            None => ("plugged in nowhere".to_owned(), String::new()),
        };
        self.picture.frames.push(Frame { kind: FrameKind::Vcn, area, title, detail });
        if let Some(vcn) = site.vcn {
            self.gateway(vcn, gateway, bus, area, internet);
        }
        for (index, machine) in (0..).zip(&site.machines) {
            let place = Area { x: x + PAD + index * (MACHINE + PAD), y: machines, w: MACHINE, h: tallest };
            self.machine(machine, place, site.vcn.map(|vcn| (vcn.name.as_str(), bus)));
        }
        area
    }

    fn gateway(&mut self, vcn: &Vcn, area: Area, bus: i32, site: Area, internet: Area) {
        let nat = match vcn.nat.as_str() {
            "none" => "no way out".to_owned(),
            nat => format!("NAT {nat}"),
        };
        let check = if vcn.source_check { ", source check" } else { "" };
        self.picture.chips.push(Chip {
            place: format!("vcn {}/gateway", vcn.name),
            kind: ChipKind::Gateway,
            area,
            title: format!("gateway {}", vcn.gateway),
            detail: format!("{nat}{check}"),
            machine: None,
        });
        let subnet = format!("vcn {}/subnet", vcn.name);
        if self.seen.contains(&subnet.as_str()) {
            self.picture.chips.push(Chip {
                place: subnet,
                kind: ChipKind::Subnet,
                area: Area { x: site.x + 4, y: bus - 13, w: 96, h: 26 },
                title: "subnet".to_owned(),
                detail: String::new(),
                machine: None,
            });
        }
        self.picture.wires.push(Wire::new(vec![(site.x + PAD, bus), (site.right() - PAD, bus)]));
        self.picture.wires.push(Wire::new(vec![(area.centre(), area.bottom()), (area.centre(), bus)]));
        if vcn.nat != "none" {
            let x = area.centre() + 74;
            let mut up = Wire::new(vec![(x, area.y), (x, internet.bottom())]);
            let shared = vcn.public_address.as_ref();
            up.label = shared.map(|address| (x - 8, internet.bottom() + UPLINK / 2 + 4, format!("as {address}")));
            self.picture.wires.push(up);
        }
    }

    fn machine_height(&self, machine: &Machine) -> i32 {
        let chips = machine.interfaces.len() + self.seen_on(machine, false).len();
        let overlay = usize::from(machine.overlay_address.is_some());
        let pods = (machine.pods.len() + self.seen_on(machine, true).len()).div_ceil(2);
        let rows = |count: usize, height: i32| i32::try_from(count).unwrap_or(0) * (height + GAP);
        HEAD + rows(chips + overlay, CHIP) + rows(pods, POD) + MARGIN - GAP
    }

    /// Pods, or interfaces, of a machine that only the walk tells of, by their names below the machine's.
    fn seen_on(&self, machine: &Machine, pods: bool) -> Vec<&'a str> {
        let known = |name: &str| {
            let is_overlay = self.topology.overlay.as_ref().is_some_and(|overlay| overlay.interface == name);
            machine.interfaces.iter().any(|nic| nic.name == name)
                || machine.pods.iter().any(|pod| pod == name)
                || (is_overlay && machine.overlay_address.is_some())
        };
        let mut found: Vec<&'a str> = Vec::new();
        for place in self.seen {
            let Some(below) = place.strip_prefix(machine.name.as_str()).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            let name = below.split('/').next().unwrap_or(below);
            if !known(name) && !found.contains(&name) && name.starts_with("coredns") == pods {
                found.push(name);
            }
        }
        found
    }

    fn machine(&mut self, machine: &'a Machine, area: Area, home: Option<(&str, i32)>) {
        let detail = machine.role.replace('-', " ");
        let title = machine.name.clone();
        self.picture.frames.push(Frame { kind: FrameKind::Machine, area, title, detail });
        let (x, w) = (area.x + WIRES, MACHINE - WIRES - MARGIN);
        let mut y = area.y + HEAD;
        let place = |name: &str| format!("{}/{name}", machine.name);
        let owner = Some(machine.name.clone());
        let (plugged, others): (Vec<_>, Vec<_>) = machine.interfaces.iter().partition(|nic| nic.vcn.is_some());
        for nic in plugged.into_iter().chain(others) {
            let chip = Area { x, y, w, h: CHIP };
            if let (Some(vcn), Some((name, bus))) = (&nic.vcn, home)
                && vcn == name
            {
                let wire = vec![(area.x + WIRES / 2, bus), (area.x + WIRES / 2, chip.middle()), (x, chip.middle())];
                self.picture.wires.push(Wire::new(wire));
            }
            self.picture.chips.push(Chip {
                place: place(&nic.name),
                kind: if nic.up { ChipKind::Interface } else { ChipKind::Down },
                area: chip,
                title: nic_title(nic, machine),
                detail: nic_detail(nic),
                machine: owner.clone(),
            });
            y += CHIP + GAP;
        }
        for name in self.seen_on(machine, false) {
            self.picture.chips.push(Chip {
                place: place(name),
                kind: ChipKind::Seen,
                area: Area { x, y, w, h: CHIP },
                title: name.to_owned(),
                detail: meaning(name).to_owned(),
                machine: owner.clone(),
            });
            y += CHIP + GAP;
        }
        let half = (w - GAP) / 2;
        let pods = machine.pods.iter().map(String::as_str).chain(self.seen_on(machine, true));
        for (index, pod) in (0..).zip(pods.collect::<Vec<_>>()) {
            self.picture.chips.push(Chip {
                place: place(pod),
                kind: ChipKind::Pod,
                area: Area { x: x + index % 2 * (half + GAP), y: y + index / 2 * (POD + GAP), w: half, h: POD },
                title: pod.to_owned(),
                detail: String::new(),
                machine: owner.clone(),
            });
        }
        let overlay = self.topology.overlay.as_ref().zip(machine.overlay_address.as_ref());
        if let Some((overlay, address)) = overlay {
            self.picture.chips.push(Chip {
                place: place(&overlay.interface),
                kind: ChipKind::Overlay,
                area: Area { x, y: area.bottom() - MARGIN - CHIP, w, h: CHIP },
                title: overlay.interface.clone(),
                detail: address.clone(),
                machine: owner,
            });
        }
    }

    /// Wires into private networks in which the machine doesn't live.
    fn far_wires(&mut self, sites: &[Site<'a>], areas: &[(String, Area)]) {
        for site in sites {
            let home = site.vcn.map(|vcn| vcn.name.as_str());
            for machine in &site.machines {
                for nic in machine.interfaces.iter().filter(|nic| nic.vcn.is_some() && nic.vcn.as_deref() != home) {
                    let place = format!("{}/{}", machine.name, nic.name);
                    let Some(chip) = self.picture.chips.iter().find(|chip| chip.place == place) else { continue };
                    let Some((_, area)) = areas.iter().find(|(name, _)| Some(name) == nic.vcn.as_ref()) else {
                        continue;
                    };
                    let bus = area.y + HEAD + CHIP + 20;
                    let ahead = area.x > chip.area.x;
                    let between = if ahead { area.x - BETWEEN / 2 } else { area.right() + BETWEEN / 2 };
                    let from = if ahead { chip.area.right() } else { chip.area.x };
                    let into = if ahead { area.x + PAD } else { area.right() - PAD };
                    let middle = chip.area.middle();
                    let mut wire = Wire::new(vec![(from, middle), (between, middle), (between, bus), (into, bus)]);
                    wire.behind = true;
                    self.picture.wires.push(wire);
                }
            }
        }
    }

    /// The overlay's band below `bottom`; gives the lower edge of all.
    fn overlay(&mut self, bottom: i32, width: i32) -> i32 {
        let Some(overlay) = &self.topology.overlay else { return bottom };
        let members: Vec<_> = self.picture.chips.iter().filter(|chip| chip.kind == ChipKind::Overlay).collect();
        let first = members.iter().map(|chip| chip.area.x).min().unwrap_or(EDGE);
        let last = members.iter().map(|chip| chip.area.right()).max().unwrap_or(EDGE + width);
        let area = Area { x: first, y: bottom + 28, w: (last - first).max(MACHINE), h: BAND };
        let wires: Vec<_> = members
            .iter()
            .map(|chip| {
                let x = chip.area.centre();
                Wire { overlay: true, ..Wire::new(vec![(x, chip.area.bottom()), (x, area.y)]) }
            })
            .collect();
        self.picture.wires.extend(wires);
        self.picture.frames.push(Frame {
            kind: FrameKind::Overlay,
            area,
            title: format!("overlay {}", overlay.cidr),
            detail: format!("WireGuard, MTU {}", overlay.mtu),
        });
        area.bottom()
    }
}

/// The private network a machine lives in: where its default route leads, else the first it is plugged into.
fn home(machine: &Machine) -> Option<&str> {
    let default =
        machine.interfaces.iter().filter(|nic| nic.default_route).find_map(|nic| leads_to(machine, nic, LEVELS));
    default.or_else(|| machine.interfaces.iter().find_map(|nic| nic.vcn.as_deref()))
}

/// The private network that an interface leads to, by itself or through the ports of a bridge or bond.
fn leads_to<'a>(machine: &'a Machine, nic: &'a Interface, levels: usize) -> Option<&'a str> {
    let levels = levels.checked_sub(1)?;
    let below = |port: &String| {
        let port = machine.interfaces.iter().find(|nic| nic.name == *port)?;
        leads_to(machine, port, levels)
    };
    nic.vcn.as_deref().or_else(|| nic.ports.iter().find_map(below))
}

/// `enp0s6`, `enp2s0 in bond0`
fn nic_title(nic: &Interface, machine: &Machine) -> String {
    match machine.interfaces.iter().find(|other| other.ports.contains(&nic.name)) {
        Some(over) => format!("{} in {}", nic.name, over.name),
        None => nic.name.clone(),
    }
}

/// `10.0.0.239/24 ↔ 168.107.2.60`, `bridge, 10.77.0.2/24`
fn nic_detail(nic: &Interface) -> String {
    let mut detail: Vec<String> = Vec::new();
    if nic.kind != "vcn" {
        detail.push(nic.kind.clone());
    }
    if !nic.up {
        detail.push("down".to_owned());
    }
    let addresses = nic.addresses.join(", ");
    match &nic.public_address {
        Some(public) => detail.push(format!("{addresses} ↔ {public}")),
        None if !addresses.is_empty() => detail.push(addresses),
        None if nic.kind == "vcn" => detail.push("no address".to_owned()),
        None => {}
    }
    detail.join(", ")
}

/// What an interface is that no topology names.
fn meaning(name: &str) -> &'static str {
    match name {
        "cilium_host" | "cilium_net" => "Cilium's router",
        "cilium_vxlan" => "Cilium's tunnel",
        "lo" => "loopback",
        name if name.starts_with("lxc") => "a pod's other end",
        _ => "",
    }
}
