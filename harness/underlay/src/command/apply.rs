//! `underlay apply`: a step in a lab that is up.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;
use topology::source::MAX_BYTES;

use super::Stop;
use super::inside::Which;
use super::test::Format;
use crate::case::NodeFact;
use crate::exit;
use crate::live::client::Client;
use crate::live::describe::Applied;
use crate::live::folder::Folder;
use crate::live::protocol::{Answer, Request};
use crate::report::paint::{Color, Paint};
use crate::report::schema::Dns;
use crate::report::schema::steps::Changed;
use crate::report::table;
use crate::verdict::Verdict;

const EXAMPLES: &str = "\
Examples:
  underlay apply 'link-down: worker/enp0s6'
  underlay apply '{upgrade: {values: {devices: enp0s6}, reuse-values: true}}'
  underlay apply 'restart: agents'
  underlay apply --file steps.yaml               one step, or a list of them
  echo 'overlay-down: worker' | underlay apply -";

/// Take a step in a lab that is up: what a scenario file's `steps` can hold.
///
/// Says which of the agents' decisions changed by it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The step as a scenario file has it, or a list of them; `-` for standard input.
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    step: Option<String>,

    /// Read it from this file.
    #[arg(long, short, value_hint = ValueHint::FilePath, conflicts_with = "step")]
    file: Option<PathBuf>,

    #[command(flatten)]
    which: Which,

    /// How to write what came of it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let (text, file) = match (&args.file, args.step.as_deref()) {
        (Some(path), _) if path != Path::new("-") => (read_file(path)?, path.display().to_string()),
        (Some(_), _) | (None, Some("-") | None) => (read(io::stdin(), "standard input")?, "standard input".to_owned()),
        (None, Some(step)) => (step.to_owned(), "the command line".to_owned()),
    };
    let mut client = Client::connect(&Folder::of_user()?, args.which.lab.as_ref())?;
    let (Answer::Applied(applied), _) = client.ask(&Request::Apply { text, file })? else {
        return Err(client.nonsense().into());
    };
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            let mut document = serde_json::json!({ "schema": "underlay.apply/1" });
            document["steps"] = serde_json::json!(applied.steps);
            document["state"] = serde_json::json!(applied.state);
            writeln!(out, "{document:#}")?;
        }
        Format::Human => write!(out, "{}", told(&applied, color.for_stream(&io::stdout())))?,
    }
    let failed = applied.steps.iter().any(|step| step.verdict.is_some_and(|verdict| verdict != Verdict::Pass));
    Ok(if failed { exit::FAILED } else { exit::OK })
}

fn read_file(path: &Path) -> Result<String, Stop> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| Stop::usage(format!("{name}: {error}"), "is it there?"))?;
    read(file, &name)
}

fn read(from: impl Read, name: &str) -> Result<String, Stop> {
    let mut text = String::new();
    let read = from.take(MAX_BYTES as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| Stop::usage(format!("{name}: {error}"), "a step is text in UTF-8"))?;
    Ok(text)
}

fn told(applied: &Applied, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let mut changes = false;
    for step in &applied.steps {
        line(match &step.not_taken {
            None => format!("{} {}", paint.good("taken:"), step.step),
            Some(why) => format!("{} {}: {why}", paint.bad("not taken:"), step.step),
        });
        if let Some(remark) = &step.remark {
            line(format!("  {remark}"));
        }
        for (change, nodes) in together(&step.changed) {
            changes = true;
            let (before, after) = (table::shown_whole(&change.before), table::shown_whole(&change.after));
            line(format!("  {} on {}: {before} → {after}", paint.strong(&change.what), nodes.join(", ")));
        }
        for check in &step.checks {
            let verdict = check.verdict.to_string();
            let verdict = if check.verdict == Verdict::Pass { paint.good(&verdict) } else { paint.bad(&verdict) };
            line(format!("  {verdict} {}: {}", table::about(&check.id, check.node.as_deref()), check.message));
        }
        for stream in &step.streams {
            let gap = humantime::format_duration(Duration::from_micros(stream.gap_us));
            line(format!("  {}: {} of {} lost, longest gap {gap}", stream.probe, stream.lost, stream.sent));
        }
    }
    let ready = |dns: &Dns| format!("{} of {} ready", dns.ready, dns.replicas);
    let (before, after) = (ready(&applied.dns_before), ready(&applied.state.dns));
    if before != after {
        line(format!("{}: {before} → {after}", paint.strong("CoreDNS")));
    } else if !changes {
        line(paint.faint("no decision of an agent changed"));
    }
    out
}

/// The same change on several nodes, once. Why devices are left out is a long story with each device that comes.
fn together(changed: &[Changed]) -> Vec<(&Changed, Vec<&str>)> {
    let mut all: Vec<(&Changed, Vec<&str>)> = Vec::new();
    for change in changed.iter().filter(|change| change.what != NodeFact::NotSelected.name()) {
        let same = |known: &Changed| {
            (&known.what, &known.before, &known.after) == (&change.what, &change.before, &change.after)
        };
        match all.iter_mut().find(|(known, _)| same(known)) {
            Some((_, nodes)) => nodes.push(&change.node),
            None => all.push((change, vec![&change.node])),
        }
    }
    all
}
