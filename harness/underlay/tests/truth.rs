//! The model against recordings of real components: every recorded case is a test, `agent 1.18.2/guide/table::enp0s6`, that
//! names the cells in which the model is otherwise.
//!
//! What the host can't build is listed as ignored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use cilium::{Model, Version};
use lab::{Capability, Missing};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::report::schema;
use underlay::runner;
use underlay::scenario::{self, Overrides};
use underlay::truth::facts::Facts;
use underlay::truth::known::{Known, SHIPPED_FILE};
use underlay::truth::recording::{self, Recording};
use underlay::truth::{Compared, fidelity};
use underlay::verdict::Verdict;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(runner::default_jobs()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).expect("the workspace is where it was built");
    let (recordings, known) = match (recording::read_all("harness/underlay/testdata/truth".as_ref()), Known::shipped())
    {
        (Ok(recordings), Ok(known)) => (recordings, Arc::new(known)),
        (Err(error), _) => return fail(&error),
        (_, Err(wrong)) => return fail(&wrong),
    };
    // Before the first thread.
    let mut host = Host { entered: lab::sandbox::enter().map(drop), tried: BTreeMap::new() };
    // Each case is done sooner where none waits for the kernel to clear up behind another.
    let _later = lab::teardown::Later::begin().expect("a process with one thread can be forked");
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let mut trials = Vec::new();
    for recording in recordings.into_iter().map(Arc::new) {
        let cases = match cases(&recording) {
            Ok(cases) => cases,
            Err(error) => return fail(&error),
        };
        for variant in recording.cases.keys() {
            let name = format!("{} {}/{}::{variant}", recording.engine, recording.version, recording.scenario);
            let Some(case) = cases.iter().find(|case| case.variant == *variant) else {
                let gone = format!("{} has no variant {variant} any more: record it anew", recording.file);
                trials.push(Trial::test(name, move || Err(Failed::from(gone))));
                continue;
            };
            let ignored = host.lacks_any(&lab::doctor::needs(&case.network), &runtime);
            let (case, recording, known) = (case.clone(), Arc::clone(&recording), Arc::clone(&known));
            let runtime = Arc::clone(&runtime);
            let trial = Trial::test(name, move || hold(case, &recording, &known, &runtime));
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// The cases of a recording's scenario, by the version that was recorded and Cilium's rules.
fn cases(recording: &Recording) -> Result<Vec<Case>, String> {
    let version = Version::parse(&recording.version).map_err(|error| error.to_string())?;
    let overrides = Overrides { model: Some(Model::Cilium), version: Some(version), deadline: None };
    let wrong = |wrong: &dyn std::fmt::Display| format!("{} of {}: {wrong}", recording.file, recording.scenario);
    let mut cases = scenario::load(recording.file.as_ref(), &overrides).map_err(|error| wrong(&error))?;
    // A variant that names a version of its own keeps it.
    cases.retain(|case| case.version.as_str() == recording.version);
    Ok(cases)
}

fn hold(case: Case, recording: &Recording, known: &Known, runtime: &Runtime) -> Result<(), Failed> {
    let variant = case.variant.clone();
    let result = runtime.block_on(runner::one(&Netns, Arc::new(case)));
    let result = schema::Case::from(&result);
    if matches!(result.verdict, Verdict::Skip | Verdict::Error) {
        return Err(Failed::from(format!("{}: {}", result.verdict, result.reason.unwrap_or_default())));
    }
    let Some(compared) = fidelity::against(recording, &variant, &Facts::of(&result), known) else {
        return Err(Failed::from("the case is not recorded"));
    };
    if compared.differences.iter().all(|cell| cell.because.is_some()) && compared.outdated.is_empty() {
        return Ok(());
    }
    Err(Failed::from(message(&compared, recording)))
}

fn message(compared: &Compared, recording: &Recording) -> String {
    let mut text = format!("\nthe model is not as {} was on {}:\n", recording.component, recording.date);
    for cell in compared.differences.iter().filter(|cell| cell.because.is_none()) {
        let [model, real] = &cell.values;
        text += &format!("  {}\n    model     {model}\n    recorded  {real}\n", cell.cell);
    }
    for cell in &compared.outdated {
        text += &format!(
            "  {}: both {}; it is no known difference any more, take it out of {SHIPPED_FILE}\n",
            cell.cell, cell.value
        );
    }
    text
}

/// What the host can do, each thing tried once.
struct Host {
    entered: Result<(), Missing>,
    tried: BTreeMap<Capability, Option<Missing>>,
}

impl Host {
    fn lacks_any(&mut self, needs: &[Capability], runtime: &Runtime) -> bool {
        if self.entered.is_err() {
            return true;
        }
        needs.iter().any(|need| {
            let found = self.tried.entry(*need);
            found.or_insert_with(|| runtime.block_on(lab::doctor::try_one(*need)).err()).is_some()
        })
    }
}
