//! Runs cases, several at a time, and tells of it in events. Who reads them is not its business.
//!
//! A case runs once. One that would pass the second time is a flaky one, and its first result is the result. Only where
//! the machine was too busy for a verdict there is no result yet: such a case runs once more, alone.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use cilium::Model;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinSet};

use crate::case::Case;
use crate::exit;
use crate::observed::{Engine, EngineError};
use crate::step;
use crate::verdict::{CaseResult, Provenance, Summary, judge};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// It begins, with these cases.
    RunStarted {
        /// In the order of the files; numbers in later events are indices into it.
        cases: Vec<Arc<Case>>,
        /// How many run at a time.
        jobs: usize,
    },
    /// A case begins.
    CaseStarted {
        /// Its number.
        index: usize,
    },
    /// A case came to no verdict, since this machine was too busy: it begins again when the others are done.
    CasePutOff {
        /// Its number.
        index: usize,
        /// What it came to.
        result: Arc<CaseResult>,
    },
    /// A case has come to an end.
    CaseFinished {
        /// Its number.
        index: usize,
        /// What it came to.
        result: Arc<CaseResult>,
    },
    /// All are done, or the run was interrupted.
    RunFinished(Box<RunFinished>),
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFinished {
    /// How many cases came to what.
    pub summary: Summary,
    /// How many never finished, since the run was interrupted.
    pub not_finished: usize,
    /// What interrupted it.
    pub interrupted: Option<Interrupt>,
    /// From beginning to end.
    pub duration: std::time::Duration,
    /// The engine's name.
    pub engine: &'static str,
    /// The version of Kubernetes that all cases ran on, or would have, where it is a real one and known.
    pub kubernetes: Option<String>,
}

impl RunFinished {
    /// The code the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self.interrupted {
            Some(interrupt) => interrupt.exit_code(),
            None => exit::of_run(&self.summary),
        }
    }
}

/// What ends a run before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGINT, by Ctrl-C.
    Int,
    /// SIGTERM.
    Term,
}

impl Interrupt {
    /// The signal's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
        }
    }

    /// The code the program ends with then.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Int => exit::INTERRUPTED,
            Self::Term => exit::TERMINATED,
        }
    }
}

/// Catches the signals that end a run.
#[derive(Debug)]
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// From now on they don't end the process, ever: one that comes while nobody waits is told to who waits next. So
    /// keep it for as long as there may be another run. Needs a runtime.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.int.recv() => Interrupt::Int,
            _ = self.term.recv() => Interrupt::Term,
        }
    }
}

/// Reads a run's events.
pub trait Reporter {
    /// Takes note of one. Called on one task, in order, so it must not wait.
    ///
    /// # Errors
    /// Whatever it writes to can't be written to.
    fn event(&mut self, event: &Event) -> std::io::Result<()>;
}

/// How many cases run at a time where nobody says. Cases wait most of their time, for ARP and for answers that don't
/// come; with six for each processor there is always one that doesn't, and with more nothing is won (`underlay test
/// scenarios --jobs N`, 2 processors, with and without something else that kept both busy).
pub fn default_jobs() -> usize {
    6 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many cases run at a time on that engine: as many as somebody asked for, else one where the engine's components are
/// real and keep all processors busy by themselves.
pub fn jobs(asked: Option<NonZeroUsize>, engine: &dyn Engine) -> usize {
    let usual = || if engine.provenance() == Provenance::Real { 1 } else { default_jobs() };
    asked.map_or_else(usual, NonZeroUsize::get)
}

/// Threads that wait for the kernel, beside those that carry the labs; they are made when needed. Most of them wait for
/// an RCU grace period (a namespace's first nftables transaction, up to 25 ms), which keeps no processor busy: with 8 of
/// them, four cases at a time took half as long again (`cargo bench -p underlay`).
const WAITING_THREADS: usize = 32;

/// Threads that carry labs, for each processor. Some of what they do waits for the kernel's lock around links, which
/// another process that builds or ends labs may have: the others go on meanwhile.
const THREADS_PER_CORE: usize = 4;

/// The runtime that carries labs. Its threads are as many whatever the labs' number and size.
///
/// # Errors
/// The kernel gives no thread, no memory or no descriptor.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let carrying = THREADS_PER_CORE * cores;
    lab::limits::memory()?;
    lab::limits::room(carrying + WAITING_THREADS)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(carrying)
        .max_blocking_threads(WAITING_THREADS)
        .enable_all()
        .build()
}

/// Runs every case on `engine`, `jobs` at a time, until all are done or `interrupt` comes. What still runs then is
/// dropped: labs vanish with their futures.
///
/// A panic in a case is that case's error; the others go on. A case that came to no verdict since this machine was too
/// busy runs once more, alone, when the others are done.
///
/// # Errors
/// A reporter can't write. The run ends there.
pub async fn run(
    cases: Vec<Arc<Case>>,
    engine: Arc<dyn Engine>,
    jobs: usize,
    reporters: &mut [Box<dyn Reporter + '_>],
    interrupt: impl Future<Output = Interrupt>,
) -> std::io::Result<RunFinished> {
    let began = Instant::now();
    let mut tell = |event: Event| reporters.iter_mut().try_for_each(|reporter| reporter.event(&event));
    let jobs = jobs.max(1);
    tell(Event::RunStarted { cases: cases.clone(), jobs })?;

    let mut summary = Summary::default();
    let mut interrupted = None;
    let mut waiting: Vec<usize> = (0..cases.len()).collect();
    if jobs > 1 {
        // What takes longest begins first, or it runs alone at the end: steps take their time one after the other.
        waiting.sort_by_key(|index| std::cmp::Reverse(step::flat(&cases[*index].steps).len()));
    }
    let mut waiting = waiting.into_iter();
    let mut running: JoinSet<CaseResult> = JoinSet::new();
    let mut known: Vec<(Id, usize, Instant)> = Vec::new();
    // By the case's index, what its first run came to.
    let mut put_off: VecDeque<(usize, Arc<CaseResult>)> = VecDeque::new();
    let mut second: HashMap<usize, Arc<CaseResult>> = HashMap::new();
    let mut finished = 0;
    tokio::pin!(interrupt);
    loop {
        let mut next: Vec<usize> = waiting.by_ref().take(jobs - running.len()).collect();
        if next.is_empty()
            && running.is_empty()
            && let Some((index, first)) = put_off.pop_front()
        {
            next.push(index);
            second.insert(index, first);
        }
        for index in next {
            tell(Event::CaseStarted { index })?;
            let (engine, case) = (Arc::clone(&engine), Arc::clone(&cases[index]));
            let task = running.spawn(async move { one(&*engine, case).await });
            known.push((task.id(), index, Instant::now()));
        }
        let joined = tokio::select! {
            // An interrupt counts more than a result that came with it.
            biased;
            signal = &mut interrupt => {
                interrupted = Some(signal);
                running.shutdown().await;
                break;
            }
            joined = running.join_next_with_id() => joined,
        };
        let Some(joined) = joined else { break };
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let at = known.iter().position(|(known, ..)| *known == id).expect("every task was noted when it was started");
        let (_, index, started) = known.swap_remove(at);
        let mut result = match joined {
            Ok((_, result)) => result,
            Err(error) => {
                let reason = panic_message(error);
                let failed = EngineError::Failed { step: "run the case".to_owned(), reason };
                let case = Arc::clone(&cases[index]);
                judge(case, engine.name(), engine.provenance(), started.elapsed(), Err(failed))
            }
        };
        result.again = second.remove(&index).is_some();
        if result.is_worth_another_run() && !result.again {
            let result = Arc::new(result);
            put_off.push_back((index, Arc::clone(&result)));
            tell(Event::CasePutOff { index, result })?;
            continue;
        }
        finished += 1;
        summary.add(result.verdict, result.claims.iter().map(|claim| claim.held));
        tell(Event::CaseFinished { index, result: Arc::new(result) })?;
    }
    // Whose second run an interrupt forestalled: the first has been.
    for (index, result) in second.into_iter().chain(put_off) {
        finished += 1;
        summary.add(result.verdict, result.claims.iter().map(|claim| claim.held));
        tell(Event::CaseFinished { index, result })?;
    }
    let end = RunFinished {
        summary,
        not_finished: cases.len() - finished,
        interrupted,
        duration: began.elapsed(),
        engine: engine.name(),
        kubernetes: engine.kubernetes(),
    };
    tell(Event::RunFinished(Box::new(end.clone())))?;
    Ok(end)
}

/// Runs one case and judges what came of it.
pub async fn one(engine: &dyn Engine, case: Arc<Case>) -> CaseResult {
    let began = Instant::now();
    let refused = step::flat(&case.steps).into_iter().find_map(|step| {
        let what = format!("take the step `{}`: {}", step.action, engine.refuses(&step.action)?);
        Some(EngineError::Unsupported { engine: engine.name(), what })
    });
    let refused = refused.or_else(|| {
        let is_other = engine.provenance() == Provenance::Real && case.model == Model::Guide;
        let what = "follow the guide's rules: what runs there is Cilium itself (--model cilium holds it against them)";
        is_other.then(|| EngineError::Unsupported { engine: engine.name(), what: what.to_owned() })
    });
    let outcome = match refused {
        Some(refused) => Err(refused),
        None => engine.run(&case).await,
    };
    judge(case, engine.name(), engine.provenance(), began.elapsed(), outcome)
}

/// Has an engine let go of what it kept from case to case, and tells on standard error what it left, or couldn't let go of.
pub async fn close(engine: &dyn Engine) {
    // Where standard error is gone there is nobody left to tell.
    let _ = match engine.close().await {
        Ok(None) => Ok(()),
        Ok(Some(left)) => writeln!(io::stderr(), "{left}"),
        Err(error) => writeln!(io::stderr(), "warning: {error}"),
    };
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            format!("panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
        }
        Err(error) => error.to_string(),
    }
}
