//! What it costs to watch every packet and to make walks of them: `cargo bench -p underlay --bench watching`.
//!
//! The guide's table by both models, with and without, in turns within one run. Cases in which every probe has its reply
//! are told apart: in the others silence (that of a resolver, too, which ends as a refusal) waits for its deadline where
//! nobody watches, and is known early where somebody does.
//!
//! With `--test` each is run once. Speed is told, never asserted: the exit code is 0 whatever it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cilium::Model;
use probe::evidence::OutcomeKind;
use underlay::case::Case;
use underlay::engine::netns::{Netns, Unwatched};
use underlay::observed::Engine;
use underlay::runner;
use underlay::scenario::{self, Overrides};

/// Of the wall time without, the most that watching may add.
const TARGET: f64 = 1.10;
/// Runs of each kind, of which the median is told.
const ROUNDS: usize = 15;
/// Time for the kernel to clear away the namespaces of a run before the next one: about 10 ms for each.
const PAUSE: Duration = Duration::from_millis(700);

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--test") { 1 } else { ROUNDS };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).expect("the workspace is where it was built");
    let cases = guide();
    if let Err(missing) = lab::sandbox::enter() {
        println!("nothing to measure: {missing}");
        return;
    }
    let runtime = runner::runtime().expect("a runtime starts");
    let answered = |case: &&Arc<Case>| {
        let seen = runtime.block_on(runner::one(&Netns, Arc::clone(case))).observed;
        seen.is_some_and(|seen| seen.probes.iter().all(|(_, evidence)| evidence.outcome.kind() == OutcomeKind::Reply))
    };
    let quick: Vec<_> = cases.iter().filter(answered).cloned().collect();
    println!("{:<34} {:>12} {:>12} {:>8} {:>8}", "median of wall time", "unwatched", "watched", "ratio", "target");
    for (name, cases) in [("all have a reply", &quick), ("all eight", &cases)] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            without.push(runtime.block_on(timed(cases, Arc::new(Unwatched))));
            std::thread::sleep(PAUSE);
            with.push(runtime.block_on(timed(cases, Arc::new(Netns))));
            std::thread::sleep(PAUSE);
        }
        let (without, with) = (median(without), median(with));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        let note = format!("{name}, {} cases", cases.len());
        println!("{note:<34} {:>9.1} ms {:>9.1} ms {ratio:>7.2}× {TARGET:>7.2}×", ms(without), ms(with));
    }
    runtime.shutdown_background();
}

async fn timed(cases: &[Arc<Case>], engine: Arc<dyn Engine>) -> Duration {
    let began = Instant::now();
    let run = runner::run(cases.to_vec(), engine, runner::default_jobs(), &mut [], std::future::pending());
    run.await.expect("nothing is written");
    began.elapsed()
}

/// The four rows, by the guide's rules and by Cilium's.
fn guide() -> Vec<Arc<Case>> {
    let file = PathBuf::from("scenarios/guide/table.yaml");
    let of = |model| {
        let overrides = Overrides { model: Some(model), ..Overrides::default() };
        scenario::load_all(std::slice::from_ref(&file), &overrides).expect("the shipped scenario is right")
    };
    [Model::Guide, Model::Cilium].into_iter().flat_map(of).map(Arc::new).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
