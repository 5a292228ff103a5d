//! What a VCN is like in the clouds and homes that people have: the defaults behind one word.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::{IngressFile, NatFile};

/// What a VCN imitates.
//
// The doc comments are the descriptions in the JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Oracle Cloud, a public subnet behind an internet gateway: NAT one-to-one, source check on, ingress denied
    /// (security list), MTU 9000.
    Oci,
    /// Amazon, a public subnet behind an internet gateway: NAT one-to-one, source check on, ingress denied (security
    /// group), MTU 9001.
    Aws,
    /// Amazon, a private subnet behind a NAT gateway: one public address and a new port for each destination
    /// (endpoint-dependent), source check on, ingress denied, MTU 9001.
    AwsNatGateway,
    /// Google Cloud, instances with external addresses: NAT one-to-one, source check on, ingress denied, MTU 1460.
    Gcp,
    /// Azure, machines with public addresses: NAT one-to-one, source check on, ingress denied, MTU 1500.
    Azure,
    /// A router at home: one public address and ports kept where they are free (endpoint-independent), no source
    /// check, ingress denied, MTU 1500.
    HomeRouter,
    /// A provider's carrier-grade NAT that keeps to RFC 6888: one public address, endpoint-independent, no source
    /// check, ingress denied, MTU 1500.
    CarrierGradeNat,
    /// A firewall that gives each destination another port, as pfSense does and many companies' and mobile carriers'
    /// do: one public address, endpoint-dependent, no source check, ingress denied, MTU 1500.
    SymmetricNat,
    /// A network without a way out: no NAT, no source check, ingress denied, MTU 1500.
    Isolated,
}

/// What a preset sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// How the gateway translates.
    pub nat: NatFile,
    /// Whether it checks sources.
    pub source_check: bool,
    /// What it does with new traffic from the internet.
    pub ingress: IngressFile,
    /// MTU of interfaces in bytes.
    pub mtu: u32,
}

impl Preset {
    /// What it sets.
    ///
    /// MTUs, source checks and kinds of NAT as the providers document them: OCI "Overview of VNICs" and "Hanging
    /// Connection" (9000), Amazon VPC "Network MTU" (9001) and "NAT gateways" (Tailscale's "Device connectivity"
    /// lists them as hard NAT), Google Cloud "Maximum transmission unit" (1460), Azure "TCP/IP performance tuning"
    /// (1500), RFC 6888 REQ-1 for carriers, Netgate's "Static Port" for pfSense.
    pub fn defaults(self) -> Defaults {
        let (nat, source_check, mtu) = match self {
            Self::Oci => (NatFile::OneToOne, true, 9000),
            Self::Aws => (NatFile::OneToOne, true, 9001),
            Self::AwsNatGateway => (NatFile::EndpointDependent, true, 9001),
            Self::Gcp => (NatFile::OneToOne, true, 1460),
            Self::Azure => (NatFile::OneToOne, true, 1500),
            Self::HomeRouter | Self::CarrierGradeNat => (NatFile::EndpointIndependent, false, 1500),
            Self::SymmetricNat => (NatFile::EndpointDependent, false, 1500),
            Self::Isolated => (NatFile::None, false, 1500),
        };
        Defaults { nat, source_check, ingress: IngressFile::Deny, mtu }
    }
}
