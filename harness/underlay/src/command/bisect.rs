//! `underlay bisect`: the first version, or values file, with which a case is bad.

mod candidates;
mod state;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cilium::Version;
use serde::Serialize;

use self::candidates::Candidate;
use self::state::{Saved, State};
use super::bench::Bench;
use super::compare::text;
use super::{Stop, place, select};
use crate::bisect::{Mark, Search, Votes};
use crate::case::Case;
use crate::compare::{Comparison, compare};
use crate::exit;
use crate::report::human::{shown, tame_text, wrap};
use crate::report::paint::{Color, Paint};
use crate::report::schema;
use crate::report::table::about_in;
use crate::runner;
use crate::scenario::Overrides;
use crate::verdict::Verdict;

const EXAMPLES: &str = "\
Good is a case that passes, or with --subject and --expect one in which that holds. The model knows Cilium's minor
versions and hardly any patch release, so those are what is searched; 1.17.0 differs from later ones and is tried by
itself. With --state each step is kept, and --resume goes on where a search was interrupted.

Examples:
  underlay bisect --good 1.16.4 --bad 1.18.2 scenarios/overlay/pod-mtu.yaml::enp0s6
  underlay bisect --good 1.16.4 --bad 1.18.2 --subject df-1203 --expect too-big \\
    scenarios/overlay/pod-mtu.yaml::enp0s6
  underlay bisect --good 1.18.2 --bad 1.19 --subject own-nic --expect fails \\
    scenarios/devices/node-ip-overlay.yaml::tailscale0
  underlay bisect scenarios/mine.yaml::default --values 1.yaml 2.yaml 3.yaml
  underlay bisect … --runs 2-of-5 --state search.json     against flakiness, and interruptions
  underlay bisect … --runs 2-of-5 --state search.json --resume

Exit codes:
  0  the first bad one is found
  1  it is not: some steps were unclear, so that several are left
  2  wrong use, or a file is wrong, or the good one isn't good, or the bad one isn't bad
  3  this host can't
  4  the harness itself erred";

/// Find the first Cilium version, or values file, with which a case is bad, and what it changed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The case: FILE::VARIANT; of a file with one variant, FILE.
    #[arg(value_name = "SCENARIO::VARIANT")]
    case: select::Target,

    /// A version with which it is good.
    #[arg(long, value_name = "VERSION", required_unless_present = "values", requires = "bad")]
    good: Option<Version>,

    /// A later version with which it is bad.
    #[arg(long, value_name = "VERSION", requires = "good")]
    bad: Option<Version>,

    /// Instead of versions: files of Helm values in order, the first good, the last bad. They are laid over the
    /// scenario's values, and the variant's lie over them.
    #[arg(long, value_name = "FILE", num_args = 2.., conflicts_with_all = ["good", "bad"])]
    values: Vec<PathBuf>,

    /// What decides, in place of the whole case: a probe's name, `pod-mtu`, `dns-ready` …
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,

    /// What it must be to be good: `works`, `fails`, `silence`, `refused`, `unreachable`, `too-big` of a probe, else a
    /// value. Left out: what the scenario expects of it.
    #[arg(long, value_name = "WHAT", requires = "subject")]
    expect: Option<String>,

    /// How often each step is run, and how many bad runs make it bad: 2-of-5. With N alone, more than half.
    #[arg(long, value_name = "K-of-N", default_value = "1")]
    runs: Votes,

    /// Keep each step in this file.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Go on with the search that is in the state file.
    #[arg(long, requires = "state")]
    resume: bool,

    /// How to write what was found.
    #[arg(long, value_enum, default_value_t)]
    format: super::test::Format,
}

/// What trying a candidate came to.
#[derive(Debug, Serialize)]
struct Step {
    candidate: String,
    mark: Mark,
    runs: Vec<Mark>,
    milliseconds: u64,
    #[serde(skip)]
    results: Vec<schema::Case>,
}

impl Step {
    fn of(candidate: &Candidate, votes: Votes, saved: Saved) -> Self {
        let Saved { runs, milliseconds, results } = saved;
        Self { candidate: candidate.label.short.clone(), mark: votes.count(&runs), runs, milliseconds, results }
    }
}

/// What `--format json` writes.
#[derive(Debug, Serialize)]
struct Found<'a> {
    schema: &'static str,
    scenario: &'a str,
    variant: &'a str,
    judged_by: String,
    votes: Votes,
    candidates: Vec<&'a str>,
    steps: &'a [Step],
    last_good: &'a str,
    /// Any of these may be the first bad one; one, if it is found.
    first_bad: Vec<&'a str>,
    comparison: &'a Comparison,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let votes = args.runs;
    let overrides = Overrides { version: args.good.clone(), ..Overrides::default() };
    let case = one(select::cases(std::slice::from_ref(&args.case), &[], &overrides)?)?;
    let judged_by = match (&args.subject, &args.expect) {
        (Some(subject), Some(expect)) => format!("`{subject}` {expect}"),
        (Some(subject), None) => format!("what the scenario expects of `{subject}`"),
        (None, _) => "the case's verdict".to_owned(),
    };
    let candidates = candidates::candidates(args, &case)?;
    let mut search = Search::new(candidates.len()).ok_or_else(|| Stop::usage("nothing lies between", "name two"))?;

    let paint = color.for_stream(&io::stdout());
    let human = args.format == super::test::Format::Human;
    let names: Vec<_> = candidates.iter().map(|candidate| candidate.label.short.as_str()).collect();
    if human {
        head(&case, &judged_by, &names, votes, paint)?;
    }
    let state = args.state.as_deref().map(|file| State::open(file, args.resume, &candidates, &judged_by, votes));
    let mut state = state.transpose()?;
    let mut bench = Bench::enter()?;
    let mut steps: Vec<Step> = Vec::new();
    // The ends first: a search between ends that are not what they are said to be finds anything.
    let (first, last) = (0, candidates.len() - 1);
    let mut next = Some(first);
    let mut tried = Vec::new();
    while let Some(index) = next {
        let candidate = &candidates[index];
        let known = state.as_ref().and_then(|state| state.step(index));
        let step = match known {
            Some(saved) => Step::of(candidate, votes, saved.clone()),
            None => match try_one(&mut bench, candidate, votes)? {
                Tried::Step(saved) => {
                    state.as_mut().map_or(Ok(()), |state| state.keep(index, &saved))?;
                    Step::of(candidate, votes, saved)
                }
                Tried::Ended(code) => {
                    if let Some(file) = &args.state {
                        let file = file.display();
                        writeln!(io::stderr(), "the steps so far are in {file}: --resume goes on with them")?;
                    }
                    return Ok(code);
                }
            },
        };
        if human {
            tell(steps.len() + 1, &step, paint)?;
        }
        check_end(index, last, &step, &judged_by)?;
        search.note(index, step.mark);
        tried.push(index);
        steps.push(step);
        next = if index == first { Some(last) } else { search.next() };
    }

    let (good, bad) = search.bounds();
    let suspects: Vec<_> = search.suspects().map(|index| names[index]).collect();
    let at = |index: usize| tried.iter().position(|tried| *tried == index).map(|position| &steps[position]);
    let (Some(before), Some(after)) = (at(good), at(bad)) else { unreachable!("both bounds were tried") };
    let evidence = |step: &Step, mark: Mark| -> Vec<schema::Case> {
        let index = step.runs.iter().position(|run| *run == mark).unwrap_or(0);
        step.results.get(index).cloned().into_iter().collect()
    };
    let comparison = compare(
        (candidates[good].label.clone(), &evidence(before, Mark::Good)),
        (candidates[bad].label.clone(), &evidence(after, Mark::Bad)),
        Vec::new(),
    );
    let comparison = comparison.map_err(|unclear| Stop::usage(unclear.to_string(), "bisect one case"))?;
    let mut out = io::stdout().lock();
    if human {
        let word = if suspects.len() == 1 { "first bad" } else { "first bad is one of" };
        writeln!(out, "\n{} {}   last good: {}", paint.strong(&format!("{word}:")), suspects.join(", "), names[good])?;
        if let Some(note) = args.values.is_empty().then(|| patches(&candidates[good].case, &candidates[bad].case)) {
            for line in wrap(&note, place::width(), &[' ']) {
                writeln!(out, "{}", paint.faint(&line))?;
            }
        }
        writeln!(out, "\n{}", text(&comparison, paint).trim_end())?;
    } else {
        let found = Found {
            schema: "underlay.bisect/1",
            scenario: &case.scenario,
            variant: &case.variant,
            judged_by,
            votes,
            candidates: names.clone(),
            steps: &steps,
            last_good: names[good],
            first_bad: suspects.clone(),
            comparison: &comparison,
        };
        serde_json::to_writer_pretty(&mut out, &found).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(if suspects.len() == 1 { exit::OK } else { exit::FAILED })
}

pub(super) fn one(cases: Vec<Arc<Case>>) -> Result<Arc<Case>, Stop> {
    let names: Vec<_> = cases.iter().map(|case| format!("`{}`", case.variant)).collect();
    match <[_; 1]>::try_from(cases) {
        Ok([case]) => Ok(case),
        Err(cases) => Err(Stop::usage(
            format!("{} cases are named: this is about one", cases.len()),
            format!("name a variant, FILE::VARIANT; there are {}", names.join(", ")),
        )),
    }
}

/// How exactly the result is known.
fn patches(good: &Case, bad: &Case) -> String {
    format!(
        "the model knows minor versions and hardly any patch release: of the real releases it is one after {} and not \
         after {}",
        good.version, bad.version
    )
}

/// How trying a candidate ended.
enum Tried {
    Step(Saved),
    /// Interrupted, or nothing to be found out: the program ends with this.
    Ended(u8),
}

fn try_one(bench: &mut Bench, candidate: &Candidate, votes: Votes) -> Result<Tried, Stop> {
    let began = Instant::now();
    let cases = vec![Arc::clone(&candidate.case); votes.runs];
    let (end, results) = bench.run(cases, runner::default_jobs(), None)?;
    if end.interrupted.is_some() {
        return Ok(Tried::Ended(end.exit_code()));
    }
    for case in &results {
        let code = match case.verdict {
            Verdict::Error => exit::HARNESS,
            Verdict::Skip => exit::HOST,
            _ => continue,
        };
        let reason = case.reason.as_deref().unwrap_or("no reason given");
        let message = format!("{} with {}: {reason}", case.id(), candidate.label.name);
        writeln!(io::stderr(), "error: {}", tame_text(&message))?;
        return Ok(Tried::Ended(code));
    }
    let mark = |case: &schema::Case| match case.verdict {
        Verdict::Pass => Mark::Good,
        Verdict::Fail => Mark::Bad,
        Verdict::Inconclusive | Verdict::Skip | Verdict::Error => Mark::Unclear,
    };
    let runs: Vec<_> = results.iter().map(mark).collect();
    Ok(Tried::Step(Saved { runs, milliseconds: schema::milliseconds(began.elapsed()), results }))
}

/// The ends must be what they are said to be.
fn check_end(index: usize, last: usize, step: &Step, judged_by: &str) -> Result<(), Stop> {
    let said = match index {
        0 => Mark::Good,
        _ if index == last => Mark::Bad,
        _ => return Ok(()),
    };
    if step.mark == said {
        return Ok(());
    }
    let mut message = format!("{} is said to be {said}, and is {} (judged by {judged_by})", step.candidate, step.mark);
    let wrong = step.results.iter().flat_map(|case| case.unmet()).next();
    if let Some((at, check)) = wrong.filter(|_| said == Mark::Good) {
        let measured = shown(&check.measured);
        let expected = shown(&check.expected);
        message = format!("{message}: {} is {measured}, expected {expected}", about_in(at, check));
    }
    Err(Stop::usage(tame_text(&message), "name another end, or say what decides with --subject and --expect"))
}

fn head(case: &Case, judged_by: &str, names: &[&str], votes: Votes, paint: Paint) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "bisect {} — engine netns (model)", paint.strong(&case.id()))?;
    writeln!(out, "candidates: {}", names.join(", "))?;
    writeln!(out, "good or bad by {judged_by}")?;
    if votes.runs > 1 {
        writeln!(out, "{} of {} runs make a step bad", votes.confirm, votes.runs)?;
    }
    writeln!(out)
}

/// `step 3  1.17      bad      0.41 s   3 of 3 bad`
fn tell(number: usize, step: &Step, paint: Paint) -> io::Result<()> {
    let mark = format!("{:<8}", step.mark);
    let mark = match step.mark {
        Mark::Good => paint.good(&mark),
        Mark::Bad => paint.bad(&mark),
        Mark::Unclear => paint.doubtful(&mark),
    };
    let seconds = step.milliseconds as f64 / 1000.0;
    let mut line = format!("step {number:<3} {:<16} {mark} {seconds:>6.2} s", step.candidate);
    if step.runs.len() > 1 {
        let bad = step.runs.iter().filter(|run| **run == Mark::Bad).count();
        line = format!("{line}   {bad} of {} bad", step.runs.len());
        if step.runs.iter().any(|run| *run != step.runs[0]) {
            line = format!("{line}, {}", paint.doubtful("flaky"));
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
