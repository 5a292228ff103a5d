//! `underlay compare`: what a version, a model or Helm values change.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bench::Bench;
use super::{Stop, place, select};
use crate::case::Case;
use crate::compare::alike::decide_alike;
use crate::compare::progress::Progress;
use crate::compare::side::{Files, Side, SideError, is_same};
use crate::compare::{self, Comparison, NotCompared, html, human, markdown};
use crate::exit;
use crate::report::human::tame_text;
use crate::report::paint::{Color, Paint};
use crate::report::schema;
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
  1  something asserted held in A and doesn't in B
  2  wrong use, or a file is wrong; nothing was built
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
    let results = [selection.results(&a, results), selection.results(&b, after)];
    let [first, second] = &results;
    let comparison =
        Comparison { decided_alike: alike, ..compare::compare((a.label(), first), (b.label(), second), not_compared) };
    print(&comparison, args.format, color)?;
    Ok(code(&comparison, end.as_ref(), &results))
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

fn code(comparison: &Comparison, end: Option<&RunFinished>, results: &[Vec<schema::Case>; 2]) -> u8 {
    let mut all = results.iter().flatten().peekable();
    let skipped = all.peek().is_some() && all.all(|case| case.verdict == Verdict::Skip);
    match end {
        Some(end) if end.summary.error > 0 => exit::HARNESS,
        _ if comparison.summary.worse > 0 => exit::FAILED,
        Some(_) if skipped => exit::HOST,
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
            Some((path, variant)) => Self { path: path.into(), variant: Some(variant.to_owned()) },
            None => Self { path: text.into(), variant: None },
        }
    }

    fn holds(&self, case: &schema::Case) -> bool {
        let named = |variant: &String| *variant == case.variant || glob(variant, &case.variant);
        Path::new(&case.file).starts_with(&self.path) && self.variant.as_ref().is_none_or(named)
    }
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
        for side in sides {
            let Side::Report { report, file } = side else { continue };
            if report.cases.is_empty() {
                return Err(Stop::Usage {
                    message: format!("{}: no case is in the report", file.display()),
                    help: None,
                });
            }
            if scenarios.is_empty() {
                let files: BTreeSet<_> = report.cases.iter().map(|case| case.file.clone()).collect();
                paths.extend(files);
                ids.get_or_insert_with(BTreeSet::new).extend(report.cases.iter().map(schema::Case::id));
            }
        }
        let targets = paths.iter().map(|path| path.parse().unwrap_or_else(|error| match error {})).collect();
        Ok(Self { targets, places: scenarios.iter().map(|text| Place::of(text)).collect(), ids })
    }

    /// The cases to run for each side.
    fn live(&self, sides: [&Side; 2], all: bool) -> Result<Live, Stop> {
        let is_live = |side: &Side| !matches!(side, Side::Report { .. });
        let mut live = Live::default();
        if !sides.iter().any(|side| is_live(side)) {
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
            if sides.iter().all(|side| is_live(side)) && is_same(&put[0], &put[1]) {
                let why = sides.iter().find_map(|side| side.kept_out(&written));
                let why = why.unwrap_or_else(|| "the same in both".to_owned());
                live.not_compared.push(NotCompared { id: case.id(), why });
                continue;
            }
            if !all && sides.iter().all(|side| is_live(side)) && decide_alike(&put[0], &put[1]) {
                live.alike.push(case.id());
                continue;
            }
            for ((side, put), cases) in sides.iter().zip(put).zip(&mut live.sides) {
                if is_live(side) {
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
        Ok(live)
    }

    /// A side's results: those that were run, or its report's.
    fn results(&self, side: &Side, run: Vec<schema::Case>) -> Vec<schema::Case> {
        let Side::Report { report, .. } = side else { return run };
        let named = |case: &&schema::Case| self.places.is_empty() || self.places.iter().any(|place| place.holds(case));
        report.cases.iter().filter(named).cloned().collect()
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
