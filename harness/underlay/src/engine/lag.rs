//! How late this process comes to its work: on a machine that is too busy, an answer may be there and nobody gets to
//! read it in time, so silence by the clock proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::observed::LATE;

/// Time between two looks at the clock.
const PERIOD: Duration = Duration::from_millis(25);

/// Measures, until it is dropped.
pub struct LagMeter {
    worst_us: Arc<AtomicU64>,
    pauses: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl LagMeter {
    /// Begins to measure, in the runtime that carries the packets too.
    pub fn start() -> Self {
        let worst_us = Arc::new(AtomicU64::new(0));
        let pauses = Arc::new(AtomicUsize::new(0));
        let (worst, paused) = (Arc::clone(&worst_us), Arc::clone(&pauses));
        let task = tokio::spawn(async move {
            loop {
                let due = Instant::now() + PERIOD;
                tokio::time::sleep_until(due.into()).await;
                let late = due.elapsed().as_micros();
                if paused.load(Ordering::Relaxed) > 0 {
                    continue;
                }
                worst.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst_us, pauses, task: task.abort_handle() }
    }

    /// As long as this is kept, being late doesn't count: no probe is under way.
    pub fn pause(&self) -> Pause {
        self.pauses.fetch_add(1, Ordering::Relaxed);
        Pause(Arc::clone(&self.pauses))
    }

    /// How late it was at worst.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }

    /// Why silence within `deadline` can't be trusted, if it can't: a quarter of it was lost at one go.
    pub fn doubt(&self, deadline: Duration) -> Option<String> {
        let worst = self.worst();
        (worst > deadline / LATE).then(|| {
            format!(
                "this machine was too busy: work that was due began {} ms late, and probes wait {} ms for an answer; \
                 fewer --jobs or a longer --deadline would tell",
                worst.as_millis(),
                deadline.as_millis()
            )
        })
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A time that doesn't count; ends when it is dropped.
pub struct Pause(Arc<AtomicUsize>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
