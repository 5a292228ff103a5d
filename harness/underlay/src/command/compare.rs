//! `underlay compare`: what a version, a model or Helm values change.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::bench::Bench;
use super::{Stop, place, select};
use crate::case::Case;
use crate::compare::alike::decide_alike;
use crate::compare::progress::Progress;
use crate::compare::side::{Files, Side, SideError, is_same};
use crate::compare::{self, Ambiguous, Comparison, NotCompared, html, human, markdown};
use crate::engine::netns::Netns;
use crate::exit;
use crate::observed::Engine;
use crate::report::human::tame_text;
use crate::report::merge::identity;
use crate::report::paint::{Color, Paint};
use crate::report::schema::{self, Unfinished};
use crate::runner::{self, RunFinished};
use crate::scenario::{Overrides, glob};
use crate::verdict::Verdict;

const EXAMPLES: &str = "\
What A and B can be:
  1.18.2        Cilium of this version, in place of what the scenarios name
  model:guide   decisions by these rules: model:cilium, model:guide
  values.yaml   Helm values, laid over the scenarios'
  report.json   what `underlay test --format json` wrote
A variant that names a version or a model of its own keeps it, and the values it sets lie over the file's.

Examples:
  underlay compare 1.18.2 1.19
  underlay compare 1.18.2 1.19 scenarios/devices/node-ip-overlay.yaml::tailscale0
  underlay compare model:guide model:cilium scenarios/guide
  underlay compare now.yaml planned.yaml my-cluster.yaml --format markdown
  underlay compare main.json pull-request.json --format html > changes.html

Exit codes:
  0  nothing that is asserted got worse
  1  something asserted held in A and doesn't in B, or a report is of a run that was interrupted
  2  wrong use, a file is wrong, or A and B have no case in common
  3  this host can't: nothing could be compared
  4  the harness itself erred";

/// Show what changes from A to B: the cells, the decisions behind them, and where those rules stand.
///
/// Both are run, except saved reports; and cases in which every agent decides the same for both, foretold by the model.
/// Those can't differ.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Before: a version, model:NAME, a values file or a report.
    a: String,

    /// After.
    b: String,

    /// Scenario files, folders of them, or FILE::VARIANT; without any, those of the report if A or B is one, else the
    /// folder `scenarios` here.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,

    /// Run cases too in which the model decides the same for A and B in everything, so that nothing can differ.
    #[arg(long)]
    all: bool,

    /// How many cases run at a time [default: six for each processor].
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// How to write the comparison on standard output. Progress goes to standard error.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How to write a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one document with a schema version.
    Json,
    /// For pull requests.
    Markdown,
    /// A page for a browser, which fetches nothing.
    Html,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let (a, b) = (side(&args.a)?, side(&args.b)?);
    let selection = Selection::of(&args.scenarios, [&a, &b])?;
    let live = selection.live([&a, &b], args.all)?;
    let (not_compared, alike) = (live.not_compared, live.alike);

    let before = live.sides[0].len();
    let cases: Vec<_> = live.sides.into_iter().flatten().collect();
    let mut end = None;
    let mut results = Vec::new();
    if !cases.is_empty() {
        let jobs = args.jobs.map_or_else(runner::default_jobs, NonZeroUsize::get);
        let mut bench = Bench::enter()?;
        let (finished, all) = bench.run(cases, jobs, Some(Box::new(Progress::new())))?;
        if finished.interrupted.is_some() {
            return Ok(finished.exit_code());
        }
        (results, end) = (all, Some(finished));
    }
    let after = results.split_off(before);
    let idle = [(&a, &results), (&b, &after)].into_iter().any(|(side, results)| side.is_live() && all_skipped(results));
    let results = [selection.results(&a, results), selection.results(&b, after)];
    let [first, second] = &results;
    let comparison = compare::compare((a.label(), first), (b.label(), second), not_compared).map_err(unclear)?;
    let incomplete = [&a, &b].into_iter().filter_map(Side::incomplete).collect();
    let comparison = Comparison { decided_alike: alike, incomplete, ..comparison };
    if comparison.summary.compared == 0 && comparison.decided_alike.is_empty() {
        return Err(nothing_in_common(&comparison));
    }
    print(&comparison, args.format, color)?;
    Ok(code(&comparison, end.as_ref(), idle))
}

fn all_skipped(results: &[schema::Case]) -> bool {
    !results.is_empty() && results.iter().all(|case| case.verdict == Verdict::Skip)
}

fn unclear(unclear: Ambiguous) -> Stop {
    Stop::usage(
        tame_text(&unclear.to_string()),
        "a report that was joined has cases of several engines or versions: compare those it is of",
    )
}

fn nothing_in_common(comparison: &Comparison) -> Stop {
    let sides = [(&comparison.before, &comparison.only_before), (&comparison.after, &comparison.only_after)];
    let sides = sides.map(|(label, only)| match only.as_slice() {
        [] => format!("{} has none", label.name),
        [first] => format!("{} has {first}", label.name),
        [first, rest @ ..] => format!("{} has {first} and {} more", label.name, rest.len()),
    });
    let message = format!("there is nothing to compare: A and B have no case in common: {}", sides.join("; "));
    Stop::usage(tame_text(&message), "name other scenarios, or another A or B")
}

/// Reads A or B.
fn side(text: &str) -> Result<Side, Stop> {
    text.parse().map_err(|error| match error {
        SideError::Values(wrong) => Stop::Files(vec![wrong]),
        other => Stop::usage(
            other.to_string(),
            "a version (1.18.2), model:guide, a file of Helm values (.yaml) or a report (.json)",
        ),
    })
}

/// `idle`: on one side everything that was to run was skipped.
fn code(comparison: &Comparison, end: Option<&RunFinished>, idle: bool) -> u8 {
    match end {
        Some(end) if end.summary.error > 0 => exit::HARNESS,
        _ if comparison.summary.worse > 0 => exit::FAILED,
        Some(_) if idle => exit::HOST,
        _ if !comparison.incomplete.is_empty() => exit::FAILED,
        _ => exit::OK,
    }
}

fn print(comparison: &Comparison, format: Format, color: Color) -> Result<(), Stop> {
    let text = match format {
        Format::Human => human::render(comparison, color.for_stream(&io::stdout()), place::width()),
        Format::Json => serde_json::to_string_pretty(comparison).map_err(io::Error::from)? + "\n",
        Format::Markdown => markdown::render(comparison),
        Format::Html => html::render(comparison),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A path of the command line, with the variant behind `::` if one is named.
struct Place {
    path: PathBuf,
    variant: Option<String>,
}

impl Place {
    fn of(text: &str) -> Self {
        match text.rsplit_once("::") {
            Some((path, variant)) => Self { path: plain(path), variant: Some(variant.to_owned()) },
            None => Self { path: plain(text), variant: None },
        }
    }

    fn holds(&self, case: &schema::Case) -> bool {
        let named = |variant: &String| *variant == case.variant || glob(variant, &case.variant);
        plain(&case.file).starts_with(&self.path) && self.variant.as_ref().is_none_or(named)
    }
}

/// The same path without `.` in it: `./scenarios` holds `scenarios/guide/table.yaml`.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

fn no_case_of(report: &str, place: &str) -> Stop {
    let help = "a report has paths as they were where it was written, seen from that folder";
    Stop::usage(format!("{report}: there is no case of {place}"), help)
}

/// Which cases are compared.
struct Selection {
    targets: Vec<select::Target>,
    places: Vec<Place>,
    /// Of reports without places: all their cases' names.
    ids: Option<BTreeSet<String>>,
}

impl Selection {
    fn of(scenarios: &[String], sides: [&Side; 2]) -> Result<Self, Stop> {
        let mut paths: Vec<String> = scenarios.to_vec();
        let mut ids = None;
        let places: Vec<_> = scenarios.iter().map(|text| Place::of(text)).collect();
        for side in sides {
            let Side::Report { report, file } = side else { continue };
            if report.cases.is_empty() {
                return Err(Stop::Usage {
                    message: format!("{}: no case is in the report", file.display()),
                    help: None,
                });
            }
            // Not only after the other side has run for it.
            if !places.is_empty() && !report.cases.iter().any(|case| places.iter().any(|place| place.holds(case))) {
                return Err(no_case_of(&file.display().to_string(), &scenarios.join(", ")));
            }
            if scenarios.is_empty() {
                let files: BTreeSet<_> = report.cases.iter().map(|case| case.file.clone()).collect();
                paths.extend(files);
                ids.get_or_insert_with(BTreeSet::new).extend(report.cases.iter().map(schema::Case::id));
            }
        }
        if let [Side::Report { report: a, .. }, Side::Report { report: b, .. }] = sides {
            let is_there = |place: &Place| a.cases.iter().chain(&b.cases).any(|case| place.holds(case));
            if let Some(index) = places.iter().position(|place| !is_there(place)) {
                return Err(no_case_of("A and B", &scenarios[index]));
            }
        }
        let targets = paths.iter().map(|path| path.parse().unwrap_or_else(|error| match error {})).collect();
        Ok(Self { targets, places, ids })
    }

    /// The cases to run for each side.
    fn live(&self, sides: [&Side; 2], all: bool) -> Result<Live, Stop> {
        let mut live = Live::default();
        if !sides.iter().any(|side| side.is_live()) {
            return Ok(live);
        }
        // A scenario need not name a version where both sides do.
        let version = match sides {
            [Side::Version(version), Side::Version(_) | Side::Report { .. }] => Some(version.clone()),
            [Side::Report { .. }, Side::Version(version)] => Some(version.clone()),
            _ => None,
        };
        let overrides = Overrides { version, ..Overrides::default() };
        let mut files = Files::default();
        for case in select::cases(&self.targets, &[], &overrides)? {
            if self.ids.as_ref().is_some_and(|ids| !ids.contains(&case.id())) {
                continue;
            }
            let written = files.written(&case).map_err(|wrong| Stop::Files(vec![wrong]))?;
            let put = sides.map(|side| Arc::new(side.put(&case, &written)));
            if sides.iter().all(|side| side.is_live()) && is_same(&put[0], &put[1]) {
                let why = sides.iter().find_map(|side| side.kept_out(&written));
                let why = why.unwrap_or_else(|| "the same in both".to_owned());
                live.not_compared.push(NotCompared { id: case.id(), why });
                continue;
            }
            if !all && sides.iter().all(|side| side.is_live()) && decide_alike(&put[0], &put[1]) {
                live.alike.push(case.id());
                continue;
            }
            for ((side, put), cases) in sides.iter().zip(put).zip(&mut live.sides) {
                if side.is_live() {
                    cases.push(put);
                }
            }
        }
        if live.sides.iter().all(Vec::is_empty) && live.alike.is_empty() {
            let why: BTreeSet<_> = live.not_compared.iter().map(|case| case.why.as_str()).collect();
            let why = why.into_iter().collect::<Vec<_>>().join("; ");
            let message = match why.is_empty() {
                true => "there is nothing to compare: no case that is named is in the report".to_owned(),
                false => format!("there is nothing to compare: in every case A and B are the same ({why})"),
            };
            return Err(Stop::usage(tame_text(&message), "name other scenarios, or another A or B"));
        }
        self.tell_apart(sides, &live)?;
        Ok(live)
    }

    /// Whether a report's cases and those to run can be told to be each other's: not only after they have run.
    fn tell_apart(&self, sides: [&Side; 2], live: &Live) -> Result<(), Stop> {
        let identities = |side: &Side, cases: &[Arc<Case>]| -> Vec<Unfinished> {
            match side {
                Side::Report { report, .. } => self.named(report).map(identity).collect(),
                _ => cases.iter().map(|case| Unfinished::of(case, Netns.name(), None)).collect(),
            }
        };
        let [before, after] = [0, 1].map(|side| identities(sides[side], &live.sides[side]));
        compare::pair(&before, &after).map(drop).map_err(unclear)
    }

    /// A report's cases, of those places that are named.
    fn named<'a>(&'a self, report: &'a schema::Report) -> impl Iterator<Item = &'a schema::Case> {
        let named =
            move |case: &&schema::Case| self.places.is_empty() || self.places.iter().any(|place| place.holds(case));
        report.cases.iter().filter(named)
    }

    /// A side's results: those that were run, or its report's.
    fn results(&self, side: &Side, run: Vec<schema::Case>) -> Vec<schema::Case> {
        let Side::Report { report, .. } = side else { return run };
        self.named(report).cloned().collect()
    }
}

/// What is to be run.
#[derive(Default)]
struct Live {
    sides: [Vec<Arc<Case>>; 2],
    not_compared: Vec<NotCompared>,
    /// Cases in which everything is decided alike.
    alike: Vec<String>,
}

/// A comparison as `underlay bisect` ends with.
pub(super) fn text(comparison: &Comparison, paint: Paint) -> String {
    human::render(comparison, paint, place::width())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compare::Label;
    use crate::verdict::Summary;

    #[test]
    fn a_side_of_which_nothing_ran_is_no_success() {
        let label = || Label { name: "Cilium 1.18.2".to_owned(), short: "1.18.2".to_owned() };
        let nothing = compare::compare((label(), &[]), (label(), &[]), Vec::new()).expect("no case is anybody's");
        let end = RunFinished {
            summary: Summary { skip: 1, ..Summary::default() },
            not_finished: 0,
            interrupted: None,
            duration: Duration::ZERO,
            engine: "netns",
            kubernetes: None,
        };
        assert_eq!(code(&nothing, Some(&end), true), exit::HOST);
        assert_eq!(code(&nothing, Some(&end), false), exit::OK);
    }
}
