//! `underlay explore`: networks drawn by chance, held against what has to be so in all of them.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::shrink::{Ended, Tries};
use super::{Stop, place};
use crate::exit;
use crate::explore::invariants::{Invariant, findings};
use crate::explore::{Broken, Tally, draw};
use crate::report::human::wrap;
use crate::report::paint::{Color, Paint};
use crate::runner::{self, Interrupt};
use crate::shrink::keep::Keep;
use crate::shrink::{self, Limits, Runner, only_case};
use crate::verdict::Verdict;

const EXAMPLES: &str = "\
Each case is a network of two or three nodes (kinds of NAT, overlapping ranges, MTUs, second NICs, default routes that
lead elsewhere, an overlay or none), a Cilium version, values and node IPs. A case that breaks an invariant is run again,
and if it does so again, it is shrunk and written to a file. The same seed gives the same cases.

Examples:
  underlay explore                          100 cases of a new seed
  underlay explore --seed 7 --cases 1000
  underlay explore --time 10m --cases 100000
  underlay explore --seed 7 --case 412      one of them again
  underlay explore --seed 7 --case 412 --print
                                            its scenario, and run nothing

Exit codes:
  0  every invariant was put to the test, and all hold
  1  one is broken, or one was not put to the test at all
  2  wrong use
  3  this host can't
  4  the harness itself erred in a case";

/// The most runs that are spent on making one broken case smaller.
const SHRINK_RUNS: usize = 400;

/// Cases between two looks at clock and signals.
const BATCH: u64 = 24;

/// Try networks drawn by chance, and check what has to hold in every one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where chance begins; the same seed gives the same cases [default: a new one, which is said].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// How many cases.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    cases: u64,

    /// Only this case of the seed.
    #[arg(long, value_name = "N", requires = "seed", conflicts_with = "cases")]
    case: Option<u64>,

    /// Print that case's scenario, and run nothing.
    #[arg(long, requires = "case")]
    print: bool,

    /// No new cases after that time: 30s, 10m.
    #[arg(long, value_name = "TIME", value_parser = super::test::deadline)]
    time: Option<Duration>,

    /// Where broken cases are written, as far as any are.
    #[arg(long, short, value_name = "DIR", default_value = "explore")]
    output: PathBuf,

    /// How many cases run at a time [default: six for each processor].
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// What came of it all.
#[derive(Default)]
struct Told {
    tally: Tally,
    cases: usize,
    /// Of these nothing was learnt.
    doubtful: usize,
    skipped: usize,
    /// What the host lacks for the first that was skipped.
    missing: Option<lab::Missing>,
    errors: usize,
    broken: usize,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let seed = args.seed.unwrap_or_else(new_seed);
    if let (Some(case), true) = (args.case, args.print) {
        io::stdout().lock().write_all(draw::scenario(seed, case).as_bytes())?;
        return Ok(exit::OK);
    }
    let paint = color.for_stream(&io::stdout());
    let mut tries = Tries { bench: Bench::enter()?, jobs: args.jobs.map_or_else(runner::default_jobs, Into::into) };
    let mut numbers = args.case.map_or(0..args.cases, |case| case..case + 1);
    let began = Instant::now();
    let mut told = Told::default();
    let mut interrupted = None;
    writeln!(io::stdout(), "explore: seed {seed}, {} cases at a time", tries.jobs)?;
    while interrupted.is_none() && !numbers.is_empty() && args.time.is_none_or(|time| began.elapsed() < time) {
        let batch: Vec<u64> = numbers.by_ref().take(BATCH as usize).collect();
        interrupted = batch_of(&batch, seed, &mut tries, &args.output, &mut told, paint)?;
    }
    if let (Some(missing), true) = (&told.missing, told.skipped == told.cases) {
        return Err(Stop::Host(missing.clone()));
    }
    report(&told, began.elapsed(), paint)?;
    let untried = told.tally.untried();
    Ok(match interrupted {
        Some(Interrupt::Int) => exit::INTERRUPTED,
        Some(Interrupt::Term) => exit::TERMINATED,
        None if told.errors > 0 => exit::HARNESS,
        None if told.broken > 0 => exit::FAILED,
        // One case can't put all to the test.
        None if !untried.is_empty() && args.case.is_none() => exit::FAILED,
        None => exit::OK,
    })
}

/// The standard library keys its hash maps anew for every map.
fn new_seed() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0_u8) % 1_000_000
}

/// Draws and runs some cases; goes after those that break anything.
fn batch_of(
    batch: &[u64],
    seed: u64,
    tries: &mut Tries,
    output: &Path,
    told: &mut Told,
    paint: Paint,
) -> Result<Option<Interrupt>, Stop> {
    let mut drawn = Vec::new();
    for number in batch {
        let (file, text) = (format!("seed-{seed}-case-{number}.yaml"), draw::scenario(seed, *number));
        match only_case(&file, &text) {
            Ok(case) => drawn.push((*number, file, text, Arc::new(case))),
            Err(wrong) => return Err(Stop::Files(wrong.into_iter().collect())),
        }
    }
    let cases = drawn.iter().map(|(_, _, _, case)| Arc::clone(case)).collect();
    let results = match tries.run(cases) {
        Ok(results) => results,
        Err(Ended::Interrupted(interrupt)) => return Ok(Some(interrupt)),
        Err(Ended::Stop(stop)) => return Err(stop),
    };
    for ((number, file, text, case), result) in drawn.into_iter().zip(results) {
        told.cases += 1;
        if let (Verdict::Skip, Some(missing)) = (result.verdict, &result.missing) {
            // A draw is the same on every host; what this one can't is left out, unless that is all of it.
            told.skipped += 1;
            told.missing.get_or_insert_with(|| missing.clone());
            continue;
        }
        if result.verdict == Verdict::Error {
            told.errors += 1;
            let reason = result.reason.as_deref().unwrap_or("no reason given");
            writeln!(io::stdout(), "{} case {number}: {reason}", paint.bad("error:"))?;
            continue;
        }
        let found = findings(&result);
        told.doubtful += usize::from(found.is_empty());
        for (invariant, violation) in told.tally.add(&found) {
            told.broken += 1;
            say(&format!("{} case {number}, {}: {violation}", paint.bad("broken:"), invariant.name()))?;
            let again = match tries.run(vec![Arc::clone(&case)]) {
                Ok(again) => again,
                Err(Ended::Interrupted(interrupt)) => return Ok(Some(interrupt)),
                Err(Ended::Stop(stop)) => return Err(stop),
            };
            let keep = Broken(invariant);
            if !again.iter().all(|result| keep.holds(result)) {
                say(&paint.doubtful("  not when it was run again: it depends on chance"))?;
                continue;
            }
            let path = output.join(format!("{}-{file}", invariant.name()));
            match smaller(&text, &file, &keep, tries)? {
                Ok(smallest) => write(&path, seed, number, invariant, &violation, &smallest)?,
                Err(interrupt) => {
                    write(&path, seed, number, invariant, &violation, &text)?;
                    return Ok(Some(interrupt));
                }
            }
            say(&format!("  the smallest that does is in {}", path.display()))?;
        }
    }
    Ok(None)
}

/// The smallest text that still breaks it.
fn smaller(text: &str, file: &str, keep: &Broken, tries: &mut Tries) -> Result<Result<String, Interrupt>, Stop> {
    let limits = Limits { time: Duration::from_secs(120), runs: SHRINK_RUNS };
    let Some(shrunk) = shrink::shrink(text, file, keep, tries, limits) else { return Ok(Ok(text.to_owned())) };
    match shrunk.end {
        Ok(_) => Ok(Ok(shrunk.text)),
        Err(Ended::Interrupted(interrupt)) => Ok(Err(interrupt)),
        Err(Ended::Stop(stop)) => Err(stop),
    }
}

fn write(path: &Path, seed: u64, number: u64, invariant: Invariant, violation: &str, text: &str) -> Result<(), Stop> {
    let story = format!(
        "Found by underlay {} explore --seed {seed} --case {number}. It does not hold that {}: {violation}",
        env!("CARGO_PKG_VERSION"),
        invariant.says()
    );
    let head: String = wrap(&story, 100, &[' ']).iter().map(|line| format!("# {line}\n")).collect();
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, head + text)).map_err(|error| {
        Stop::usage(format!("--output: {}: {error}", path.display()), "name a folder that can be written to")
    })
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    wrap(text, place::width(), &[' ']).iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn report(told: &Told, took: Duration, paint: Paint) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{:<11}{:>7}{:>8}{:>8}", "invariant", "cases", "times", "broken")?;
    for invariant in Invariant::ALL {
        let count = told.tally.of(invariant);
        let broken = format!("{:>8}", count.broken);
        let broken = match (count.broken, count.cases) {
            (0, 0) => paint.doubtful("  untried"),
            (0, _) => paint.good(&broken),
            _ => paint.bad(&broken),
        };
        writeln!(out, "{:<11}{:>7}{:>8}{broken}  {}", invariant.name(), count.cases, count.times, invariant.says())?;
    }
    let seconds = took.as_secs_f64();
    let rate = told.cases as f64 / seconds.max(0.001) * 60.0;
    writeln!(
        out,
        "\n{} cases in {seconds:.1} s, {rate:.0} a minute; {} broken, {} erred, of {} nothing was learnt",
        told.cases, told.broken, told.errors, told.doubtful
    )?;
    if let Some(missing) = &told.missing {
        writeln!(out, "{} skipped: {missing}", told.skipped)?;
    }
    let untried = told.tally.untried();
    if !untried.is_empty() {
        let names: Vec<_> = untried.iter().map(|invariant| invariant.name()).collect();
        writeln!(out, "{}", paint.doubtful(&format!("not put to the test: {}", names.join(", "))))?;
    }
    Ok(())
}
