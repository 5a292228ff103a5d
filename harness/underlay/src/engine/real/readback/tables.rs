//! An agent's tables (`cilium-dbg shell -- db/show TABLE --format=json`): objects one after the other, no array.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Unread;

/// A row of `devices` (Cilium 1.18, pkg/datapath/tables/device.go).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeviceRow {
    /// Interface index.
    #[serde(rename = "Index")]
    pub index: u32,
    /// Name.
    #[serde(rename = "Name")]
    pub name: String,
    /// Hardware address; empty for a layer 3 device.
    #[serde(rename = "HardwareAddr", default)]
    pub hardware_address: String,
    /// Its IFF_* flags as the kernel gives them.
    #[serde(rename = "RawFlags", default)]
    pub raw_flags: u32,
    /// Whether it is one of Cilium's.
    #[serde(rename = "Selected")]
    pub selected: bool,
    /// Why it isn't.
    #[serde(rename = "NotSelectedReason", default)]
    pub reason: String,
}

/// A row of `node-addresses` (Cilium 1.18, pkg/datapath/tables/node_address.go).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddressRow {
    /// The address, of either family.
    #[serde(rename = "Addr")]
    pub address: String,
    /// Whether NodePort services answer on it.
    #[serde(rename = "NodePort")]
    pub nodeport: bool,
    /// Whether it is the device's for masquerading.
    #[serde(rename = "Primary")]
    pub primary: bool,
    /// Its device; `*` for the fallback.
    #[serde(rename = "DeviceName")]
    pub device: String,
}

impl AddressRow {
    /// The address, if it is that device's and IPv4.
    pub fn on(&self, device: &str) -> Option<Ipv4Addr> {
        (self.device == device).then(|| self.address.parse().ok()).flatten()
    }
}

/// A row of `mtu` (Cilium 1.18, pkg/mtu/manager.go), in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MtuRow {
    /// For which destinations.
    #[serde(rename = "Prefix")]
    pub prefix: String,
    /// Devices'.
    #[serde(rename = "DeviceMTU")]
    pub device: u32,
    /// Pods'.
    #[serde(rename = "RouteMTU")]
    pub route: u32,
}

/// A table's rows.
///
/// # Errors
/// A row is none of this table's.
pub fn rows<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<Vec<T>, Unread> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| Unread::new(what, error))
}
