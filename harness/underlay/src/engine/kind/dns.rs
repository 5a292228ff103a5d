//! CoreDNS, as Kubernetes tells of it.

use std::time::{Duration, Instant};

use kind::chart;
use kind::kubernetes::{Kubernetes, PodObject};

use crate::engine::fleet::Replica;
use crate::observed::{DnsState, EngineError};

/// Its pods, by their label (kubeadm's Deployment).
pub const LABELS: &str = "k8s-app=kube-dns";
/// How long a replica that reaches the API may take to be ready: what tried in vain tries again after up to a minute
/// (client-go, tools/cache/reflector.go: 30 s and as much again by chance), gives a connection 30 s, and kubelet asks every
/// 10 s.
const READY: Duration = Duration::from_secs(110);
/// How long one that kubelet can't reach may take to be restarted: it asks 60 s after its start, then every 10 s, and the
/// fifth time without an answer is one too many (kubeadm, cmd/kubeadm/app/phases/addons/dns/manifests.go).
const RESTARTED: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until Kubernetes says of each replica what the probes let one expect, and gives what it says, whatever that is.
///
/// # Errors
/// The API doesn't answer.
pub async fn state(kubernetes: &Kubernetes, replicas: &[Replica]) -> Result<DnsState, EngineError> {
    let began = Instant::now();
    loop {
        let pods = kubernetes.pods(chart::NAMESPACE, LABELS).await;
        let pods = pods.map_err(super::pool::failed("ask for CoreDNS' pods"))?;
        let pods: Vec<_> = pods.into_iter().filter(|pod| !pod.ends).collect();
        let of = |replica: &Replica| pods.iter().find(|pod| pod.address == Some(replica.address));
        let still = |replica: &Replica| {
            of(replica).is_some_and(|pod| {
                let is_yet_to_be_ready = replica.cut_off.is_none() && replica.lives && !pod.ready;
                let is_yet_to_restart = !replica.lives && pod.restarts == 0;
                (is_yet_to_be_ready && began.elapsed() < READY) || (is_yet_to_restart && began.elapsed() < RESTARTED)
            })
        };
        if !replicas.iter().any(still) {
            return Ok(told(replicas, &pods));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn told(replicas: &[Replica], pods: &[PodObject]) -> DnsState {
    let mut state = DnsState::default();
    for pod in pods {
        let replica = replicas.iter().find(|replica| Some(replica.address) == pod.address);
        state.replicas += 1;
        state.ready += u32::from(pod.ready);
        state.restarts += pod.restarts;
        if !pod.ready {
            let name = replica.map_or(&pod.name, |replica| &replica.name);
            let api = replica.and_then(|replica| replica.cut_off.as_ref());
            let why = api.map(|why| format!("; the Kubernetes API from there: {why}")).unwrap_or_default();
            state.not_ready.insert(name.clone(), format!("{}{why}", pod.reason));
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_kubernetes_says_counts_and_the_probe_says_why() {
        let address = |last| Ipv4Addr::new(10, 244, 0, last);
        let pod = |name: &str, last, ready: bool, restarts| PodObject {
            name: name.to_owned(),
            uid: name.to_owned(),
            node: Some("c-worker".to_owned()),
            address: Some(address(last)),
            ready,
            ends: false,
            restarts,
            init_restarts: 0,
            reason: if ready { String::new() } else { "ContainersNotReady".to_owned() },
        };
        let replica = |name: &str, last, cut_off: Option<&str>| Replica {
            name: name.to_owned(),
            address: address(last),
            cut_off: cut_off.map(str::to_owned),
            lives: true,
        };
        let replicas = [replica("master/coredns", 5, None), replica("worker/coredns", 6, Some("no reply within 2 s"))];
        let state = told(&replicas, &[pod("coredns-a", 5, true, 1), pod("coredns-b", 6, false, 0)]);
        assert_eq!((state.replicas, state.ready, state.restarts), (2, 1, 1));
        let why = "ContainersNotReady; the Kubernetes API from there: no reply within 2 s";
        assert_eq!(state.not_ready.get("worker/coredns").map(String::as_str), Some(why));
    }
}
