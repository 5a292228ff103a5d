//! What the API server is told of the address under which pods reach it.

use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::node::Node;

/// The API server's static pod (kubeadm, cmd/kubeadm/app/constants).
pub const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// Its port on every address of its node.
pub const PORT: u16 = 6443;
/// Its argument for the address it tells (Kubernetes 1.31, staging/src/k8s.io/apiserver/pkg/server/options).
pub const ADVERTISE: &str = "advertise-address";

/// The static pod with that address; none where it has it already.
///
/// # Errors
/// No line says the address.
pub fn with_address(manifest: &str, address: Ipv4Addr) -> Result<Option<String>> {
    let argument = format!("- --{ADVERTISE}=");
    let line = manifest.lines().find(|line| line.trim_start().starts_with(&argument));
    let line =
        line.ok_or_else(|| Error::unread("the API server's manifest", format!("{MANIFEST} has no {argument}…")))?;
    let (indent, _) = line.split_once(&argument).expect("it begins so");
    let new = format!("{indent}{argument}{address}");
    Ok((new != line).then(|| manifest.replacen(line, &new, 1)))
}

/// Has the API server tell this address. kubelet starts it anew for that. Whether anything changed.
///
/// # Errors
/// The manifest can't be read or written.
pub fn advertise(node: &Node, address: Ipv4Addr) -> Result<bool> {
    let Some(manifest) = with_address(&node.read_file(MANIFEST)?, address)? else { return Ok(false) };
    node.write_file(MANIFEST, &manifest)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_changes() {
        let manifest = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --advertise-address=172.18.0.2\n    - --v=2\n";
        let address = Ipv4Addr::new(100, 64, 0, 1);
        let new = with_address(manifest, address).expect("it is there").expect("it is another");
        assert_eq!(new, manifest.replace("172.18.0.2", "100.64.0.1"));
        assert_eq!(with_address(&new, address).expect("it is there"), None);
        assert!(with_address("spec: {}\n", address).is_err());
    }
}
