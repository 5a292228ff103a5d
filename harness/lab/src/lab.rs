//! A whole topology in the kernel, as one value: dropping it, or killing the process, leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use topology::Network;
use topology::network::{NicKind, Overlay as OverlayConfig};

use crate::drops::DropLog;
use crate::error::Result;
use crate::internet::Internet;
use crate::machine::Machine;
use crate::namespace::Namespace;
use crate::netlink::Listening;
use crate::nft::{Statement, Table, watch_drops};
use crate::node::Node;
use crate::overlay::{self, Overlay};
use crate::sysctl::Sysctls;
use crate::vcn::Vcn;

/// How long the overlay's first handshakes may take, retransmissions and a busy machine included.
const OVERLAY_PATIENCE: Duration = Duration::from_secs(20);

/// How long a link may take to carry packets once both of its ends are up.
pub const LINK_PATIENCE: Duration = Duration::from_secs(10);

/// A network that is there: namespaces, links, routes, firewalls, overlay, internet services.
pub struct Lab {
    /// What was asked for.
    pub network: Arc<Network>,
    /// The internet.
    pub internet: Namespace,
    /// Its hosts, answering.
    pub services: Internet,
    /// The mesh between the nodes, where the topology has one.
    pub overlay: Option<Overlay>,
    /// The private networks' gateways, in the topology's order.
    pub vcns: Vec<Vcn>,
    /// The machines, in the topology's order.
    pub nodes: Vec<Node>,
    /// What the lab's parts dropped on purpose.
    pub drops: DropLog,
    _watches: Vec<Listening>,
    /// Gateways listened to since [`Lab::block`] gave them rules.
    listened: BTreeSet<String>,
}

/// Links and namespaces, which the kernel makes one after the other anyway.
struct Skeleton {
    internet: Namespace,
    vcns: Vec<Vcn>,
    nodes: Vec<Node>,
}

fn skeleton(network: &Network, machines: &BTreeMap<String, Machine>) -> Result<Skeleton> {
    let internet = Namespace::create("internet", &Sysctls::ROUTER)?;
    let vcns = network
        .vcns
        .iter()
        .zip(0..)
        .map(|(config, index)| Vcn::create(config, index, network, &internet))
        .collect::<Result<Vec<_>>>()?;
    let nodes = network
        .nodes
        .iter()
        .enumerate()
        .map(|(index, config)| match machines.get(&config.name) {
            Some(machine) => Node::adopt(machine, config, index, &vcns, network.overlay.as_ref()),
            None => Node::create(config, index, &vcns),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Skeleton { internet, vcns, nodes })
}

impl Lab {
    /// Builds `network`. Needs a tokio runtime with I/O and time enabled, in a process that called
    /// [`crate::sandbox::enter`].
    ///
    /// # Errors
    /// What the host lacks, or the request the kernel refused. What was built until then is gone.
    pub async fn build(network: Arc<Network>) -> Result<Self> {
        Self::build_on(network, BTreeMap::new()).await
    }

    /// The same, with machines that are there already for the nodes of these names. Dropping the lab gives them back as
    /// they were, save that IPv6 addresses are gone.
    ///
    /// # Errors
    /// What the host lacks, or the request the kernel refused. What was built until then is gone.
    pub async fn build_on(network: Arc<Network>, machines: BTreeMap<String, Machine>) -> Result<Self> {
        let drops = DropLog::default();
        let wanted = Arc::clone(&network);
        let Skeleton { internet, vcns, nodes } = blocking(move || skeleton(&wanted, &machines)).await?;
        let mut watches = Vec::new();
        let mut firewalls = JoinSet::new();
        let rules = vcns
            .iter()
            .map(|vcn| (&vcn.namespace, vcn.tables(&network)))
            .chain(nodes.iter().map(|node| (&node.namespace, node_tables(&network, node))));
        for (namespace, tables) in rules.filter(|(_, tables)| !tables.is_empty()) {
            watches.push(watch_drops(namespace, drops.clone())?);
            let namespace = namespace.clone();
            // The first transaction of a namespace waits for the kernel some 25 ms: all at once, then.
            firewalls.spawn_blocking(move || namespace.load_nft(&tables));
        }
        for vcn in &vcns {
            for (namespace, link) in vcn.links(&network, &nodes, &internet) {
                namespace.operational(&link, LINK_PATIENCE).await?;
            }
        }
        let services = Internet::start(&internet, &network.internet)?;
        while let Some(loaded) = firewalls.join_next().await {
            loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        }
        let overlay = match &network.overlay {
            Some(config) => Some(mesh(config, &nodes, &internet, drops.clone()).await?),
            None => None,
        };
        Ok(Self {
            network,
            internet,
            services,
            overlay,
            vcns,
            nodes,
            drops,
            _watches: watches,
            listened: BTreeSet::new(),
        })
    }

    /// The machine of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.config.name == name)
    }

    /// The private network of that name.
    pub fn vcn(&self, name: &str) -> Option<&Vcn> {
        self.vcns.iter().find(|vcn| vcn.config.name == name)
    }

    /// Makes a node's interface again that was deleted, as the topology has it, and waits until it carries packets.
    /// Does nothing for names the topology doesn't have.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn plug(&self, node: &str, interface: &str) -> Result<()> {
        let Some(index) = self.nodes.iter().position(|other| other.config.name == node) else { return Ok(()) };
        let node = &self.nodes[index];
        let Some(nic_index) = node.config.nics.iter().position(|nic| nic.name == interface) else { return Ok(()) };
        node.restore(nic_index, index, &self.vcns)?;
        let nic = &node.config.nics[nic_index];
        if let (NicKind::Vcn(name), true) = (&nic.kind, nic.up) {
            node.namespace.operational(interface, LINK_PATIENCE).await?;
            if let Some(vcn) = self.vcn(name) {
                vcn.namespace.operational(&Vcn::port(index, nic_index), LINK_PATIENCE).await?;
            }
        }
        Ok(())
    }

    /// Has a VCN's gateway drop what matches any of these, each by its name, in place of what it dropped so before.
    /// What one machine of the network sends another is looked at too.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn block(&mut self, vcn: &str, filters: &[(String, Vec<Statement>)]) -> Result<()> {
        let Some(vcn) = self.vcns.iter().find(|other| other.config.name == vcn) else { return Ok(()) };
        // A gateway with rules of its own is listened to from the beginning.
        if vcn.tables(&self.network).is_empty() && self.listened.insert(vcn.config.name.clone()) {
            self._watches.push(watch_drops(&vcn.namespace, self.drops.clone())?);
        }
        vcn.block(filters)
    }

    /// Every namespace of the lab.
    pub fn namespaces(&self) -> Vec<Namespace> {
        std::iter::once(&self.internet)
            .chain(self.vcns.iter().map(|vcn| &vcn.namespace))
            .chain(self.nodes.iter().map(|node| &node.namespace))
            .cloned()
            .collect()
    }
}

/// tailscaled's chains on a machine of the overlay.
fn node_tables(network: &Network, node: &Node) -> Vec<Table> {
    match (&network.overlay, node.config.overlay_address) {
        (Some(config), Some(address)) => overlay::firewall(config, address),
        _ => Vec::new(),
    }
}

async fn mesh(config: &OverlayConfig, nodes: &[Node], internet: &Namespace, drops: DropLog) -> Result<Overlay> {
    let members = nodes.iter().filter_map(|node| {
        let locals = node.config.nics.iter().filter_map(|nic| {
            let network = node.config.vcn_of(&nic.name)?.to_owned();
            Some(overlay::Local { network, address: nic.addresses.first()?.addr() })
        });
        Some(overlay::Member {
            node: node.config.name.clone(),
            namespace: node.namespace.clone(),
            address: node.config.overlay_address?,
            locals: locals.collect(),
        })
    });
    let overlay = Overlay::start(config, members.collect(), internet, drops).await?;
    overlay.ready(OVERLAY_PATIENCE).await?;
    Ok(overlay)
}

/// Runs kernel work that may wait on a thread that may. Its panics are the caller's. Where the runtime ends first, nobody
/// waits for what comes of it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
