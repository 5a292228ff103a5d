//! Steps taken one after the other, on a stage without a network: order, waiting in vain, streams, and what reports
//! make of them. What steps do to a real cluster is in the shipped scenarios.

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{case, expect, observed, outcome, ping, reply};
use underlay::case::{Case, ExpectedOutcome, ProbeSpec};
use underlay::engine::netns::Netns;
use underlay::observed::{Agent, EngineError, Observed};
use underlay::report::paint::Paint;
use underlay::report::schema;
use underlay::report::timeline;
use underlay::runner;
use underlay::step::{Action, Condition, Link, Step, Stream};
use underlay::timeline::{Caller, Stage, play};
use underlay::verdict::Verdict;

/// A cluster in which the link decides whether the probe is answered.
struct Switch {
    case: Case,
    up: bool,
    /// How long an answer takes.
    round_trip: Duration,
    /// Whether probes can be sent.
    sends: bool,
    taken: Vec<String>,
}

impl Switch {
    fn new(case: Case) -> Self {
        Self { case, up: true, round_trip: Duration::ZERO, sends: true, taken: Vec::new() }
    }

    fn evidence(&self, deadline: Option<Duration>) -> probe::Evidence {
        let silence = || outcome(probe::evidence::Outcome::Silence, "nothing within 10 ms");
        let in_time = deadline.is_none_or(|deadline| self.round_trip < deadline);
        if self.up && in_time { reply() } else { silence() }
    }
}

impl Stage for Switch {
    async fn act(&mut self, action: &Action) -> Result<Option<String>, EngineError> {
        self.taken.push(action.to_string());
        match action {
            Action::LinkDown(_) => self.up = false,
            Action::LinkUp(_) => self.up = true,
            Action::Upgrade { .. } => return Ok(Some("Helm refuses: no".to_owned())),
            _ => {}
        }
        Ok(None)
    }

    async fn agents(&mut self) -> Result<Vec<(String, Agent)>, EngineError> {
        let agents = observed(&self.case, &[]).nodes;
        Ok(if self.up { agents } else { agents.into_iter().map(|(node, _)| (node, Agent::Absent)).collect() })
    }

    async fn look(&mut self, probes: &[ProbeSpec]) -> Result<Observed, EngineError> {
        let probes = if self.sends { probes } else { &[] };
        let sent: Vec<_> = probes.iter().map(|probe| (probe.id.as_str(), self.evidence(probe.deadline))).collect();
        Ok(observed(&self.case, &sent))
    }

    fn caller(&mut self, _: &ProbeSpec) -> Result<Caller, EngineError> {
        let evidence = self.evidence(None);
        Ok(Arc::new(move || Box::pin(std::future::ready(evidence.clone()))))
    }

    fn met(&mut self, _: &str, _: &str) -> Result<bool, EngineError> {
        Ok(self.up)
    }
}

fn link() -> Link {
    Link { node: "master".to_owned(), interface: "enp0s6".to_owned() }
}

fn step(action: Action) -> Step {
    Step { action, line: 7 }
}

fn wait(probe: &str) -> Step {
    let condition = Condition::Probe { probe: probe.to_owned(), outcome: ExpectedOutcome::Works };
    step(Action::WaitFor { condition, within: Duration::from_millis(30) })
}

fn check(case: &Case, name: &str) -> Step {
    step(Action::Check { name: Some(name.to_owned()), expectations: case.expectations.clone() })
}

/// The guide's case with a check that its first probe works.
fn probed() -> (Case, String) {
    let mut case = case("enp0s6,tailscale0");
    let id = "pod-to-pod".to_owned();
    case.probes = vec![ping(&id)];
    case.expectations = vec![expect(&id, ExpectedOutcome::Works, 5)];
    (case, id)
}

/// What comes of the steps, as a report has it.
async fn reported(case: Case, steps: Vec<Step>) -> (schema::Case, Vec<String>) {
    let stage = Switch::new(case.clone());
    reported_on(stage, case, steps).await
}

async fn reported_on(mut stage: Switch, mut case: Case, steps: Vec<Step>) -> (schema::Case, Vec<String>) {
    case.steps = steps;
    let timeline = play(&case.steps, &case.probes, &mut stage).await.expect("every step can be taken");
    let id = case.probes[0].id.clone();
    let engine = support::Fake::new(move |case: &Case| {
        let seen = Observed { timeline: timeline.clone(), ..observed(case, &[(id.as_str(), reply())]) };
        async move { Ok(seen) }
    });
    let result = runner::one(&*engine, Arc::new(case)).await;
    (schema::Case::from(&result), stage.taken)
}

#[tokio::test]
async fn steps_are_taken_in_order_and_looked_at_in_between() {
    let (case, _) = probed();
    let (healthy, broken) = (check(&case, "healthy"), check(&case, "broken"));
    let steps = vec![healthy, step(Action::LinkDown(link())), broken, step(Action::LinkUp(link()))];
    let (report, taken) = reported(case, steps).await;
    assert_eq!(taken, ["link-down master/enp0s6", "link-up master/enp0s6"]);
    let verdicts: Vec<_> = report.steps.iter().map(|step| step.verdict).collect();
    assert_eq!(verdicts, [Some(Verdict::Pass), None, Some(Verdict::Fail), None]);
    assert_eq!(report.verdict, Verdict::Fail, "a check in between counts as one at the end");
    let changed = &report.steps[1].changed;
    let agent = changed.iter().find(|changed| changed.what == "agent" && changed.node == "master");
    let agent = agent.expect("the agent ended with the link, on this stage");
    assert_eq!((&agent.before, &agent.after), (&json!("running"), &json!("absent")));
    assert!(report.steps.iter().zip(report.steps.iter().skip(1)).all(|(one, next)| one.at_us <= next.at_us));
    let text = timeline::text(&report, Paint(false));
    for told in ["✓ check healthy", "✗ check broken", "!! ", "agent running → absent (master, worker)"] {
        assert!(text.contains(told), "{told:?} is not in\n{text}");
    }
    let failure = underlay::report::human::failure(&report, Paint(false));
    assert!(failure.contains("check broken: "), "a failure names its step:\n{failure}");
}

#[tokio::test]
async fn what_is_waited_for_in_vain_ends_it() {
    let (case, id) = probed();
    let after = check(&case, "healthy");
    let steps = vec![step(Action::LinkDown(link())), wait(&id), step(Action::LinkUp(link())), after];
    let (report, taken) = reported(case, steps).await;
    assert_eq!(taken, ["link-down master/enp0s6"], "nothing is taken after it");
    assert_eq!(report.steps[1].verdict, Some(Verdict::Fail));
    assert!(report.steps[1].remark.as_deref().is_some_and(|saw| saw.contains("nothing within 10 ms")));
    assert!(report.steps[2].not_taken.as_deref().is_some_and(|why| why.contains("waited for in vain for 30ms")));
    assert_eq!(report.steps[3].verdict, Some(Verdict::Inconclusive), "what was not looked at is no pass");
    assert_eq!(report.verdict, Verdict::Fail);
}

/// An attempt that is cut short has no answer, and proves nothing of what is waited for.
#[tokio::test]
async fn who_waits_for_no_answer_gives_it_its_time() {
    let (mut case, id) = probed();
    case.probes[0].deadline = Some(Duration::from_millis(40));
    let wait = |outcome| {
        let condition = Condition::Probe { probe: id.clone(), outcome };
        step(Action::WaitFor { condition, within: Duration::from_millis(60) })
    };
    for outcome in [ExpectedOutcome::Silence, ExpectedOutcome::Fails] {
        let slow = Switch { round_trip: Duration::from_millis(35), ..Switch::new(case.clone()) };
        let (report, _) = reported_on(slow, case.clone(), vec![wait(outcome)]).await;
        assert_eq!(report.steps[0].verdict, Some(Verdict::Fail), "it is answered throughout: {:#?}", report.steps);

        let mute = Switch { sends: false, ..Switch::new(case.clone()) };
        let (report, _) = reported_on(mute, case.clone(), vec![wait(outcome)]).await;
        assert_eq!(report.steps[0].verdict, Some(Verdict::Inconclusive), "nothing was sent: {:#?}", report.steps);

        let (report, _) = reported(case.clone(), vec![step(Action::LinkDown(link())), wait(outcome)]).await;
        assert_eq!(report.steps[1].verdict, Some(Verdict::Pass), "{:#?}", report.steps);
    }
}

/// Where Helm refuses, nothing is built and no step is taken: what they were to check holds as little as it fails.
#[tokio::test]
async fn what_helm_refuses_passes_no_step() {
    let (mut case, id) = probed();
    let stream = Stream { probe: id.clone(), every: Duration::from_millis(5), lost: Some(0), gap: None, line: 9 };
    let during = Action::During { streams: vec![stream], steps: vec![step(Action::RestartAgents)] };
    let steps = [check(&case, "healthy"), wait(&id), step(during)];
    case.set = vec!["devices=enp0s6,tailscale0".to_owned()];
    case.expectations.clear();
    for one in steps {
        case.steps = vec![one.clone()];
        let report = schema::Case::from(&runner::one(&Netns, Arc::new(case.clone())).await);
        assert_eq!(report.verdict, Verdict::Inconclusive, "{}: {report:#?}", one.action);
        assert!(report.steps[0].not_taken.as_deref().is_some_and(|why| why.contains("Helm refuses")));
    }
}

/// Who sends late on a busy machine reads late, too: what he loses is nobody's loss.
#[tokio::test]
async fn a_stream_that_was_late_lost_nothing_for_sure() {
    let (mut case, id) = probed();
    case.deadline = Duration::from_secs(1);
    let stream = Stream { probe: id, every: Duration::from_millis(5), lost: Some(0), gap: None, line: 9 };
    case.steps = vec![step(Action::During { streams: vec![stream.clone()], steps: Vec::new() })];
    for (late, verdict) in [(20, Verdict::Fail), (400, Verdict::Inconclusive)] {
        let mut timeline = play(&case.steps, &case.probes, &mut Switch { up: false, ..Switch::new(case.clone()) })
            .await
            .expect("every step can be taken");
        timeline.steps[0].streams[0].late = Duration::from_millis(late);
        let engine = support::Fake::new(move |case: &Case| {
            let seen = Observed { timeline: timeline.clone(), ..observed(case, &[("pod-to-pod", reply())]) };
            async move { Ok(seen) }
        });
        let result = runner::one(&*engine, Arc::new(case.clone())).await;
        assert_eq!(result.steps[0].checks[0].verdict, verdict, "{late} ms late: {:?}", result.steps);
    }
}

#[tokio::test]
async fn what_is_so_already_is_not_waited_for() {
    let (case, id) = probed();
    let selected = step(Action::WaitFor { condition: Condition::Selected(link()), within: Duration::from_millis(30) });
    let (report, _) = reported(case, vec![wait(&id), selected]).await;
    assert_eq!(report.verdict, Verdict::Pass, "{:#?}", report.steps);
}

#[tokio::test]
async fn a_stream_is_sent_before_and_after_what_it_is_about() {
    let (case, id) = probed();
    let stream = Stream { probe: id, every: Duration::from_millis(5), lost: Some(0), gap: None, line: 9 };
    let during = |steps| step(Action::During { streams: vec![stream.clone()], steps });
    let (report, taken) = reported(case.clone(), vec![during(vec![step(Action::RestartAgents)])]).await;
    assert_eq!(taken, ["restart agents"]);
    let seen = &report.steps[0].streams[0];
    assert!(seen.sent >= 6, "three before and three after, however short the step: {seen:?}");
    assert_eq!((seen.lost, seen.gap_us, report.verdict), (0, 0, Verdict::Pass));
    assert!(report.steps[1].inner);

    let steps = vec![step(Action::LinkDown(link())), during(vec![step(Action::RestartCoreDns)])];
    let (report, _) = reported(case, steps).await;
    let seen = &report.steps[1].streams[0];
    assert_eq!((seen.lost, report.verdict), (seen.sent, Verdict::Fail), "all are lost, and none may be");
    assert_eq!(report.steps[1].checks[0].line, 9);
}

/// What steps are held against that are taken later: what was taken, down to a stream's own.
#[tokio::test]
async fn what_was_not_taken_is_no_past() {
    let (case, id) = probed();
    let stream = Stream { probe: id.clone(), every: Duration::from_millis(5), lost: None, gap: None, line: 9 };
    let during = |steps: &[Step]| step(Action::During { streams: vec![stream.clone()], steps: steps.to_vec() });
    let inner = [step(Action::LinkDown(link())), wait(&id), step(Action::LinkUp(link()))];
    let refused = step(Action::Upgrade { chart: Default::default(), keep: cilium::release::Keep::Reuse });
    let steps = [step(Action::RestartAgents), refused, during(&inner), step(Action::RestartCoreDns)];
    let timeline = play(&steps, &case.probes, &mut Switch::new(case.clone())).await.expect("every step can be taken");
    assert_eq!(timeline.taken(), [step(Action::RestartAgents), during(&inner[..2])]);
    let vain = timeline.in_vain().expect("the link stays down");
    assert!(vain.starts_with("pod-to-pod: works was waited for in vain for 30ms: "), "{vain}");

    let timeline = play(&[wait(&id)], &case.probes, &mut Switch::new(case.clone())).await.expect("it is so already");
    assert_eq!(timeline.in_vain(), None);
}

#[tokio::test]
async fn helms_refusal_is_told_and_no_failure_by_itself() {
    let (case, _) = probed();
    let upgrade = step(Action::Upgrade { chart: Default::default(), keep: cilium::release::Keep::Reuse });
    let (report, _) = reported(case, vec![upgrade]).await;
    assert_eq!(report.steps[0].remark.as_deref(), Some("Helm refuses: no"));
    assert_eq!(report.verdict, Verdict::Pass);
}
