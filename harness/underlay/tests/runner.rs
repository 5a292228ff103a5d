//! The runner: how many at a time, what a panic does, what an interrupt leaves.

mod support;

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cilium::Model;
use futures::future::BoxFuture;
use support::{Fake, case, death, expect, observed, ping, reports};
use underlay::case::{Case, ExpectedOutcome};
use underlay::exit;
use underlay::observed::{Engine, EngineError, Observed};
use underlay::report::json::Json;
use underlay::report::render;
use underlay::runner::{self, Event, Interrupt, Reporter, RunFinished, run};
use underlay::verdict::{Provenance, Verdict};

/// Notes what it is told.
#[derive(Default, Clone)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Reporter for Notes {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        let note = match event {
            Event::RunStarted { cases, jobs } => format!("run {} {jobs}", cases.len()),
            Event::CaseStarted { index } => format!("start {index}"),
            Event::CasePutOff { index, result } => format!("later {index} {}", result.verdict),
            Event::CaseFinished { index, result } => format!("finish {index} {}", result.verdict),
            Event::RunFinished(end) => format!("end {} {}", end.summary.cases(), end.not_finished),
        };
        self.0.lock().unwrap().push(note);
        Ok(())
    }
}

fn cases(count: usize) -> Vec<Arc<Case>> {
    let one = case("enp0s6");
    (0..count).map(|n| Arc::new(Case { variant: n.to_string(), ..one.clone() })).collect()
}

fn all(engine: Arc<dyn Engine>, count: usize, jobs: usize) -> (RunFinished, Vec<String>) {
    all_of(cases(count), engine, jobs)
}

fn all_of(cases: Vec<Arc<Case>>, engine: Arc<dyn Engine>, jobs: usize) -> (RunFinished, Vec<String>) {
    let notes = Notes::default();
    let mut reporters: [Box<dyn Reporter>; 1] = [Box::new(notes.clone())];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let end = runtime.block_on(run(cases, engine, jobs, &mut reporters, pending())).unwrap();
    let notes = notes.0.lock().unwrap().clone();
    (end, notes)
}

#[test]
fn no_more_than_jobs_at_a_time() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let engine = Fake::new(|case| {
        let observed = observed(case, &[]);
        async move {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for another to begin, if the runner let it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(observed)
        }
    });
    let (end, notes) = all(engine, 9, 3);
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
    assert_eq!((end.summary.pass, end.not_finished), (9, 0));
    assert_eq!(notes.first().map(String::as_str), Some("run 9 3"));
    assert_eq!(notes.last().map(String::as_str), Some("end 9 0"));
    for index in 0..9 {
        let at = |what: String| notes.iter().position(|note| *note == what).unwrap_or_else(|| panic!("no {what}"));
        assert!(at(format!("start {index}")) < at(format!("finish {index} pass")), "{notes:?}");
    }
}

/// A machine that is too busy now may not be so later: who came to no verdict for that runs once more, when nothing else
/// does. Other doubts stay.
#[test]
fn who_was_late_runs_again_alone_and_once() {
    static RUNS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    let engine = Fake::new(|case| {
        let index: usize = case.variant.parse().unwrap();
        let run = RUNS[index].fetch_add(1, Ordering::SeqCst);
        let mut seen = observed(case, &[("p", death())]);
        // 0 is late once, 1 whenever it runs; 2 has another doubt; 3 is fine.
        seen.late = index == 1 || (index == 0 && run == 0);
        if seen.late || index == 2 {
            seen.doubts = vec!["doubtful".to_owned()];
        }
        async move {
            let others = RUNNING.fetch_add(1, Ordering::SeqCst);
            assert!(run == 0 || others == 0, "the second run is alone");
            tokio::time::sleep(Duration::from_millis(5)).await;
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(seen)
        }
    });
    let silent = |case: &Arc<Case>| {
        let expectations = vec![expect("p", ExpectedOutcome::Silence, 7)];
        Arc::new(Case { probes: vec![ping("p")], expectations, ..Case::clone(case) })
    };
    let (end, notes) = all_of(cases(4).iter().map(silent).collect(), engine, 4);
    let runs: Vec<_> = RUNS.iter().map(|runs| runs.load(Ordering::SeqCst)).collect();
    assert_eq!(runs, [2, 2, 1, 1], "{notes:?}");
    assert_eq!((end.summary.pass, end.summary.inconclusive, end.not_finished), (2, 2, 0), "{notes:?}");
    let last: Vec<_> = notes.iter().filter(|note| note.starts_with("later") || note.starts_with("finish")).collect();
    assert_eq!(last.iter().filter(|note| note.starts_with("later")).count(), 2, "{notes:?}");
    assert!(last[4].starts_with("finish") && last[5].starts_with("finish"), "{notes:?}");
}

#[test]
fn a_panic_is_one_cases_error() {
    let engine = Fake::new(|case| {
        let (broken, observed) = (case.variant == "1", observed(case, &[]));
        async move {
            assert!(!broken, "the engine is broken");
            Ok(observed)
        }
    });
    let (end, _) = all(engine, 3, 2);
    assert_eq!((end.summary.pass, end.summary.error), (2, 1));
    assert_eq!(end.exit_code(), exit::HARNESS);
}

/// Runs on nodes of a version, whatever comes of it.
struct OnNodes(Arc<Fake>);

impl Engine for OnNodes {
    fn name(&self) -> &'static str {
        "on nodes"
    }

    fn kubernetes(&self) -> Option<String> {
        Some("v1.33.4".to_owned())
    }

    fn run<'a>(&'a self, case: &'a Case) -> BoxFuture<'a, Result<Observed, EngineError>> {
        self.0.run(case)
    }
}

/// By it, joined reports tell cases apart, those that came to nothing too.
#[test]
fn every_result_has_the_version_of_kubernetes() {
    let engine = OnNodes(Fake::new(|case| {
        let observed = match case.variant.as_str() {
            "0" => Err(EngineError::Failed { step: "start".to_owned(), reason: "broken".to_owned() }),
            _ => Ok(observed(case, &[])),
        };
        async move { observed }
    }));
    let mut written = Vec::new();
    let mut reporters: [Box<dyn Reporter>; 1] = [Box::new(Json::new(&mut written, reports::host()))];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let end = runtime.block_on(run(cases(2), Arc::new(engine), 1, &mut reporters, pending())).unwrap();
    drop(reporters);
    let report = render::read(std::str::from_utf8(&written).unwrap()).unwrap();
    assert_eq!((end.summary.pass, end.summary.error), (1, 1));
    let versions: Vec<_> = report.cases.iter().map(|case| case.kubernetes.as_deref()).collect();
    assert_eq!(versions, [Some("1.33.4"); 2]);
}

/// Runs Cilium itself.
struct Itself;

impl Engine for Itself {
    fn name(&self) -> &'static str {
        "itself"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Real
    }

    fn run<'a>(&'a self, case: &'a Case) -> BoxFuture<'a, Result<Observed, EngineError>> {
        Box::pin(std::future::ready(Ok(observed(case, &[]))))
    }
}

#[test]
fn the_guides_rules_are_nobodys_where_cilium_itself_runs() {
    let verdict = |model| {
        let case = Case { model, ..case("enp0s6") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(runner::one(&Itself, Arc::new(case))).verdict
    };
    assert_eq!((verdict(Model::Guide), verdict(Model::Cilium)), (Verdict::Skip, Verdict::Pass));
}

#[test]
fn an_interrupt_drops_what_runs_and_keeps_what_is_done() {
    struct Lab(Arc<AtomicUsize>);
    impl Drop for Lab {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    let engine = Fake::new(move |case| {
        let lab = Lab(Arc::clone(&counter));
        begins.fetch_add(1, Ordering::SeqCst);
        let (quick, observed) = (case.variant == "0", observed(case, &[]));
        async move {
            let _lab = lab;
            if !quick {
                pending::<()>().await;
            }
            Ok(observed)
        }
    });
    let notes = Notes::default();
    let interrupt = async move {
        // The third begins when the first has finished, and some time after it was said to start.
        while begun.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Interrupt::Term
    };
    let mut reporters: [Box<dyn Reporter>; 1] = [Box::new(notes.clone())];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let end = runtime.block_on(run(cases(5), engine, 2, &mut reporters, interrupt)).unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 3, "the one that finished and the two that ran");
    assert_eq!((end.summary.pass, end.not_finished, end.interrupted), (1, 4, Some(Interrupt::Term)));
    assert_eq!(end.exit_code(), exit::TERMINATED);
}

/// What was seen before is no less for that.
#[test]
fn an_interrupt_of_a_second_run_leaves_the_first_ones_result() {
    let engine = Fake::new(|case| {
        let mut seen = observed(case, &[("p", death())]);
        seen.late = true;
        seen.doubts = vec!["doubtful".to_owned()];
        async move { Ok(seen) }
    });
    let silent = |case: &Arc<Case>| {
        let expectations = vec![expect("p", ExpectedOutcome::Silence, 7)];
        Arc::new(Case { probes: vec![ping("p")], expectations, ..Case::clone(case) })
    };
    let notes = Notes::default();
    let seen = notes.clone();
    // Two are put off, of which the first has come to its end, or is under way.
    let interrupt = std::future::poll_fn(move |context| {
        context.waker().wake_by_ref();
        let notes = seen.0.lock().unwrap();
        let starts = notes.iter().filter(|note| note.starts_with("start")).count();
        if starts > 2 { std::task::Poll::Ready(Interrupt::Term) } else { std::task::Poll::Pending }
    });
    let mut reporters: [Box<dyn Reporter>; 1] = [Box::new(notes.clone())];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = cases(2).iter().map(silent).collect();
    let end = runtime.block_on(run(cases, engine, 2, &mut reporters, interrupt)).unwrap();
    let notes = notes.0.lock().unwrap();
    assert_eq!((end.summary.inconclusive, end.not_finished), (2, 0), "{notes:?}");
    assert_eq!(notes.iter().filter(|note| note.starts_with("finish")).count(), 2, "{notes:?}");
    assert_eq!(end.exit_code(), exit::TERMINATED);
}

#[test]
fn exit_codes() {
    use underlay::verdict::Summary;
    let code = |verdicts: &[Verdict]| {
        let mut summary = Summary::default();
        verdicts.iter().for_each(|verdict| summary.add(*verdict, [Some(false)]));
        exit::of_run(&summary)
    };
    use Verdict::{Error, Fail, Inconclusive, Pass, Skip};
    for (verdicts, expected) in [
        (&[Pass, Pass][..], exit::OK),
        (&[Pass, Skip], exit::OK),
        (&[Skip, Skip], exit::HOST),
        (&[Pass, Fail], exit::FAILED),
        (&[Skip, Fail], exit::FAILED),
        (&[Pass, Inconclusive], exit::FAILED),
        (&[Fail, Error, Pass], exit::HARNESS),
    ] {
        assert_eq!(code(verdicts), expected, "{verdicts:?}");
    }
    assert_eq!([exit::OK, exit::FAILED, exit::USAGE, exit::HOST, exit::HARNESS], [0, 1, 2, 3, 4], "they are promised");
    assert_eq!([exit::INTERRUPTED, exit::TERMINATED], [130, 143], "as shells have it");
}
