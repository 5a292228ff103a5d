//! An agent's decisions that translate and mark: services, masquerading, the mark on VXLAN. In nftables here, in eBPF
//! in real life; conntrack keeps the flows.

use std::net::Ipv4Addr;

use cilium::decisions::{HostRouting, Masquerade};
use cilium::{Decisions, Rules};
use ipnet::Ipv4Net;
use lab::nft::{Chain, ChainType, ConntrackState, Hook, IcmpUnreachable, Statement, Table};

use super::datapath::{SERVICE_MARK, VXLAN_DEVICE};
use crate::engine::pod::Pod;
use crate::engine::services::Service;

/// Every pod's interface on its node.
const PODS: &str = "lxc*";
/// Every device of Cilium's own.
const CILIUM_DEVICES: &str = "cilium_*";
/// Marks that other programs on the node give forwarded packets: tailscaled's (util/linuxfw/linuxfw.go).
const TAILSCALE_MARKS: u32 = 0x00ff_0000;

const ICMP: u8 = 1;

/// What one node's rules are made from.
pub struct Firewall<'a> {
    /// What its version's datapath does.
    pub rules: &'a Rules,
    /// What its agent decided.
    pub decisions: &'a Decisions,
    /// The pods' range on this node.
    pub pod_cidr: Ipv4Net,
    /// The agent's own address.
    pub router_ip: Ipv4Addr,
    /// The node's pods.
    pub pods: &'a [Pod],
    /// The services, the same on every node.
    pub services: &'a [Service],
    /// Every cluster node's addresses, as CiliumNode objects show them: on the node itself, connections to a NodePort
    /// there are translated at the socket.
    pub node_ips: &'a [Ipv4Addr],
}

fn base(name: &str, kind: ChainType, hook: Hook, priority: i32) -> Chain {
    Chain::base(name, kind, hook, priority)
}

fn backends_chain(service: &Service) -> String {
    format!("{}-{}", service.name, service.protocol)
}

impl Firewall<'_> {
    /// All of the agent's tables.
    pub fn tables(&self) -> Vec<Table> {
        let mut services = Table::ipv4("cilium-services");
        for service in self.services {
            services = services.chain(self.backends(service));
        }
        services = services
            .chain(self.service_addresses())
            .chain(self.node_ports())
            .chain(self.no_backends("no-backends-pods", Hook::Prerouting))
            .chain(self.no_backends("no-backends-host", Hook::Output))
            .chain(self.pods_services())
            .chain(self.host_services())
            .chain(self.service_mark());
        let datapath =
            Table::ipv4("cilium-datapath").chain(self.forward()).chain(self.service_errors()).chain(self.tunnel_mark());
        let masquerade = Table::ipv4("cilium-masquerade").chain(self.masquerade());
        vec![services, datapath, masquerade]
    }

    /// Picks a backend at random, each as likely as the others.
    fn backends(&self, service: &Service) -> Chain {
        let mut chain = Chain::regular(backends_chain(service));
        let count = service.backends.len() as u32;
        for ((address, port), left) in service.backends.iter().zip((1..=count).rev()) {
            let dnat = Statement::Dnat { to: *address, port: Some(*port) };
            chain = match left {
                1 => chain.rule([dnat]),
                left => chain.rule([Statement::OneOf { equals: 0, of: left }, dnat]),
            };
        }
        chain
    }

    fn service_addresses(&self) -> Chain {
        let mut chain = Chain::regular("services");
        for service in self.services.iter().filter(|service| !service.backends.is_empty()) {
            chain = chain.rule([
                Statement::Destination(service.address.into()),
                Statement::Protocol(service.protocol),
                Statement::DestinationPort(service.port),
                Statement::Jump(backends_chain(service)),
            ]);
        }
        chain
    }

    /// NodePorts answer on each selected device's NodePort addresses, to what comes in by that device: where Cilium's
    /// programs are (bpf_host on the device; Cilium 1.18, pkg/datapath/tables/node_address.go).
    fn node_ports(&self) -> Chain {
        let mut chain = base("node-ports", ChainType::Nat, Hook::Prerouting, -101);
        for device in &self.decisions.devices {
            chain = self.to_node_ports(chain, &device.nodeport_addresses, &[Statement::Input(device.name.clone())]);
        }
        chain
    }

    /// What becomes of packets to a service without backends.
    fn no_backends(&self, name: &str, hook: Hook) -> Chain {
        let mut chain = base(name, ChainType::Filter, hook, -110);
        for service in self.services.iter().filter(|service| service.backends.is_empty()) {
            let mut rule = vec![
                Statement::Destination(service.address.into()),
                Statement::Protocol(service.protocol),
                Statement::DestinationPort(service.port),
            ];
            if hook == Hook::Prerouting {
                rule.insert(0, Statement::Input(PODS.to_owned()));
            }
            rule.push(match self.rules.rejects_without_backends {
                true => Statement::Reject(IcmpUnreachable::Port),
                false => Statement::Drop,
            });
            chain = chain.rule(rule);
        }
        chain
    }

    /// Services are a pod's programs' affair, packet by packet: cluster addresses, and NodePorts of its own node,
    /// whatever device has their address. Another node's are translated there (Cilium 1.18, bpf/bpf_lxc.c,
    /// `__per_packet_lb_svc_xlate_4`).
    fn pods_services(&self) -> Chain {
        let pods = || Statement::Input(PODS.to_owned());
        let chain = base("from-pods", ChainType::Nat, Hook::Prerouting, -100)
            .rule([pods(), Statement::Jump("services".to_owned())]);
        let own: Vec<_> = self.own_node_port_addresses().collect();
        self.to_node_ports(chain, &own, &[pods()])
    }

    fn own_node_port_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.decisions.devices.iter().flat_map(|device| &device.nodeport_addresses).copied()
    }

    /// Translates what is for a NodePort at one of these addresses and matches `also`.
    fn to_node_ports(&self, mut chain: Chain, addresses: &[Ipv4Addr], also: &[Statement]) -> Chain {
        for service in self.services.iter().filter(|service| !service.backends.is_empty()) {
            let Some(node_port) = service.node_port else { continue };
            for address in addresses {
                let mut rule = also.to_vec();
                rule.extend([
                    Statement::Destination((*address).into()),
                    Statement::Protocol(service.protocol),
                    Statement::DestinationPort(node_port),
                    Statement::Jump(backends_chain(service)),
                ]);
                chain = chain.rule(rule);
            }
        }
        chain
    }

    /// Socket load balancing in the host's namespace: cluster addresses, and NodePorts of any node of the cluster
    /// (Cilium 1.18, bpf/bpf_sock.c, wildcard lookup).
    fn host_services(&self) -> Chain {
        let chain =
            base("from-host", ChainType::Nat, Hook::Output, -100).rule([Statement::Jump("services".to_owned())]);
        let mut addresses: Vec<_> = self.node_ips.iter().copied().chain(self.own_node_port_addresses()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.to_node_ports(chain, &addresses, &[])
    }

    /// After translation and before routing: which packets a service redirected.
    fn service_mark(&self) -> Chain {
        base("service-mark", ChainType::Filter, Hook::Prerouting, -50).rule([
            Statement::Input(PODS.to_owned()),
            Statement::DestinationTranslated,
            Statement::SetMark { value: SERVICE_MARK, mask: SERVICE_MARK },
        ])
    }

    /// eBPF host routing takes packets past netfilter, so other programs' chains must not count for pods: their marks
    /// are taken back.
    fn forward(&self) -> Chain {
        let chain = base("past-netfilter", ChainType::Filter, Hook::Forward, 10);
        match self.decisions.host_routing {
            HostRouting::Legacy => chain,
            HostRouting::Bpf => {
                chain.rule([Statement::Output(PODS.to_owned()), Statement::SetMark { value: 0, mask: TAILSCALE_MARKS }])
            }
        }
    }

    /// ICMP errors about a pod's connection to a service are of no use to it: Cilium gives their outer source the service's
    /// address and leaves the packet in them as it was sent to the backend, which none of the pod's sockets knows (Cilium
    /// 1.18, bpf/bpf_lxc.c, `ipv4_policy`, `CT_RELATED`; bpf/lib/lb.h, `lb4_rev_nat`). conntrack would translate both.
    fn service_errors(&self) -> Chain {
        base("service-errors", ChainType::Filter, Hook::Postrouting, -10).rule([
            Statement::Output(PODS.to_owned()),
            Statement::Protocol(ICMP),
            Statement::Conntrack(ConntrackState::RELATED),
            Statement::DestinationTranslated,
            Statement::Drop,
        ])
    }

    /// cil_to_overlay marks the packet before VXLAN's own route lookup, which heeds the mark (Cilium 1.18,
    /// bpf/bpf_overlay.c; #36104). Only here: earlier the mark would steer the inner packet.
    fn tunnel_mark(&self) -> Chain {
        let mut chain = base("tunnel-mark", ChainType::Filter, Hook::Postrouting, -150);
        let out = || Statement::Output(VXLAN_DEVICE.to_owned());
        let mark = |identity| Statement::SetMark { value: self.rules.mark(identity), mask: u32::MAX };
        chain = chain.rule([out(), mark(cilium::tunnel::HOST_IDENTITY)]);
        for pod in self.pods {
            chain = chain.rule([out(), Statement::Source(pod.address.into()), mark(pod.identity)]);
        }
        chain
    }

    fn masquerade(&self) -> Chain {
        let mut chain = base("masquerade", ChainType::Nat, Hook::Postrouting, 99);
        let out = |device: &str| Statement::Output(device.to_owned());
        // NodePort to a backend elsewhere: from the router's address through the tunnel (Cilium 1.18,
        // bpf/lib/nodeport_egress.h). Sockets of the host that were translated get the address of where they leave.
        let translated = |device| [out(device), Statement::NotSource(self.pod_cidr), Statement::DestinationTranslated];
        chain = chain
            .rule(translated(VXLAN_DEVICE).into_iter().chain([Statement::Snat { to: self.router_ip, random: false }]));
        chain = chain.rule([
            Statement::NotOutput(PODS.to_owned()),
            Statement::NotOutput(CILIUM_DEVICES.to_owned()),
            Statement::NotSource(self.pod_cidr),
            Statement::DestinationTranslated,
            Statement::Masquerade,
        ]);
        for exempt in self.exempt() {
            chain = chain.rule([Statement::Source(self.pod_cidr), Statement::Destination(exempt), Statement::Accept]);
        }
        let from_pods = [Statement::Source(self.pod_cidr), Statement::NotDestination(self.decisions.snat_exclusion)];
        match &self.decisions.masquerade {
            Masquerade::Off => {}
            Masquerade::Bpf => {
                for device in &self.decisions.devices {
                    let Some(source) = device.masquerade_source else { continue };
                    let rule = [out(&device.name)].into_iter().chain(from_pods.clone());
                    chain = chain.rule(rule.chain([Statement::Snat { to: source, random: false }]));
                }
            }
            Masquerade::Iptables { interfaces } if interfaces.is_empty() => {
                chain = chain.rule(
                    [Statement::NotOutput(CILIUM_DEVICES.to_owned())]
                        .into_iter()
                        .chain(from_pods)
                        .chain([Statement::Masquerade]),
                );
            }
            Masquerade::Iptables { interfaces } => {
                for interface in interfaces {
                    // iptables' `+` is nftables' `*`. These rules have no source (iptables.go, allEgressMasquerade).
                    let name = interface.strip_suffix('+').map_or(interface.clone(), |prefix| format!("{prefix}*"));
                    for exempt in self.exempt() {
                        let exempt = Statement::Destination(exempt);
                        chain = chain.rule([out(&name), exempt, Statement::Accept]);
                    }
                    let exclusion = Statement::NotDestination(self.decisions.snat_exclusion);
                    chain = chain.rule([Statement::Output(name), exclusion, Statement::Masquerade]);
                }
            }
        }
        chain
    }

    /// Where packets go that are never masqueraded, where any are.
    fn exempt(&self) -> impl Iterator<Item = Ipv4Net> {
        let is_off = self.decisions.masquerade == Masquerade::Off;
        self.decisions.masquerade_exempt.iter().copied().filter(move |_| !is_off)
    }
}
