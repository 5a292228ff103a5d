//! A case from nothing to nothing: the lab, the agents, the cluster, what happens to it, the probes, what is found.

use std::time::{Duration, Instant};

use lab::Lab;
use probe::capture::Losses;

use super::fleet::Fleet;
use super::up::Up;
use crate::case::Case;
use crate::observed::{EngineError, Observed};
use crate::timeline::{self, Timeline};

/// How long the kernel may take to tell what it knows of next hops; milliseconds are usual. After three seconds without an
/// ARP reply it tells the sender itself (Linux, `mcast_solicit` times `retrans_time_ms`), and who is told that before the
/// witness is calls it "unreachable".
const PATIENCE_FOR_KERNEL: Duration = Duration::from_secs(1);

/// Whether packets are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// They are.
    On,
    /// They aren't, and there are no walks.
    Off,
}

/// Measures phases.
pub struct Phases {
    done: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Phases {
    /// The first begins now.
    pub fn begin() -> Self {
        Self { done: Vec::new(), since: Instant::now() }
    }

    /// Parts of the one that is under way, each with its time; it goes on with what is beside them.
    pub fn within(&mut self, parts: Vec<(&'static str, Duration)>) {
        let spent: Duration = parts.iter().map(|(_, time)| *time).sum();
        self.since += spent.min(self.since.elapsed());
        self.done.extend(parts);
    }

    /// One ends, the next begins.
    pub fn end(&mut self, name: &'static str) {
        self.done.push((name, self.since.elapsed()));
        self.since = Instant::now();
    }
}

/// Runs a case with agents of this kind.
///
/// # Errors
/// What the host lacks, or what failed. What an agent dies of is evidence.
pub async fn run<F: Fleet>(setup: &F::Setup, case: &Case, watch: Watch) -> Result<Observed, EngineError> {
    let mut up = match Up::<F>::start(setup, case, watch).await? {
        Ok(up) => up,
        Err(refusal) => {
            let timeline = Timeline::not_taken(&case.steps, &format!("not taken: Helm refuses the values: {refusal}"));
            return Ok(Observed { timeline, ..Observed::of(Err(refusal)) });
        }
    };
    let mut timeline = Timeline::default();
    if !case.steps.is_empty() {
        timeline = timeline::play(&case.steps, &case.probes, &mut up).await?;
        up.settle().await?;
        up.phases.end("steps");
    }
    let seen = up.look(&case.probes).await?;
    up.phases.end("probes");
    let Up { lab, capture, observed: known, lag, mut phases, .. } = up;
    let mut observed = Observed {
        values_not_modelled: known.values_not_modelled,
        values_unknown: known.values_unknown,
        overlay_paths: known.overlay_paths,
        ..seen
    };
    observed.drops = drops(&lab)?;
    let mut losses = capture.losses();
    losses.drops += lab.drops.missed();
    observed.doubts.extend(doubts(&losses));
    let late: Vec<_> = [lag.doubt(least_deadline(case)), unwitnessed(&losses)].into_iter().flatten().collect();
    let mut streams = timeline.steps.iter().flat_map(|step| &step.streams);
    observed.late = !late.is_empty() || streams.any(|stream| stream.lost > 0 && stream.late_for(case));
    observed.doubts.extend(late);
    observed.capture = capture.statistics();
    for found in timeline.steps.iter_mut().filter_map(|seen| seen.found.as_mut()) {
        let further = observed.doubts.iter().filter(|doubt| !found.doubts.contains(doubt));
        found.doubts.extend(further.cloned().collect::<Vec<_>>());
    }
    observed.timeline = timeline;
    phases.end("collect");
    observed.phases = phases.done;
    Ok(observed)
}

/// How the nodes of the overlay reach each other.
///
/// # Errors
/// The kernel's answer.
pub fn overlay_paths(case: &Case, lab: &Lab) -> Result<Vec<(String, String, String)>, EngineError> {
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
///
/// # Errors
/// The kernel's answer.
pub fn drops(lab: &Lab) -> Result<Vec<(String, String, u64)>, EngineError> {
    let mut drops = Vec::new();
    let places = lab.vcns.iter().map(|vcn| &vcn.namespace).chain(lab.nodes.iter().map(|node| &node.namespace));
    for namespace in places {
        let counters = namespace.nft_counters()?;
        let counted = counters.into_iter().filter(|counter| counter.packets > 0);
        drops.extend(counted.map(|counter| (namespace.name().to_owned(), counter.rule, counter.packets)));
    }
    Ok(drops)
}

/// How long the least patient probe waits.
fn least_deadline(case: &Case) -> Duration {
    case.probes.iter().filter_map(|probe| probe.deadline).chain([case.deadline]).min().unwrap_or(case.deadline)
}

/// Why a packet's death may have been told otherwise than it would be on another day, if it may.
fn unwitnessed(losses: &Losses) -> Option<String> {
    let waited = losses.unwitnessed;
    (waited > PATIENCE_FOR_KERNEL).then(|| {
        format!(
            "this machine was too busy: the kernel hadn't told after {} ms which next hop is silent, when a probe had \
             ended otherwise; fewer --jobs would tell",
            waited.as_millis()
        )
    })
}

fn doubts(losses: &Losses) -> Vec<String> {
    losses
        .packets
        .iter()
        .map(|(namespace, lost)| format!("the capture lost {lost} packets in {namespace}"))
        .chain((losses.drops > 0).then(|| format!("{} reported drops went unheard", losses.drops)))
        .collect()
}
