//! Where verbs run cases whose results they go on with.

use std::io;
use std::sync::Arc;

use lab::teardown::Later;

use super::Stop;
use crate::case::Case;
use crate::engine::netns::Netns;
use crate::observed::Engine;
use crate::report::schema;
use crate::runner::{self, Event, Interrupts, Reporter, RunFinished};
use crate::verdict::CaseResult;

/// A runtime inside of the sandbox.
pub(super) struct Bench {
    runs: Runs,
    /// Labs are taken down when nobody waits for the next one any more.
    _later: Later,
}

impl Bench {
    /// Call it while the process has one thread.
    pub(super) fn enter() -> Result<Self, Stop> {
        lab::sandbox::enter()?;
        let later = super::later()?;
        Ok(Self { runs: Runs::on(super::runtime()?)?, _later: later })
    }

    /// Runs cases; what reports say of them is in the cases' order. Of an interrupted run some are missing.
    pub(super) fn run(
        &mut self,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
    ) -> Result<(RunFinished, Vec<schema::Case>), Stop> {
        self.run_on(Arc::new(Netns), cases, jobs, progress)
    }

    /// The same on another engine.
    pub(super) fn run_on(
        &mut self,
        engine: Arc<dyn Engine>,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
    ) -> Result<(RunFinished, Vec<schema::Case>), Stop> {
        self.runs.keep(engine, cases, jobs, progress, |result| schema::Case::from(&**result))
    }

    /// The same, with all the evidence: [`Self::run`]'s are smaller. Each result has the case it is of, the same `Arc`.
    pub(super) fn evidence(
        &mut self,
        cases: Vec<Arc<Case>>,
        jobs: usize,
    ) -> Result<(RunFinished, Vec<Arc<CaseResult>>), Stop> {
        self.runs.keep(Arc::new(Netns), cases, jobs, None, Arc::clone)
    }
}

/// One run after the other.
struct Runs {
    runtime: tokio::runtime::Runtime,
    /// One for all of them: a signal that comes between two runs ends the next.
    interrupts: Interrupts,
}

impl Runs {
    fn on(runtime: tokio::runtime::Runtime) -> Result<Self, Stop> {
        let within = runtime.enter();
        let interrupts = Interrupts::catch().map_err(|source| Stop::Harness { step: "catch signals", source })?;
        drop(within);
        Ok(Self { runtime, interrupts })
    }

    fn keep<T>(
        &mut self,
        engine: Arc<dyn Engine>,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
        what: fn(&Arc<CaseResult>) -> T,
    ) -> Result<(RunFinished, Vec<T>), Stop> {
        let Self { runtime, interrupts } = self;
        let mut results = Results { what, kept: cases.iter().map(|_| None).collect() };
        let end = {
            let mut reporters: Vec<Box<dyn Reporter + '_>> = vec![Box::new(&mut results)];
            reporters.extend(progress.map(|progress| progress as Box<dyn Reporter + '_>));
            runtime.block_on(async {
                let run = runner::run(cases, Arc::clone(&engine), jobs, &mut reporters, interrupts.next());
                let end = run.await;
                runner::close(&*engine).await;
                Ok::<_, Stop>(end?)
            })?
        };
        Ok((end, results.kept.into_iter().flatten().collect()))
    }
}

/// Keeps something of each case's result in its place.
struct Results<T> {
    what: fn(&Arc<CaseResult>) -> T,
    kept: Vec<Option<T>>,
}

impl<T> Reporter for &mut Results<T> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::CaseFinished { index, result } = event {
            self.kept[*index] = Some((self.what)(result));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use futures::future::BoxFuture;
    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;
    use crate::explore::draw;
    use crate::observed::{EngineError, Observed};
    use crate::runner::Interrupt;
    use crate::shrink::only_case;

    /// Ends soon, or not before somebody would have interrupted it.
    struct Idle(Duration);

    impl Engine for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }

        fn run<'a>(&'a self, _: &'a Case) -> BoxFuture<'a, Result<Observed, EngineError>> {
            Box::pin(async move {
                let _ = timeout(self.0, pending::<()>()).await;
                Err(EngineError::Failed { step: "idle".to_owned(), reason: "nobody interrupted it".to_owned() })
            })
        }
    }

    #[test]
    fn a_signal_between_two_runs_ends_the_next() {
        let case = Arc::new(only_case("drawn.yaml", &draw::scenario(1, 1)).expect("every draw is a scenario"));
        let mut runs = Runs::on(tokio::runtime::Runtime::new().expect("a runtime")).expect("signals can be caught");
        let mut run = |for_long: Duration| {
            let run = runs.keep(Arc::new(Idle(for_long)), vec![Arc::clone(&case)], 1, None, Arc::clone);
            run.expect("nothing is written")
        };
        let (end, results) = run(Duration::ZERO);
        assert_eq!((end.interrupted, results.len()), (None, 1));
        assert!(Arc::ptr_eq(&results[0].case, &case), "a result is told by its case");
        raise(Signal::SIGTERM).expect("it is this process's own");
        let (end, results) = run(Duration::from_secs(10));
        assert_eq!((end.interrupted, results.len()), (Some(Interrupt::Term), 0));
    }
}
