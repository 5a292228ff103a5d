//! What a person writes: the topology file. Turned into a [`Network`](crate::Network) by [`validate`](crate::validate()).
//!
//! The doc comments of this module are the descriptions in the JSON Schema; they speak to the file's author.

use std::{borrow::Cow, fmt};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use crate::{preset::Preset, spanned::Spanned};

/// A network to build: the internet, the private networks (VCNs) behind their gateways, an overlay between the nodes,
/// and the nodes themselves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "underlay topology")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a topology: a map with `vcns` and `nodes`")]
pub struct TopologyFile {
    /// The name reports call it by: lower-case letters, digits and hyphens. Left out: the file's name without its
    /// ending.
    pub name: Option<Spanned<String>>,
    /// What this network is and why anybody would have it, in a sentence or two. For people only.
    pub description: Option<String>,
    /// What is to be found beyond the gateways. Left out: an internet with nobody on it.
    #[serde(default)]
    pub internet: InternetFile,
    /// The private networks by name (lower-case letters, digits, hyphens). Each is one subnet behind one gateway.
    /// Two may have the same CIDR: they don't reach each other.
    #[serde(default)]
    pub vcns: IndexMap<Spanned<String>, VcnFile>,
    /// A Tailscale-like mesh between the nodes that have an `overlay-address`. Left out: none. `{}`: one with
    /// Tailscale's defaults.
    pub overlay: Option<OverlayFile>,
    /// The machines by host name (lower-case letters, digits, hyphens).
    pub nodes: Spanned<IndexMap<Spanned<String>, NodeFile>>,
}

/// The internet: whom the nodes can talk to there.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "the internet: a map with `hosts`")]
pub struct InternetFile {
    /// Hosts by DNS name, `api.ipify.org`. Every one of them answers ping.
    #[serde(default)]
    pub hosts: IndexMap<Spanned<String>, InternetHostFile>,
}

/// A host on the internet.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an internet host: a map with `address` and `serves`"
)]
pub struct InternetHostFile {
    /// Its public IPv4 address; its name resolves to it.
    pub address: Spanned<AddressText>,
    /// What it serves beside ping.
    #[serde(default)]
    pub serves: Vec<Spanned<ServiceFile>>,
}

/// What an internet host serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceFile {
    /// DNS on port 53, UDP and TCP: knows each internet host of this file, answers NXDOMAIN for all else.
    Dns,
    /// HTTP on port 80: a Debian mirror's `InRelease` files; the caller's address on every other path.
    Http,
    /// HTTPS on port 443, with a certificate of the lab's own authority: the caller's address in plain text.
    Https,
}

/// A private network: one subnet behind one gateway. Start from a `preset`, override what differs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a VCN: a map with `cidr` and `preset`, such as {preset: oci, cidr: 10.0.0.0/24}"
)]
pub struct VcnFile {
    /// What it imitates: sets `nat`, `source-check`, `ingress` and `mtu`, each of which may be given beside it and
    /// then wins.
    pub preset: Option<Spanned<Preset>>,
    /// The subnet in CIDR notation, `10.0.0.0/24`.
    pub cidr: Spanned<CidrText>,
    /// The gateway's address in the subnet. Left out: the first one, `10.0.0.1`.
    pub gateway: Option<Spanned<AddressText>>,
    /// How the gateway translates addresses on the way to the internet. Needed if there is no `preset`.
    pub nat: Option<Spanned<NatFile>>,
    /// The gateway's one public address, for `nat: endpoint-independent` and `nat: endpoint-dependent`. (With
    /// `one-to-one`, each interface has a `public-address` of its own.)
    pub public_address: Option<Spanned<AddressText>>,
    /// Whether the gateway drops packets whose source isn't the address of an interface in this VCN, as clouds do
    /// unless told otherwise ("skip source/destination check" in OCI, `can_ip_forward` in GCP). Left out: as the
    /// preset says, else false.
    pub source_check: Option<bool>,
    /// What becomes of new traffic from the internet. Left out: as the preset says, else `deny`.
    pub ingress: Option<IngressFile>,
    /// MTU in bytes of interfaces in this VCN that don't name their own, 68 to 65535. Left out: as the preset says,
    /// else 1500.
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<Spanned<u32>>,
}

/// How a gateway translates addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatFile {
    /// Each interface has a public address of its own; ports stay as they are. A cloud's internet gateway.
    OneToOne,
    /// One public address for all, and the same public port whatever the destination: "easy" NAT, which hole punching
    /// gets through. A home router.
    EndpointIndependent,
    /// One public address for all, and another port for each destination: "symmetric" or "hard" NAT, which hole
    /// punching does not get through.
    EndpointDependent,
    /// No way to the internet.
    None,
}

/// What a gateway does with new traffic from the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IngressFile {
    /// Drop it: only answers get in.
    Deny,
    /// Let it in, where the translation knows whom it is for.
    Allow,
}

/// A Tailscale-like mesh: WireGuard from each node to each.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an overlay: a map; {} for one with Tailscale's defaults"
)]
pub struct OverlayFile {
    /// The range its addresses are from. Left out: 100.64.0.0/10.
    pub cidr: Option<Spanned<CidrText>>,
    /// Name of its interface on each node. Left out: tailscale0.
    pub interface: Option<Spanned<String>>,
    /// MTU of that interface in bytes, 576 to 65535. Left out: 1280.
    #[schemars(range(min = 576, max = 65535))]
    pub mtu: Option<Spanned<u32>>,
    /// Whether nodes get tailscaled's policy rules (5210 to 5270), its table 52 and its firewall chains. If false, a
    /// route in the main table is all. Left out: true.
    pub policy_routing: Option<bool>,
    /// Who encrypts. Left out: userspace.
    pub backend: Option<BackendFile>,
    /// UDP port the nodes listen on, 1 to 65535. Left out: 41641.
    #[schemars(range(min = 1))]
    pub port: Option<Spanned<u16>>,
}

/// Who does an overlay's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackendFile {
    /// A process on a TUN device, as tailscaled is: a packet for nobody's address is dropped without a word.
    Userspace,
    /// The kernel's WireGuard; a packet for nobody's address is dropped without a word all the same.
    Kernel,
}

/// A machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a node: a map with `interfaces`")]
pub struct NodeFile {
    /// What it does in the cluster. Left out: worker.
    pub role: Option<Spanned<RoleFile>>,
    /// Its network interfaces by name, in the order they come up. At least one is plugged into a VCN. The overlay's is
    /// not listed here.
    pub interfaces: Spanned<IndexMap<Spanned<String>, InterfaceFile>>,
    /// Its address on the overlay, `100.64.0.1`. Left out: it has no part in the overlay.
    pub overlay_address: Option<Spanned<AddressText>>,
}

/// What a node does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoleFile {
    /// Runs the API server, and pods. At most one node.
    ControlPlane,
    /// Runs pods.
    Worker,
    /// A machine beside the cluster: no agent, no pods; a place to send packets from or to.
    Host,
}

/// A network interface of a node: plugged into a VCN (`vcn`), or a `bridge`, a `bond` or a `dummy`; exactly one of
/// these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an interface: a map such as {vcn: a, address: 10.0.0.5/24, default-route: true}"
)]
pub struct InterfaceFile {
    /// The VCN it is plugged into.
    pub vcn: Option<Spanned<String>>,
    /// Makes it a bridge over these interfaces of the node; `[]` for one without ports, as docker0 is at rest.
    pub bridge: Option<Spanned<Vec<Spanned<String>>>>,
    /// Makes it a bond over these interfaces of the node; `[]` for one without members.
    pub bond: Option<Spanned<Vec<Spanned<String>>>>,
    /// Makes it an interface that leads nowhere (`true`).
    pub dummy: Option<Spanned<bool>>,
    /// Its IPv4 address with the prefix length, `10.0.0.239/24`, or a list of them; the first is the primary one.
    pub address: Option<Spanned<Addresses>>,
    /// MTU in bytes, 68 to 65535. Left out: its VCN's; of a bridge or bond, the smallest of its ports'; else 1500.
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<Spanned<u32>>,
    /// Whether the node's default route leads through it to its VCN's gateway. Left out: false.
    pub default_route: Option<Spanned<bool>>,
    /// The public address its VCN's gateway translates its primary address to and from (`nat: one-to-one`).
    pub public_address: Option<Spanned<AddressText>>,
    /// Whether it is up. Left out: true.
    pub up: Option<bool>,
}

/// One address with prefix length, or a list of them.
#[derive(Debug, Clone)]
pub enum Addresses {
    /// `10.0.0.239/24`
    One(String),
    /// `[10.0.0.239/24, 10.0.0.240/24]`
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as 10.0.0.5/24, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                Ok(Addresses::One(text.to_owned()))
            }

            // Numbers are no addresses, but validation says so better, and at the right place.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Addresses, E> {
                Ok(Addresses::One(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Addresses, E> {
                Ok(Addresses::One(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Addresses, E> {
                Ok(Addresses::One(number.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = list.next_element()? {
                    addresses.push(address);
                }
                Ok(Addresses::Many(addresses))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for Addresses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({"type": "string", "pattern": PREFIXED});
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

const QUAD: &str = r"^\d{1,3}(\.\d{1,3}){3}$";
const PREFIXED: &str = r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$";

/// An IPv4 address as written; read by validation, which knows what to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AddressText(pub String);

impl JsonSchema for AddressText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "ipv4", "pattern": QUAD})
    }
}

/// A network in CIDR notation as written; read by validation, which knows what to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct CidrText(pub String);

impl JsonSchema for CidrText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PREFIXED})
    }
}
