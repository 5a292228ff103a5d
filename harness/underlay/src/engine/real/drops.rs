//! Listens to what a node's agent tells of packets that Cilium's programs drop, and tells the lab.

use futures::future::BoxFuture;
use lab::drops::{DropLog, DropReason, Dropped, ProgramDrop};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::readback::drops::{self, Monitor};

/// `cilium-dbg`'s arguments for what a [`Listener`] reads.
pub const MONITOR: [&str; 6] = ["monitor", "--type", "drop", "-v", "-v", "--hex"];
/// Those for where in the programs' source packets are dropped.
pub const METRICS: [&str; 5] = ["bpf", "metrics", "list", "-o", "json"];

/// One who listens, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    _monitor: Child,
}

impl Listener {
    /// Listens to what a node's monitor ([`MONITOR`]) says; `metrics` asks for [`METRICS`].
    pub fn start(
        node: String,
        mut monitor: Child,
        metrics: impl Fn() -> BoxFuture<'static, Option<String>> + Send + Sync + 'static,
        log: DropLog,
    ) -> Self {
        let Some(output) = monitor.stdout.take() else { return Self { _monitor: monitor } };
        tokio::spawn(async move {
            let (mut lines, mut reader) = (BufReader::new(output).split(b'\n'), Monitor::default());
            while let Ok(Some(line)) = lines.next_segment().await {
                let Some(event) = reader.line(&String::from_utf8_lossy(&line)) else { continue };
                // Where it stands is told by other means, and not worth losing the drop for.
                let source = metrics().await.and_then(|known| drops::source(&known, &event.reason));
                log.report(Dropped {
                    namespace: node.clone(),
                    interface: None,
                    reason: DropReason::Program(Box::new(ProgramDrop { reason: event.reason, source })),
                    packet: event.packet,
                });
            }
        });
        Self { _monitor: monitor }
    }
}
