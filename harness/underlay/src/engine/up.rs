//! A case while it is up: lab, cluster, and who watches their packets.

use std::sync::Arc;

use futures::future::BoxFuture;
use lab::{Lab, Namespace};
use probe::Evidence;
use probe::capture::{Capture, Options};
use probe::witness::Witness;

use super::cluster::Cluster;
use super::fleet::Fleet;
use super::install;
use super::live::Live;
use super::run::{Phases, Watch, drops, overlay_paths};
use super::send::{self, Field};
use super::steps::Story;
use super::trace;
use crate::case::{Case, Place, ProbeSpec};
use crate::observed::{Agent, EngineError, Observed, Trace};
use crate::step::Action;

/// A case that is up.
pub struct Up<F> {
    /// What the cluster goes through.
    pub story: Story,
    /// None where an agent died at its start.
    pub cluster: Option<Cluster<F>>,
    /// Who sees packets die.
    pub witness: Witness,
    /// Who sees packets.
    pub capture: Capture,
    /// The network.
    pub lab: Lab,
    /// What was found out so far.
    pub observed: Observed,
}

impl<F: Fleet> Up<F> {
    /// Builds the network and puts the cluster on it. Helm's refusal is an outcome, not an error.
    ///
    /// # Errors
    /// What the host lacks, or the kernel's answer.
    pub async fn start(
        setup: &F::Setup,
        case: &Case,
        watch: Watch,
        phases: &mut Phases,
    ) -> Result<Result<Self, String>, EngineError> {
        let installed = match install::install(case) {
            Ok(installed) => installed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let lab = Lab::build(Arc::clone(&case.network)).await?;
        phases.end("lab");

        let options = Options { off: watch == Watch::Off, ..Options::default() };
        let capture = Capture::with(&lab.namespaces(), options)
            .map_err(|error| EngineError::failed("start the capture", &error))?;
        let witness = Witness::new(&capture, &lab.drops);
        phases.end("capture");

        let fleet = F::start(setup, case, &installed, &lab).await?;
        let observed = Observed {
            values_not_modelled: installed.not_modelled,
            values_unknown: installed.unknown,
            nodes: fleet.agents().await?,
            overlay_paths: overlay_paths(case, &lab)?,
            ..Observed::of(Ok(()))
        };
        phases.end("agents");

        // Without its agent a node has no pods; half a cluster would only measure its other half.
        let whole = observed.nodes.iter().all(|(_, agent)| matches!(agent, Agent::Running(_)));
        let mut up = Self { story: Story::begin(case), cluster: None, witness, capture, lab, observed };
        if whole {
            let mut cluster = Cluster::start(case, &up.lab, fleet, &up.capture).await?;
            phases.end("cluster");
            up.observed.dns = cluster.await_dns(case, &up.lab, &up.witness, case.deadline).await?;
            phases.end("dns ready");
            up.cluster = Some(cluster);
        }
        Ok(Ok(up))
    }

    /// Takes a step, if there is a cluster that it could happen to, and lets the agents react.
    ///
    /// # Errors
    /// As [`Story::take`].
    pub async fn take(&mut self, action: &Action) -> Result<(), EngineError> {
        match &mut self.cluster {
            Some(cluster) => self.story.take(action, &mut self.lab, cluster).await,
            None => Err(no_cluster()),
        }
    }

    /// Gives CoreDNS replicas that aren't ready another chance, now that things have changed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn settle(&mut self) -> Result<(), EngineError> {
        if let Some(cluster) = &mut self.cluster {
            self.observed.dns = self.story.settle(&self.lab, cluster, &self.witness).await?;
        }
        Ok(())
    }

    fn field(&self) -> Result<Field<'_, F>, EngineError> {
        Ok(Field {
            case: self.story.current(),
            lab: &self.lab,
            cluster: self.cluster.as_ref().ok_or_else(no_cluster)?,
            capture: &self.capture,
            watch: &self.witness,
        })
    }
}

/// Brings a case up, through all of its steps.
///
/// # Errors
/// As [`Up::start`] and [`Up::take`]; Helm's refusal.
pub async fn up<F: Fleet + 'static>(setup: &F::Setup, case: &Case) -> Result<Box<dyn Live>, EngineError> {
    let mut up = match Up::<F>::start(setup, case, Watch::On, &mut Phases::begin()).await? {
        Ok(up) => up,
        Err(reason) => return Err(EngineError::Failed { step: "helm install".to_owned(), reason }),
    };
    if up.cluster.is_some() {
        for step in &case.steps {
            up.take(&step.action).await?;
        }
        if !case.steps.is_empty() {
            up.settle().await?;
        }
    }
    Ok(Box::new(up))
}

impl<F: Fleet> Live for Up<F> {
    fn case(&self) -> &Case {
        self.story.current()
    }

    fn observed(&self) -> BoxFuture<'_, Result<Observed, EngineError>> {
        Box::pin(async move {
            let mut observed = self.observed.clone();
            observed.drops = drops(&self.lab)?;
            observed.capture = self.capture.statistics();
            if let Some(cluster) = &self.cluster {
                observed.nodes = cluster.fleet.agents().await?;
                observed.nat = cluster.fleet.nat().await?;
                observed.dns.upstream_failures.extend(cluster.dns_failures());
            }
            Ok(observed)
        })
    }

    fn namespaces(&self) -> Vec<Namespace> {
        let pods = self.cluster.iter().flat_map(Cluster::pods);
        self.lab.namespaces().into_iter().chain(pods.map(|pod| pod.namespace.clone())).collect()
    }

    fn namespace(&self, place: &Place) -> Option<Namespace> {
        send::namespace(&self.lab, self.cluster.as_ref(), place)
    }

    fn send<'a>(&'a self, probe: &'a ProbeSpec) -> BoxFuture<'a, Result<(Evidence, Option<Trace>), EngineError>> {
        Box::pin(async move {
            let field = self.field()?;
            let (from, evidence) = field.send(probe).await?;
            let sent = [(probe.id.clone(), from, evidence)];
            let trace = trace::traces(field.case, &self.capture, &sent).pop().map(|(_, trace)| trace);
            let [(_, _, evidence)] = sent;
            // A lab that is up for days would remember every packet it was ever asked about.
            evidence.marks.iter().for_each(|mark| self.capture.forget(mark));
            Ok((evidence, trace))
        })
    }

    fn take<'a>(&'a mut self, action: &'a Action) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            Self::take(self, action).await?;
            self.settle().await
        })
    }
}

fn no_cluster() -> EngineError {
    let reason = "an agent died at its start, so there is no cluster".to_owned();
    EngineError::Failed { step: "reach the cluster".to_owned(), reason }
}
