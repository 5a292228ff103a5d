//! A private network in a cloud: a bridge that is the subnet, the gateway on it, and what the gateway does to packets.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use topology::network::{Ingress, Nat, Network, Nic, NicKind, Node, Vcn as Config};

use crate::error::Result;
use crate::namespace::Namespace;
use crate::netlink::{Route, VethEnd, add_veth};
use crate::nft::{Chain, ChainType, ConntrackState, Hook, INGRESS, SOURCE_CHECK, Statement, Table};
use crate::node;
use crate::sysctl::Sysctls;

/// The bridge in a gateway's namespace.
pub const SUBNET: &str = "subnet";
/// The gateway's link to the internet.
pub const WAN: &str = "wan";
/// MTU of that link in bytes: what the internet carries.
const WAN_MTU: u32 = 1500;
/// The links between gateways and the internet, a /31 each (RFC 2544's range for test networks).
const TRANSIT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// A VCN in the kernel: the gateway's namespace.
#[derive(Debug)]
pub struct Vcn {
    /// What was asked for.
    pub config: Config,
    /// The gateway, subnet bridge included.
    pub namespace: Namespace,
    index: u32,
}

/// An interface that is plugged into a VCN, as the gateway's bridge sees it.
struct Port<'a> {
    name: String,
    /// The node's place in the topology.
    node: usize,
    nic: &'a Nic,
    /// What stands on it: the interface itself, and the bridges and bonds over it.
    holders: Vec<&'a Nic>,
}

impl Port<'_> {
    /// The addresses it may send from.
    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.holders.iter().flat_map(|nic| &nic.addresses).map(Ipv4Net::addr)
    }

    fn public_address(&self) -> Option<Ipv4Addr> {
        self.holders.iter().find_map(|nic| nic.public_address)
    }
}

/// An interface and every bridge and bond over it.
fn holders<'a>(node: &'a Node, nic: &'a Nic) -> Vec<&'a Nic> {
    let mut holders = vec![nic];
    while let Some(over) = node.nics.iter().find(|over| match &over.kind {
        NicKind::Bridge(members) | NicKind::Bond(members) => members.contains(&holders[holders.len() - 1].name),
        NicKind::Vcn(_) | NicKind::Dummy => false,
    }) {
        holders.push(over);
    }
    holders
}

/// The bridge port of a node's interface: names are short (15 bytes) and unique in the gateway.
fn port_name(node: usize, nic: usize) -> String {
    format!("port{node}.{nic}")
}

/// The internet's end of a gateway's link.
fn wan_far_end(index: u32) -> String {
    format!("vcn-{index}")
}

fn ports<'a>(config: &Config, network: &'a Network) -> Vec<Port<'a>> {
    let mut ports = Vec::new();
    for (n, node) in network.nodes.iter().enumerate() {
        for (i, nic) in node.nics.iter().enumerate() {
            if matches!(&nic.kind, NicKind::Vcn(name) if *name == config.name) {
                ports.push(Port { name: port_name(n, i), node: n, nic, holders: holders(node, nic) });
            }
        }
    }
    ports
}

impl Vcn {
    /// Makes the gateway and its link to the internet. `index` tells the links of several VCNs apart.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn create(config: &Config, index: u32, network: &Network, internet: &Namespace) -> Result<Self> {
        let namespace = Namespace::create(format!("vcn {}", config.name), &Sysctls::ROUTER)?;
        let vcn = Self { config: config.clone(), namespace, index };
        let mtu = ports(config, network).iter().map(|port| port.nic.mtu).max().unwrap_or(WAN_MTU);
        let address = Ipv4Net::new(config.gateway, config.cidr.prefix_len()).expect("a prefix length stays one");
        {
            let mut netlink = vcn.namespace.netlink()?;
            netlink.add_bridge(SUBNET, mtu)?;
            netlink.add_address(SUBNET, address)?;
            netlink.link_up(SUBNET)?;
        }
        vcn.connect(network, internet)?;
        Ok(vcn)
    }

    /// The public addresses that lead to this gateway.
    fn public_addresses(&self, network: &Network) -> Vec<Ipv4Addr> {
        match self.config.nat {
            Nat::OneToOne => ports(&self.config, network).iter().filter_map(Port::public_address).collect(),
            Nat::EndpointIndependent { public_address } | Nat::EndpointDependent { public_address } => {
                vec![public_address]
            }
            Nat::None => Vec::new(),
        }
    }

    fn connect(&self, network: &Network, internet: &Namespace) -> Result<()> {
        if self.config.nat == Nat::None {
            return Ok(());
        }
        let far_name = wan_far_end(self.index);
        add_veth(VethEnd::new(&self.namespace, WAN, WAN_MTU), VethEnd::new(internet, &far_name, WAN_MTU))?;
        let far = Ipv4Addr::from(u32::from(TRANSIT) + 2 * self.index);
        let near = Ipv4Addr::from(u32::from(far) + 1);
        let link = |address| Ipv4Net::new(address, 31).expect("31 is a prefix length");
        {
            let mut netlink = internet.netlink()?;
            netlink.add_address(&far_name, link(far))?;
            netlink.link_up(&far_name)?;
            for public in self.public_addresses(network) {
                netlink.add_route(&Route::through(public.into(), &far_name).via(near))?;
            }
        }
        let mut netlink = self.namespace.netlink()?;
        netlink.add_address(WAN, link(near))?;
        netlink.link_up(WAN)?;
        netlink.add_route(&Route::default_via(far, WAN))?;
        match self.config.nat {
            Nat::EndpointIndependent { public_address } | Nat::EndpointDependent { public_address } => {
                netlink.add_address(WAN, public_address.into())
            }
            Nat::OneToOne | Nat::None => Ok(()),
        }
    }

    /// Plugs a node's interface in: both ends are made where they belong.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn plug(&self, node: &Namespace, node_index: usize, nic_index: usize, nic: &Nic) -> Result<()> {
        let port = port_name(node_index, nic_index);
        add_veth(VethEnd::new(&self.namespace, &port, nic.mtu), VethEnd::new(node, &nic.name, nic.mtu))?;
        let mut netlink = self.namespace.netlink()?;
        netlink.set_controller(&port, SUBNET)?;
        netlink.link_up(&port)
    }

    /// The bridge port of a node's interface that is plugged in here.
    pub(crate) fn port(node_index: usize, nic_index: usize) -> String {
        port_name(node_index, nic_index)
    }

    /// Drops what matches any of these, by name, in place of what was dropped so before: what passes the gateway, and
    /// what one interface in the network sends another.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn block(&self, filters: &[(String, Vec<Statement>)]) -> Result<()> {
        // Before translation by the gateway, and after it on the way in: the private addresses are seen in both.
        let mut routed = Chain::base("forward", ChainType::Filter, Hook::Forward, -10);
        let mut switched = Chain::base("forward", ChainType::Filter, Hook::Forward, -10);
        for (name, matches) in filters {
            routed = routed.drop_rule(name, matches.iter().cloned());
            switched = switched.drop_rule(name, std::iter::once(Statement::Ipv4).chain(matches.iter().cloned()));
        }
        self.namespace
            .load_nft(&[Table::ipv4("blocked").chain(routed), Table::bridge("blocked-inside").chain(switched)])
    }

    /// Both ends of every veth pair of this network that should carry packets.
    pub(crate) fn links(
        &self,
        network: &Network,
        nodes: &[node::Node],
        internet: &Namespace,
    ) -> Vec<(Namespace, String)> {
        let mut links = Vec::new();
        if self.config.nat != Nat::None {
            links.push((self.namespace.clone(), WAN.to_owned()));
            links.push((internet.clone(), wan_far_end(self.index)));
        }
        for port in ports(&self.config, network).into_iter().filter(|port| port.nic.up) {
            links.push((nodes[port.node].namespace.clone(), port.nic.name.clone()));
            links.push((self.namespace.clone(), port.name));
        }
        links
    }

    /// The gateway's rules.
    pub(crate) fn tables(&self, network: &Network) -> Vec<Table> {
        let mut tables = Vec::new();
        // All of these are about the link to the internet.
        if self.config.nat != Nat::None {
            tables.push(Table::ipv4("gateway").chain(self.forward(network)).chain(self.input()));
            tables.push(Table::ipv4("nat").chain(self.prerouting(network)).chain(self.postrouting(network)));
        }
        if self.config.source_check {
            tables.push(Table::bridge("source-check").chain(self.source_check(network)));
        }
        tables
    }

    /// The check clouds make on a virtual NIC: what it sends must come from one of its own addresses.
    fn source_check(&self, network: &Network) -> Chain {
        const FIRST: i32 = -300;
        let mut chain = Chain::base("ports", ChainType::Filter, Hook::Prerouting, FIRST);
        for port in ports(&self.config, network) {
            let from_port = || [Statement::Input(port.name.clone()), Statement::Ipv4];
            for address in port.addresses() {
                let own = Statement::Source(address.into());
                chain = chain.rule(from_port().into_iter().chain([own, Statement::Accept]));
            }
            chain = chain.drop_rule(SOURCE_CHECK, from_port());
        }
        chain
    }

    fn forward(&self, network: &Network) -> Chain {
        let mut chain = Chain::base("forward", ChainType::Filter, Hook::Forward, 0);
        if self.config.ingress == Ingress::Deny {
            chain = chain.drop_rule(
                INGRESS,
                [
                    Statement::Input(WAN.to_owned()),
                    Statement::Conntrack(ConntrackState::NEW.or(ConntrackState::INVALID)),
                ],
            );
        }
        if self.config.nat == Nat::OneToOne {
            // Runs after prerouting and before postrouting: sources are still the private ones.
            for port in ports(&self.config, network).iter().filter(|port| port.public_address().is_some()) {
                for address in port.addresses() {
                    let source = Statement::Source(address.into());
                    chain = chain.rule([Statement::Output(WAN.to_owned()), source, Statement::Accept]);
                }
            }
            chain = chain.drop_rule("no-public-address", [Statement::Output(WAN.to_owned())]);
        }
        chain
    }

    /// Nobody on the internet talks to the gateway itself, except in answer.
    fn input(&self) -> Chain {
        Chain::base("input", ChainType::Filter, Hook::Input, 0).drop_rule(
            INGRESS,
            [Statement::Input(WAN.to_owned()), Statement::Conntrack(ConntrackState::NEW.or(ConntrackState::INVALID))],
        )
    }

    fn prerouting(&self, network: &Network) -> Chain {
        let mut chain = Chain::base("prerouting", ChainType::Nat, Hook::Prerouting, -100);
        if self.config.nat == Nat::OneToOne {
            for port in ports(&self.config, network) {
                if let (Some(public), Some(private)) = (port.public_address(), port.addresses().next()) {
                    chain = chain.rule([
                        Statement::Input(WAN.to_owned()),
                        Statement::Destination(public.into()),
                        Statement::Dnat { to: private, port: None },
                    ]);
                }
            }
        }
        chain
    }

    fn postrouting(&self, network: &Network) -> Chain {
        let mut chain = Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, 100);
        let out = || Statement::Output(WAN.to_owned());
        match self.config.nat {
            Nat::OneToOne => {
                for port in ports(&self.config, network) {
                    let Some(public) = port.public_address() else { continue };
                    for address in port.addresses() {
                        let source = Statement::Source(address.into());
                        chain = chain.rule([out(), source, Statement::Snat { to: public, random: false }]);
                    }
                }
            }
            Nat::EndpointIndependent { public_address } => {
                chain = chain.rule([out(), Statement::Snat { to: public_address, random: false }]);
            }
            Nat::EndpointDependent { public_address } => {
                chain = chain.rule([out(), Statement::Snat { to: public_address, random: true }]);
            }
            Nat::None => {}
        }
        chain
    }
}
