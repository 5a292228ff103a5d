//! `underlay shrink`: the smallest scenario file that still shows what a case does.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::source::Source;

use super::bench::Bench;
use super::{Stop, place, select};
use crate::case::Case;
use crate::exit;
use crate::report::human::wrap;
use crate::report::paint::Color;
use crate::report::schema;
use crate::runner::{self, Interrupt};
use crate::scenario::Overrides;
use crate::shrink::keep::{Cell, Failure, Keep, Whole};
use crate::shrink::{self, End, Limits, Runner, Shrunk, only_case, selfcontained};
use crate::verdict::{CaseResult, Verdict};

const EXAMPLES: &str = "\
What is left out: variants, probes, expectations, claims, steps, values, nodes, their interfaces, VCNs, hosts on the
internet: whatever the failure doesn't need. What stays is written as it was, comments too; the topology stands in the
file. The result is run again at the end, to say what it still shows.

Examples:
  underlay shrink my-cluster.yaml::tailscale0 --output issue.yaml
  underlay shrink my-cluster.yaml --cell pod-to-pod        if several cells fail
  underlay shrink my-cluster.yaml --cell pod-to-pod --keep fails
                                                           wherever the packet dies then
  underlay shrink my-cluster.yaml --keep verdict           whatever the case fails by

Exit codes:
  0  the smallest file is written, or the smallest that was found in the time
  1  what was found didn't show it again when it was run once more
  2  wrong use, or a file is wrong, or the case doesn't fail
  3  this host can't
  4  the harness itself erred
  130, 143  interrupted by SIGINT (Ctrl-C), SIGTERM; the smallest that was found until then is written";

/// Make the smallest file that still shows how a case fails: what one attaches to an issue.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The case: FILE::VARIANT; of a file with one variant, FILE.
    #[arg(value_name = "SCENARIO::VARIANT")]
    case: select::Target,

    /// Which of the cells that fail has to: a probe's name, `dns-ready`, `pod-mtu`, `master/pod-mtu`; in steps `check
    /// healthy: pod-to-pod`, `lost of pod-to-pod` [default: the first probe, else the first; steps' after the end's].
    #[arg(long, value_name = "CELL")]
    cell: Option<String>,

    /// What has to stay.
    #[arg(long, value_enum, default_value_t)]
    keep: What,

    /// Where to write the file [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// How long to search: 30s, 5m. What was found by then is written.
    #[arg(long, value_name = "TIME", value_parser = super::test::deadline, default_value = "5m")]
    time: Duration,

    /// How many candidates to run at most.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    runs: usize,

    /// How many cases run at a time [default: six for each processor].
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// What has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum What {
    /// The cell fails with the same outcome and by the same of what is asked for, and its packet ends at the same place
    /// for the same reason.
    #[default]
    Same,
    /// The cell fails, in whatever way.
    Fails,
    /// The case's verdict: fail, error or inconclusive, whatever it comes from.
    Verdict,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let case = super::bisect::one(select::cases(std::slice::from_ref(&args.case), &[], &Overrides::default())?)?;
    let wrong = |wrong| Stop::Files(vec![wrong]);
    let source = Source::read(&case.file).map_err(wrong)?;
    let file = source.file().to_owned();
    let text = selfcontained::alone(&source, &case.variant).map_err(wrong)?;
    let alone = only_case(&file, &text).map_err(|_| no_text_of_its_own(&case))?;

    let paint = color.for_stream(&io::stderr());
    let mut bench = Tries { bench: Bench::enter()?, jobs: args.jobs.map_or_else(runner::default_jobs, Into::into) };
    let began = Instant::now();
    let result = match once(&mut bench, Arc::new(alone)) {
        Ok(result) => result,
        Err(ended) => return ended.code(),
    };
    let keep = wanted(args, &case, &result)?;
    tell(&format!("{}: {}", paint.strong(&case.id()), keep.words()))?;

    let limits = Limits { time: args.time, runs: args.runs };
    let shrunk = shrink::shrink(&text, &file, &*keep, &mut bench, limits).ok_or_else(|| no_text_of_its_own(&case))?;
    let Shrunk { text: smallest, runs, invalid, known, end } = shrunk;
    let interrupted = match end {
        Ok(_) => None,
        Err(Ended::Interrupted(interrupt)) => Some(interrupt),
        Err(Ended::Stop(stop)) => return Err(stop),
    };
    let lines = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();
    let mut size = format!("{} lines of {}", lines(&smallest), lines(&text));
    size += match end {
        Ok(End::Smallest) => ": nothing more can be left out",
        Ok(End::Time) => ", when the time was over (--time)",
        Ok(End::Runs) => ", when the runs were used up (--runs)",
        Err(_) => ", when it was interrupted",
    };
    tell(&format!(
        "{size}; {runs} candidates run, {known} that meant the same as one of them, {invalid} that meant nothing; {:.1} s",
        began.elapsed().as_secs_f64()
    ))?;

    let headed = format!("{}{smallest}", head(&case, &text, &smallest, &*keep, lines));
    let name = args.output.as_deref().map_or(file, |output| output.display().to_string());
    write(args.output.as_deref(), &headed)?;
    if let Some(interrupted) = interrupted {
        return Ok(interrupted.exit_code());
    }
    let again = only_case(&name, &headed).map_err(|_| no_text_of_its_own(&case))?;
    let result = match once(&mut bench, Arc::new(again)) {
        Ok(result) => result,
        Err(ended) => {
            if let Ended::Interrupted(_) = ended {
                tell("interrupted before it was run again")?;
            }
            return ended.code();
        }
    };
    if !keep.holds(&result) {
        let reason = result.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        tell(&paint.bad(&format!("run again, it is a {}{reason}: it depends on chance", result.verdict)))?;
        return Ok(exit::FAILED);
    }
    tell(&format!("run again, it still shows: {}", still(&schema::Case::from(&*result))))?;
    if let Some(output) = &args.output {
        tell(&format!("{} holds it all: underlay test {0}", output.display()))?;
    }
    Ok(exit::OK)
}

fn no_text_of_its_own(case: &Case) -> Stop {
    Stop::usage(
        format!("{}: what is left of the file without its other variants is no scenario by itself", case.id()),
        "write the variant out: anchors and aliases that reach across variants can't be cut",
    )
}

/// A line for who waits; the result may be on standard output.
fn tell(text: &str) -> io::Result<()> {
    wrap(text, place::width(), &[' ']).iter().try_for_each(|line| writeln!(io::stderr(), "{line}"))
}

fn write(output: Option<&Path>, text: &str) -> Result<(), Stop> {
    match output {
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Stop::usage(format!("--output {}: {error}", path.display()), "name a file that can be written")
        }),
        None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
    }
}

/// What has to stay; the case must show it.
fn wanted(args: &Args, case: &Case, result: &CaseResult) -> Result<Box<dyn Keep>, Stop> {
    let reason = result.reason.as_deref();
    if result.verdict == Verdict::Skip {
        let reason = reason.unwrap_or("no reason given");
        return Err(Stop::usage(format!("{} is skipped here: {reason}", case.id()), "`underlay doctor` says more"));
    }
    if result.verdict == Verdict::Error || args.keep == What::Verdict {
        let whole = Whole::of(result.verdict, reason);
        if result.verdict == Verdict::Pass {
            return Err(passes(case));
        }
        return Ok(Box::new(whole));
    }
    let failures = Failure::all(&schema::Case::from(result));
    // Packets first: what was decided is often behind what became of them.
    let Some(first) = failures.iter().find(|failure| failure.is_probe()).or(failures.first()) else {
        return Err(match result.verdict {
            Verdict::Pass => passes(case),
            verdict => Stop::usage(
                format!("{} is {verdict}: no cell fails for sure", case.id()),
                "with --keep verdict, that is what stays",
            ),
        });
    };
    let mut found = match &args.cell {
        None => first.clone(),
        Some(name) => failures.iter().find(|failure| failure.cell.is_named(name)).cloned().ok_or_else(|| {
            let cells: Vec<_> = failures.iter().map(|failure| format!("`{}`", failure.cell)).collect();
            Stop::usage(
                format!("`{name}` doesn't fail in {}, so there is nothing to keep", case.id()),
                format!("what fails: {}", cells.join(", ")),
            )
        })?,
    };
    if args.keep == What::Fails {
        found.measured = None;
    }
    Ok(Box::new(found))
}

fn passes(case: &Case) -> Stop {
    Stop::usage(
        format!("{} passes: there is no failure to keep", case.id()),
        "write what should be under `expect`: what doesn't hold then is a failure; or name another variant",
    )
}

/// What is written above the file.
fn head(case: &Case, text: &str, smallest: &str, keep: &dyn Keep, lines: impl Fn(&str) -> usize) -> String {
    let from = case.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let story = format!(
        "Made by underlay {} out of {from}::{} ({} of {} lines). It shows: {}.",
        env!("CARGO_PKG_VERSION"),
        case.variant,
        lines(smallest),
        lines(text),
        keep.words()
    );
    wrap(&story, 100, &[' ']).iter().map(|line| format!("# {line}\n")).collect()
}

/// What a result shows, in a sentence.
fn still(result: &schema::Case) -> String {
    let failed: Vec<_> = result
        .unmet()
        .filter(|(_, check)| check.verdict == Verdict::Fail)
        .map(|(step, check)| {
            let expected = crate::report::human::shown(&check.expected);
            format!("{}: expected {expected}; {}", Cell::of_check(step, check), check.message)
        })
        .collect();
    match (failed.as_slice(), &result.reason) {
        ([], Some(reason)) => format!("{}: {reason}", result.verdict),
        ([], None) => result.verdict.to_string(),
        (failed, _) => failed.join("; "),
    }
}

/// Runs candidates.
pub(super) struct Tries {
    pub(super) bench: Bench,
    pub(super) jobs: usize,
}

/// Why candidates are run no more.
pub(super) enum Ended {
    Interrupted(Interrupt),
    Stop(Stop),
}

impl Ended {
    /// What the program ends with then.
    fn code(self) -> Result<u8, Stop> {
        match self {
            Self::Interrupted(interrupt) => Ok(interrupt.exit_code()),
            Self::Stop(stop) => Err(stop),
        }
    }
}

impl Tries {
    /// Runs cases: what of them had finished, and what interrupted the others, if anything did.
    pub(super) fn finished(
        &mut self,
        cases: Vec<Arc<Case>>,
    ) -> Result<(Option<Interrupt>, Vec<Arc<CaseResult>>), Stop> {
        let (end, results) = self.bench.evidence(cases, self.jobs)?;
        Ok((end.interrupted, results))
    }
}

/// Runs one case.
pub(super) fn once(runner: &mut impl Runner<Error = Ended>, case: Arc<Case>) -> Result<Arc<CaseResult>, Ended> {
    let lost = || io::Error::other("the run has ended without its result");
    let result = runner.run(vec![case])?.pop();
    result.ok_or_else(|| Ended::Stop(Stop::Harness { step: "run the case", source: lost() }))
}

impl Runner for Tries {
    type Error = Ended;

    fn run(&mut self, cases: Vec<Arc<Case>>) -> Result<Vec<Arc<CaseResult>>, Ended> {
        let (interrupted, results) = self.finished(cases).map_err(Ended::Stop)?;
        match interrupted {
            Some(interrupt) => Err(Ended::Interrupted(interrupt)),
            None => Ok(results),
        }
    }
}
