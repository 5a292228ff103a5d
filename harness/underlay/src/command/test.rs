//! `underlay test`: runs cases and reports what came of them.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cilium::{Model, Version};
use lab::Missing;
use sha2::{Digest, Sha256};
use topology::network::OverlayBackend;

use super::bench::Bench;
use super::engine::{EngineName, Real};
use super::{Stop, place, select, truth};
use crate::case::Case;
use crate::exit;
use crate::observed::{Engine, EngineError, Observed};
use crate::report::folder::Folder;
use crate::report::github::Github;
use crate::report::human::Human;
use crate::report::json::Json;
use crate::report::paint::Color;
use crate::report::progress::Progress;
use crate::report::schema::{Capability, Host};
use crate::runner::{self, Interrupts, Reporter};
use crate::scenario::{Overrides, duration};
use crate::shard::Shard;
use crate::verdict::Provenance;

const EXAMPLES: &str = "\
Examples:
  underlay test
  underlay test scenarios/guide --format json > report.json
  underlay test --report reports                  a page, JUnit, packets …
  underlay test scenarios/guide/table.yaml::enp0s6
  underlay test --filter 'devices/*::*tailscale0*'
  underlay test --shard 3/8 --report reports      one machine's share of eight
  underlay test --cilium 1.19.0 scenarios/devices   what changes with it?";

/// Run scenarios: build each network, send the probes, say what holds.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Scenario files, folders of them, or FILE::VARIANT; without any, the folder `scenarios` here.
    paths: Vec<select::Target>,

    /// Who puts the cluster on the network. Of two, `A,B`, both run all cases, Cilium's rules deciding, and it is told
    /// where they differ, cell by cell: what is asserted doesn't matter then.
    #[arg(
        long,
        value_enum,
        default_value = "netns",
        value_delimiter = ',',
        num_args = 1,
        value_name = "ENGINE[,ENGINE]"
    )]
    engine: Vec<EngineName>,

    /// Of two engines: save what the real one makes of the cases below this folder, a file for each scenario and version.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// Of two engines: cells that are known to differ, in place of the list that comes with this program.
    #[arg(long, value_name = "FILE")]
    known_differences: Option<PathBuf>,

    #[command(flatten)]
    real: Real,

    /// Whose rules decide, in place of what the files say: `cilium` or `guide`.
    #[arg(long, value_name = "MODEL")]
    model: Option<Model>,

    /// The Cilium version, in place of what the files say.
    #[arg(long, value_name = "VERSION")]
    cilium: Option<Version>,

    /// Who encrypts the overlay, in place of what the topologies say.
    #[arg(long, value_enum, value_name = "BACKEND")]
    overlay: Option<Overlay>,

    /// How long a probe waits where no death was witnessed, in place of what the files say: 500ms, 2s.
    #[arg(long, value_name = "TIME", value_parser = deadline)]
    deadline: Option<Duration>,

    /// Only cases whose name (`guide/table::enp0s6`) holds this text; with `*` or `?`, whose whole name matches. May be
    /// given more than once.
    #[arg(long, value_name = "TEXT|GLOB")]
    filter: Vec<String>,

    /// Only this share of the cases: the third of eight is 3/8. A case's share depends on its name alone. `underlay report
    /// --merge` joins the shares' reports.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,

    /// Run the cases in an order that this number chooses: no result may depend on it.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,

    /// How many cases run at a time [default: six for each processor; one where real agents run].
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// How to write the report on standard output. Progress goes to standard error.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Write all reports into this folder too: report.json, junit.xml, summary.md, report.html, and each case's packets
    /// below pcap/.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Print the cases' names and run nothing.
    #[arg(long)]
    list: bool,
}

/// How to write a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one document with a schema version.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Overlay {
    /// This process, on a TUN device: what tailscaled does.
    Userspace,
    /// The kernel's WireGuard.
    Kernel,
}

pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let read = duration(text.trim()).filter(|time| !time.is_zero());
    read.ok_or_else(|| "a number with its unit, `ms`, `s` or `m`: 500ms, 2s, 1.5s".to_owned())
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    // The guide's rules aren't Cilium's: held against the real one they would differ by design.
    let model = args.model.or((args.engine.len() > 1).then_some(Model::Cilium));
    let overrides = Overrides { model, version: args.cilium.clone(), deadline: args.deadline };
    let mut cases = select::cases(&args.paths, &args.filter, &overrides)?;
    if let Some(overlay) = args.overlay {
        set_overlay(&mut cases, overlay);
    }
    if let Some(shard) = args.shard {
        cases.retain(|case| shard.holds(&case.id()));
    }
    if let Some(seed) = args.shuffle {
        shuffle(&mut cases, seed);
    }
    if args.list {
        return list(&cases, args.format);
    }

    // While there is one thread.
    let agent = args.engine.iter().find(|name| **name == EngineName::Agent);
    let keeper = agent.map_or(Ok(None), |name| name.keeper());
    let _keeper = keeper.map_err(|source| Stop::Harness { step: "start the keeper of cgroups", source })?;
    let name = match args.engine.as_slice() {
        [name] => *name,
        [first, second] => return against(args, [*first, *second], cases, color),
        _ => return Err(Stop::usage("--engine takes one engine or two", "--engine netns,agent")),
    };
    if args.record.is_some() || args.known_differences.is_some() {
        let message = "--record and --known-differences are for two engines that are held against each other";
        return Err(Stop::usage(message, "--engine netns,agent"));
    }

    let images = args.real.images(&[name], &cases)?;
    let entered = lab::sandbox::enter();
    let is_able = entered.is_ok();
    let engine = match entered {
        Ok(_) => name.engine(&args.real, &images)?,
        // Reports want to know of every case, so the cases are run all the same, and each is skipped.
        Err(missing) => Arc::new(Barred { name, missing }),
    };
    let _later = super::later()?;
    let runtime = super::runtime()?;
    let mut host = Host { shard: args.shard, ..Host::here() };
    if args.report.is_some() && is_able {
        let tried = runtime.block_on(lab::doctor::try_all());
        host.capabilities = tried.iter().map(|(capability, tried)| Capability::of(*capability, tried)).collect();
    }
    let paint = color.for_stream(&io::stdout());
    let report: Box<dyn Reporter> = match args.format {
        Format::Human => Box::new(Human::new(io::stdout(), paint, place::width(), host.clone())),
        Format::Json => Box::new(Json::new(io::stdout(), host.clone())),
    };
    // Files come before standard output: they are there even where nobody reads that to its end.
    let mut reporters = vec![Box::new(Progress::new(color.for_stream(&io::stderr()))) as Box<dyn Reporter>];
    if let Some(folder) = &args.report {
        let made = Folder::create(folder, host.clone());
        reporters.push(Box::new(
            made.map_err(|error| Stop::usage(format!("--report: {error}"), "name a folder that can be written to"))?,
        ));
    }
    if let Some(github) = Github::of_environment(host) {
        reporters.push(Box::new(github));
    }
    reporters.push(report);

    let jobs = runner::jobs(args.jobs, &*engine);
    let end = runtime.block_on(async {
        let mut interrupts = Interrupts::catch().map_err(|source| Stop::Harness { step: "catch signals", source })?;
        let run = runner::run(cases, Arc::clone(&engine), jobs, &mut reporters, interrupts.next());
        let end = run.await;
        runner::close(&*engine).await;
        Ok::<_, Stop>(end?)
    });
    // What a blocking thread still does in the kernel ends with the process.
    runtime.shutdown_background();
    Ok(end?.exit_code())
}

/// Two engines, held against each other.
fn against(args: &Args, names: [EngineName; 2], cases: Vec<Arc<Case>>, color: Color) -> Result<u8, Stop> {
    if args.report.is_some() {
        return Err(Stop::usage("--report is for one engine", "--format json, or --record DIR"));
    }
    let images = args.real.images(&names, &cases)?;
    let mut bench = Bench::enter()?;
    let [first, second] = names;
    let asked = truth::Asked {
        engines: [first.engine(&args.real, &images)?, second.engine(&args.real, &images)?],
        cases,
        jobs: args.jobs,
        format: args.format,
        known: args.known_differences.as_deref(),
        record: args.record.as_deref(),
    };
    truth::run(asked, &mut bench, color)
}

fn set_overlay(cases: &mut [Arc<Case>], overlay: Overlay) {
    let backend = match overlay {
        Overlay::Userspace => OverlayBackend::Userspace,
        Overlay::Kernel => OverlayBackend::Kernel,
    };
    for case in cases {
        let case = Arc::make_mut(case);
        case.kernel_overlay = backend == OverlayBackend::Kernel;
        let network = &mut case.network;
        if network.overlay.as_ref().is_some_and(|overlay| overlay.backend != backend)
            && let Some(overlay) = &mut Arc::make_mut(network).overlay
        {
            overlay.backend = backend;
        }
    }
}

/// Puts cases into another order, always the same for the same seed.
fn shuffle(cases: &mut [Arc<Case>], seed: u64) {
    cases.sort_by_cached_key(|case| Sha256::digest(format!("{seed} {}", case.id())).to_vec());
}

fn list(cases: &[Arc<Case>], format: Format) -> Result<u8, Stop> {
    use std::io::Write;
    let mut out = io::stdout().lock();
    match format {
        Format::Human => cases.iter().try_for_each(|case| writeln!(out, "{}", case.id()))?,
        Format::Json => {
            let cases: Vec<_> = cases
                .iter()
                .map(|case| {
                    serde_json::json!({
                        "scenario": case.scenario, "variant": case.variant, "file": case.file.display().to_string(),
                        "model": case.model.to_string(), "cilium": case.version.to_string(),
                    })
                })
                .collect();
            writeln!(out, "{:#}", serde_json::json!({ "schema": "underlay.list/1", "cases": cases }))?;
        }
    }
    Ok(exit::OK)
}

/// Stands in for an engine where the host lets none run. Reports have its name and what it would be.
struct Barred {
    name: EngineName,
    missing: Missing,
}

impl Engine for Barred {
    fn name(&self) -> &'static str {
        match self.name {
            EngineName::Netns => "netns",
            EngineName::Agent => "agent",
            EngineName::Kind => "kind",
        }
    }

    fn provenance(&self) -> Provenance {
        match self.name {
            EngineName::Netns => Provenance::Model,
            EngineName::Agent | EngineName::Kind => Provenance::Real,
        }
    }

    fn run<'a>(&'a self, _case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(std::future::ready(Err(EngineError::Missing(self.missing.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn who_stands_in_for_an_engine_has_its_name() {
        for name in EngineName::value_variants() {
            let missing = Missing { capability: lab::Capability::Namespaces, reason: "no".to_owned() };
            let barred = Barred { name: *name, missing };
            let asked = name.to_possible_value().expect("every engine can be asked for");
            assert_eq!(barred.name(), asked.get_name());
            assert_eq!(barred.provenance() == Provenance::Model, *name == EngineName::Netns);
        }
    }

    /// Of cases without an overlay, too, so that both runs can be joined.
    #[test]
    fn a_run_with_the_kernels_overlay_is_another() {
        let scenarios = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/devices");
        for (file, has_overlay) in [("masquerade-exceptions.yaml", false), ("own-node.yaml", true)] {
            let cases = crate::scenario::load(&scenarios.join(file), &crate::scenario::Overrides::default());
            let cases = cases.unwrap_or_else(|wrong| panic!("{wrong}"));
            let mut cases: Vec<_> = cases.into_iter().map(Arc::new).collect();
            for (overlay, by_kernel) in [(Overlay::Kernel, true), (Overlay::Userspace, false)] {
                set_overlay(&mut cases, overlay);
                for case in &cases {
                    assert_eq!((case.kernel_overlay, case.network.overlay.is_some()), (by_kernel, has_overlay));
                }
            }
        }
    }
}
