//! What runs in the cluster: test pods that echo, the API server's stand-in, CoreDNS's stand-in.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use futures::future::BoxFuture;
use lab::Namespace;
use lab::serve::calls::CallLog;
use lab::serve::dns::{self, Answer, Question, Resolve, Zone};
use lab::serve::forward::{Forwarder, Patience};
use lab::serve::tls::Authority;
use lab::serve::{Service, echo, http};

use super::pod::Pod;
use crate::case::Cluster;

/// The API server's port.
pub const API_PORT: u16 = 6443;
/// CoreDNS's liveness port (its `health` plugin).
pub const HEALTH_PORT: u16 = 8080;

/// Servers that end with this value.
pub type Services = Vec<Service>;

/// What a test pod serves: the echo services.
///
/// # Errors
/// The kernel's answer.
pub fn test_pod(pod: &Pod) -> lab::Result<Services> {
    let at = SocketAddrV4::new(pod.address, echo::PORT);
    let log = CallLog::default;
    Ok(vec![echo::udp(pod.namespace.udp(at, None)?, log()), echo::tcp(pod.namespace.tcp_listener(at)?, log())])
}

/// A stand-in for the API server on its node: HTTPS on every address of it, as the real one listens.
///
/// # Errors
/// The kernel's answer.
pub fn api_server(node: &Namespace, cluster: &Cluster) -> lab::Result<Service> {
    let names =
        ["kubernetes.default.svc".to_owned(), cluster.kubernetes_service().to_string(), cluster.api_server.to_string()];
    let tls = Authority::shared()?.server(&names)?;
    let listener = node.tcp_listener(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, API_PORT))?;
    Ok(http::serve(listener, Some(tls), http::caller(), CallLog::default()))
}

/// A CoreDNS replica: the cluster's own names, and a forwarder for all others.
pub struct CoreDns {
    forwarder: Arc<Forwarder>,
    _services: Services,
}

struct Names {
    cluster: Zone,
    forwarder: Arc<Forwarder>,
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Answer> {
        let name = question.name.trim_end_matches('.').to_ascii_lowercase();
        if name.ends_with(".cluster.local") { self.cluster.resolve(question) } else { self.forwarder.resolve(question) }
    }
}

impl CoreDns {
    /// Starts a replica in its pod.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn start(pod: &Pod, cluster: &Cluster) -> lab::Result<Self> {
        let mut zone = Zone::default();
        zone.insert("kubernetes.default.svc.cluster.local", cluster.kubernetes_service());
        zone.insert("kube-dns.kube-system.svc.cluster.local", cluster.dns_service());
        zone.insert("echo.default.svc.cluster.local", cluster.echo_service());
        let upstream = SocketAddrV4::new(cluster.upstream_dns, dns::PORT);
        let forwarder = Arc::new(Forwarder::new(pod.namespace.clone(), upstream, Patience::default()));
        let names = Arc::new(Names { cluster: zone, forwarder: Arc::clone(&forwarder) });
        let at = |port| SocketAddrV4::new(pod.address, port);
        let (udp, tcp) = (pod.namespace.udp(at(dns::PORT), None)?, pod.namespace.tcp_listener(at(dns::PORT))?);
        let health = pod.namespace.tcp_listener(at(HEALTH_PORT))?;
        Ok(Self {
            forwarder,
            _services: vec![
                dns::serve(udp, tcp, names, CallLog::default()),
                http::serve(health, None, http::caller(), CallLog::default()),
            ],
        })
    }

    /// What the last failed upstream query came to, as CoreDNS would log it.
    pub fn last_failure(&self) -> Option<String> {
        self.forwarder.fared().last_failure
    }
}
