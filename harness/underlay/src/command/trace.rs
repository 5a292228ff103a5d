//! `underlay trace`: one probe in one case, and its packet's way.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::test::Format;
use super::{Stop, select};
use crate::case::Case;
use crate::engine::netns::Netns;
use crate::exit;
use crate::report::paint::{Color, Paint};
use crate::report::schema::walk::Walk;
use crate::report::walk;
use crate::runner;
use crate::scenario::{self, Overrides};
use crate::verdict::{CaseResult, Verdict, outcome_word};

const EXAMPLES: &str = "\
Examples:
  underlay trace scenarios/guide/table.yaml::tailscale0 master/pod 8.8.8.8
  underlay trace scenarios/guide/table.yaml::enp0s6 master/pod worker/pod
  underlay trace scenarios/guide/table.yaml::unset worker/pod api-server --tcp 6443
  underlay trace scenarios/guide/table.yaml::unset master/pod --dns google.com";

/// Send one probe and show its packet's way, hop by hop.
///
/// Builds the scenario's network and cluster, sends nothing but this probe, and shows what each hop did to the packet,
/// and where and why it ended.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A scenario file; of several variants, FILE::VARIANT.
    scenario: select::Target,

    /// The place it is sent from: `master/pod`, `master`, `vcn/a`, `internet`.
    from: String,

    /// The place it is sent to: `worker/pod`, `8.8.8.8`, `kubernetes`; of --dns and --http, who is asked for the name
    /// [default there: cluster DNS].
    #[arg(required_unless_present_any = ["dns", "http"])]
    to: Option<String>,

    #[command(flatten)]
    what: What,

    /// Whose rules decide, in place of what the file says: `cilium` or `guide`.
    #[arg(long, value_name = "MODEL")]
    model: Option<cilium::Model>,

    /// The Cilium version, in place of what the file says.
    #[arg(long, value_name = "VERSION")]
    cilium: Option<cilium::Version>,

    /// How long to wait where no death is witnessed.
    #[arg(long, value_name = "TIME", value_parser = super::test::deadline)]
    deadline: Option<Duration>,

    /// How to write the walk.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What is sent.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct What {
    /// An ICMP echo request; the default.
    #[arg(long)]
    icmp: bool,

    /// A datagram to this port.
    #[arg(long, value_name = "PORT")]
    udp: Option<u16>,

    /// A connection to this port.
    #[arg(long, value_name = "PORT")]
    tcp: Option<u16>,

    /// A DNS question for this name's address.
    #[arg(long, value_name = "NAME")]
    dns: Option<String>,

    /// An HTTP or HTTPS request.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let case = case(args)?;
    // Before the first thread.
    lab::sandbox::enter()?;
    let runtime = super::runtime()?;
    let result = runtime.block_on(runner::one(&Netns, Arc::new(case)));
    runtime.shutdown_background();
    show(&result, args.format, color.for_stream(&io::stdout()))
}

/// The one case, with the one probe.
fn case(args: &Args) -> Result<Case, Stop> {
    let overrides = Overrides { model: args.model, version: args.cilium.clone(), deadline: args.deadline };
    let cases = select::cases(std::slice::from_ref(&args.scenario), &[], &overrides)?;
    let [case] = cases.as_slice() else {
        let names: Vec<_> = cases.iter().map(|case| format!("`{}`", case.variant)).collect();
        return Err(Stop::usage(
            format!("{} cases are named, and a trace is of one", cases.len()),
            format!("put one behind the file, FILE::VARIANT: {}", names.join(", ")),
        ));
    };
    let mut case = Case::clone(case);
    let to = args.to.as_deref();
    let probe = scenario::probe(&args.from, &kind(&args.what, to), &case.network);
    case.probes = vec![probe.map_err(|wrong| Stop::Files(vec![wrong]))?];
    case.expectations.clear();
    case.claims.clear();
    Ok(case)
}

/// The probe as a scenario file would have it.
fn kind(what: &What, to: Option<&str>) -> serde_json::Value {
    use serde_json::json;
    let with_server = |key: &str, value: &str| match to {
        Some(server) => json!({ key: value, "server": server }),
        None => json!({ key: value }),
    };
    match what {
        What { udp: Some(port), .. } => json!({ "udp": { "to": to, "port": port } }),
        What { tcp: Some(port), .. } => json!({ "tcp": { "to": to, "port": port } }),
        What { dns: Some(name), .. } => json!({ "dns": with_server("name", name) }),
        What { http: Some(url), .. } => json!({ "http": with_server("url", url) }),
        _ => json!({ "icmp": to }),
    }
}

fn show(result: &CaseResult, format: Format, paint: Paint) -> Result<u8, Stop> {
    let mut out = io::stdout().lock();
    let spec = &result.case.probes[0];
    let found = result.observed.as_ref().and_then(|observed| {
        let (_, evidence) = observed.probes.first()?;
        Some((evidence, observed.trace(&spec.id).and_then(|trace| Walk::of(&trace.walk))))
    });
    let Some((evidence, walk)) = found else {
        let helm = result.observed.as_ref().and_then(|observed| observed.helm.as_ref().err()).cloned();
        let reason = helm.or_else(|| result.reason.clone()).unwrap_or_else(|| "the agents didn't start".to_owned());
        writeln!(out, "{} {reason}", paint.bad("not sent:"))?;
        return Ok(match result.verdict {
            Verdict::Skip => exit::HOST,
            Verdict::Error => exit::HARNESS,
            _ => exit::FAILED,
        });
    };
    let word = outcome_word(evidence);
    let works = word == "works";
    if format == Format::Json {
        let document = serde_json::json!({
            "schema": "underlay.trace/1", "scenario": result.case.scenario, "variant": result.case.variant,
            "kind": spec.kind.name(), "from": spec.from.to_string(), "to": spec.kind.target(),
            "outcome": word, "detail": evidence.detail, "walk": walk,
        });
        writeln!(out, "{document:#}")?;
    } else {
        let title = format!("{} {} → {}", spec.kind.name(), spec.from, spec.kind.target());
        let told = if works { paint.good(&word) } else { paint.bad(&word) };
        writeln!(out, "{} — {}\n{told}: {}\n", paint.strong(&title), result.case.id(), evidence.detail)?;
        match walk {
            Some(walk) => write!(out, "{}", walk::text(&walk, paint))?,
            None => writeln!(out, "nothing was captured")?,
        }
    }
    Ok(if works { exit::OK } else { exit::FAILED })
}
