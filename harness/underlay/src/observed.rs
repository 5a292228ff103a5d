//! What an engine found out about a case: evidence, no opinion.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use probe::Evidence;
use probe::capture::Statistics;
use probe::capture::sighting::Sighting;
use probe::walk::Walk;

use crate::case::Case;
use crate::engine::live::Live;
use crate::nat::NatEntry;
use crate::step::Action;
use crate::timeline::Timeline;
use crate::verdict::Provenance;

/// Everything one run of a case brought to light.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What Helm said to the values.
    pub helm: Result<(), String>,
    /// Values that were read but mean nothing to this engine, dotted paths.
    pub values_not_modelled: Vec<String>,
    /// Values the chart doesn't know, with a suggestion where one is near.
    pub values_unknown: Vec<String>,
    /// Each cluster node's agent, in the topology's order. Empty where Helm refused.
    pub nodes: Vec<(String, Agent)>,
    /// CoreDNS.
    pub dns: DnsState,
    /// Each probe's evidence, in the scenario's order. A probe that could not be sent since nothing was installed is
    /// left out.
    pub probes: Vec<(String, Evidence)>,
    /// What became of each probe's packet, in the scenario's order. Empty where nothing was captured.
    pub traces: Vec<(String, Trace)>,
    /// Each cluster node's NAT table after the probes, in the topology's order.
    pub nat: Vec<(String, Vec<NatEntry>)>,
    /// What each namespace's capture saw and lost.
    pub capture: Vec<Statistics>,
    /// How the nodes of the overlay reach each other: (from, to, `direct 168.107.2.61:41641` or `relayed …`).
    pub overlay_paths: Vec<(String, String, String)>,
    /// Counters of the lab's drop rules that are not zero: (namespace, rule, packets).
    pub drops: Vec<(String, String, u64)>,
    /// Why the evidence can't be trusted, if it can't: frames lost by the capture.
    pub doubts: Vec<String>,
    /// Whether this machine was too busy for silence to prove anything: one of the doubts, and chance.
    pub late: bool,
    /// How long each phase took, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// What each node's agent wrote to its log, where it is a real one.
    pub logs: Vec<(String, Vec<String>)>,
    /// What happened before all this, step by step.
    pub timeline: Timeline,
}

impl Observed {
    /// What Helm said, and nothing else yet.
    pub fn of(helm: Result<(), String>) -> Self {
        Self {
            helm,
            values_not_modelled: Vec::new(),
            values_unknown: Vec::new(),
            nodes: Vec::new(),
            dns: DnsState::default(),
            probes: Vec::new(),
            traces: Vec::new(),
            nat: Vec::new(),
            capture: Vec::new(),
            overlay_paths: Vec::new(),
            drops: Vec::new(),
            doubts: Vec::new(),
            late: false,
            phases: Vec::new(),
            logs: Vec::new(),
            timeline: Timeline::default(),
        }
    }

    /// What became of the packet of the probe with this id.
    pub fn trace(&self, probe: &str) -> Option<&Trace> {
        self.traces.iter().find(|(id, _)| id == probe).map(|(_, trace)| trace)
    }
}

/// The part of a deadline, one in so many, that makes silence doubtful where it was lost at one go.
pub const LATE: u32 = 4;

/// What became of a probe's packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its way. Of a probe of several steps (a name resolved, then a connection) that of the step it ended with.
    pub walk: Walk,
    /// Every place where any of the probe's packets was seen in the clear, as [`probe::walk::place::name`] names them.
    pub places: BTreeSet<String>,
    /// Its packets wherever they were seen, each step's in time order, with their frames as far as the capture kept them
    /// ([`probe::correlate::Limits`]).
    pub sightings: Vec<Sighting>,
    /// Whether packets may have gone unseen, so that not having been seen somewhere proves nothing.
    pub gaps: bool,
    /// A place beside the lab where they were seen, if they were: whatever came of them, came of it there perhaps.
    pub astray: Option<String>,
}

/// A node's agent.
#[derive(Debug, Clone)]
pub enum Agent {
    /// It runs, with these decisions.
    Running(Box<cilium::Decisions>),
    /// It died of this at start.
    Fatal(String),
    /// There is none: Cilium is not installed, or no longer.
    Absent,
}

/// `running`, its last words, or `absent`.
impl fmt::Display for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(_) => formatter.write_str("running"),
            Self::Fatal(error) => formatter.write_str(error),
            Self::Absent => formatter.write_str("absent"),
        }
    }
}

impl From<Result<cilium::Decisions, cilium::FatalError>> for Agent {
    fn from(decided: Result<cilium::Decisions, cilium::FatalError>) -> Self {
        match decided {
            Ok(decisions) => Self::Running(Box::new(decisions)),
            Err(fatal) => Self::Fatal(fatal.to_string()),
        }
    }
}

/// CoreDNS in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsState {
    /// Replicas there should be.
    pub replicas: u32,
    /// Replicas that are ready, and so stand behind the service.
    pub ready: u32,
    /// Restarts of all replicas together.
    pub restarts: u32,
    /// Why a replica is not ready: (its name, reason).
    pub not_ready: BTreeMap<String, String>,
    /// What replicas logged of the last query their upstream didn't answer: (its name, `read udp …: i/o timeout`).
    pub upstream_failures: BTreeMap<String, String>,
}

/// What could not be run, and whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The host lacks something; the case is skipped.
    #[error(transparent)]
    Missing(#[from] lab::Missing),
    /// The harness failed; the case is an error.
    #[error("{step}: {reason}")]
    Failed {
        /// What was being done.
        step: String,
        /// What went wrong, causes included.
        reason: String,
    },
    /// A real component said something that can't be understood; the case is inconclusive.
    #[error("{step}: {reason}; it said: {said}")]
    Unread {
        /// What was being asked.
        step: String,
        /// What is missing or strange.
        reason: String,
        /// The answer, cut short where it is long.
        said: String,
    },
    /// The case asks for something this engine cannot do; skipped, with the reason.
    #[error("the {engine} engine can't: {what}")]
    Unsupported {
        /// The engine.
        engine: &'static str,
        /// What it can't do.
        what: String,
    },
}

impl From<lab::Error> for EngineError {
    fn from(error: lab::Error) -> Self {
        match error {
            lab::Error::Missing(missing) => Self::Missing(missing),
            // A namespace that can't be set up is one that isn't to be had, for want of a right that the host can give.
            lab::Error::Namespace { step, source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                let reason = format!("{step}: {source}");
                Self::Missing(lab::Missing { capability: lab::Capability::Namespaces, reason })
            }
            other => Self::failed("build the lab", &other),
        }
    }
}

impl EngineError {
    /// A failure of the harness, with all causes in one line.
    pub fn failed(step: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let hint = lab::limits::hint(error);
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        if let Some(hint) = hint {
            reason = format!("{reason}: {hint}");
        }
        Self::Failed { step: step.to_owned(), reason }
    }
}

/// Puts a cluster on a network and probes it.
pub trait Engine: Send + Sync {
    /// Its name, `netns`.
    fn name(&self) -> &'static str;

    /// Where Cilium's decisions come from on this engine.
    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    /// What real component it runs for this Cilium version, as that calls itself with version and commit; none where
    /// there is none.
    fn component(&self, version: &cilium::Version) -> Option<String> {
        let _ = version;
        None
    }

    /// The version of Kubernetes that all its cases run on, `v1.31.4`, where it is a real one and known: the nodes', or
    /// before there were any what was asked for.
    fn kubernetes(&self) -> Option<String> {
        None
    }

    /// Why it can't take a step, if it can't: asked before anything is built.
    fn refuses(&self, action: &Action) -> Option<String> {
        let _ = action;
        None
    }

    /// Lets go of what it keeps from case to case, when there is no further one. Says what it leaves on purpose.
    ///
    /// # Errors
    /// It can't be let go of.
    fn close(&self) -> BoxFuture<'_, Result<Option<String>, EngineError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Runs a case from nothing to nothing.
    fn run<'a>(&'a self, case: &'a Case) -> BoxFuture<'a, Result<Observed, EngineError>>;

    /// Brings a case up, through all of its steps, and keeps it.
    ///
    /// # Errors
    /// What the host or the engine lacks, Helm's refusal, or the harness's failure.
    fn up<'a>(&'a self, _case: &'a Case) -> BoxFuture<'a, Result<Box<dyn Live>, EngineError>> {
        let what = "keep a case up".to_owned();
        Box::pin(std::future::ready(Err(EngineError::Unsupported { engine: self.name(), what })))
    }
}
