//! Machines that somebody else made and runs, containers for one: a lab plugs its interfaces in, and takes all of it out
//! again.

use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use topology::network::{Node as Config, Overlay};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::netlink::{Route, table};
use crate::nft::{Chain, ChainType, Hook, Statement, Table};
use crate::overlay;
use crate::sysctl::{Saved, Sysctls};

/// What drops what doesn't belong on a machine's own interface calls itself.
pub const MANAGEMENT: &str = "management";
/// Before anybody else's filters.
const FIRST: i32 = -290;

/// A machine that is there already.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where it lives.
    pub namespace: Namespace,
    /// The interface by which whoever runs it reaches it, beside the lab.
    pub management: Option<Management>,
}

/// An interface that isn't the lab's. While the machine is in a lab no default route leads there, and nothing passes but
/// what is allowed.
#[derive(Debug, Clone)]
pub struct Management {
    /// Its name, `eth0`.
    pub interface: String,
    /// What may pass in either direction; each is met where all of its matches are.
    pub allowed: Vec<Vec<Statement>>,
}

/// A machine that is in a lab. When this is dropped, what the lab put there is gone, and what it took away is back; where
/// the process was killed, links and encryption are gone, and the rest goes when the machine is plugged in the next time.
#[derive(Debug)]
pub(crate) struct Guest {
    machine: Machine,
    links: Vec<String>,
    overlay: Option<Overlay>,
    tables: Vec<Table>,
    sysctls: Saved,
    routes: Vec<Route>,
}

impl Guest {
    /// Makes room for the lab's interfaces on a machine.
    ///
    /// # Errors
    /// It has a link of a name that the lab's shall have: whose that is nobody knows. The kernel's answer.
    pub(crate) fn receive(
        machine: &Machine,
        config: &Config,
        overlay: Option<&Overlay>,
        sysctls: Sysctls,
    ) -> Result<Self> {
        let namespace = &machine.namespace;
        let overlay = overlay.filter(|_| config.overlay_address.is_some());
        let tables =
            overlay.iter().zip(config.overlay_address).flat_map(|(config, own)| overlay::firewall(config, own));
        let links = config.nics.iter().map(|nic| nic.name.clone());
        let links: Vec<_> = links.chain(overlay.iter().map(|overlay| overlay.interface.clone())).collect();
        let there = namespace.netlink()?.links()?;
        if let Some(taken) = links.iter().find(|name| there.iter().any(|link| link.name == **name)) {
            let (step, source) = (format!("plug {taken} in"), io::ErrorKind::AlreadyExists.into());
            return Err(Error::Namespace { namespace: namespace.name().to_owned(), step, source });
        }
        let mut guest = Self {
            machine: machine.clone(),
            links,
            tables: tables.collect(),
            overlay: overlay.cloned(),
            sysctls: sysctls.replace(namespace)?,
            routes: Vec::new(),
        };
        // What an earlier lab left whose process was killed; its links went with it.
        guest.clear_rules()?;
        if let Some(management) = &machine.management {
            guest.routes = default_routes(namespace, &management.interface)?;
            let mut netlink = namespace.netlink()?;
            for route in &guest.routes {
                netlink.delete_route(route)?;
            }
            drop(netlink);
            let table = management.table();
            namespace.load_nft(std::slice::from_ref(&table))?;
            guest.tables.push(table);
        }
        Ok(guest)
    }

    fn clear_links(&self) -> Result<()> {
        let mut netlink = self.machine.namespace.netlink()?;
        self.links.iter().try_for_each(|link| netlink.clear_link(link))
    }

    fn clear_rules(&self) -> Result<()> {
        let namespace = &self.machine.namespace;
        if let Some(overlay) = &self.overlay {
            overlay::forget(namespace, overlay)?;
        }
        namespace.unload_nft(&self.tables)
    }

    fn take_back(&mut self) -> Result<()> {
        let cleared = self.clear_links();
        let cleared = cleared.and(self.clear_rules());
        let namespace = &self.machine.namespace;
        let restored = self.sysctls.restore(namespace);
        let mut netlink = namespace.netlink()?;
        let routed = self.routes.drain(..).map(|route| netlink.replace_route(&route)).find(Result::is_err);
        cleared.and(restored).and(routed.unwrap_or(Ok(())))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            let reason = causes.by_ref().map(ToString::to_string).collect::<Vec<_>>().join(": ");
            eprintln!("warning: {} was not left as it was: {reason}", self.machine.namespace.name());
        }
    }
}

impl Management {
    fn table(&self) -> Table {
        let chain = |name: &str, hook, here: fn(String) -> Statement| {
            let here = here(self.interface.clone());
            let chain = Chain::base(name, ChainType::Filter, hook, FIRST);
            let allow = |chain: Chain, matches: &Vec<Statement>| {
                chain.rule(std::iter::once(here.clone()).chain(matches.iter().cloned()).chain([Statement::Accept]))
            };
            self.allowed.iter().fold(chain, allow).drop_rule(MANAGEMENT, [here.clone()])
        };
        Table::ipv4(format!("lab-{MANAGEMENT}")).chain(chain("in", Hook::Prerouting, Statement::Input)).chain(chain(
            "out",
            Hook::Postrouting,
            Statement::Output,
        ))
    }
}

fn default_routes(namespace: &Namespace, interface: &str) -> Result<Vec<Route>> {
    let mut netlink = namespace.netlink()?;
    let index = netlink.index(interface)?;
    let routes = netlink.routes()?.into_iter().filter(|route| {
        route.table == table::MAIN && route.link == index && route.destination == IpNet::V4(Ipv4Net::default())
    });
    let gateway = |gateway: Option<IpAddr>| match gateway {
        Some(IpAddr::V4(gateway)) => Some(gateway),
        _ => None,
    };
    Ok(routes
        .map(|route| match gateway(route.gateway) {
            Some(gateway) => Route::default_via(gateway, interface),
            None => Route::through(Ipv4Net::default(), interface),
        })
        .collect())
}
