//! How long the guide's table takes, both models, from nothing to nothing: `cargo bench -p underlay`.
//!
//! With `--test` each is run once. Speed is told, never asserted: the exit code is 0 whatever it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cilium::Model;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::runner::{self, Event, Reporter};
use underlay::scenario::{self, Overrides};
use underlay::verdict::{CaseResult, Verdict};

/// Wall time that eight cases may take on two processors.
const TARGET: Duration = Duration::from_secs(2);
/// Runs, of which the median and the fastest are told.
const ROUNDS: usize = 9;
/// Time for the kernel to clear away the namespaces of a run before the next one: about 10 ms for each.
const PAUSE: Duration = Duration::from_millis(700);

/// Keeps the results of a run.
#[derive(Default)]
struct Results(Arc<std::sync::Mutex<Vec<Arc<CaseResult>>>>);

impl Reporter for Results {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        if let Event::CaseFinished { result, .. } = event {
            self.0.lock().expect("nobody panics here").push(Arc::clone(result));
        }
        Ok(())
    }
}

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
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("the guide's table by both models, {} cases, {processors} processors, {rounds} rounds\n", cases.len());

    println!("{:<26} {:>10} {:>10} {:>16}", "", "median", "fastest", "target/median");
    let mut all = Vec::new();
    let usual = runner::default_jobs();
    for jobs in [1, usual, cases.len()] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let results = Results::default();
            let kept = Arc::clone(&results.0);
            let began = Instant::now();
            let mut readers = [Box::new(results) as Box<dyn Reporter>];
            let run = runner::run(cases.clone(), Arc::new(Netns), jobs, &mut readers, std::future::pending());
            runtime.block_on(run).expect("nothing is written");
            times.push(began.elapsed());
            if jobs == usual {
                all.extend(kept.lock().expect("nobody panics here").iter().cloned());
            }
            std::thread::sleep(PAUSE);
        }
        times.sort();
        let (median, fastest) = (times[times.len() / 2], times[0]);
        let note = if jobs == usual { format!("{jobs} at a time (default)") } else { format!("{jobs} at a time") };
        let ratio = TARGET.as_secs_f64() / median.as_secs_f64();
        println!("{note:<26} {} {} {ratio:>15.1}×", ms(median), ms(fastest));
    }
    phases(&all);
    // What a blocking thread still does in the kernel ends with the process.
    runtime.shutdown_background();
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

/// Where the time goes within a case, others running beside it.
fn phases(results: &[Arc<CaseResult>]) {
    let observed: Vec<_> = results.iter().filter_map(|result| result.observed.as_ref()).collect();
    let Some(first) = observed.iter().max_by_key(|observed| observed.phases.len()) else {
        let reason = results.iter().find_map(|result| result.reason.clone());
        println!("\nno case ran: {}", reason.unwrap_or_default());
        return;
    };
    println!("\n{:<26} {:>10} {:>10}", "phase of a case", "median", "fastest");
    for (name, _) in &first.phases {
        let times = observed.iter().flat_map(|observed| &observed.phases).filter(|(phase, _)| phase == name);
        row(name, times.map(|(_, time)| *time).collect());
    }
    row("in all, with teardown", results.iter().map(|result| result.duration).collect());
    let of = |verdict| results.iter().filter(|result| result.verdict == verdict).count();
    println!(
        "\nverdicts: {} pass, {} fail (the guide's expectations, by Cilium's rules), {} others",
        of(Verdict::Pass),
        of(Verdict::Fail),
        results.len() - of(Verdict::Pass) - of(Verdict::Fail)
    );
}

fn row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    if let (Some(median), Some(fastest)) = (times.get(times.len() / 2), times.first()) {
        println!("{name:<26} {} {}", ms(*median), ms(*fastest));
    }
}

fn ms(time: Duration) -> String {
    format!("{:>7.1} ms", time.as_secs_f64() * 1000.0)
}
