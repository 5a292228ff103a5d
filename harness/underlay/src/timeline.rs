//! Steps taken one after the other on whatever engine runs the cluster, and what was to be seen meanwhile.
//!
//! An engine gives a [`Stage`]; this module keeps time, looks where a step asks for it, waits, and runs streams
//! beside the steps they are about.

mod stream;

use std::time::Duration;

use probe::evidence::OutcomeKind;
use tokio::time::{Instant, timeout};

use crate::case::{ExpectedOutcome, ProbeSpec, Subject};
use crate::observed::{Agent, EngineError, Observed};
use crate::step::words::time;
use crate::step::{Action, Condition, Step};
use crate::verdict;

pub use stream::{Caller, Outage, StreamSeen};

/// How long one step may take, a machine that is busy included.
pub const STEP_PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(20);

/// A cluster that runs, as steps see it.
pub trait Stage: Send {
    /// Takes a step that changes something. What comes back is a remark for the report: that Helm refuses the values, and
    /// so nothing has changed.
    ///
    /// # Errors
    /// What kept it from being taken; that ends the case.
    fn act(&mut self, action: &Action) -> impl Future<Output = Result<Option<String>, EngineError>> + Send;

    /// Each cluster node's agent by now, in the topology's order.
    ///
    /// # Errors
    /// An agent that runs doesn't answer.
    fn agents(&mut self) -> impl Future<Output = Result<Vec<(String, Agent)>, EngineError>> + Send;

    /// Sends these probes, all at once, and looks at what there is.
    ///
    /// # Errors
    /// What kept it from looking.
    fn look(&mut self, probes: &[ProbeSpec]) -> impl Future<Output = Result<Observed, EngineError>> + Send;

    /// Something that sends this probe once each time it is called.
    ///
    /// # Errors
    /// It can't be sent on this engine.
    fn caller(&mut self, probe: &ProbeSpec) -> Result<Caller, EngineError>;

    /// Whether two nodes have a session over the overlay.
    ///
    /// # Errors
    /// What kept it from looking.
    fn met(&mut self, from: &str, to: &str) -> Result<bool, EngineError>;
}

/// How long one attempt of a probe that is waited for may take, where the probe has no deadline of its own: a packet
/// that was lost must not keep the next one from being sent.
const PATIENCE: Duration = Duration::from_millis(500);

/// What happened, in order.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// The agents before the first step.
    pub start: Vec<(String, Agent)>,
    /// Each step.
    pub steps: Vec<StepSeen>,
}

impl Timeline {
    /// Of steps of which none was taken, for this reason.
    pub fn not_taken(steps: &[Step], reason: &str) -> Self {
        let mut timeline = Self::default();
        for step in steps {
            let inner = match &step.action {
                Action::During { steps, .. } => steps.as_slice(),
                _ => &[],
            };
            let seen = |step, inner| StepSeen { not_taken: Some(reason.to_owned()), ..StepSeen::of(step, inner) };
            timeline.steps.push(seen(step, false));
            timeline.steps.extend(inner.iter().map(|step| seen(step, true)));
        }
        timeline
    }

    /// The steps that were taken. None that Helm refused, which is what a remark says: nothing has changed by it.
    pub fn taken(&self) -> Vec<Step> {
        let mut taken: Vec<Step> = Vec::new();
        for seen in self.steps.iter().filter(|seen| seen.not_taken.is_none() && seen.remark.is_none()) {
            let mut step = seen.step.clone();
            if let Action::During { steps, .. } = &mut step.action {
                // They come behind it, as far as they were taken.
                steps.clear();
            }
            match taken.last_mut() {
                Some(Step { action: Action::During { steps, .. }, .. }) if seen.inner => steps.push(step),
                _ => taken.push(step),
            }
        }
        taken
    }

    /// What was waited for in vain, if something was, in words: no step was taken after that.
    pub fn in_vain(&self) -> Option<String> {
        self.steps.iter().find_map(|seen| {
            let waited = seen.waited.as_ref().filter(|waited| waited.held != Some(true))?;
            let Action::WaitFor { condition, within } = &seen.step.action else { return None };
            Some(format!("{condition} was waited for in vain for {}: {}", time(*within), waited.saw))
        })
    }
}

/// A step, and what came of it.
#[derive(Debug, Clone)]
pub struct StepSeen {
    /// The step.
    pub step: Step,
    /// Whether it happened during a stream, which is the last step before it that didn't.
    pub inner: bool,
    /// When it began, from the beginning of the first.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Why it was not taken, if it wasn't.
    pub not_taken: Option<String>,
    /// What is to be told of it.
    pub remark: Option<String>,
    /// The agents after it.
    pub agents: Vec<(String, Agent)>,
    /// Of a check, what was seen at that moment.
    pub found: Option<Box<Observed>>,
    /// Of something waited for, what it came to.
    pub waited: Option<Waited>,
    /// Of a stream, each probe's.
    pub streams: Vec<StreamSeen>,
}

impl StepSeen {
    /// One of which nothing was seen yet.
    pub fn of(step: &Step, inner: bool) -> Self {
        Self {
            step: step.clone(),
            inner,
            began: Duration::ZERO,
            took: Duration::ZERO,
            not_taken: None,
            remark: None,
            agents: Vec::new(),
            found: None,
            waited: None,
            streams: Vec::new(),
        }
    }
}

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Whether it was so in time; none where it couldn't be tried at last.
    pub held: Option<bool>,
    /// What was seen last, in words.
    pub saw: String,
}

/// Takes the steps. Where something waited for isn't so in time, the ones after it are not taken.
///
/// # Errors
/// A step that can't be taken, or takes longer than [`STEP_PATIENCE`].
pub async fn play<S: Stage>(steps: &[Step], probes: &[ProbeSpec], stage: &mut S) -> Result<Timeline, EngineError> {
    let mut player = Player {
        probes,
        began: Instant::now(),
        timeline: Timeline { start: stage.agents().await?, steps: Vec::new() },
    };
    let mut stopped = None;
    for step in steps {
        match &step.action {
            Action::During { streams, steps } => {
                let index = player.begin(step, false);
                if stopped.is_none() {
                    let running = stream::start(streams, probes, stage).await?;
                    let mut taken = Ok(());
                    for step in steps {
                        taken = player.take(step, true, &mut stopped, stage).await;
                        if taken.is_err() {
                            break;
                        }
                    }
                    let seen = stream::stop(running).await;
                    taken?;
                    player.end(index, stage).await?.streams = seen;
                } else {
                    player.timeline.steps[index].not_taken.clone_from(&stopped);
                    for step in steps {
                        player.take(step, true, &mut stopped, stage).await?;
                    }
                }
            }
            _ => player.take(step, false, &mut stopped, stage).await?,
        }
    }
    Ok(player.timeline)
}

struct Player<'a> {
    probes: &'a [ProbeSpec],
    began: Instant,
    timeline: Timeline,
}

impl Player<'_> {
    fn begin(&mut self, step: &Step, inner: bool) -> usize {
        let agents = self.timeline.steps.last().map_or(&self.timeline.start, |last| &last.agents).clone();
        self.timeline.steps.push(StepSeen { began: self.began.elapsed(), agents, ..StepSeen::of(step, inner) });
        self.timeline.steps.len() - 1
    }

    async fn end<S: Stage>(&mut self, index: usize, stage: &mut S) -> Result<&mut StepSeen, EngineError> {
        let elapsed = self.began.elapsed();
        let seen = &mut self.timeline.steps[index];
        seen.took = elapsed.saturating_sub(seen.began);
        seen.agents = stage.agents().await?;
        Ok(seen)
    }

    async fn take<S: Stage>(
        &mut self,
        step: &Step,
        inner: bool,
        stopped: &mut Option<String>,
        stage: &mut S,
    ) -> Result<(), EngineError> {
        let index = self.begin(step, inner);
        if stopped.is_some() {
            self.timeline.steps[index].not_taken.clone_from(stopped);
            return Ok(());
        }
        match &step.action {
            Action::Check { expectations, .. } => {
                let asked = |probe: &&ProbeSpec| {
                    expectations.iter().any(|check| matches!(&check.subject, Subject::Probe(id) if *id == probe.id))
                };
                let probes: Vec<_> = self.probes.iter().filter(asked).cloned().collect();
                let found = in_time(&step.action, stage.look(&probes)).await?;
                self.end(index, stage).await?.found = Some(Box::new(found));
            }
            Action::WaitFor { condition, within } => {
                let waited = wait(condition, *within, self.probes, stage).await?;
                if waited.held != Some(true) {
                    *stopped = Some(format!("not taken: {condition} was waited for in vain for {}", time(*within)));
                }
                self.end(index, stage).await?.waited = Some(waited);
            }
            action => {
                let remark = in_time(action, stage.act(action)).await?;
                self.end(index, stage).await?.remark = remark;
            }
        }
        Ok(())
    }
}

async fn in_time<T>(action: &Action, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    timeout(STEP_PATIENCE, work).await.unwrap_or_else(|_| {
        let reason = format!("it was not done within {}", time(STEP_PATIENCE));
        Err(EngineError::Failed { step: action.to_string(), reason })
    })
}

async fn wait<S: Stage>(
    condition: &Condition,
    within: Duration,
    probes: &[ProbeSpec],
    stage: &mut S,
) -> Result<Waited, EngineError> {
    let deadline = Instant::now() + within;
    let whole = whole_attempt(condition, probes);
    loop {
        let waited = holds(condition, deadline, probes, stage).await?;
        let last = deadline.checked_sub(whole).unwrap_or(deadline);
        if waited.held == Some(true) || Instant::now() >= last {
            return Ok(waited);
        }
        tokio::time::sleep_until((Instant::now() + POLL).min(last)).await;
    }
}

/// The time that an attempt must be given, as cut short it would come to what is waited for: who waits for no answer
/// would have it for want of time.
fn whole_attempt(condition: &Condition, probes: &[ProbeSpec]) -> Duration {
    match condition {
        Condition::Probe { probe, outcome } if *outcome != ExpectedOutcome::Works => {
            probes.iter().find(|spec| spec.id == *probe).and_then(|spec| spec.deadline).unwrap_or(PATIENCE)
        }
        _ => Duration::ZERO,
    }
}

async fn holds<S: Stage>(
    condition: &Condition,
    deadline: Instant,
    probes: &[ProbeSpec],
    stage: &mut S,
) -> Result<Waited, EngineError> {
    let selected = |agents: Vec<(String, Agent)>, node: &str, device: &str| {
        let agent = agents.into_iter().find(|(name, _)| name == node).map(|(_, agent)| agent);
        match agent {
            Some(Agent::Running(decisions)) => {
                let names: Vec<_> = decisions.devices.iter().map(|device| device.name.clone()).collect();
                (names.iter().any(|name| name == device), format!("selected are {}", names.join(", ")))
            }
            Some(other) => (false, other.to_string()),
            None => (false, "there is no agent".to_owned()),
        }
    };
    Ok(match condition {
        Condition::Probe { probe, outcome } => {
            let mut spec: Vec<_> = probes.iter().filter(|spec| spec.id == *probe).cloned().collect();
            // What is answered in time may come too late all the same; what is silent is asked again soon enough.
            let left =
                deadline.saturating_duration_since(Instant::now()).max(POLL).max(whole_attempt(condition, probes));
            spec.iter_mut().for_each(|spec| spec.deadline = Some(spec.deadline.unwrap_or(PATIENCE).min(left)));
            let observed = stage.look(&spec).await?;
            match observed.probes.first() {
                Some((_, evidence)) => Waited {
                    // As of a check's, nothing is known of a packet that wasn't sent.
                    held: (evidence.outcome.kind() != OutcomeKind::NotPossible)
                        .then(|| verdict::comes_to(evidence, *outcome)),
                    saw: format!("{}: {}", verdict::outcome_word(evidence), evidence.detail),
                },
                None => Waited { held: None, saw: "it could not be sent".to_owned() },
            }
        }
        Condition::Agents => {
            let agents = stage.agents().await?;
            let down = agents.iter().find(|(_, agent)| !matches!(agent, Agent::Running(_)));
            match down {
                None => Waited { held: Some(!agents.is_empty()), saw: format!("{} agents run", agents.len()) },
                Some((node, agent)) => Waited { held: Some(false), saw: format!("{node}: {agent}") },
            }
        }
        Condition::DnsReady(count) => {
            let dns = stage.look(&[]).await?.dns;
            Waited { held: Some(dns.ready == *count), saw: format!("{} of {} ready", dns.ready, dns.replicas) }
        }
        Condition::Selected(link) => {
            let (held, saw) = selected(stage.agents().await?, &link.node, &link.interface);
            Waited { held: Some(held), saw }
        }
        Condition::NotSelected(link) => {
            let (held, saw) = selected(stage.agents().await?, &link.node, &link.interface);
            Waited { held: Some(!held), saw }
        }
        Condition::Peer { from, to } => {
            let held = stage.met(from, to)?;
            let saw = if held { "there is a session" } else { "there is no session" };
            Waited { held: Some(held), saw: saw.to_owned() }
        }
    })
}
