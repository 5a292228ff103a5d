//! The internet: a namespace that answers as whatever hosts a topology names.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use topology::network::{InternetHost, InternetService};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::serve::calls::CallLog;
use crate::serve::dns::{self, Zone};
use crate::serve::tls::Authority;
use crate::serve::{Service, echo, http};

/// The internet's hosts, answering. Dropping it ends their services; their addresses stay as long as the namespace.
#[derive(Debug)]
pub struct Internet {
    services: Vec<Service>,
    calls: CallLog,
    root: CertificateDer<'static>,
}

impl Internet {
    /// Gives `namespace` the hosts' addresses (on `lo`, so that the kernel answers ping) and starts their services.
    /// Beside those the topology names, every host has the UDP and the TCP [echo].
    ///
    /// # Errors
    /// An address or a port is taken in that namespace, or a name can't stand in a certificate.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(namespace: &Namespace, internet: &topology::network::Internet) -> Result<Self> {
        let root = Authority::shared()?.root();
        let mut zone = Zone::default();
        for host in &internet.hosts {
            zone.insert(&host.name, host.address);
        }
        let zone: Arc<dyn dns::Resolve> = Arc::new(zone);
        let mut started = Self { services: Vec::new(), calls: CallLog::default(), root };
        for host in &internet.hosts {
            namespace.netlink()?.add_address("lo", host.address.into())?;
            started.start_host(namespace, host, &zone).map_err(|error| at(host, &error))?;
        }
        Ok(started)
    }

    fn start_host(&mut self, namespace: &Namespace, host: &InternetHost, zone: &Arc<dyn dns::Resolve>) -> Result<()> {
        let at = |port| SocketAddrV4::new(host.address, port);
        let log = || self.calls.clone();
        self.services.push(echo::udp(namespace.udp(at(echo::PORT), None)?, log()));
        self.services.push(echo::tcp(namespace.tcp_listener(at(echo::PORT))?, log()));
        for service in &host.serves {
            self.services.push(match service {
                InternetService::Dns => {
                    let (udp, tcp) = (namespace.udp(at(dns::PORT), None)?, namespace.tcp_listener(at(dns::PORT))?);
                    dns::serve(udp, tcp, Arc::clone(zone), log())
                }
                InternetService::Http => {
                    http::serve(namespace.tcp_listener(at(http::PORT))?, None, http::mirror(), log())
                }
                InternetService::Https => {
                    let names = [host.name.clone(), host.address.to_string()];
                    let tls = Authority::shared()?.server(&names)?;
                    http::serve(namespace.tcp_listener(at(http::TLS_PORT))?, Some(tls), http::caller(), log())
                }
            });
        }
        Ok(())
    }

    /// The root certificate that signs the certificates of all HTTPS hosts. A probe trusts it and nothing else.
    pub fn root_certificate(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    /// What the hosts were asked and by whom, as they saw it. Pings are not in it: the kernel answers them.
    pub fn calls(&self) -> &CallLog {
        &self.calls
    }

    /// The address that the last DNS query for exactly this name, or HTTP request for exactly this path, came from.
    pub fn seen(&self, asked: &str) -> Option<Ipv4Addr> {
        match self.calls.last(asked)?.caller {
            std::net::SocketAddr::V4(caller) => Some(*caller.ip()),
            std::net::SocketAddr::V6(_) => None,
        }
    }
}

fn at(host: &InternetHost, error: &Error) -> Error {
    let source = error.raw_os_error().map(std::io::Error::from_raw_os_error);
    Error::Internet { host: host.name.clone(), reason: error.to_string(), source }
}
