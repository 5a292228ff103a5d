//! The `netns` engine: nodes and pods in namespaces; Cilium's decisions by a model, carried out by the kernel.
//!
//! [`agents`] decides, [`datapath`] and [`firewall`] carry it out, [`pod`] and [`workload`] are what runs, [`cluster`]
//! puts it together, [`send`] probes it, and [`trace`] says what became of the packets. What comes of a packet is the
//! kernel's doing alone.

pub mod agents;
mod cluster;
mod datapath;
mod firewall;
pub mod inputs;
mod lag;
mod pod;
mod send;
mod steps;
mod trace;
mod workload;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cilium::inputs::NodeInputs;
use lab::Lab;
use probe::capture::{Capture, Options};
use probe::witness::Witness;

use crate::case::Case;
use crate::observed::{Engine, EngineError, Observed};
use cluster::{Cluster, Decided};
use lag::LagMeter;
use send::Field;
use steps::Story;

/// The engine. Has no state of its own: each run builds its network and lets it go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Netns;

impl Engine for Netns {
    fn name(&self) -> &'static str {
        "netns"
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(run(case, true))
    }
}

/// The same engine with nobody watching the packets: what it takes to watch them is the difference. Silence is waited for
/// to the deadline where no part of the lab reports a drop, and there are no walks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Engine for Unwatched {
    fn name(&self) -> &'static str {
        "netns, unwatched"
    }

    fn run<'a>(&'a self, case: &'a Case) -> Pin<Box<dyn Future<Output = Result<Observed, EngineError>> + Send + 'a>> {
        Box::pin(run(case, false))
    }
}

/// Measures phases.
struct Phases {
    done: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Phases {
    fn begin() -> Self {
        Self { done: Vec::new(), since: Instant::now() }
    }

    fn end(&mut self, name: &'static str) {
        self.done.push((name, self.since.elapsed()));
        self.since = Instant::now();
    }
}

async fn run(case: &Case, watched: bool) -> Result<Observed, EngineError> {
    let mut phases = Phases::begin();
    let installed = match agents::install(case) {
        Ok(installed) => installed,
        Err(refusal) => return Ok(Observed::of(Err(refusal))),
    };
    let lag = LagMeter::start();
    let mut lab = Lab::build(Arc::clone(&case.network)).await?;
    phases.end("lab");

    let namespaces = lab.namespaces();
    let capture = Capture::with(&namespaces, Options { off: !watched, ..Options::default() })
        .map_err(|error| EngineError::failed("start the capture", &error))?;
    let witness = Witness::new(&capture, &lab.drops);
    phases.end("capture");

    let nodes = read_inputs(case, &lab)?;
    let agents = agents::decide(case, &installed.config, &nodes);
    let running: Vec<_> = nodes
        .into_iter()
        .zip(&agents)
        .filter_map(|(inputs, (name, agent))| {
            let (namespace, decisions) = (lab.node(name)?.namespace.clone(), agent.as_ref().ok()?.clone());
            Some(Decided { namespace, inputs, decisions })
        })
        .collect();
    // Without its agent a node has no pods; half a cluster would only measure its other half.
    let whole = running.len() == agents.len();
    let nodes = agents.into_iter().map(|(name, agent)| (name, agent.into())).collect();
    phases.end("decide");

    let mut observed = Observed {
        values_not_modelled: installed.not_modelled,
        values_unknown: installed.unknown,
        nodes,
        overlay_paths: overlay_paths(case, &lab)?,
        ..Observed::of(Ok(()))
    };
    if whole {
        let mut cluster = Cluster::start(case, &lab, running, &capture).await?;
        phases.end("cluster");
        observed.dns = cluster.await_dns(case, &lab, &witness, case.deadline).await?;
        phases.end("dns ready");
        let mut story = Story::begin(case, installed.config, std::mem::take(&mut observed.nodes));
        for step in &case.steps {
            story.take(&step.action, &mut lab, &mut cluster).await?;
        }
        if !case.steps.is_empty() {
            observed.dns = story.settle(&lab, &mut cluster, &witness).await?;
            phases.end("steps");
        }
        let case = story.current();
        let field = Field { case, lab: &lab, cluster: &cluster, capture: &capture, watch: &witness };
        let probes = case.probes.iter().map(|spec| {
            let field = &field;
            async move {
                let (from, evidence) = field.send(spec).await?;
                Ok::<_, EngineError>((spec.id.clone(), from, evidence))
            }
        });
        let probes = futures::future::try_join_all(probes).await?;
        for (replica, failure) in cluster.dns_failures() {
            observed.dns.upstream_failures.insert(replica, failure);
        }
        phases.end("probes");
        if watched {
            observed.traces = trace::traces(case, &capture, &probes);
        }
        observed.probes = probes.into_iter().map(|(id, _, evidence)| (id, evidence)).collect();
        observed.nat = trace::nat(&lab, &cluster)?;
        observed.nodes = story.into_agents();
        phases.end("walks");
    }
    observed.drops = drops(&lab)?;
    observed.doubts = doubts(&capture);
    observed.doubts.extend(lag.doubt(case.deadline));
    observed.capture = capture.statistics();
    phases.end("collect");
    observed.phases = phases.done;
    Ok(observed)
}

fn read_inputs(case: &Case, lab: &Lab) -> Result<Vec<NodeInputs>, EngineError> {
    case.network
        .cluster_nodes()
        .filter_map(|node| Some((node, lab.node(&node.name)?)))
        .map(|(node, built)| Ok(inputs::read(case, node, &built.namespace)?))
        .collect()
}

fn overlay_paths(case: &Case, lab: &Lab) -> Result<Vec<(String, String, String)>, EngineError> {
    let Some(overlay) = &lab.overlay else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for node in &case.network.nodes {
        for peer in overlay.peers(&node.name)? {
            let path = match peer.path {
                lab::overlay::Path::Direct(endpoint) => format!("direct {endpoint}"),
                lab::overlay::Path::Relayed(endpoint) => format!("relayed {endpoint}"),
                lab::overlay::Path::None => "none".to_owned(),
            };
            paths.push((node.name.clone(), peer.node, path));
        }
    }
    Ok(paths)
}

/// Rules that dropped anything.
fn drops(lab: &Lab) -> Result<Vec<(String, String, u64)>, EngineError> {
    let mut drops = Vec::new();
    let places = lab.vcns.iter().map(|vcn| &vcn.namespace).chain(lab.nodes.iter().map(|node| &node.namespace));
    for namespace in places {
        let counters = namespace.nft_counters()?;
        let counted = counters.into_iter().filter(|counter| counter.packets > 0);
        drops.extend(counted.map(|counter| (namespace.name().to_owned(), counter.rule, counter.packets)));
    }
    Ok(drops)
}

fn doubts(capture: &Capture) -> Vec<String> {
    let losses = capture.losses();
    losses
        .packets
        .iter()
        .map(|(namespace, lost)| format!("the capture lost {lost} packets in {namespace}"))
        .chain((losses.drops > 0).then(|| format!("{} reported drops went unheard", losses.drops)))
        .collect()
}
