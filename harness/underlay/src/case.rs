//! One case: one variant of one scenario on one engine, with everything resolved that can be without a kernel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use probe::walk::EndReason;
use serde_json::{Map, Value};
use topology::Network;

use crate::step::{self, Action, Step};

/// A variant of a scenario, ready to be run.
#[derive(Debug, Clone)]
pub struct Case {
    /// The scenario's name, `guide/table`: its file's path below the scenario folder, without `.yaml`.
    pub scenario: String,
    /// The variant's name, `enp0s6`; of a matrix, the axes' names joined by `/`.
    pub variant: String,
    /// The scenario's file, for messages that point into it.
    pub file: PathBuf,
    /// The network.
    pub network: Arc<Network>,
    /// Whether an overlay is the kernel's to encrypt, by the topology or by what was asked for instead. Where there is none,
    /// that still tells one run from another.
    pub kernel_overlay: bool,
    /// Whose rules decide on the `netns` engine.
    pub model: cilium::Model,
    /// The Cilium version.
    pub version: cilium::Version,
    /// Addresses and names of the cluster.
    pub cluster: Cluster,
    /// Helm values, verbatim and merged: the scenario's, then the variant's. A value taken away is there as null, as
    /// Helm hands it on.
    pub values: Map<String, Value>,
    /// `--set` arguments as typed, applied after `values`.
    pub set: Vec<String>,
    /// What happens before anything is sent.
    pub steps: Vec<Step>,
    /// What is sent.
    pub probes: Vec<ProbeSpec>,
    /// What must be so, in the file's order.
    pub expectations: Vec<Check>,
    /// What somebody said is so: measured, never asserted.
    pub claims: Vec<Claim>,
    /// How long a probe waits for its answer where no death was witnessed.
    pub deadline: Duration,
}

impl AsRef<Self> for Case {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Case {
    /// Its name in lists and filters, `guide/table::enp0s6`.
    pub fn id(&self) -> String {
        format!("{}::{}", self.scenario, self.variant)
    }

    /// Every version of Cilium it is about: the one it begins with, and those its steps bring.
    pub fn versions(&self) -> impl Iterator<Item = &cilium::Version> {
        let brought = step::flat(&self.steps).into_iter().filter_map(|step| match &step.action {
            Action::Install(chart) | Action::Upgrade { chart, .. } => chart.version.as_ref(),
            _ => None,
        });
        std::iter::once(&self.version).chain(brought)
    }
}

/// Addresses and names of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The pods' range, 10.244.0.0/16: each node gets a /24 of it, in the topology's order.
    pub pod_cidr: Ipv4Net,
    /// The services' range, 10.96.0.0/16: the first address is the `kubernetes` service's, the tenth cluster DNS's.
    pub service_cidr: Ipv4Net,
    /// Where the API server advertises itself; on the control plane's node.
    pub api_server: Ipv4Addr,
    /// kubelet's `--node-ip` on each node.
    pub node_ips: BTreeMap<String, Ipv4Addr>,
    /// Where CoreDNS forwards what is not the cluster's.
    pub upstream_dns: Ipv4Addr,
    /// The NodePort service's port, 30080.
    pub node_port: u16,
    /// Security identity of pods, by pod (`master/pod`), where a scenario chooses one.
    pub identities: BTreeMap<Workload, u32>,
}

impl Cluster {
    /// The range of a node's pods: the `index`th /24 of the pods' range.
    pub fn node_pod_cidr(&self, index: usize) -> Ipv4Net {
        let first = u32::from(self.pod_cidr.network()) + ((index as u32) << 8);
        Ipv4Net::new(first.into(), 24).expect("24 is a prefix length")
    }

    /// The address of the `kubernetes` service.
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        self.service_address(1)
    }

    /// The address of cluster DNS.
    pub fn dns_service(&self) -> Ipv4Addr {
        self.service_address(10)
    }

    /// The address of the test service.
    pub fn echo_service(&self) -> Ipv4Addr {
        self.service_address(80)
    }

    fn service_address(&self, host: u32) -> Ipv4Addr {
        (u32::from(self.service_cidr.network()) + host).into()
    }
}

/// A test pod: two a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Its node.
    pub node: String,
    /// 0 for `NODE/pod`, 1 for `NODE/pod-2`.
    pub index: usize,
}

/// A place where packets can be sent from or to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `master/pod`, `master/pod-2`: a test pod.
    Pod(Workload),
    /// `master`: the node itself, by its Node object's InternalIP when it is a destination.
    Node(String),
    /// `master/enp0s6`: the node, by the first address of that interface. `tailscale0` is one too.
    NodeInterface {
        /// The node.
        node: String,
        /// The interface.
        interface: String,
    },
    /// `vcn/a`: the gateway of a VCN.
    Vcn(String),
    /// `internet`: a machine on the internet.
    Internet,
    /// `kubernetes`, `kube-dns`, `echo`: a service, by its cluster address; only a destination.
    Service(Service),
    /// `api-server`: the address the API server advertises; only a destination.
    ApiServer,
    /// `8.8.8.8`: whoever has it; only a destination.
    Address(Ipv4Addr),
}

/// The cluster's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `kubernetes`, 10.96.0.1:443.
    Kubernetes,
    /// `kube-dns`, 10.96.0.10:53.
    Dns,
    /// `echo`, a service of type NodePort over the test pods, port 80 and NodePort 30080.
    Echo,
}

/// A probe to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    /// The name it is referred to by, `pod-to-pod`.
    pub id: String,
    /// From where.
    pub from: Place,
    /// What.
    pub kind: ProbeKind,
    /// Its own deadline, if not the case's.
    pub deadline: Option<Duration>,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// An ICMP echo request.
    Icmp {
        /// To where.
        to: Place,
        /// Payload in bytes, 56 by default.
        size: usize,
        /// Don't-fragment bit.
        dont_fragment: bool,
    },
    /// A datagram to a UDP echo service.
    Udp {
        /// To where.
        to: Place,
        /// Port; `None` is the test pods' server's. Of services and the API server it is always given.
        port: Option<u16>,
    },
    /// A TCP connection.
    Tcp {
        /// To where.
        to: Place,
        /// Port; `None` is the test pods' server's. Of services and the API server it is always given.
        port: Option<u16>,
    },
    /// A DNS query for an A record.
    Dns {
        /// The name.
        name: String,
        /// The server; cluster DNS by default.
        server: Place,
    },
    /// An HTTP or HTTPS request, the name resolved by cluster DNS unless the URL holds an address.
    Http {
        /// The URL.
        url: String,
        /// Resolve the name here instead.
        server: Place,
    },
}

/// Something that must be so.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Which measured thing, and its column in the table.
    pub subject: Subject,
    /// What it must be.
    pub expected: Expected,
    /// Line of the expectation in the scenario's file.
    pub line: u32,
}

/// Something that somebody said is so.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Who said it: `guide §3`.
    pub by: String,
    /// What it is about.
    pub subject: Subject,
    /// What was said.
    pub said: Expected,
    /// Line of the claim in the scenario's file.
    pub line: u32,
}

/// A measured thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A probe, by its id.
    Probe(String),
    /// A decision of a node's agent.
    Node {
        /// The node.
        node: String,
        /// Which decision.
        fact: NodeFact,
    },
    /// A node's NAT table after the probes.
    Nat {
        /// The node.
        node: String,
    },
    /// How many CoreDNS replicas are ready.
    DnsReady,
    /// How often CoreDNS replicas were restarted, all together.
    DnsRestarts,
    /// What a step itself came to: what it waited for, what a stream lost. Only steps have it.
    Step(String),
    /// What Helm says to the `--set` arguments and values: `accepted`, `refused`, or some of the words it refuses with.
    Helm,
}

/// A decision of a node's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeFact {
    /// `agent`: `running`; `fatal`, or some of the words of the error it died of.
    Agent,
    /// `node-ip`.
    NodeIp,
    /// `devices`: names in order.
    Devices,
    /// `not-selected`: name → reason.
    NotSelected,
    /// `direct-routing-device`: its name, or null for none.
    DirectRoutingDevice,
    /// `skip-fib`: whether it is on.
    SkipFib,
    /// `host-routing`: `bpf` or `legacy`.
    HostRouting,
    /// `masquerade`: `BPF [enp0s6, tailscale0]`, `IPTables`, `Disabled`, as `cilium status` words it.
    Masquerade,
    /// `pod-mtu` in bytes.
    PodMtu,
    /// `nodeport-addresses`, in the order of the devices that have them.
    NodePortAddresses,
}

/// What a measured thing must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Of a probe: its outcome and what came with it.
    Probe(ExpectedProbe),
    /// Exactly this value; of [`NodeFact::NotSelected`], at least these entries, each reason containing the text; of
    /// [`Subject::Nat`], a list of patterns with `*` and `?`: each must match a line, one that begins with `!` none.
    Value(Value),
}

/// What a probe must come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedProbe {
    /// The outcome.
    pub outcome: ExpectedOutcome,
    /// The source the far end must have seen; of a packet that didn't get there, the one it had where it ended.
    pub source: Option<Ipv4Addr>,
    /// What the answer must contain: an address in a DNS answer, text of a body.
    pub answer: Option<String>,
    /// Of an MTU error, the MTU in bytes.
    pub mtu: Option<u32>,
    /// Places its packets must have come by, in this order, among others: the way there, then the way back.
    pub via: Vec<String>,
    /// The place where it must have ended.
    pub dies_at: Option<String>,
    /// Why it must have ended there.
    pub reason: Option<EndReason>,
    /// Places where none of its packets may have been seen in the clear.
    pub silent_on: Vec<String>,
}

impl ExpectedProbe {
    /// An outcome, and nothing beside it.
    pub fn of(outcome: ExpectedOutcome) -> Self {
        Self {
            outcome,
            source: None,
            answer: None,
            mtu: None,
            via: Vec::new(),
            dies_at: None,
            reason: None,
            silent_on: Vec::new(),
        }
    }
}

/// The outcomes a scenario can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// `works`: an answer came.
    Works,
    /// `fails`: none came, however it showed.
    Fails,
    /// `silence`: nothing came at all.
    Silence,
    /// `refused`: TCP reset or ICMP port unreachable.
    Refused,
    /// `unreachable`: another ICMP unreachable, or no route.
    Unreachable,
    /// `too-big`: refused for its size.
    TooBig,
}
