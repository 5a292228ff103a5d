//! Values that Cilium needs on kind's nodes, whatever a scenario says; what it says comes after them.

use kind::{Node, api_server};
use serde_json::{Value, json};

/// A value, where it belongs, and why it is there.
type Needed = (&'static str, Value, &'static str);

/// A capability that the chart gives to some containers, and that some hosts' docker keeps from all: CAP_SYS_RESOURCE
/// (capabilities(7)), as a bit of a process's sets.
const SYS_RESOURCE: u64 = 1 << 24;

/// In place of the chart's defaults, on nodes like this one, which has the API server.
pub fn needed(control_plane: &Node) -> Vec<Needed> {
    let bounds = std::fs::read_to_string(control_plane.file("/proc/1/status")).unwrap_or_default();
    let mut needed = always(&control_plane.address.to_string());
    if is_bounded(&bounds) {
        let why = "this host's docker keeps CAP_SYS_RESOURCE from nodes: what asks for it by name can't start";
        needed.push(("securityContext.privileged", json!(true), why));
    }
    needed
}

/// Whether a process lacks the capability for good: its `status` in /proc says so.
fn is_bounded(status: &str) -> bool {
    let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bounds.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & SYS_RESOURCE == 0)
}

/// What is needed on every host, with the API server there.
pub fn always(api_server: &str) -> Vec<Needed> {
    vec![
        ("kubeProxyReplacement", json!(true), "kind runs no kube-proxy here"),
        ("k8sServiceHost", json!(api_server), "only docker's network leads to the API server before Cilium runs"),
        ("k8sServicePort", json!(api_server::PORT), "the same"),
        ("ipam.mode", json!("kubernetes"), "nodes have their ranges from Kubernetes"),
        ("operator.replicas", json!(1), "a second one has nowhere to go on one worker"),
        ("image.pullPolicy", json!("IfNotPresent"), "images are brought to the nodes, which reach no registry"),
        ("image.useDigest", json!(false), "an image that was brought has no digest of a registry's"),
        ("operator.image.pullPolicy", json!("IfNotPresent"), "as above"),
        ("operator.image.useDigest", json!(false), "as above"),
        ("envoy.enabled", json!(false), "it is another image, and no scenario's business"),
        ("l7Proxy", json!(false), "as above"),
        ("socketLB.hostNamespaceOnly", json!(true), "probes are sent by a process in no pod's cgroup"),
    ]
}

/// As one document.
pub fn document(needed: &[Needed]) -> Value {
    let mut document = json!({});
    for (path, value, _) in needed {
        let mut place = &mut document;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value.clone();
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_a_document() {
        let document = document(&always("198.18.0.2"));
        assert_eq!(document["operator"]["image"]["useDigest"], json!(false));
        assert_eq!(document["operator"]["replicas"], json!(1));
        assert_eq!(document["k8sServiceHost"], json!("198.18.0.2"));
    }

    #[test]
    fn a_bounded_process_is_known_by_its_status() {
        assert!(is_bounded("Name:\tinit\nCapBnd:\t000001fffeffffff\n"));
        assert!(!is_bounded("CapBnd:\t000001ffffffffff\n"));
        assert!(!is_bounded(""));
    }
}
