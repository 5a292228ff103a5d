//! What GitHub Actions shows of a run: the step summary, and annotations on the lines of the scenario files. Both are
//! on by themselves where `GITHUB_ACTIONS` says so.

use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::collect::Collector;
use super::markdown;
use super::schema::{Case, Host, Report};
use super::table::{about_in, shown_whole};
use crate::runner::{Event, Reporter};
use crate::verdict::Verdict;

/// GitHub shows so many errors of a step; it drops the rest without a word.
const SHOWN: usize = 10;

/// Writes the summary and the annotations when the run is over.
#[derive(Debug)]
pub struct Github<W> {
    out: W,
    summary: Option<PathBuf>,
    root: Root,
    collector: Collector,
}

/// Where the repository is, as annotations name files from its top.
#[derive(Debug, Clone, Default)]
pub struct Root {
    /// The repository's folder.
    pub workspace: PathBuf,
    /// The folder that scenario files' paths begin in.
    pub here: PathBuf,
}

impl Github<io::Stderr> {
    /// A reader, if this process runs in a GitHub Action. Annotations go to standard error, which the runner reads as
    /// well: standard output may be a report.
    pub fn of_environment(host: Host) -> Option<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        if set("GITHUB_ACTIONS")? != "true" {
            return None;
        }
        let here = env::current_dir().unwrap_or_default();
        let workspace = set("GITHUB_WORKSPACE").map_or_else(|| here.clone(), PathBuf::from);
        let summary = set("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        Some(Self::new(io::stderr(), summary, Root { workspace, here }, host))
    }
}

impl<W: Write> Github<W> {
    /// Annotations go to `out`, the summary is appended to a file if there is one.
    pub fn new(out: W, summary: Option<PathBuf>, root: Root, host: Host) -> Self {
        Self { out, summary, root, collector: Collector::new(host) }
    }
}

impl<W: Write> Reporter for Github<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(report) = self.collector.event(event) else { return Ok(()) };
        self.out.write_all(annotations(&report, &self.root).as_bytes())?;
        self.out.flush()?;
        let Some(path) = &self.summary else { return Ok(()) };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let used = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.write_all(markdown::render(&report, markdown::LIMIT.saturating_sub(used)).as_bytes())
    }
}

/// A line for each thing that is wrong, in the runner's language.
pub fn annotations(report: &Report, root: &Root) -> String {
    let mut all: Vec<String> = Vec::new();
    let wrong = |case: &&Case| !matches!(case.verdict, Verdict::Pass | Verdict::Skip);
    for case in report.cases.iter().filter(wrong) {
        let file = root.place(&case.file);
        let unmet: Vec<_> = case.unmet().collect();
        if unmet.is_empty() {
            let reason = case.reason.as_deref().unwrap_or("no reason given");
            all.push(command(&file, None, &format!("{} {}", case.verdict, case.id()), reason));
        }
        for (step, check) in unmet {
            let about = about_in(step, check);
            let (expected, measured) = (shown_whole(&check.expected), shown_whole(&check.measured));
            let mut message = format!("{about}: expected {expected}, measured {measured}");
            let walk = case.probe_of(step, check).and_then(|probe| probe.walk.as_ref());
            match walk.map(|walk| walk.last_end()) {
                Some(end) => {
                    let detail = if end.detail.is_empty() { String::new() } else { format!(": {}", end.detail) };
                    let _ = write!(message, "\n{}: {}{detail}", end.at, end.words());
                }
                None if !check.message.is_empty() => {
                    let _ = write!(message, "\n{}", check.message);
                }
                None => {}
            }
            all.push(command(&file, Some(check.line), &format!("{} {}", check.verdict, case.id()), &message));
        }
    }
    if all.len() > SHOWN {
        let rest = all.len() - (SHOWN - 1);
        all.truncate(SHOWN - 1);
        all.push(format!("::error title=underlay::and {rest} more, in the summary\n"));
    }
    all.concat()
}

fn command(file: &str, line: Option<u32>, title: &str, message: &str) -> String {
    let line = line.map(|line| format!(",line={line}")).unwrap_or_default();
    format!("::error file={}{line},title={}::{}\n", property(file), property(title), data(message))
}

/// A message: what the runner reads to the end of the line (actions/toolkit, packages/core/src/command.ts).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value, which `:` and `,` end too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

impl Root {
    /// A scenario file by its path from the repository's top, if it is in there.
    fn place(&self, file: &str) -> String {
        let whole = self.here.join(file);
        let below = whole.strip_prefix(&self.workspace).unwrap_or(Path::new(file));
        below.strip_prefix(".").unwrap_or(below).display().to_string()
    }
}
