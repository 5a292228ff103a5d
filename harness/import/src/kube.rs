//! Objects of Kubernetes as `kubectl` and sysdumps print them: what is read of them, and no more. Secrets stay unread.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

/// What was read of a cluster's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) nodes: Vec<Node>,
    pub(crate) cilium_nodes: Vec<CiliumNode>,
    /// The options in the ConfigMap `cilium-config`.
    pub(crate) config: Option<BTreeMap<String, String>>,
    /// Whether the ip-masq-agent's own ConfigMap was there.
    pub(crate) ip_masq_agent: bool,
    /// The node of each of Cilium's pods.
    pub(crate) pods: BTreeMap<String, String>,
    /// Cilium's version, by its image: `1.18.2`.
    pub(crate) version: Option<String>,
    /// Address of the service `kubernetes`.
    pub(crate) kubernetes_service: Option<Ipv4Addr>,
    /// Address of cluster DNS.
    pub(crate) dns_service: Option<Ipv4Addr>,
    /// Where the API server is reached: the first address behind that service.
    pub(crate) api_server: Option<Ipv4Addr>,
}

/// A Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) control_plane: bool,
    pub(crate) internal_ip: Option<Ipv4Addr>,
    pub(crate) external_ip: Option<Ipv4Addr>,
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// `oci`, `aws`, `gce`, … of `spec.providerID`.
    pub(crate) provider: Option<String>,
}

/// A CiliumNode: what the agent of the node said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CiliumNode {
    pub(crate) name: String,
    pub(crate) internal_ip: Option<Ipv4Addr>,
    pub(crate) external_ip: Option<Ipv4Addr>,
    pub(crate) pod_cidr: Option<Ipv4Net>,
}

/// The labels of a control plane's node, of all versions.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

impl Objects {
    /// Takes in an object or a list of them, whose kind is `kind` if it doesn't say. False if it is none of use.
    pub(crate) fn read(&mut self, object: &Value, kind: Option<&str>) -> bool {
        let kind = text(object, "/kind").or(kind).unwrap_or_default();
        if let Some(items) = object.get("items").and_then(Value::as_array) {
            // `kubectl get nodes,ciliumnodes` gives a `List` whose items name their kinds; others don't.
            let kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
            let mut any = false;
            for item in items {
                any |= self.read(item, kind);
            }
            return any;
        }
        match kind {
            "Node" => self.nodes.extend(node(object)),
            "CiliumNode" => self.cilium_nodes.extend(cilium_node(object)),
            "ConfigMap" => return self.config_map(object),
            "Pod" => self.pod(object),
            "DaemonSet" => self.image(object, "/spec/template/spec/containers"),
            "Service" => self.service(object),
            "Endpoints" => {
                if name(object) == Some("kubernetes") && text(object, "/metadata/namespace") == Some("default") {
                    let address = text(object, "/subsets/0/addresses/0/ip");
                    self.api_server = self.api_server.or(address.and_then(|address| address.parse().ok()));
                }
            }
            _ => return false,
        }
        true
    }

    /// Takes in what another file holds.
    pub(crate) fn merge(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.cilium_nodes.extend(other.cilium_nodes);
        self.config = self.config.take().or(other.config);
        self.ip_masq_agent |= other.ip_masq_agent;
        self.pods.extend(other.pods);
        self.version = self.version.take().or(other.version);
        self.kubernetes_service = self.kubernetes_service.or(other.kubernetes_service);
        self.dns_service = self.dns_service.or(other.dns_service);
        self.api_server = self.api_server.or(other.api_server);
    }

    fn config_map(&mut self, object: &Value) -> bool {
        let data = object.get("data").and_then(Value::as_object);
        match (name(object), data) {
            (Some("ip-masq-agent"), _) => self.ip_masq_agent = true,
            // One that somebody named otherwise is known by what is in it.
            (found, Some(data))
                if found == Some("cilium-config") || data.contains_key("bpf-map-dynamic-size-ratio") =>
            {
                let word = |value: &Value| match value {
                    Value::String(text) => Some(text.clone()),
                    Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
                    _ => None,
                };
                let options = data.iter().filter_map(|(option, value)| Some((option.clone(), word(value)?)));
                self.config = Some(options.collect());
            }
            _ => return false,
        }
        true
    }

    fn pod(&mut self, object: &Value) {
        let cilium = text(object, "/metadata/labels/k8s-app") == Some("cilium")
            || text(object, "/metadata/labels/app.kubernetes.io~1name") == Some("cilium-agent");
        if !cilium {
            return;
        }
        if let (Some(name), Some(node)) = (name(object), text(object, "/spec/nodeName")) {
            self.pods.insert(name.to_owned(), node.to_owned());
        }
        self.image(object, "/spec/containers");
    }

    /// The version in the agent's image, `quay.io/cilium/cilium:v1.18.2@sha256:…`.
    fn image(&mut self, object: &Value, containers: &str) {
        let containers = object.pointer(containers).and_then(Value::as_array).into_iter().flatten();
        for container in containers.filter(|container| text(container, "/name") == Some("cilium-agent")) {
            let version = text(container, "/image").and_then(version);
            self.version = self.version.take().or(version);
        }
    }

    fn service(&mut self, object: &Value) {
        let address = text(object, "/spec/clusterIP").and_then(|address| address.parse().ok());
        match (text(object, "/metadata/namespace"), name(object)) {
            (Some("default"), Some("kubernetes")) => self.kubernetes_service = address,
            (Some("kube-system"), Some("kube-dns" | "coredns")) => self.dns_service = address,
            _ => {}
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

fn name(object: &Value) -> Option<&str> {
    text(object, "/metadata/name")
}

fn node(object: &Value) -> Option<Node> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let (internal_ip, external_ip) = addresses(object, "/status/addresses", "address");
    let cidrs = object.pointer("/spec/podCIDRs").and_then(Value::as_array).into_iter().flatten();
    let cidr = cidrs.filter_map(Value::as_str).chain(text(object, "/spec/podCIDR")).find_map(|cidr| cidr.parse().ok());
    let id = text(object, "/spec/providerID").unwrap_or_default();
    let provider = match id.split_once("://") {
        Some((provider, _)) => Some(provider.to_owned()),
        None => id.starts_with("ocid1.").then(|| "oci".to_owned()),
    };
    Some(Node {
        name: name(object)?.to_owned(),
        control_plane: labels.is_some_and(|labels| CONTROL_PLANE.iter().any(|label| labels.contains_key(*label))),
        internal_ip,
        external_ip,
        pod_cidr: cidr,
        provider,
    })
}

fn cilium_node(object: &Value) -> Option<CiliumNode> {
    let (internal_ip, external_ip) = addresses(object, "/spec/addresses", "ip");
    let cidrs = object.pointer("/spec/ipam/podCIDRs").and_then(Value::as_array).into_iter().flatten();
    Some(CiliumNode {
        name: name(object)?.to_owned(),
        internal_ip,
        external_ip,
        pod_cidr: cidrs.filter_map(Value::as_str).find_map(|cidr| cidr.parse().ok()),
    })
}

/// The first InternalIP and the first ExternalIP that are IPv4.
fn addresses(object: &Value, list: &str, key: &str) -> (Option<Ipv4Addr>, Option<Ipv4Addr>) {
    let list = object.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let first = |kind: &str| {
        let of_kind = list.iter().filter(|item| item.get("type").and_then(Value::as_str) == Some(kind));
        of_kind.filter_map(|item| item.get(key)?.as_str()?.parse().ok()).next()
    };
    (first("InternalIP"), first("ExternalIP"))
}

/// `1.18.2` of `quay.io/cilium/cilium:v1.18.2@sha256:…`.
fn version(image: &str) -> Option<String> {
    let image = image.split('@').next()?;
    let tag = image.rsplit('/').next()?.split_once(':')?.1;
    let version = tag.strip_prefix('v').unwrap_or(tag);
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}
