//! Agents, until each runs or has died.

use std::time::{Duration, Instant};

use kind::chart;
use kind::kubernetes::{Kubernetes, PodObject};

use super::node::KindNode;
use crate::engine::real::AgentNode;
use crate::engine::real::start::{self, Started};
use crate::observed::EngineError;

/// Agents' pods, by their label.
pub const LABELS: &str = "k8s-app=cilium";
/// The operator's pods, by their label (chart 1.18, templates/cilium-operator/deployment.yaml): without it agents wait for
/// their resources' definitions.
pub const OPERATOR: &str = "io.cilium/app=operator";
/// How long agents may take, images on the nodes: they compile.
const START: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(100);
/// Between two questions to Kubernetes: each is a program that takes from the agents the processor they start on.
const ASKING: Duration = Duration::from_secs(2);
/// One that died twice dies of what it was told, not of something that wasn't there yet.
const DEATHS: u32 = 2;

/// Waits until each node's agent answers, or has died again and again.
///
/// # Errors
/// One does neither in time; with the reason.
pub async fn started(kubernetes: &Kubernetes, nodes: &[KindNode]) -> Result<Vec<Started>, EngineError> {
    let began = Instant::now();
    let mut found: Vec<Option<Started>> = vec![None; nodes.len()];
    let mut asked: Option<Instant> = None;
    loop {
        // Agents' own answers cost nothing.
        let answers = futures::future::join_all(nodes.iter().map(|node| start::look(node.api()))).await;
        let all = answers.iter().zip(&found).all(|(answer, found)| answer.is_ok() || found.is_some());
        if !all && asked.is_some_and(|asked| asked.elapsed() < ASKING) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        asked = Some(Instant::now());
        let mut waiting = String::new();
        match kubernetes.pods(chart::NAMESPACE, LABELS).await {
            Ok(pods) => {
                if let Some(pod) = pods.iter().find(|pod| pod.init_restarts >= DEATHS && !pod.ends) {
                    return Err(failed(format!("{} doesn't get as far as its agent: {}", pod.name, pod.reason)));
                }
                for ((node, answer), found) in nodes.iter().zip(answers).zip(&mut found) {
                    if found.is_none() {
                        match what_of(node, &pods, answer) {
                            Ok(started) => *found = Some(started),
                            Err(reason) => waiting = format!("{}: {reason}", node.name),
                        }
                    }
                }
            }
            Err(error) => waiting = error.to_string(),
        }
        if found.iter().all(Option::is_some) {
            return Ok(found.into_iter().flatten().collect());
        }
        if began.elapsed() > START {
            let operator = kubernetes.pods(chart::NAMESPACE, OPERATOR).await.unwrap_or_default();
            let operator = operator.iter().find(|pod| !pod.ready).map(|pod| format!("; {}: {}", pod.name, pod.reason));
            let operator = operator.unwrap_or_default();
            return Err(failed(format!("after {} s {waiting}{operator}", START.as_secs())));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What has become of a node's agent, by what Kubernetes says and by its own answer.
fn what_of(node: &KindNode, pods: &[PodObject], answer: Result<(), String>) -> Result<Started, String> {
    let own = pods.iter().find(|pod| pod.node.as_ref() == Some(&node.node.name) && !pod.ends);
    let own = own.ok_or("it has no agent's pod yet")?;
    node.runs_in(own.clone());
    match answer {
        Ok(()) => Ok(Started::Running),
        Err(_) if own.restarts >= DEATHS => Ok(Started::Fatal(node.last_words())),
        Err(answer) if own.reason.is_empty() => Err(answer),
        Err(answer) => Err(format!("{}; {answer}", own.reason)),
    }
}

fn failed(reason: String) -> EngineError {
    EngineError::Failed { step: "wait for the agents".to_owned(), reason }
}
