//! A probe sent over and over while steps are taken: how many were lost, and for how long.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use probe::Evidence;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Stage;
use crate::case::{Case, ExpectedOutcome, ProbeSpec};
use crate::observed::{EngineError, LATE};
use crate::step::Stream;
use crate::verdict;

/// Sends a probe once each time it is called.
pub type Caller = Arc<dyn Fn() -> BoxFuture<'static, Evidence> + Send + Sync>;

/// So many are sent before the first step begins, and after the last one is done: what a step breaks in no time would
/// else be seen by nobody.
const MARGIN: usize = 3;

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSeen {
    /// What was asked for.
    pub stream: Stream,
    /// How many were sent.
    pub sent: u64,
    /// How many were not answered.
    pub lost: u64,
    /// The longest time without an answer: from the sending of the last one answered to that of the next one. Zero
    /// where none was lost.
    pub gap: Duration,
    /// From the first sending to the last one.
    pub lasted: Duration,
    /// Each time answers stayed away, in order.
    pub outages: Vec<Outage>,
    /// How late it was sent at worst: who is late to send is late to read the answer.
    pub late: Duration,
}

impl StreamSeen {
    /// Whether what it lost may have been answered, and nobody got to read it in time.
    pub fn late_for(&self, case: &Case) -> bool {
        let own = case.probes.iter().find(|probe| probe.id == self.stream.probe).and_then(|probe| probe.deadline);
        self.late > own.unwrap_or(case.deadline) / LATE
    }
}

/// A time without answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When the last one answered was sent, from the stream's beginning.
    pub from: Duration,
    /// When the next one answered was sent; the stream's end where there is none.
    pub to: Duration,
    /// Whether there was a next one.
    pub over: bool,
    /// How many were lost.
    pub lost: u64,
    /// What the first of them came to, in words.
    pub first: String,
}

/// A stream that runs.
pub(super) struct Running {
    stream: Stream,
    stop: watch::Sender<bool>,
    task: JoinHandle<Sent>,
}

/// What a stream has sent.
#[derive(Default)]
struct Sent {
    /// When, and what becomes of it.
    calls: Vec<(Duration, JoinHandle<Evidence>)>,
    late: Duration,
}

/// Starts each stream and waits until it has sent a few.
pub(super) async fn start<S: Stage>(
    streams: &[Stream],
    probes: &[ProbeSpec],
    stage: &mut S,
) -> Result<Vec<Running>, EngineError> {
    let mut running = Vec::new();
    let mut begun = Vec::new();
    for stream in streams {
        let Some(spec) = probes.iter().find(|spec| spec.id == stream.probe) else { continue };
        let caller = stage.caller(spec)?;
        let (stop, stopped) = watch::channel(false);
        let (begin, began) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(send(caller, stream.every, stopped, begin));
        begun.push(began);
        running.push(Running { stream: stream.clone(), stop, task });
    }
    for began in begun {
        // Its task lives in `running`.
        let _ = began.await;
    }
    Ok(running)
}

async fn send(
    caller: Caller,
    every: Duration,
    stopped: watch::Receiver<bool>,
    begin: tokio::sync::oneshot::Sender<()>,
) -> Sent {
    let started = Instant::now();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Sent::default();
    let mut begin = Some(begin);
    let mut left = MARGIN;
    while left > 0 {
        let due = ticks.tick().await;
        sent.late = sent.late.max(due.elapsed());
        if *stopped.borrow() {
            left -= 1;
        }
        sent.calls.push((started.elapsed(), tokio::spawn(caller())));
        if sent.calls.len() == MARGIN {
            // Nobody waits for it where the case was given up.
            let _ = begin.take().map(|begin| begin.send(()));
        }
    }
    sent
}

/// Ends the streams and waits for what is still on its way.
pub(super) async fn stop(running: Vec<Running>) -> Vec<StreamSeen> {
    for stream in &running {
        stream.stop.send_replace(true);
    }
    let mut seen = Vec::new();
    for Running { stream, task, .. } in running {
        let sent = task.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let mut answers = Vec::with_capacity(sent.calls.len());
        for (at, call) in sent.calls {
            let evidence = call.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            let lost = !verdict::comes_to(&evidence, ExpectedOutcome::Works);
            answers.push((at, lost.then(|| words(&evidence))));
        }
        seen.push(StreamSeen { late: sent.late, ..sum(stream, &answers) });
    }
    seen
}

fn words(evidence: &Evidence) -> String {
    let word = verdict::outcome_word(evidence);
    if evidence.detail.is_empty() { word } else { format!("{word}: {}", evidence.detail) }
}

/// Sums up when what was sent, and why it was lost if it was.
fn sum(stream: Stream, answers: &[(Duration, Option<String>)]) -> StreamSeen {
    let mut outages: Vec<Outage> = Vec::new();
    let mut last = Duration::ZERO;
    let mut open: Option<Outage> = None;
    for (at, lost) in answers {
        match (lost, &mut open) {
            (Some(_), Some(outage)) => outage.lost += 1,
            (Some(first), None) => {
                open = Some(Outage { from: last, to: last, over: false, lost: 1, first: first.clone() });
            }
            (None, _) => {
                if let Some(outage) = open.take() {
                    outages.push(Outage { to: *at, over: true, ..outage });
                }
                last = *at;
            }
        }
    }
    let lasted = answers.last().map_or(Duration::ZERO, |(at, _)| *at);
    outages.extend(open.map(|outage| Outage { to: lasted, ..outage }));
    StreamSeen {
        stream,
        sent: answers.len() as u64,
        lost: outages.iter().map(|outage| outage.lost).sum(),
        gap: outages.iter().map(|outage| outage.to.saturating_sub(outage.from)).max().unwrap_or_default(),
        lasted,
        outages,
        late: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lost: &[u64], of: u64) -> StreamSeen {
        let stream =
            Stream { probe: "ping".to_owned(), every: Duration::from_millis(10), lost: None, gap: None, line: 1 };
        let answers: Vec<_> = (0..of)
            .map(|at| (Duration::from_millis(10 * at), lost.contains(&at).then(|| format!("silence {at}"))))
            .collect();
        sum(stream, &answers)
    }

    #[test]
    fn nothing_lost_is_no_gap() {
        let seen = seen(&[], 10);
        assert_eq!((seen.sent, seen.lost, seen.gap), (10, 0, Duration::ZERO));
        assert_eq!(seen.lasted, Duration::from_millis(90));
    }

    #[test]
    fn a_gap_is_from_answer_to_answer() {
        let seen = seen(&[3, 4, 7], 10);
        assert_eq!((seen.lost, seen.gap), (3, Duration::from_millis(30)), "sent at 20 and at 50 ms were answered");
        assert_eq!(seen.outages.len(), 2);
        assert_eq!(seen.outages[0].first, "silence 3");
        assert!(seen.outages.iter().all(|outage| outage.over));
    }

    #[test]
    fn a_gap_that_never_ends_goes_to_the_end() {
        let seen = seen(&[7, 8, 9], 10);
        assert_eq!(seen.gap, Duration::from_millis(30));
        assert!(!seen.outages[0].over);
    }

    #[test]
    fn all_lost_is_a_gap_from_the_beginning() {
        let seen = seen(&[0, 1, 2], 3);
        assert_eq!((seen.lost, seen.gap), (3, Duration::from_millis(20)));
    }
}
