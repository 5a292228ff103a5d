//! `underlay ps`: labs that are up.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table, presets};
use nix::unistd::Pid;

use super::Stop;
use crate::exit;
use crate::live::client::Client;
use crate::live::describe::Description;
use crate::live::folder::{Entry, Folder};

const EXAMPLES: &str = "\
Examples:
  underlay ps
  underlay ps --output json | jq -r '.labs[].state.places[].name'";

/// List labs that are up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How to write it.
    #[arg(long, short, value_enum, default_value_t, value_name = "FORM")]
    output: super::test::Format,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let folder = Folder::of_user()?;
    let labs: Vec<_> = folder.labs()?.into_iter().map(|lab| (ask(&folder, &lab), lab)).collect();
    let mut out = io::stdout().lock();
    match args.output {
        super::test::Format::Json => writeln!(out, "{:#}", document(&labs))?,
        super::test::Format::Human if labs.is_empty() => {
            writeln!(out, "no lab is up; `underlay up SCENARIO` brings one up")?;
        }
        super::test::Format::Human => writeln!(out, "{}", table(&labs))?,
    }
    Ok(exit::OK)
}

/// What a lab says of itself, or why it doesn't.
type Said = Result<Description, String>;

fn ask(folder: &Folder, lab: &Entry) -> Said {
    Client::to(folder, lab).and_then(|mut client| client.describe()).map_err(|refusal| refusal.message)
}

fn document(labs: &[(Said, Entry)]) -> serde_json::Value {
    let labs: Vec<_> = labs
        .iter()
        .map(|(said, lab)| {
            let mut document = match said {
                Ok(description) => serde_json::json!(description),
                Err(error) => serde_json::json!({ "name": lab.name, "error": error }),
            };
            // As it is called here, which its own number for itself need not be.
            document["supervisor"] = serde_json::json!(lab.supervisor.map(Pid::as_raw));
            document
        })
        .collect();
    serde_json::json!({ "schema": "underlay.ps/1", "labs": labs })
}

fn table(labs: &[(Said, Entry)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["NAME", "SCENARIO", "ENGINE", "CILIUM", "SUPERVISOR", "UP", "STATE"]);
    for (said, lab) in labs {
        let unknown = || "?".to_owned();
        let supervisor = lab.supervisor.map_or_else(unknown, |pid| pid.to_string());
        match said {
            Ok(lab) => table.add_row([
                lab.name.to_string(),
                format!("{}::{}", lab.scenario, lab.variant),
                lab.engine.clone(),
                lab.cilium.clone(),
                supervisor,
                age(&lab.since),
                state(lab),
            ]),
            Err(error) => table.add_row([
                lab.name.to_string(),
                unknown(),
                unknown(),
                unknown(),
                supervisor,
                unknown(),
                error.clone(),
            ]),
        };
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `5m 3s`.
fn age(since: &str) -> String {
    let since = humantime::parse_rfc3339(since).ok();
    let age = since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

/// In a word or a few.
fn state(lab: &Description) -> String {
    let Some(state) = &lab.state else { return "taking a step".to_owned() };
    let dead: Vec<_> =
        state.nodes.iter().filter(|(_, node)| node.agent != "running").map(|(name, _)| name.as_str()).collect();
    match (dead.as_slice(), lab.steps.len()) {
        ([], 0) => "as brought up".to_owned(),
        ([], 1) => "1 step taken".to_owned(),
        ([], steps) => format!("{steps} steps taken"),
        (dead, _) => format!("agent dead on {}", dead.join(", ")),
    }
}
