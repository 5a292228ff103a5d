//! Listens to what a node's agent tells of packets that Cilium's programs drop, and tells the lab.

use futures::future::BoxFuture;
use lab::drops::{DropLog, DropReason, Dropped, ProgramDrop};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use super::readback::drops::{self, Event, Monitor};

/// `cilium-dbg`'s arguments for what a [`Listener`] reads.
pub const MONITOR: [&str; 6] = ["monitor", "--type", "drop", "-v", "-v", "--hex"];
/// Those for where in the programs' source packets are dropped.
pub const METRICS: [&str; 5] = ["bpf", "metrics", "list", "-o", "json"];

/// Between two questions for [`METRICS`]: a program that runs, on a machine that may be busy compiling. A CoreDNS that can't
/// reach anybody makes drops without end.
const ASKING: Duration = Duration::from_secs(1);

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
        let (events, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (mut lines, mut reader) = (BufReader::new(output).split(b'\n'), Monitor::default());
            while let Ok(Some(line)) = lines.next_segment().await {
                let event = reader.line(&String::from_utf8_lossy(&line));
                if event.is_some_and(|event| events.send(event).is_err()) {
                    break;
                }
            }
        });
        tokio::spawn(tell(node, heard, metrics, log));
        Self { _monitor: monitor }
    }
}

/// Tells the lab of what was heard, with where in the programs' source it stands. That is asked for after the event: only
/// then are all places that it may be from among the answers.
async fn tell(
    node: String,
    mut heard: mpsc::UnboundedReceiver<Event>,
    metrics: impl Fn() -> BoxFuture<'static, Option<String>>,
    log: DropLog,
) {
    let mut events = Vec::new();
    let mut next = Instant::now();
    while heard.recv_many(&mut events, usize::MAX).await > 0 {
        sleep_until(next).await;
        while let Ok(event) = heard.try_recv() {
            events.push(event);
        }
        // Where it stands is told by other means, and not worth losing the drop for.
        let known = metrics().await;
        next = Instant::now() + ASKING;
        for event in events.drain(..) {
            let source = known.as_ref().and_then(|known| drops::source(known, &event.reason));
            log.report(Dropped {
                namespace: node.clone(),
                interface: None,
                reason: DropReason::Program(Box::new(ProgramDrop { reason: event.reason, source })),
                packet: event.packet,
            });
        }
    }
}
