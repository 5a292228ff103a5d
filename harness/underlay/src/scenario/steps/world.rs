//! What the steps before have made of the network: whether the next one can be taken at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cilium::Version;
use ipnet::Ipv4Net;
use topology::Network;
use topology::network::Node;

use crate::step::{Action, Link, Route};

/// How an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Down,
    Gone,
}

/// The network and the cluster between two steps.
#[derive(Debug, Clone)]
pub(super) struct World<'n> {
    pub(super) network: &'n Network,
    /// Whether there are agents.
    pub(super) installed: bool,
    /// Whether there are pods: from the first installation on.
    pub(super) pods: bool,
    /// None where it is written wrong.
    pub(super) version: Option<Version>,
    pub(super) links: BTreeMap<Link, State>,
    addresses: BTreeMap<Link, Vec<Ipv4Net>>,
    /// Routes that steps may take away.
    pub(super) routes: Vec<Route>,
    /// Filters at gateways, each with its VCN.
    pub(super) filters: BTreeMap<String, String>,
    pub(super) impaired: BTreeSet<Link>,
}

/// How the overlay's interface is called, on a node that takes part in it.
pub(super) fn overlay_link(network: &Network, node: &Node) -> Option<Link> {
    node.overlay_address?;
    Some(Link { node: node.name.clone(), interface: network.overlay.as_ref()?.interface.clone() })
}

impl<'n> World<'n> {
    /// Before the first step. `installs_first` is whether a step installs Cilium.
    pub(super) fn new(network: &'n Network, version: Option<Version>, installs_first: bool) -> Self {
        let mut world = Self {
            network,
            installed: !installs_first,
            pods: !installs_first,
            version,
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: Vec::new(),
            filters: BTreeMap::new(),
            impaired: BTreeSet::new(),
        };
        for node in &network.nodes {
            for nic in &node.nics {
                world.appear(&Link { node: node.name.clone(), interface: nic.name.clone() });
            }
            if let Some(link) = overlay_link(network, node) {
                world.appear(&link);
            }
        }
        world
    }

    /// An action is taken that makes sense by now. Gives it back.
    pub(super) fn take(&mut self, action: Action) -> Action {
        self.after(&action);
        action
    }

    /// The same of one that was taken before: whether it makes sense is no question any more.
    pub(super) fn after(&mut self, action: &Action) {
        match action {
            Action::Install(chart) => {
                (self.installed, self.pods) = (true, true);
                self.version = chart.version.clone().or(self.version.take());
            }
            Action::Uninstall => self.installed = false,
            Action::Upgrade { chart, .. } => self.version = chart.version.clone().or(self.version.take()),
            Action::LinkDown(link) => self.go_down(link),
            Action::LinkUp(link) => self.come_up(link),
            Action::LinkDelete(link) => self.vanish(link),
            Action::DeviceAppears(link) => self.appear(link),
            Action::AddressAdd { link, address } => self.addresses.entry(link.clone()).or_default().push(*address),
            Action::AddressRemove { link, address } => {
                self.addresses.entry(link.clone()).or_default().retain(|own| own != address);
            }
            Action::RouteAdd(route) => self.routes.push(route.clone()),
            Action::RouteRemove(route) => self.routes.retain(|other| other != route),
            Action::OverlayDown { node } => {
                if let Some(link) = self.overlay_of(node) {
                    self.vanish(&link);
                }
            }
            Action::OverlayUp { node } => {
                if let Some(link) = self.overlay_of(node) {
                    self.appear(&link);
                }
            }
            Action::Block(filter) => {
                self.filters.insert(filter.name.clone(), filter.vcn.clone());
            }
            Action::Unblock { name, .. } => {
                self.filters.remove(name);
            }
            Action::Impair { link, .. } => {
                self.impaired.insert(link.clone());
            }
            Action::Repair(link) => {
                self.impaired.remove(link);
            }
            Action::During { steps, .. } => steps.iter().for_each(|step| self.after(&step.action)),
            Action::RestartAgents
            | Action::RestartCoreDns
            | Action::RestartKubelet
            | Action::NodeIp { .. }
            | Action::OverlayRoam { .. }
            | Action::WaitFor { .. }
            | Action::Check { .. } => {}
        }
    }

    fn overlay_of(&self, node: &str) -> Option<Link> {
        overlay_link(self.network, self.network.node(node)?)
    }

    /// An interface is there as the topology has it.
    fn appear(&mut self, link: &Link) {
        let Some(node) = self.network.node(&link.node) else { return };
        let (addresses, up) = match node.nic(&link.interface) {
            Some(nic) => (nic.addresses.clone(), nic.up),
            None => (node.overlay_address.map(Ipv4Net::from).into_iter().collect(), true),
        };
        self.addresses.insert(link.clone(), addresses);
        self.links.insert(link.clone(), State::Down);
        if up {
            self.come_up(link);
        }
    }

    /// It is set up, with its default route.
    fn come_up(&mut self, link: &Link) {
        self.links.insert(link.clone(), State::Up);
        let nic = self.network.node(&link.node).and_then(|node| node.nic(&link.interface));
        if let Some(via) = nic.and_then(|nic| nic.default_route) {
            let (node, device) = (link.node.clone(), link.interface.clone());
            self.routes.push(Route { node, to: Ipv4Net::default(), via: Some(via), device });
        }
    }

    /// It is set down; routes through it go.
    fn go_down(&mut self, link: &Link) {
        self.links.insert(link.clone(), State::Down);
        self.routes.retain(|route| (&route.node, &route.device) != (&link.node, &link.interface));
    }

    /// It goes.
    fn vanish(&mut self, link: &Link) {
        self.go_down(link);
        self.links.insert(link.clone(), State::Gone);
        self.addresses.remove(link);
        self.impaired.remove(link);
    }

    pub(super) fn state(&self, link: &Link) -> Option<State> {
        self.links.get(link).copied()
    }

    /// The addresses of an interface.
    pub(super) fn of_link(&self, link: &Link) -> &[Ipv4Net] {
        self.addresses.get(link).map_or(&[], Vec::as_slice)
    }

    /// All addresses of a node.
    pub(super) fn of_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = Ipv4Addr> + 'a {
        self.addresses.iter().filter(move |(link, _)| link.node == node).flat_map(|(_, nets)| nets).map(Ipv4Net::addr)
    }
}
