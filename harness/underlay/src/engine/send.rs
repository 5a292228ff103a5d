//! A scenario's probes, from names to addresses and namespaces, sent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use lab::serve::{dns, echo, http};
use lab::{Lab, Namespace};
use probe::capture::Capture;
use probe::capture::sighting::{Kind, Sighting};
use probe::deathwatch::Deathwatch;
use probe::evidence::{Evidence, Outcome};
use probe::spec::{Address, Probe, Request};

use super::cluster::Cluster;
use super::fleet::Fleet;
use super::workload::API_PORT;
use crate::case::{Case, Place, ProbeKind, ProbeSpec, Service};
use crate::observed::EngineError;

/// What probes are sent in.
pub struct Field<'a, F> {
    /// The case.
    pub case: &'a Case,
    /// Its lab.
    pub lab: &'a Lab,
    /// Its cluster.
    pub cluster: &'a Cluster<F>,
    /// Who sees the packets.
    pub capture: &'a Capture,
    /// Who sees them die.
    pub watch: &'a dyn Deathwatch,
}

impl<F: Fleet> Field<'_, F> {
    fn unknown(place: &Place) -> EngineError {
        EngineError::Unsupported { engine: F::ENGINE, what: format!("send from {place:?}") }
    }

    fn namespace(&self, place: &Place) -> Result<Namespace, EngineError> {
        let namespace = match place {
            Place::Pod(workload) => self.cluster.pod(workload).map(|pod| &pod.namespace),
            Place::Node(node) | Place::NodeInterface { node, .. } => self.lab.node(node).map(|node| &node.namespace),
            Place::Vcn(vcn) => self.lab.vcn(vcn).map(|vcn| &vcn.namespace),
            Place::Internet => Some(&self.lab.internet),
            Place::Service(_) | Place::ApiServer | Place::Address(_) => None,
        };
        namespace.cloned().ok_or_else(|| Self::unknown(place))
    }

    fn address(&self, place: &Place) -> Result<Ipv4Addr, EngineError> {
        let cluster = &self.case.cluster;
        let address = match place {
            Place::Pod(workload) => self.cluster.pod(workload).map(|pod| pod.address),
            Place::Node(node) => cluster.node_ips.get(node).copied().or_else(|| {
                let node = self.case.network.node(node)?;
                node.overlay_address.or_else(|| Some(node.nics.first()?.addresses.first()?.addr()))
            }),
            Place::NodeInterface { node, interface } => self.interface_address(node, interface),
            Place::Vcn(vcn) => self.case.network.vcn(vcn).map(|vcn| vcn.gateway),
            Place::Service(Service::Kubernetes) => Some(cluster.kubernetes_service()),
            Place::Service(Service::Dns) => Some(cluster.dns_service()),
            Place::Service(Service::Echo) => Some(cluster.echo_service()),
            Place::ApiServer => Some(cluster.api_server),
            Place::Address(address) => Some(*address),
            Place::Internet => self.case.network.internet.hosts.first().map(|host| host.address),
        };
        address.ok_or_else(|| Self::unknown(place))
    }

    fn interface_address(&self, node: &str, interface: &str) -> Option<Ipv4Addr> {
        let node = self.case.network.node(node)?;
        match node.nic(interface) {
            Some(nic) => nic.addresses.first().map(ipnet::Ipv4Net::addr),
            None if self.case.network.overlay.as_ref()?.interface == interface => node.overlay_address,
            None => None,
        }
    }

    /// The port of a TCP or UDP probe that names none: that of what is there.
    fn port(&self, to: &Place, port: Option<u16>) -> u16 {
        port.unwrap_or(match to {
            Place::Service(Service::Kubernetes) => http::TLS_PORT,
            Place::Service(Service::Dns) => dns::PORT,
            Place::Service(Service::Echo) => http::PORT,
            Place::ApiServer => API_PORT,
            _ => echo::PORT,
        })
    }

    /// Whether somebody at this port tells TCP callers their address.
    fn tells_caller(&self, to: &Place, port: u16) -> bool {
        port == echo::PORT || port == self.case.cluster.node_port || *to == Place::Service(Service::Echo)
    }

    fn probe(&self, spec: &ProbeSpec) -> Result<Probe, EngineError> {
        Ok(match &spec.kind {
            ProbeKind::Icmp { to, size, dont_fragment } => {
                Probe::Icmp { target: self.address(to)?, size: *size, dont_fragment: *dont_fragment }
            }
            ProbeKind::Udp { to, port } => {
                Probe::Udp { target: SocketAddrV4::new(self.address(to)?, self.port(to, *port)) }
            }
            ProbeKind::Tcp { to, port } => {
                let port = self.port(to, *port);
                let target = SocketAddrV4::new(self.address(to)?, port);
                Probe::Tcp { target, tells_caller: self.tells_caller(to, port) }
            }
            ProbeKind::Dns { name, server } => {
                Probe::Dns { server: SocketAddrV4::new(self.address(server)?, dns::PORT), name: name.clone() }
            }
            ProbeKind::Http { url, server } => self.http(url, server)?,
        })
    }

    fn http(&self, url: &str, server: &Place) -> Result<Probe, EngineError> {
        let bad = || EngineError::Unsupported { engine: F::ENGINE, what: format!("request {url}") };
        let (tls, rest) = match url.split_once("://").ok_or_else(bad)? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return Err(bad()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let default = if tls { http::TLS_PORT } else { http::PORT };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (authority, default),
        };
        let address = match host.parse() {
            Ok(address) => Address::Fixed(address),
            Err(_) => Address::Resolve(SocketAddrV4::new(self.address(server)?, dns::PORT)),
        };
        let request = Request { host: host.to_owned(), port, path: format!("/{path}"), address };
        Ok(match tls {
            true => Probe::Https { request, root: self.lab.services.root_certificate() },
            false => Probe::Http(request),
        })
    }

    /// A probe that is ready to be sent, from where, and how long its answer may take.
    ///
    /// # Errors
    /// It can't be sent: this engine has no such place.
    pub fn prepare(&self, spec: &ProbeSpec) -> Result<(Probe, Namespace, Duration), EngineError> {
        Ok((self.probe(spec)?, self.namespace(&spec.from)?, spec.deadline.unwrap_or(self.case.deadline)))
    }

    /// Sends a probe and waits for its evidence; returns the name of the namespace it was sent from with it.
    ///
    /// # Errors
    /// It can't be sent: this engine has no such place.
    pub async fn send(&self, spec: &ProbeSpec) -> Result<(String, Evidence), EngineError> {
        let (probe, from, deadline) = self.prepare(spec)?;
        let mut evidence = probe::run(&probe, &from, deadline, self.watch).await;
        self.await_rule(&evidence).await;
        if evidence.source_seen.is_none() && matches!(probe, Probe::Icmp { .. }) {
            evidence.source_seen = self.source_at_the_end(&evidence);
        }
        Ok((from.name().to_owned(), evidence))
    }

    /// Waits for the name of the rule that kept a packet from being sent: the sender is told at once that there is one,
    /// its name comes by another way.
    async fn await_rule(&self, evidence: &Evidence) {
        const PATIENCE: Duration = Duration::from_millis(100);
        if let (Outcome::NotPossible { errno: Some(nix::libc::EPERM) }, Some(mark)) =
            (&evidence.outcome, evidence.marks.last())
        {
            let named = |_: &[Sighting]| self.capture.trail(mark).is_some_and(|trail| trail.death.is_some());
            let _ = tokio::time::timeout(PATIENCE, self.capture.until(mark, named)).await;
        }
    }

    /// The source a ping had where it was last seen on its way: a kernel that answers pings tells nobody who asked.
    fn source_at_the_end(&self, evidence: &Evidence) -> Option<Ipv4Addr> {
        if evidence.outcome != probe::evidence::Outcome::Reply {
            return None;
        }
        let sightings = self.capture.sightings(evidence.marks.first()?);
        let last = sightings.iter().rfind(|sighting| sighting.kind == Kind::Request)?;
        match last.packet.source {
            std::net::IpAddr::V4(source) => Some(source),
            std::net::IpAddr::V6(_) => None,
        }
    }
}
