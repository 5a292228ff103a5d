//! What a lab is and how it is, for people and programs.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use indexmap::IndexMap;
use lab::Namespace;
use nix::ifaddrs::getifaddrs;
use serde::{Deserialize, Serialize};

use super::name::Name;
use crate::case::Case;
use crate::engine::live::Live;
use crate::observed::EngineError;
use crate::report::schema::steps::Step;
use crate::report::schema::{Dns, Node};
use crate::step;

/// A lab that is up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Its name.
    pub name: Name,
    /// The scenario, `guide/table`.
    pub scenario: String,
    /// The variant, `enp0s6`.
    pub variant: String,
    /// The scenario's file.
    pub file: String,
    /// The engine, `netns`.
    pub engine: String,
    /// The Cilium version by now.
    pub cilium: String,
    /// The supervisor's pid, as it calls itself: in another pid namespace it has another, or none.
    pub supervisor: u32,
    /// Since when it is up, RFC 3339.
    pub since: String,
    /// The supervisor's version.
    pub underlay: String,
    /// Steps taken since it is up, in order.
    pub steps: Vec<String>,
    /// How it is; none while it takes a step.
    pub state: Option<State>,
}

/// How a lab is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// Where commands can be run: the internet, gateways, nodes, pods.
    pub places: Vec<Spot>,
    /// What each node's agent decided.
    pub nodes: IndexMap<String, Node>,
    /// CoreDNS.
    pub dns: Dns,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// `master`, `master/pod`, `vcn/a`, `internet`.
    pub name: String,
    /// Its addresses, by interface; those of `lo` are left out.
    pub addresses: IndexMap<String, Vec<Ipv4Addr>>,
}

/// What steps came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// CoreDNS before them.
    pub dns_before: Dns,
    /// How it is now.
    pub state: State,
}

/// What never changes of a lab.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// The engine.
    pub engine: &'static str,
    /// Since when it is up.
    pub since: SystemTime,
}

impl Description {
    /// Of a lab that may be busy.
    pub fn of(identity: &Identity, case: &Case, steps: &[step::Step], state: Option<State>) -> Self {
        Self {
            name: identity.name.clone(),
            scenario: case.scenario.clone(),
            variant: case.variant.clone(),
            file: case.file.display().to_string(),
            engine: identity.engine.to_owned(),
            cilium: case.version.to_string(),
            supervisor: std::process::id(),
            since: humantime::format_rfc3339_seconds(identity.since).to_string(),
            underlay: env!("CARGO_PKG_VERSION").to_owned(),
            steps: steps.iter().map(|step| step.action.to_string()).collect(),
            state,
        }
    }
}

impl State {
    /// Of a lab, as its kernel has it now.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    pub async fn of(live: &dyn Live) -> Result<Self, EngineError> {
        let observed = live.observed().await?;
        let places = live.namespaces().iter().map(Spot::of).collect::<lab::Result<_>>()?;
        let nodes = observed.nodes.iter().map(|(name, agent)| (name.clone(), Node::of(agent))).collect();
        Ok(Self { places, nodes, dns: Dns::from(&observed) })
    }
}

impl Spot {
    fn of(namespace: &Namespace) -> lab::Result<Self> {
        let mut addresses: IndexMap<String, Vec<Ipv4Addr>> = IndexMap::new();
        let known = namespace.enter(getifaddrs)?.into_iter().flatten();
        for one in known.filter(|one| one.interface_name != "lo") {
            let address = one.address.and_then(|address| Some(address.as_sockaddr_in()?.ip()));
            addresses.entry(one.interface_name).or_default().extend(address);
        }
        addresses.retain(|_, addresses| !addresses.is_empty());
        Ok(Self { name: place(namespace), addresses })
    }
}

/// What a namespace is called as a place: `vcn/a` of `vcn a`.
pub fn place(namespace: &Namespace) -> String {
    match namespace.name().strip_prefix("vcn ") {
        Some(vcn) => format!("vcn/{vcn}"),
        None => namespace.name().to_owned(),
    }
}
