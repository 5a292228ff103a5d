//! What places are called: by a node's or pod's name and the interface's, as a scenario names them.

use lab::vcn::{SUBNET, WAN};

use crate::capture::sighting::Sighting;

/// A pod's interface, which its name stands for.
const POD_INTERFACE: &str = "eth0";

/// The prefix of a VCN gateway's namespace ([`lab::vcn::Vcn`]).
const VCN: &str = "vcn ";

/// The name of the internet's namespace.
const INTERNET: &str = "internet";

/// Whether a namespace is a VCN's gateway.
pub fn is_vcn(namespace: &str) -> bool {
    namespace.starts_with(VCN)
}

/// The name of a place: `master/enp0s6` on a node, `master/pod` for a pod's only interface, `vcn a/gateway` for every
/// interface of a VCN's gateway, `internet` for all of the internet's. Without an interface, the namespace's.
pub fn name(namespace: &str, interface: Option<&str>) -> String {
    if namespace == INTERNET {
        return INTERNET.to_owned();
    }
    if is_vcn(namespace) {
        return format!("{namespace}/gateway");
    }
    match interface {
        Some(POD_INTERFACE) | None if namespace.contains('/') => namespace.to_owned(),
        Some(interface) => format!("{namespace}/{interface}"),
        None => namespace.to_owned(),
    }
}

/// The name of a VCN's subnet, where packets are switched that the gateway isn't asked about.
pub(super) fn subnet(namespace: &str) -> String {
    format!("{namespace}/subnet")
}

/// Whether an interface of a VCN's gateway is a port of its subnet: neither the gateway's own nor the internet's.
pub(super) fn is_port(interface: &str) -> bool {
    interface != SUBNET && interface != WAN
}

/// Whether a sighting is of a packet that was somebody else's there. At a VCN's ports nothing is: the gateway's bridge
/// takes what is for others.
pub(super) fn in_passing(sighting: &Sighting) -> bool {
    sighting.in_passing && !is_vcn(&sighting.namespace)
}

/// Whether `place` is `named`, or a part of it: `vcn a/gateway` is `vcn a`, and `vcn/a` is another way to write that.
pub fn is_at(place: &str, named: &str) -> bool {
    let written = named.strip_prefix("vcn/").map(|rest| format!("{VCN}{rest}"));
    let named = written.as_deref().unwrap_or(named);
    place.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
