//! `underlay trace`: one probe in one case, and its packet's way.

use std::io::{self, Write};
use std::time::Duration;

use super::test::Format;
use super::{Stop, select};
use crate::case::{Case, ProbeSpec};
use crate::engine::install;
use crate::engine::live::Live;
use crate::engine::netns::Netns;
use crate::exit;
use crate::live::Name;
use crate::live::client::Client;
use crate::live::folder::Folder;
use crate::live::protocol::{Answer, Request};
use crate::live::refusal::{Fault, Refusal};
use crate::observed::{Agent, Engine};
use crate::report::paint::Color;
use crate::report::trace::Traced;
use crate::scenario::{self, Overrides};

const EXAMPLES: &str = "\
Examples:
  underlay trace scenarios/guide/table.yaml::tailscale0 master/pod 8.8.8.8
  underlay trace scenarios/guide/table.yaml::enp0s6 master/pod worker/pod
  underlay trace scenarios/guide/table.yaml::unset worker/pod api-server --tcp 6443
  underlay trace scenarios/guide/table.yaml::unset master/pod --dns google.com
  underlay trace @ master/pod worker/pod         in a lab that is up";

/// Send one probe and show its packet's way, hop by hop.
///
/// Builds the scenario's network and cluster, or takes a lab that is up, sends nothing but this probe, and shows what each
/// hop did to the packet, and where and why it ended.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A scenario file; of several variants, FILE::VARIANT. Or a lab that is up: `@NAME`, or `@` of the only one.
    #[arg(value_name = "SCENARIO|@LAB")]
    subject: Subject,

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

/// Where it is sent.
#[derive(Debug, Clone)]
enum Subject {
    /// In a case that is built for it.
    File(select::Target),
    /// In a lab that is up; none: the only one.
    Live(Option<Name>),
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some("") => Ok(Self::Live(None)),
            Some(name) => Ok(Self::Live(Some(name.parse()?))),
            None => text.parse().map(Self::File).map_err(|never: std::convert::Infallible| match never {}),
        }
    }
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
    let target = match &args.subject {
        Subject::Live(lab) => return live(args, lab.as_ref(), color),
        Subject::File(target) => target,
    };
    let overrides = Overrides { model: args.model, version: args.cilium.clone(), deadline: args.deadline };
    let case = select::one(target, &overrides, "a trace")?;
    let probe = scenario::probe(&args.from, &kind(&args.what, args.to.as_deref()), &case.network);
    let probe = probe.map_err(|wrong| Stop::Files(vec![wrong]))?;
    // Before the first thread.
    lab::sandbox::enter()?;
    let runtime = super::runtime()?;
    let sent = runtime.block_on(send(&case, &probe));
    runtime.shutdown_background();
    match sent {
        Ok(traced) => show(&traced, args.format, color),
        Err(refusal) => {
            let told = color.for_stream(&io::stdout()).bad("not sent:");
            writeln!(io::stdout().lock(), "{told} {refusal}")?;
            Ok(refusal.code())
        }
    }
}

/// Brings the case up, through its own steps, and sends the probe in it. The scenario's own probes are sent where steps
/// ask for them.
async fn send(case: &Case, probe: &ProbeSpec) -> Result<Traced, Refusal> {
    let failed = |message: String| Refusal { fault: Fault::Cluster, message, help: None };
    install::install(case).map_err(failed)?;
    let live = Netns.up(case).await?;
    if let Some(vain) = live.timeline().in_vain() {
        return Err(failed(vain));
    }
    match live.send(probe).await {
        Ok((evidence, trace)) => Ok(Traced::of(live.case(), probe, &evidence, trace.as_ref())),
        Err(error) => Err(no_agents(&*live).await.map_or_else(|| error.into(), failed)),
    }
}

/// Why there is no cluster that anything could be sent in, if there is none.
async fn no_agents(live: &dyn Live) -> Option<String> {
    let observed = live.observed().await.ok()?;
    let died = observed.nodes.iter().find_map(|(node, agent)| match agent {
        Agent::Fatal(words) => Some(format!("the agent of {node} died at its start: {words}")),
        Agent::Running(_) | Agent::Absent => None,
    });
    let none_runs = !observed.nodes.iter().any(|(_, agent)| matches!(agent, Agent::Running(_)));
    let refused = || observed.helm.err().unwrap_or_else(|| "the agents didn't start".to_owned());
    died.or_else(|| none_runs.then(refused))
}

/// In a lab that is up.
fn live(args: &Args, lab: Option<&Name>, color: Color) -> Result<u8, Stop> {
    if args.model.is_some() || args.cilium.is_some() {
        let help = "`underlay apply` takes an `upgrade` step; or trace in the scenario's file";
        return Err(Stop::usage("a lab that is up goes by what it was brought up with", help));
    }
    let mut client = Client::connect(&Folder::of_user()?, lab)?;
    let request = Request::Trace {
        from: args.from.clone(),
        what: kind(&args.what, args.to.as_deref()),
        deadline_ms: args.deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
    };
    match client.ask(&request)? {
        (Answer::Traced(traced), _) => show(&traced, args.format, color),
        _ => Err(client.nonsense().into()),
    }
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

fn show(traced: &Traced, format: Format, color: Color) -> Result<u8, Stop> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(traced).map_err(io::Error::from)?)?,
        Format::Human => write!(out, "{}", traced.text(color.for_stream(&io::stdout())))?,
    }
    Ok(if traced.works() { exit::OK } else { exit::FAILED })
}
