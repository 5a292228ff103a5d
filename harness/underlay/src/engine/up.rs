//! A case while it is up: lab, cluster, and who watches their packets.

use std::sync::Arc;

use futures::future::BoxFuture;
use lab::{Lab, Namespace};
use probe::Evidence;
use probe::capture::{Capture, Options};
use probe::witness::Witness;

use super::cluster::Cluster;
use super::fleet::{Fleet, Site};
use super::lag::LagMeter;
use super::live::Live;
use super::run::{Phases, Watch, drops, overlay_paths};
use super::send::Field;
use super::story::Story;
use super::trace;
use crate::case::{Case, ProbeSpec};
use crate::observed::{Agent, EngineError, Observed, Trace};
use crate::step::{self, Filter, Step};
use crate::timeline::{self, Caller, Timeline};

/// A case that is up.
pub struct Up<F: Fleet> {
    setup: F::Setup,
    watch: Watch,
    /// What the agents run with.
    pub story: Story,
    /// None until every agent has run: without its agent a node has no pods, and half a cluster would only measure its
    /// other half.
    pub cluster: Option<Cluster<F>>,
    /// Who sees packets die.
    pub witness: Arc<Witness>,
    /// Who sees packets.
    pub capture: Capture,
    /// The network.
    pub lab: Lab,
    /// What gateways drop, filters of all of them.
    pub(super) filters: Vec<Filter>,
    /// What came of the case's own steps, of a case that is kept up.
    timeline: Timeline,
    /// What was found out so far.
    pub observed: Observed,
    /// How late this process comes to its work, while probes are under way.
    pub lag: LagMeter,
    /// How long what took so far.
    pub phases: Phases,
    /// Interfaces beside the lab, `master/eth0`: no probe may be seen there.
    beside: Vec<String>,
    /// Where the cluster stands. Last: the lab is plugged in there.
    site: F::Site,
}

impl<F: Fleet> Up<F> {
    /// Builds the network, and puts the cluster on it unless a step is to do that. Helm's refusal is an outcome, not an
    /// error.
    ///
    /// # Errors
    /// What the host lacks, or the kernel's answer.
    pub async fn start(setup: &F::Setup, case: &Case, watch: Watch) -> Result<Result<Self, String>, EngineError> {
        let installed = match F::install(setup, case).await? {
            Ok(installed) => installed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut phases = Phases::begin();
        let site = F::site(setup, case).await?;
        let machines = site.machines()?;
        if !machines.is_empty() {
            phases.end("cluster");
        }
        let beside = machines.iter().filter_map(|(node, machine)| {
            let management = machine.management.as_ref()?;
            Some(format!("{node}/{}", management.interface))
        });
        let beside: Vec<_> = beside.collect();
        let lab = Lab::build_on(Arc::clone(&case.network), machines).await?;
        phases.end("lab");

        let options = Options { off: watch == Watch::Off, ..Options::default() };
        let capture = Capture::with(&lab.namespaces(), options)
            .map_err(|error| EngineError::failed("start the capture", &error))?;
        let witness = Arc::new(Witness::new(&capture, &lab.drops));
        phases.end("capture");

        let absent = case.network.cluster_nodes().map(|node| (node.name.clone(), Agent::Absent));
        let observed = Observed {
            values_not_modelled: installed.not_modelled.clone(),
            values_unknown: installed.unknown.clone(),
            nodes: absent.collect(),
            overlay_paths: overlay_paths(case, &lab)?,
            ..Observed::of(Ok(()))
        };
        let story = Story::begin(case, &installed);
        let mut up = Self {
            setup: setup.clone(),
            watch,
            story,
            cluster: None,
            witness,
            capture,
            lab,
            filters: Vec::new(),
            timeline: Timeline::default(),
            observed,
            lag: LagMeter::start(),
            phases,
            beside,
            site,
        };
        if step::installed_at_start(&case.steps) {
            up.start_agents().await?;
            up.settle().await?;
            up.phases.end("dns ready");
        }
        Ok(Ok(up))
    }

    /// Every agent starts, with what is current by now; the first time they all run, the cluster comes with them.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's. An agent's death is none.
    pub(super) async fn start_agents(&mut self) -> Result<(), EngineError> {
        let refused = |reason| EngineError::Failed { step: "start the agents".to_owned(), reason };
        let installed = self.story.start().map_err(refused)?;
        let running = self.story.running();
        // Agents keep a machine busy, compiling.
        let _busy = self.lag.pause();
        match &mut self.cluster {
            Some(cluster) => cluster.fleet.restart(running, &installed).await?,
            None => {
                let fleet = F::start(&self.setup, &self.site, running, &installed, &self.lab).await?;
                self.phases.within(fleet.phases());
                self.observed.nodes = fleet.agents().await?;
                self.observed.logs = fleet.logs();
                self.phases.end("agents");
                if self.observed.nodes.iter().all(|(_, agent)| matches!(agent, Agent::Running(_))) {
                    self.cluster = Some(Cluster::start(running, &self.lab, fleet, &self.capture).await?);
                    self.phases.end("pods");
                }
            }
        }
        Ok(())
    }

    /// The network has changed: agents that run take notice.
    ///
    /// # Errors
    /// The kernel's answer, or an agent's.
    pub(super) async fn react(&mut self) -> Result<(), EngineError> {
        let _busy = self.lag.pause();
        match &mut self.cluster {
            Some(cluster) => cluster.fleet.react(self.story.running()).await,
            None => Ok(()),
        }
    }

    /// Each cluster node's agent by now.
    ///
    /// # Errors
    /// An agent that runs doesn't answer.
    pub async fn agents(&mut self) -> Result<Vec<(String, Agent)>, EngineError> {
        if let Some(cluster) = &self.cluster {
            self.observed.nodes = cluster.fleet.agents().await?;
        }
        Ok(self.observed.nodes.clone())
    }

    /// Gives CoreDNS replicas that aren't ready another chance, now that things may have changed.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn settle(&mut self) -> Result<(), EngineError> {
        if let Some(cluster) = &mut self.cluster {
            let running = self.story.running();
            self.observed.dns = cluster.await_dns(running, &self.lab, &*self.witness, running.deadline).await?;
        }
        Ok(())
    }

    /// Sends these probes, all at once. What there is to be seen then comes back; nothing is sent while there is no
    /// cluster.
    ///
    /// # Errors
    /// A probe can't be sent on this engine, or the kernel's answer.
    pub async fn look(&mut self, probes: &[ProbeSpec]) -> Result<Observed, EngineError> {
        let nodes = self.agents().await?;
        let mut observed =
            Observed { nodes, dns: self.observed.dns.clone(), ..Observed::of(self.story.helm().clone()) };
        observed.logs.clone_from(&self.observed.logs);
        let Some(cluster) = &self.cluster else { return Ok(observed) };
        let field = self.field()?;
        let probes = probes.iter().map(|spec| {
            let field = &field;
            async move {
                let (from, evidence) = field.send(spec).await?;
                Ok::<_, EngineError>((spec.id.clone(), from, evidence))
            }
        });
        let mut probes = futures::future::try_join_all(probes).await?;
        observed.dns.upstream_failures.extend(cluster.dns_failures());
        if self.watch == Watch::On {
            observed.traces = trace::traces(self.story.current(), &self.capture, &probes);
        }
        let renumbered = cluster.fleet.renumbered();
        observed.traces.iter_mut().for_each(|(_, trace)| renumbered.walk(&mut trace.walk));
        probes.iter_mut().for_each(|(_, _, evidence)| renumbered.evidence(evidence));
        observed.probes = probes.into_iter().map(|(id, _, evidence)| (id, evidence)).collect();
        observed.nat = cluster.nat().await?;
        observed.logs = cluster.fleet.logs();
        observed.doubts = cluster.fleet.doubts();
        for (probe, trace) in &mut observed.traces {
            trace.astray = self.beside.iter().find(|place| trace.places.contains(*place)).cloned();
            let told = |place| format!("packets of `{probe}` were seen on {place}, beside the lab");
            observed.doubts.extend(trace.astray.as_ref().map(told));
        }
        Ok(observed)
    }

    /// Something that sends a probe once each time it is called, and leaves nothing in the capture.
    ///
    /// # Errors
    /// It can't be sent on this engine.
    pub(super) fn sender(&self, spec: &ProbeSpec) -> Result<Caller, EngineError> {
        let (probe, from, deadline) = self.field()?.prepare(spec)?;
        let shared = Arc::new((probe, from, self.capture.clone(), Arc::clone(&self.witness)));
        Ok(Arc::new(move || {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                let (probe, from, capture, witness) = &*shared;
                let evidence = probe::run(probe, from, deadline, &**witness).await;
                evidence.marks.iter().for_each(|mark| capture.forget(mark));
                evidence
            })
        }))
    }

    fn field(&self) -> Result<Field<'_, F>, EngineError> {
        Ok(Field {
            case: self.story.current(),
            lab: &self.lab,
            cluster: self.cluster.as_ref().ok_or_else(no_cluster)?,
            capture: &self.capture,
            watch: &*self.witness,
        })
    }
}

/// Brings a case up, through all of its steps. Where something was waited for in vain it is up without those behind that:
/// its time line says so.
///
/// # Errors
/// As [`Up::start`] and [`timeline::play`]; Helm's refusal.
pub async fn up<F: Fleet + 'static>(setup: &F::Setup, case: &Case) -> Result<Box<dyn Live>, EngineError> {
    let mut up = match Up::<F>::start(setup, case, Watch::On).await? {
        Ok(up) => up,
        Err(reason) => return Err(EngineError::Failed { step: "helm install".to_owned(), reason }),
    };
    up.timeline = timeline::play(&case.steps, &case.probes, &mut up).await?;
    up.settle().await?;
    Ok(Box::new(up))
}

impl<F: Fleet> Live for Up<F> {
    fn case(&self) -> &Case {
        self.story.current()
    }

    fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    fn observed(&self) -> BoxFuture<'_, Result<Observed, EngineError>> {
        Box::pin(async move {
            let mut observed = self.observed.clone();
            observed.helm.clone_from(self.story.helm());
            observed.drops = drops(&self.lab)?;
            observed.capture = self.capture.statistics();
            if let Some(cluster) = &self.cluster {
                observed.nodes = cluster.fleet.agents().await?;
                observed.nat = cluster.nat().await?;
                observed.dns.upstream_failures.extend(cluster.dns_failures());
            }
            Ok(observed)
        })
    }

    fn namespaces(&self) -> Vec<Namespace> {
        let pods = self.cluster.iter().flat_map(Cluster::pods);
        self.lab.namespaces().into_iter().chain(pods.map(|pod| pod.namespace.clone())).collect()
    }

    fn nodes(&self) -> Vec<Namespace> {
        let nodes = self.lab.network.cluster_nodes().filter_map(|node| self.lab.node(&node.name));
        nodes.map(|node| node.namespace.clone()).collect()
    }

    fn notice(&mut self) -> BoxFuture<'_, Result<bool, EngineError>> {
        Box::pin(async move {
            let Some(cluster) = &mut self.cluster else { return Ok(false) };
            let noticed = cluster.fleet.notice(self.story.running()).await?;
            if noticed {
                self.settle().await?;
            }
            Ok(noticed)
        })
    }

    fn send<'a>(&'a self, probe: &'a ProbeSpec) -> BoxFuture<'a, Result<(Evidence, Option<Trace>), EngineError>> {
        Box::pin(async move {
            let field = self.field()?;
            let (from, evidence) = field.send(probe).await?;
            let sent = [(probe.id.clone(), from, evidence)];
            let trace = trace::traces(field.case, &self.capture, &sent).pop().map(|(_, trace)| trace);
            let [(_, _, mut evidence)] = sent;
            let renumbered = field.cluster.fleet.renumbered();
            renumbered.evidence(&mut evidence);
            let trace = trace.map(|mut trace| {
                renumbered.walk(&mut trace.walk);
                trace
            });
            // A lab that is up for days would remember every packet it was ever asked about.
            evidence.marks.iter().for_each(|mark| self.capture.forget(mark));
            Ok((evidence, trace))
        })
    }

    fn play<'a>(&'a mut self, steps: &'a [Step]) -> BoxFuture<'a, Result<Timeline, EngineError>> {
        Box::pin(async move {
            let probes = self.story.current().probes.clone();
            let timeline = timeline::play(steps, &probes, self).await?;
            self.settle().await?;
            Ok(timeline)
        })
    }
}

fn no_cluster() -> EngineError {
    let reason = "an agent died at its start, so there is no cluster".to_owned();
    EngineError::Failed { step: "reach the cluster".to_owned(), reason }
}
