//! What a kubelet is told of its node's address.

use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::node::Node;

/// Where kubeadm writes a kubelet's arguments (kubeadm, cmd/kubeadm/app/constants, `KubeletEnvFileName`).
pub const ARGUMENTS: &str = "/var/lib/kubelet/kubeadm-flags.env";
const NODE_IP: &str = "--node-ip=";

/// kubeadm's file with this node IP in it.
///
/// # Errors
/// It isn't such a file.
pub fn with_node_ip(file: &str, address: Ipv4Addr) -> Result<String> {
    let what = "a kubelet's arguments";
    let (before, rest) = file
        .split_once("KUBELET_KUBEADM_ARGS=\"")
        .ok_or_else(|| Error::unread(what, format!("{ARGUMENTS} is {file:?}")))?;
    let (arguments, after) =
        rest.split_once('"').ok_or_else(|| Error::unread(what, format!("{ARGUMENTS} has no closing quote")))?;
    let others = arguments.split_whitespace().filter(|argument| !argument.starts_with(NODE_IP));
    let own = format!("{NODE_IP}{address}");
    let arguments: Vec<_> = others.chain([own.as_str()]).collect();
    Ok(format!("{before}KUBELET_KUBEADM_ARGS=\"{}\"{after}", arguments.join(" ")))
}

/// Gives the node's kubelet this address, and restarts it.
///
/// # Errors
/// Its arguments can't be read or written; systemd's answer.
pub async fn set_node_ip(node: &Node, address: Ipv4Addr) -> Result<()> {
    let file = with_node_ip(&node.read_file(ARGUMENTS)?, address)?;
    node.write_file(ARGUMENTS, &file)?;
    restart(node).await
}

/// Restarts the node's kubelet.
///
/// # Errors
/// systemd's answer.
pub async fn restart(node: &Node) -> Result<()> {
    node.run(&["systemctl", "restart", "kubelet"]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

    #[test]
    fn the_address_takes_the_place_of_the_one_there() {
        let file = "KUBELET_KUBEADM_ARGS=\"--node-ip=172.18.0.2 --node-labels= --pod-infra-container-image=p:1\"\n";
        let new = with_node_ip(file, OWN).expect("it is kubeadm's");
        assert_eq!(
            new,
            "KUBELET_KUBEADM_ARGS=\"--node-labels= --pod-infra-container-image=p:1 --node-ip=100.64.0.1\"\n"
        );
        assert_eq!(with_node_ip(&new, OWN).expect("it is ours"), new, "twice is once");
    }

    #[test]
    fn another_file_is_refused() {
        for file in ["", "KUBELET_KUBEADM_ARGS=", "KUBELET_KUBEADM_ARGS=\"--a"] {
            assert!(with_node_ip(file, OWN).is_err(), "{file:?}");
        }
    }
}
