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
    runtime: tokio::runtime::Runtime,
    /// Labs are taken down when nobody waits for the next one any more.
    _later: Later,
}

impl Bench {
    /// Call it while the process has one thread.
    pub(super) fn enter() -> Result<Self, Stop> {
        lab::sandbox::enter()?;
        let later = super::later()?;
        Ok(Self { runtime: super::runtime()?, _later: later })
    }

    /// Runs cases; what reports say of them is in the cases' order. Of an interrupted run some are missing.
    pub(super) fn run(
        &self,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
    ) -> Result<(RunFinished, Vec<schema::Case>), Stop> {
        self.run_on(Arc::new(Netns), cases, jobs, progress)
    }

    /// The same on another engine.
    pub(super) fn run_on(
        &self,
        engine: Arc<dyn Engine>,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
    ) -> Result<(RunFinished, Vec<schema::Case>), Stop> {
        self.keep(engine, cases, jobs, progress, |result| schema::Case::from(&**result))
    }

    /// The same, with all the evidence: [`Self::run`]'s are smaller.
    pub(super) fn evidence(
        &self,
        cases: Vec<Arc<Case>>,
        jobs: usize,
    ) -> Result<(RunFinished, Vec<Arc<CaseResult>>), Stop> {
        self.keep(Arc::new(Netns), cases, jobs, None, Arc::clone)
    }

    fn keep<T>(
        &self,
        engine: Arc<dyn Engine>,
        cases: Vec<Arc<Case>>,
        jobs: usize,
        progress: Option<Box<dyn Reporter>>,
        what: fn(&Arc<CaseResult>) -> T,
    ) -> Result<(RunFinished, Vec<T>), Stop> {
        let mut results = Results { what, kept: cases.iter().map(|_| None).collect() };
        let end = {
            let mut reporters: Vec<Box<dyn Reporter + '_>> = vec![Box::new(&mut results)];
            reporters.extend(progress.map(|progress| progress as Box<dyn Reporter + '_>));
            self.runtime.block_on(async {
                let mut interrupts =
                    Interrupts::catch().map_err(|source| Stop::Harness { step: "catch signals", source })?;
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
