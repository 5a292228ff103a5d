//! Listens to what a node's agent tells of packets that Cilium's programs drop, and tells the lab.

use lab::drops::{DropLog, DropReason, Dropped, ProgramDrop};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::node::NodeAgent;
use super::process;
use crate::engine::real::readback::drops::{self, Monitor};
use crate::observed::EngineError;

/// One who listens, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    _monitor: Child,
}

impl Listener {
    /// Begins to listen to the agent that runs.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn start(node: &NodeAgent, log: DropLog) -> Result<Self, EngineError> {
        let program = node.dbg(&["monitor", "--type", "drop", "-v", "-v", "--hex"]);
        let mut monitor = node.surroundings.start(program).await?;
        let Some(output) = monitor.stdout.take() else { return Ok(Self { _monitor: monitor }) };
        let (name, surroundings) = (node.name.clone(), node.surroundings.clone());
        let metrics = node.dbg(&["bpf", "metrics", "list", "-o", "json"]);
        tokio::spawn(async move {
            let (mut lines, mut reader) = (BufReader::new(output).split(b'\n'), Monitor::default());
            while let Ok(Some(line)) = lines.next_segment().await {
                let Some(event) = reader.line(&String::from_utf8_lossy(&line)) else { continue };
                // Where it stands is told by other means, and not worth losing the drop for.
                let known = process::output(&surroundings, metrics.clone(), process::QUESTION).await.ok();
                let source = known.and_then(|known| drops::source(&known, &event.reason));
                log.report(Dropped {
                    namespace: name.clone(),
                    interface: None,
                    reason: DropReason::Program(Box::new(ProgramDrop { reason: event.reason, source })),
                    packet: event.packet,
                });
            }
        });
        Ok(Self { _monitor: monitor })
    }
}
