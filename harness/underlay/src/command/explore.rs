//! `underlay explore`: networks drawn by chance, held against what has to be so in all of them.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::shrink::{Ended, Tries, once};
use super::{Stop, place};
use crate::case::Case;
use crate::exit;
use crate::explore::invariants::{Invariant, findings};
use crate::explore::{Broken, Tally, draw};
use crate::report::human::wrap;
use crate::report::paint::{Color, Paint};
use crate::runner::{self, Interrupt};
use crate::shrink::{self, End, Limits, Runner, only_case};
use crate::verdict::{CaseResult, Verdict};

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
  4  the harness itself erred in a case
  130, 143  interrupted by SIGINT (Ctrl-C), SIGTERM; what is broken until then is told and written";

/// The most that is spent on making one broken case smaller.
const SHRINK: Limits = Limits { time: Duration::from_secs(120), runs: 400 };

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
    let mut numbers = numbers(args.case, args.cases);
    let began = Instant::now();
    let mut told = Told::default();
    let mut interrupted = None;
    writeln!(io::stdout(), "explore: seed {seed}, {} cases at a time", tries.jobs)?;
    while interrupted.is_none() && !numbers.is_empty() && args.time.is_none_or(|time| began.elapsed() < time) {
        let batch: Vec<u64> = numbers.by_ref().take(BATCH as usize).collect();
        let drawn = batch.iter().map(|number| Drawn::of(seed, *number)).collect::<Result<Vec<_>, _>>()?;
        let (ended, results) = tries.finished(drawn.iter().map(|drawn| Arc::clone(&drawn.case)).collect())?;
        interrupted = look(&drawn, &results, ended, &mut tries, &args.output, &mut told, paint)?;
    }
    if let (Some(missing), true, None) = (&told.missing, told.skipped == told.cases, interrupted) {
        return Err(Stop::Host(missing.clone()));
    }
    report(&told, began.elapsed(), paint)?;
    let untried = told.tally.untried();
    Ok(match interrupted {
        Some(interrupt) => interrupt.exit_code(),
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

/// That case alone, or so many of them, of which there is one at least.
fn numbers(case: Option<u64>, cases: u64) -> RangeInclusive<u64> {
    case.map_or(0..=cases.saturating_sub(1), |case| case..=case)
}

/// A case that was drawn.
struct Drawn {
    seed: u64,
    number: u64,
    file: String,
    text: String,
    case: Arc<Case>,
}

impl Drawn {
    fn of(seed: u64, number: u64) -> Result<Self, Stop> {
        let (file, text) = (format!("seed-{seed}-case-{number}.yaml"), draw::scenario(seed, number));
        let case = only_case(&file, &text).map_err(|wrong| Stop::Files(wrong.into_iter().collect()))?;
        Ok(Self { seed, number, file, text, case: Arc::new(case) })
    }

    /// Writes what is left of it, below what is to be told of that.
    fn write(&self, path: &Path, told: &str, text: &str) -> Result<(), Stop> {
        let (version, Self { seed, number, .. }) = (env!("CARGO_PKG_VERSION"), self);
        let story = format!("Found by underlay {version} explore --seed {seed} --case {number}. {told}");
        let head: String = wrap(&story, 100, &[' ']).iter().map(|line| format!("# {line}\n")).collect();
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, head + text)).map_err(|error| {
            Stop::usage(format!("--output: {}: {error}", path.display()), "name a folder that can be written to")
        })
    }
}

/// Looks at what cases came to; goes after those that break anything, as long as nobody interrupts. What had finished
/// by then is told, and what is broken is written as it is.
fn look<R: Runner<Error = Ended>>(
    drawn: &[Drawn],
    results: &[Arc<CaseResult>],
    mut interrupted: Option<Interrupt>,
    tries: &mut R,
    output: &Path,
    told: &mut Told,
    paint: Paint,
) -> Result<Option<Interrupt>, Stop> {
    for drawn in drawn {
        // Of an interrupted run some are missing.
        let Some(result) = results.iter().find(|result| Arc::ptr_eq(&result.case, &drawn.case)) else { continue };
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
            writeln!(io::stdout(), "{} case {}: {reason}", paint.bad("error:"), drawn.number)?;
            continue;
        }
        let found = findings(result);
        told.doubtful += usize::from(found.is_empty());
        for (invariant, violation) in told.tally.add(&found) {
            told.broken += 1;
            say(&format!("{} case {}, {}: {violation}", paint.bad("broken:"), drawn.number, invariant.name()))?;
            let path = output.join(format!("{}-{}", invariant.name(), drawn.file));
            let pursuit = Pursuit { drawn, broken: Broken(invariant), violation: &violation, path: &path };
            let ended = match interrupted {
                Some(_) => pursuit.as_it_is()?,
                None => pursuit.go(tries, SHRINK)?,
            };
            say(&format!("  {}", if ended.is_sure { ended.words } else { paint.doubtful(&ended.words) }))?;
            interrupted = interrupted.or(ended.interrupted);
        }
    }
    Ok(interrupted)
}

/// Going after a case that breaks an invariant.
struct Pursuit<'a> {
    drawn: &'a Drawn,
    broken: Broken,
    /// In the whole case.
    violation: &'a str,
    /// Where it is written.
    path: &'a Path,
}

/// What came of it.
#[derive(Debug)]
struct Pursued {
    words: String,
    /// Whether there is a file that showed it twice.
    is_sure: bool,
    interrupted: Option<Interrupt>,
}

impl Pursuit<'_> {
    /// Runs the case again, makes it smaller where it is broken again, and runs what is left once more: what is told of
    /// that is what that run shows.
    fn go<R: Runner<Error = Ended>>(&self, tries: &mut R, limits: Limits) -> Result<Pursued, Stop> {
        let Self { drawn, broken, path, .. } = self;
        let again = match once(tries, Arc::clone(&drawn.case)) {
            Ok(again) => again,
            Err(Ended::Interrupted(interrupt)) => {
                return Ok(Pursued { interrupted: Some(interrupt), ..self.as_it_is()? });
            }
            Err(Ended::Stop(stop)) => return Err(stop),
        };
        if let Some(missed) = broken.missed(&again) {
            return Ok(Pursued { words: format!("run again, {missed}"), is_sure: false, interrupted: None });
        }
        let shrunk = shrink::shrink(&drawn.text, &drawn.file, broken, tries, limits);
        let (smallest, end) =
            shrunk.map_or((drawn.text.clone(), Ok(End::Smallest)), |shrunk| (shrunk.text, shrunk.end));
        let what = match end {
            Ok(End::Smallest) => "the smallest that does",
            Ok(End::Time) => "the smallest that was found in the time for that",
            Ok(End::Runs) => "the smallest that was found in the runs for that",
            Err(Ended::Interrupted(interrupt)) => return self.rest(&smallest, interrupt),
            Err(Ended::Stop(stop)) => return Err(stop),
        };
        let left = only_case(&drawn.file, &smallest).map_err(|wrong| Stop::Files(wrong.into_iter().collect()))?;
        let last = match once(tries, Arc::new(left)) {
            Ok(last) => last,
            Err(Ended::Interrupted(interrupt)) => return self.rest(&smallest, interrupt),
            Err(Ended::Stop(stop)) => return Err(stop),
        };
        let Some(violation) = broken.violation(&last) else {
            let missed = broken.missed(&last).unwrap_or_default();
            let whole = self.as_it_is()?;
            let words = format!("what was left didn't show it when it was run once more: {missed}; {}", whole.words);
            return Ok(Pursued { words, is_sure: false, interrupted: None });
        };
        drawn.write(path, &format!("{}: {violation}", self.says()), &smallest)?;
        Ok(Pursued { words: format!("{what} is in {}", path.display()), is_sure: true, interrupted: None })
    }

    fn says(&self) -> String {
        format!("It does not hold that {}", self.broken.0.says())
    }

    /// The whole case.
    fn as_it_is(&self) -> Result<Pursued, Stop> {
        self.drawn.write(self.path, &format!("{}: {}", self.says(), self.violation), &self.drawn.text)?;
        let words = format!("the case as it was drawn is in {}", self.path.display());
        Ok(Pursued { words, is_sure: false, interrupted: None })
    }

    /// What is left when somebody interrupts. What it breaks is known of the whole alone, whose nodes may be gone.
    fn rest(&self, text: &str, interrupt: Interrupt) -> Result<Pursued, Stop> {
        let told = format!(
            "{}; as a whole it was this: {}. This is what was left of the case when {} came",
            self.says(),
            self.violation,
            interrupt.name()
        );
        self.drawn.write(self.path, &told, text)?;
        let words = format!("the smallest until then is in {}", self.path.display());
        Ok(Pursued { words, is_sure: false, interrupted: Some(interrupt) })
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::engine::netns::agents;
    use crate::engine::{inputs, install};
    use crate::observed::{Agent, EngineError, Observed};
    use crate::verdict::{Provenance, judge};

    /// What becomes of the runs from that one on.
    #[derive(Clone, Copy)]
    enum Then {
        Well,
        Errs,
        Interrupt,
    }

    /// An agent decides nothing, against what is foretold: the last node's, of a case with one probe the first's. From
    /// some run on it is otherwise.
    struct Odd {
        runs: usize,
        from: usize,
        then: Then,
    }

    impl Odd {
        fn new(from: usize, then: Then) -> Self {
            Self { runs: 0, from, then }
        }

        fn result(case: Arc<Case>, is_odd: bool) -> Arc<CaseResult> {
            let installed = match install::install(&case) {
                Ok(installed) => installed,
                Err(refusal) => {
                    let observed = Observed::of(Err(refusal));
                    return Arc::new(judge(case, "odd", Provenance::Model, Duration::ZERO, Ok(observed)));
                }
            };
            let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(&case, node)).collect();
            let decided = agents::decide(&case, &installed.config, &seen).into_iter();
            let mut nodes: Vec<_> = decided.map(|(name, decided)| (name, Agent::from(decided))).collect();
            let odd = if case.probes.len() == 1 { nodes.first_mut() } else { nodes.last_mut() };
            if let Some((_, agent)) = odd.filter(|_| is_odd) {
                *agent = Agent::Absent;
            }
            let observed = Observed { nodes, ..Observed::of(Ok(())) };
            Arc::new(judge(case, "odd", Provenance::Model, Duration::ZERO, Ok(observed)))
        }
    }

    impl Runner for Odd {
        type Error = Ended;

        fn run(&mut self, cases: Vec<Arc<Case>>) -> Result<Vec<Arc<CaseResult>>, Ended> {
            self.runs += 1;
            let then = if self.runs < self.from { None } else { Some(self.then) };
            let one = |case: Arc<Case>| match then {
                Some(Then::Errs) => {
                    let error = EngineError::Failed { step: "build".to_owned(), reason: "no room".to_owned() };
                    Arc::new(judge(case, "odd", Provenance::Model, Duration::ZERO, Err(error)))
                }
                then => Self::result(case, then.is_none()),
            };
            match then {
                Some(Then::Interrupt) => Err(Ended::Interrupted(Interrupt::Int)),
                _ => Ok(cases.into_iter().map(one).collect()),
            }
        }
    }

    /// What is wrong in the whole case.
    fn violation() -> String {
        let drawn = Drawn::of(1, 1).expect("every draw is a scenario");
        let whole = Odd::result(drawn.case, true);
        let violation = Broken(Invariant::Foretold).violation(&whole).expect("an agent decided otherwise");
        assert!(!violation.starts_with("master"), "the last node is no master: {violation}");
        violation
    }

    /// Goes after a case: what is told, and what is written.
    fn pursued(runner: &mut Odd, limits: Limits) -> (Pursued, Option<String>) {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("case.yaml");
        let drawn = Drawn::of(1, 1).expect("every draw is a scenario");
        let (broken, violation) = (Broken(Invariant::Foretold), violation());
        let pursuit = Pursuit { drawn: &drawn, broken, violation: &violation, path: &path };
        let pursued = pursuit.go(runner, limits).unwrap_or_else(|stop| panic!("{stop:?}"));
        (pursued, fs::read_to_string(&path).ok())
    }

    /// The file's lines that are no comment.
    fn body(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn what_is_told_of_the_smallest_is_what_it_shows_when_it_is_run() {
        let mut runner = Odd::new(usize::MAX, Then::Well);
        let (pursued, text) = pursued(&mut runner, SHRINK);
        let text = text.expect("it is written");
        assert!(pursued.is_sure && pursued.words.starts_with("the smallest that does is in "), "{pursued:?}");
        let head: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let head = head.join(" ");
        assert!(head.contains("master: foretold") && !head.contains(&violation()), "not as of the whole:\n{text}");
    }

    #[test]
    fn a_search_that_a_limit_ended_is_not_said_to_have_found_the_smallest() {
        let limits = Limits { runs: 1, ..SHRINK };
        let (pursued, text) = pursued(&mut Odd::new(usize::MAX, Then::Well), limits);
        assert!(pursued.words.starts_with("the smallest that was found in the runs for that"), "{pursued:?}");
        assert!(text.is_some());
    }

    #[test]
    fn an_interrupt_leaves_what_was_found_until_then() {
        let whole = draw::scenario(1, 1);
        // In the first run nothing is smaller yet, in the third something is.
        for (run, is_smaller) in [(1, false), (3, true)] {
            let (pursued, text) = pursued(&mut Odd::new(run, Then::Interrupt), SHRINK);
            let text = text.expect("it is written");
            assert_eq!(pursued.interrupted, Some(Interrupt::Int));
            assert_eq!(body(&text).len() < body(&whole).len(), is_smaller, "interrupted in run {run}:\n{text}");
        }
    }

    #[test]
    fn a_run_that_does_not_show_it_again_is_told_for_what_it_is() {
        for (then, words) in [
            (Then::Well, "run again, it holds, so that depends on chance"),
            (Then::Errs, "run again, the harness erred: build: no room"),
        ] {
            let (pursued, text) = pursued(&mut Odd::new(1, then), SHRINK);
            assert_eq!((pursued.words.as_str(), pursued.is_sure), (words, false));
            assert_eq!(text, None);
        }
    }

    #[test]
    fn what_is_left_and_holds_when_it_is_run_once_more_is_not_written() {
        let mut counted = Odd::new(usize::MAX, Then::Well);
        pursued(&mut counted, SHRINK);
        let (pursued, text) = pursued(&mut Odd::new(counted.runs, Then::Well), SHRINK);
        let text = text.expect("the whole is written");
        assert!(!pursued.is_sure && pursued.words.starts_with("what was left didn't show it"), "{pursued:?}");
        assert_eq!(body(&text), body(&draw::scenario(1, 1)));
    }

    #[test]
    fn what_had_finished_before_an_interrupt_is_looked_at() {
        let folder = TempDir::new().expect("a folder");
        let drawn = [1, 2, 3].map(|number| Drawn::of(1, number).expect("every draw is a scenario"));
        // The second one has finished alone.
        let results = [Odd::result(Arc::clone(&drawn[1].case), true)];
        let (mut runner, mut told) = (Odd::new(0, Then::Interrupt), Told::default());
        let term = Some(Interrupt::Term);
        let ended = look(&drawn, &results, term, &mut runner, folder.path(), &mut told, Paint(false));
        assert_eq!(ended.unwrap_or_else(|stop| panic!("{stop:?}")), term);
        assert_eq!((told.cases, told.broken, runner.runs), (1, 1, 0), "nothing is run any more");
        let written = fs::read_to_string(folder.path().join("foretold-seed-1-case-2.yaml")).expect("it is written");
        assert_eq!(body(&written), body(&draw::scenario(1, 2)));
    }

    #[test]
    fn the_last_number_there_is_is_one() {
        assert_eq!(numbers(Some(u64::MAX), 100).collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(numbers(None, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(Drawn::of(7, u64::MAX).is_ok());
    }
}
