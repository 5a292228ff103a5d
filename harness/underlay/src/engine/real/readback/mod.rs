//! What an agent decided, asked of it: its status, its tables, what it compiled, its BPF maps.
//!
//! The answers are put together here in the model's terms; nothing in them is the model's. What an agent doesn't tell
//! is an error with the name of what is missing, never a guess.

pub mod compiled;
pub mod drops;
pub mod nat;
pub mod tables;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use cilium::Decisions;
use cilium::decisions::{
    Device, Egress, HostRouting, Masquerade, NodeAddress, NodeRoute, NotSelected, Routing, Tunnel,
};
use cilium::node_address::FALLBACK;
use ipnet::{IpNet, Ipv4Net};
use lab::netlink::{RouteInfo, table};
use serde_json::Value;

use super::{AgentNode, Names};
use crate::nat::NatEntry;
use crate::observed::EngineError;
use tables::{AddressRow, DeviceRow, MtuRow};

/// How long a pod's programs may take to be compiled on a machine that is busy.
const COMPILING: Duration = Duration::from_secs(120);

/// What an agent said, as it said it.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// `GET /v1/healthz`, which `cilium-dbg status` prints.
    pub status: Value,
    /// `GET /v1/config`.
    pub config: Value,
    /// `GET /v1/cluster/nodes`.
    pub nodes: Value,
    /// `cilium-dbg shell -- db/show devices --format=json`.
    pub devices: String,
    /// The same of `node-addresses`.
    pub addresses: String,
    /// The same of `mtu`.
    pub mtu: String,
    /// `cilium-dbg bpf ipcache list -o json`.
    pub ipcache: String,
    /// `cilium-dbg bpf endpoint list -o json`.
    pub endpoints: String,
    /// What was compiled for a pod, `ep_config.h`; none before there is a pod.
    pub compiled: Option<String>,
    /// The node's routes.
    pub routes: Vec<RouteInfo>,
    /// What it says and the scenario calls otherwise.
    pub names: Names,
}

/// Something an agent didn't say, or not so that it can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct Unread {
    /// What was looked for.
    pub what: &'static str,
    /// What is there instead.
    pub reason: String,
}

impl Unread {
    /// Something that isn't there or can't be understood.
    pub fn new(what: &'static str, reason: impl ToString) -> Self {
        Self { what, reason: reason.to_string() }
    }
}

/// Asks an agent for its decisions.
///
/// # Errors
/// It doesn't answer, or says something that can't be understood.
pub async fn decisions(node: &impl AgentNode) -> Result<Decisions, EngineError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        EngineError::failed(&format!("read back what the agent on {} decided", node.name()), error)
    };
    let get = |path| async move { node.api().get(path).await.map_err(|error| failed(&error)) };
    let show = |table| async move { node.ask(&["shell", "--", "db/show", table, "--format=json"]).await };
    let (status, config, nodes, devices, addresses, mtu, ipcache, endpoints) = tokio::try_join!(
        get("/v1/healthz"),
        get("/v1/config"),
        get("/v1/cluster/nodes"),
        show("devices"),
        show("node-addresses"),
        show("mtu"),
        node.ask(&["bpf", "ipcache", "list", "-o", "json"]),
        node.ask(&["bpf", "endpoint", "list", "-o", "json"]),
    )?;
    let compiled = compiled_for_a_pod(node).await?;
    let routes = node.namespace().netlink()?.routes()?;
    let names = node.names();
    let answers =
        Answers { status, config, nodes, devices, addresses, mtu, ipcache, endpoints, compiled, routes, names };
    answers.decisions().map_err(|unread| EngineError::Unread {
        step: format!("read back what the agent on {} decided", node.name()),
        said: answers.about(unread.what),
        reason: unread.to_string(),
    })
}

/// What was compiled for a pod; none where there is no pod yet.
async fn compiled_for_a_pod(node: &impl AgentNode) -> Result<Option<String>, EngineError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        EngineError::failed(&format!("read what was compiled for a pod on {}", node.name()), error)
    };
    let began = Instant::now();
    loop {
        let pods = node.api().get("/v1/endpoint").await.map_err(|error| failed(&error))?;
        let Some(file) = compiled::of_a_pod(&pods) else { return Ok(None) };
        match std::fs::read_to_string(node.file(Path::new(&file))) {
            Ok(header) => return Ok(Some(header)),
            // It is replaced as a whole; between two, and before the first, it isn't there.
            Err(error) if error.kind() == ErrorKind::NotFound && began.elapsed() < COMPILING => {}
            Err(error) => return Err(failed(&Unread::new("a header", format!("{file}: {error}")))),
        }
        tokio::time::sleep(node.pause()).await;
    }
}

/// Whether a pod's programs are compiled for the direct routing device that the agent has by now. True where there is
/// nothing to compare.
///
/// # Errors
/// The agent doesn't answer.
pub async fn compiled_as_decided(node: &impl AgentNode) -> Result<bool, EngineError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        EngineError::failed(&format!("ask the agent on {} for its direct routing device", node.name()), error)
    };
    let pods = node.api().get("/v1/endpoint").await.map_err(|error| failed(&error))?;
    let file = compiled::of_a_pod(&pods).map(|file| node.file(Path::new(&file)));
    // It is replaced as a whole; between two it isn't there.
    let Some(header) = file.and_then(|file| std::fs::read_to_string(file).ok()) else { return Ok(pods.is_null()) };
    let status = node.api().get("/v1/healthz").await.map_err(|error| failed(&error))?;
    let device = text(&status, "/kube-proxy-replacement/directRoutingDevice").unwrap_or_default();
    let links = node.namespace().netlink()?.links()?;
    let decided = links.iter().find(|link| link.name == device).map(|link| link.index);
    let compiled = compiled::Compiled::read(&header).direct_routing_device();
    Ok(compiled.is_none() || decided.is_none() || compiled == decided)
}

/// Asks for the node's NAT table: the entries of its pods. An agent that has no use for a table has none.
///
/// # Errors
/// The agent doesn't answer.
pub async fn nat(node: &impl AgentNode, pods: Ipv4Net) -> Result<Vec<NatEntry>, EngineError> {
    match node.ask(&["bpf", "nat", "list"]).await {
        Ok(text) => Ok(nat::entries(&text, pods)),
        Err(EngineError::Failed { reason, .. }) if nat::has_no_table(&reason) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Answers {
    /// The decisions.
    ///
    /// # Errors
    /// What is missing or can't be understood.
    pub fn decisions(&self) -> Result<Decisions, Unread> {
        let devices: Vec<DeviceRow> = tables::rows("the table of devices", &self.devices)?;
        let addresses: Vec<AddressRow> = tables::rows("the table of node addresses", &self.addresses)?;
        // One beside the lab is no scenario's business, unless it is selected: that would be the fault to be found.
        let selected = |name: &str| devices.iter().any(|device| device.selected && device.name == name);
        let hidden = |name: &str| self.names.is_beside(name) && !selected(name);
        let addresses: Vec<_> = addresses.into_iter().filter(|row| !hidden(&row.device)).collect();
        let mtu = self.mtu()?;
        let masquerade = self.masquerade()?;
        let skip_fib = self.skip_fib(&devices)?;
        let egress = match &skip_fib {
            Some(device) => Egress::Device { device: device.clone() },
            None => Egress::Fib,
        };
        let routing = self.routing()?;
        let (own, peers) = self.nodes()?;
        let selected = devices.iter().filter(|device| device.selected).map(|device| Device {
            name: device.name.clone(),
            reason: String::new(),
            nodeport_addresses: addresses
                .iter()
                .filter(|row| row.nodeport)
                .filter_map(|row| row.on(&device.name))
                .collect(),
            masquerade_source: (masquerade == Masquerade::Bpf).then(|| masquerade_source(&addresses, device)).flatten(),
            layer3: device.hardware_address.is_empty(),
        });
        let left_out = devices
            .iter()
            .filter(|device| !device.selected && !hidden(&device.name))
            .map(|device| NotSelected { name: device.name.clone(), reason: device.reason.clone() });
        let exclusion = text(&self.status, "/masquerading/snat-exclusion-cidr-v4").and_then(|cidr| cidr.parse().ok());
        Ok(Decisions {
            devices: selected.collect(),
            not_selected: left_out.collect(),
            node_ip: own.node_ip,
            direct_routing_device: text(&self.status, "/kube-proxy-replacement/directRoutingDevice")
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            host_routing: match text(&self.status, "/routing/intra-host-routing-mode") {
                Some("BPF") => HostRouting::Bpf,
                Some("Legacy") => HostRouting::Legacy,
                other => return Err(Unread::new("the host's routing in the status", other.unwrap_or("absent"))),
            },
            skip_fib,
            service_egress: egress.clone(),
            egress,
            masquerade,
            masquerade_exempt: Vec::new(),
            snat_exclusion: exclusion.unwrap_or(own.pod_cidr),
            host_addresses: self.host_addresses()?,
            node_addresses: node_addresses(&addresses),
            routing,
            device_mtu: mtu.device,
            pod_mtu: mtu.route,
            tunnels: self.tunnels(&peers)?,
            node_routes: self.node_routes(&peers),
            because: Vec::new(),
            unread: self.unread(),
        })
    }

    /// What the agent said to a question, as it said it, cut short where it is long.
    fn about(&self, what: &str) -> String {
        const MOST: usize = 2000;
        let text = match what {
            what if what.contains("node addresses") => self.addresses.clone(),
            what if what.contains("device") => self.devices.clone(),
            what if what.contains("MTU") => self.mtu.clone(),
            what if what.contains("nodes") => self.nodes.to_string(),
            what if what.contains("ipcache") => self.ipcache.clone(),
            what if what.contains("endpoints") => self.endpoints.clone(),
            _ => self.status.to_string(),
        };
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    }

    /// What there is no way to know.
    fn unread(&self) -> BTreeMap<String, String> {
        let compiled = self.compiled.is_none().then_some(("skip-fib", "it is compiled into pods, and there is no pod"));
        compiled.into_iter().map(|(fact, reason)| (fact.to_owned(), reason.to_owned())).collect()
    }

    fn mtu(&self) -> Result<MtuRow, Unread> {
        let rows: Vec<MtuRow> = tables::rows("the table of MTUs", &self.mtu)?;
        let row = rows.into_iter().find(|row| row.prefix == "0.0.0.0/0");
        row.ok_or_else(|| Unread::new("the table of MTUs", "no row for 0.0.0.0/0"))
    }

    fn masquerade(&self) -> Result<Masquerade, Unread> {
        let enabled = self.status.pointer("/masquerading/enabled").and_then(Value::as_bool).unwrap_or(false)
            && self.status.pointer("/masquerading/enabledProtocols/ipv4").and_then(Value::as_bool).unwrap_or(false);
        if !enabled {
            return Ok(Masquerade::Off);
        }
        match text(&self.status, "/masquerading/mode") {
            Some("BPF") => Ok(Masquerade::Bpf),
            Some(mode) if mode.eq_ignore_ascii_case("iptables") => {
                let interfaces = self.config.pointer("/status/daemonConfigurationMap/MasqueradeInterfaces");
                let names = interfaces.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                Ok(Masquerade::Iptables { interfaces: names.map(str::to_owned).collect() })
            }
            other => Err(Unread::new("the mode of masquerading in the status", other.unwrap_or("absent"))),
        }
    }

    fn skip_fib(&self, devices: &[DeviceRow]) -> Result<Option<String>, Unread> {
        let Some(compiled) = self.compiled.as_deref().map(compiled::Compiled::read) else { return Ok(None) };
        let Some(index) = compiled.skip_fib() else { return Ok(None) };
        let device = devices.iter().find(|device| device.index == index);
        let unknown = || Unread::new("the device that skip-FIB names", format!("no device has index {index}"));
        device.map(|device| Some(device.name.clone())).ok_or_else(unknown)
    }

    fn routing(&self) -> Result<Routing, Unread> {
        let mode = text(&self.status, "/routing/inter-host-routing-mode").unwrap_or("absent");
        match (mode.to_ascii_lowercase().as_str(), text(&self.status, "/routing/tunnel-protocol")) {
            ("native", _) => Ok(Routing::Native),
            ("tunnel", Some("vxlan")) => Ok(Routing::Vxlan),
            ("tunnel", Some("geneve")) => Ok(Routing::Geneve),
            (mode, protocol) => {
                let reason = format!("{mode}, tunnel protocol {}", protocol.unwrap_or("absent"));
                Err(Unread::new("the routing mode in the status", reason))
            }
        }
    }

    /// This node and its peers, as the agent knows them.
    fn nodes(&self) -> Result<(KnownNode, Vec<KnownNode>), Unread> {
        let what = "the list of nodes";
        let own_name = text(&self.nodes, "/self").ok_or_else(|| Unread::new(what, "no name of its own"))?;
        let listed = self.nodes.get("nodes-added").and_then(Value::as_array).into_iter().flatten();
        let nodes = listed.map(|node| KnownNode::read(node).ok_or_else(|| Unread::new(what, node)));
        let mut nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let at = nodes.iter().position(|node| node.name.rsplit('/').next() == own_name.rsplit('/').next());
        let at = at.ok_or_else(|| Unread::new(what, format!("{own_name} is not in it")))?;
        nodes.iter_mut().for_each(|node| node.name = self.names.node(&node.name));
        let own = nodes.remove(at);
        Ok((own, nodes))
    }

    fn host_addresses(&self) -> Result<Vec<Ipv4Addr>, Unread> {
        let what = "the map of endpoints";
        let map: serde_json::Map<String, Value> =
            serde_json::from_str(&self.endpoints).map_err(|error| Unread::new(what, error))?;
        let is_host = |info: &Value| {
            info.as_array()
                .into_iter()
                .flatten()
                .any(|text| text.as_str().is_some_and(|text| text.contains("(localhost)")))
        };
        let hosts = map.iter().filter(|(_, info)| is_host(info));
        let addresses = hosts.filter_map(|(key, _)| key.split(':').next()?.parse::<Ipv4Addr>().ok());
        let beside = self.names.management.as_ref().map(|(_, address)| *address);
        let mut addresses: Vec<_> = addresses.filter(|address| Some(*address) != beside).collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    fn tunnels(&self, peers: &[KnownNode]) -> Result<Vec<Tunnel>, Unread> {
        let map: serde_json::Map<String, Value> =
            serde_json::from_str(&self.ipcache).map_err(|error| Unread::new("the ipcache", error))?;
        let endpoint = |cidr: &Ipv4Net| {
            let entry = map.get(&cidr.to_string())?.as_array()?.first()?.as_str()?;
            let value = entry.split(' ').find_map(|field| field.strip_prefix("tunnelendpoint="))?;
            value.parse::<Ipv4Addr>().ok().filter(|address| !address.is_unspecified())
        };
        let tunnel = |peer: &KnownNode| Tunnel {
            peer: peer.name.clone(),
            pod_cidr: peer.pod_cidr,
            endpoint: endpoint(&peer.pod_cidr),
        };
        Ok(peers.iter().map(tunnel).collect())
    }

    fn node_routes(&self, peers: &[KnownNode]) -> Vec<NodeRoute> {
        let by_gateway = |peer: &KnownNode| {
            let route = self
                .routes
                .iter()
                .find(|route| route.table == table::MAIN && route.destination == IpNet::V4(peer.pod_cidr))?;
            match route.gateway? {
                std::net::IpAddr::V4(via) if via == peer.node_ip => Some(NodeRoute { pod_cidr: peer.pod_cidr, via }),
                _ => None,
            }
        };
        peers.iter().filter_map(by_gateway).collect()
    }
}

/// The source of what is masqueraded on a device: its primary address, else the fallback's (Cilium 1.18,
/// pkg/datapath/loader, `bpfMasqAddrs`). The programs are loaded with it and tell nobody.
fn masquerade_source(addresses: &[AddressRow], device: &DeviceRow) -> Option<Ipv4Addr> {
    let primary = |name: &str| addresses.iter().filter(|row| row.primary).find_map(|row| row.on(name));
    primary(&device.name).or_else(|| primary(FALLBACK))
}

fn node_addresses(rows: &[AddressRow]) -> Vec<NodeAddress> {
    let mut table: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let address = row.on(&row.device)?;
            Some(NodeAddress { address, device: row.device.clone(), nodeport: row.nodeport, primary: row.primary })
        })
        .collect();
    table.sort();
    table
}

struct KnownNode {
    name: String,
    node_ip: Ipv4Addr,
    pod_cidr: Ipv4Net,
}

impl KnownNode {
    fn read(node: &Value) -> Option<Self> {
        let name = node.get("name")?.as_str()?;
        Some(Self {
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            node_ip: text(node, "/primary-address/ipv4/ip")?.parse().ok()?,
            pod_cidr: text(node, "/primary-address/ipv4/alloc-range")?.parse().ok()?,
        })
    }
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}
