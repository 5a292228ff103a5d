//! The `netns` engine: nodes and pods in namespaces; Cilium's decisions by a model, carried out by the kernel.
//!
//! [`agents`] decides, [`datapath`] and [`firewall`] carry it out, [`pod`] and [`workload`] are what runs, [`cluster`]
//! puts it together, [`send`] probes it, and [`trace`] says what became of the packets; [`up`] is all of it while it runs.
//! What comes of a packet is the kernel's doing alone.

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
mod up;
mod workload;

use std::pin::Pin;
use std::time::{Duration, Instant};

use lab::Lab;
use probe::capture::Capture;

use crate::case::Case;
use crate::engine::live::Live;
use crate::observed::{Engine, EngineError, Observed};
use lag::LagMeter;
use send::Field;
use up::Up;

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

    fn up<'a>(
        &'a self,
        case: &'a Case,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn Live>, EngineError>> + Send + 'a>> {
        Box::pin(up::up(case))
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
    let lag = LagMeter::start();
    let mut up = match Up::start(case, watched, &mut phases).await? {
        Ok(up) => up,
        Err(refusal) => return Ok(Observed::of(Err(refusal))),
    };
    if up.cluster.is_some() {
        for step in &case.steps {
            up.take(&step.action).await?;
        }
        if !case.steps.is_empty() {
            up.settle().await?;
            phases.end("steps");
        }
    }
    let Up { lab, capture, witness, story, cluster, mut observed } = up;
    if let Some(cluster) = &cluster {
        let case = story.current();
        let field = Field { case, lab: &lab, cluster, capture: &capture, watch: &witness };
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
        observed.nat = trace::nat(&lab, cluster)?;
        phases.end("walks");
    }
    observed.nodes = story.into_agents();
    observed.drops = drops(&lab)?;
    observed.doubts = doubts(&capture);
    observed.doubts.extend(lag.doubt(case.deadline));
    observed.capture = capture.statistics();
    phases.end("collect");
    observed.phases = phases.done;
    Ok(observed)
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
