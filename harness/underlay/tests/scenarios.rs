//! Every case of the shipped scenarios is a test, `guide/table::enp0s6`.
//!
//! The names are the same on every host. What the host can't build is listed as ignored, since a skip at run time would
//! look like a pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lab::{Capability, Missing};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::report::human;
use underlay::report::paint::Paint;
use underlay::report::schema;
use underlay::runner;
use underlay::scenario::{self, Overrides};
use underlay::verdict::Verdict;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(runner::default_jobs()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).expect("the workspace is where it was built");
    let cases = match scenario::load_all(&[], &Overrides::default()) {
        Ok(cases) => cases,
        Err(wrong) => {
            wrong.iter().for_each(|file| eprintln!("{file}\n"));
            return ExitCode::FAILURE;
        }
    };
    // Before the first thread.
    let mut host = Host { entered: lab::sandbox::enter().map(drop), tried: BTreeMap::new() };
    // Each case is done sooner where none waits for the kernel to clear up behind another.
    let _later = lab::teardown::Later::begin().expect("a process with one thread can be forked");
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let trials = cases.into_iter().map(|case| trial(case, &mut host, &runtime)).collect();
    let lacking: Vec<_> = host.tried.values().filter_map(Option::as_ref).collect();
    if !arguments.list {
        lacking.iter().for_each(|missing| eprintln!("cases are ignored: {missing}"));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What the host can do, each thing tried once.
struct Host {
    entered: Result<(), Missing>,
    tried: BTreeMap<Capability, Option<Missing>>,
}

impl Host {
    fn lacks_any(&mut self, needs: &[Capability], runtime: &Runtime) -> bool {
        if let Err(missing) = &self.entered {
            self.tried.insert(missing.capability, Some(missing.clone()));
            return true;
        }
        needs.iter().any(|need| {
            let found = self.tried.entry(*need);
            found.or_insert_with(|| runtime.block_on(lab::doctor::try_one(*need)).err()).is_some()
        })
    }
}

fn trial(case: Case, host: &mut Host, runtime: &Arc<Runtime>) -> Trial {
    let ignored = host.lacks_any(&lab::doctor::needs(&case.network), runtime);
    let runtime = Arc::clone(runtime);
    Trial::test(case.id(), move || run(case, &runtime)).with_ignored_flag(ignored)
}

fn run(case: Case, runtime: &Runtime) -> Result<(), Failed> {
    let result = runtime.block_on(runner::one(&Netns, Arc::new(case)));
    if result.verdict == Verdict::Pass {
        return Ok(());
    }
    let report = human::failure(&schema::Case::from(&result), Paint(false));
    Err(Failed::from(format!("\n{report}")))
}
