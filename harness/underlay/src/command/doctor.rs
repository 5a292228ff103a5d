//! `underlay doctor`: what this host can do.

use std::io::{self, Write};

use kind::Tools;
use kind::tools::Tool;
use lab::{Capability, Missing};
use serde_json::json;

use super::Stop;
use super::test::Format;
use crate::engine::kind::setup;
use crate::exit;
use crate::report::paint::Color;
use crate::report::schema::Host;

/// Find out what this host can do, what is missing, and the remedy.
///
/// Each capability is found by trying it in namespaces that are gone afterwards; nothing is read off versions or user
/// ids. Ends with 3 where no lab can be built.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let found = match lab::sandbox::enter() {
        Ok(_) => {
            let runtime = super::runtime()?;
            let found = runtime.block_on(lab::doctor::try_all());
            runtime.shutdown_background();
            found
        }
        // Without namespaces nothing else can be tried.
        Err(missing) => vec![(Capability::Namespaces, Err(missing))],
    };
    let programs = programs()?;
    let needed = |capability: &Capability| capability.only_for().is_none();
    let able = found.iter().all(|(capability, found)| found.is_ok() || !needed(capability));
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => {
            let capabilities: Vec<_> = found.iter().map(|(capability, found)| entry(*capability, found)).collect();
            let programs: Vec<_> = programs.iter().map(|(tool, found)| program(*tool, found)).collect();
            let report = json!({
                "schema": "underlay.doctor/1", "host": Host::here(), "able": able, "capabilities": capabilities,
                "programs": programs,
            });
            writeln!(out, "{report:#}")?;
        }
        Format::Human => {
            let paint = color.for_stream(&io::stdout());
            let host = Host::here();
            writeln!(out, "{} {} {}, {} processors\n", host.os, host.kernel, host.arch, host.cpus)?;
            for (capability, found) in &found {
                match found {
                    Ok(()) => writeln!(out, "{} {capability}", paint.good("✓"))?,
                    Err(missing) => {
                        let (sign, needed) = match capability.only_for() {
                            None => (paint.bad("✗"), "every lab".to_owned()),
                            Some(needed) => (paint.doubtful("✗"), needed.to_owned()),
                        };
                        writeln!(out, "{sign} {capability}: {}", missing.reason)?;
                        writeln!(out, "    needed for  {needed}")?;
                        writeln!(out, "    remedy      {}", capability.remedy())?;
                    }
                }
            }
            for (tool, found) in &programs {
                match found {
                    Ok(version) => writeln!(out, "{} {version}", paint.good("✓"))?,
                    Err(reason) => {
                        writeln!(out, "{} {}: {reason}", paint.doubtful("✗"), tool.program())?;
                        writeln!(out, "    needed for  {FOR_KIND}")?;
                        writeln!(out, "    remedy      {}", setup::remedy(*tool))?;
                    }
                }
            }
            let missing = found.iter().filter(|(_, found)| found.is_err()).count();
            let verdict = match (able, missing) {
                (true, 0) => paint.good("this host can build every lab"),
                (true, _) => paint.doubtful("this host can build labs, but not every one"),
                (false, _) => paint.bad("this host can't build labs"),
            };
            writeln!(out, "\n{verdict}")?;
        }
    }
    Ok(if able { exit::OK } else { exit::HOST })
}

/// What the programs are for.
const FOR_KIND: &str = "the engine `kind`";

/// What a program calls itself; or why it can't be run.
type Version = Result<String, String>;

/// What the engine `kind` runs, each with what it calls itself.
fn programs() -> Result<Vec<(Tool, Version)>, Stop> {
    let runtime = super::lone_runtime()?;
    let tools = Tools::of_host();
    let tried =
        Tool::ALL.map(|tool| (tool, runtime.block_on(setup::version(&tools, tool)).map_err(|error| error.to_string())));
    Ok(tried.into())
}

fn program(tool: Tool, found: &Version) -> serde_json::Value {
    json!({
        "name": tool.program(),
        "works": found.is_ok(),
        "version": found.as_ref().ok(),
        "reason": found.as_ref().err(),
        "needed_for": FOR_KIND,
        "remedy": found.as_ref().err().map(|_| setup::remedy(tool)),
    })
}

fn entry(capability: Capability, found: &Result<(), Missing>) -> serde_json::Value {
    let missing = found.as_ref().err();
    json!({
        "name": capability.name(),
        "works": missing.is_none(),
        "reason": missing.map(|missing| &missing.reason),
        "needed_for": capability.only_for().unwrap_or("every lab"),
        "remedy": missing.map(|_| capability.remedy()),
    })
}
