//! Whether two cases can differ at all where a model decides: the kernel carries decisions out, so where all of them are
//! the same, so is what becomes of packets.

use cilium::{Decisions, Rules};

use crate::case::{Case, Check, NodeFact, Subject};
use crate::engine::netns::agents;
use crate::engine::story::{Story, Taken};
use crate::engine::{inputs, install};
use crate::step::{self, Action, Step};

/// Whether Helm says the same to both, and each agent decides the same in everything that is carried out or asserted,
/// from the beginning to the end; whatever the reasons. Foretold from the topology, without building it. False where it
/// can't be told so: what links, addresses and routes come to that change is only known then.
pub fn decide_alike(a: &Case, b: &Case) -> bool {
    foretold(a).is_some_and(|a| Some(a) == foretold(b))
}

/// What happens at one moment: what Helm refuses, else what the agents that start decide.
#[derive(Debug, PartialEq)]
enum Moment {
    Refused(String),
    Start(Start),
}

/// Agents that start.
#[derive(Debug, PartialEq)]
struct Start {
    /// What each decides or dies of.
    agents: Vec<(String, Result<Decisions, String>)>,
    /// Of the version's and the configuration's rules, those that are carried out beside decisions.
    rules: [bool; 4],
}

/// Everything that happens to the agents, in order; none where that can't be told.
fn foretold(case: &Case) -> Option<Vec<Moment>> {
    let installed = match install::install(case) {
        Ok(installed) => installed,
        Err(refusal) => return Some(vec![Moment::Refused(refusal)]),
    };
    let mut story = Story::begin(case, &installed);
    let mut moments = Vec::new();
    if step::installed_at_start(&case.steps) {
        moments.push(start(&mut story));
    }
    for step in step::flat(&case.steps) {
        match &step.action {
            Action::Install(_) | Action::Upgrade { .. } | Action::RestartAgents | Action::NodeIp { .. } => {
                match story.take(&step.action) {
                    Taken::Refused(refusal) => moments.push(Moment::Refused(refusal)),
                    Taken::Starts => moments.push(start(&mut story)),
                    Taken::Nothing => {}
                }
            }
            // Agents take no notice.
            Action::Uninstall
            | Action::RestartCoreDns
            | Action::RestartKubelet
            | Action::OverlayRoam { .. }
            | Action::Block(_)
            | Action::Unblock { .. }
            | Action::Impair { .. }
            | Action::Repair(_)
            | Action::WaitFor { .. }
            | Action::Check { .. }
            | Action::During { .. } => {}
            Action::LinkDown(_)
            | Action::LinkUp(_)
            | Action::LinkDelete(_)
            | Action::DeviceAppears(_)
            | Action::AddressAdd { .. }
            | Action::AddressRemove { .. }
            | Action::RouteAdd(_)
            | Action::RouteRemove(_)
            | Action::OverlayDown { .. }
            | Action::OverlayUp { .. } => return None,
        }
    }
    Some(moments)
}

fn start(story: &mut Story) -> Moment {
    let installed = match story.start() {
        Ok(installed) => installed,
        Err(refusal) => return Moment::Refused(refusal),
    };
    let case = story.running();
    let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(case, node)).collect();
    let agents = agents::decide(case, &installed.config, &seen);
    let agents = agents.into_iter().map(|(node, agent)| {
        (node, agent.map(|decisions| outcome(decisions, case)).map_err(|fatal| fatal.to_string()))
    });
    let rules = Rules::of(&case.version);
    Moment::Start(Start {
        agents: agents.collect(),
        rules: [
            rules.mark_carries_identity,
            rules.rejects_without_backends,
            rules.local_to_stack,
            cilium::tunnel::carries_nodes(&installed.config),
        ],
    })
}

/// Decisions without their reasons, but where somebody asserts those.
fn outcome(mut decisions: Decisions, case: &Case) -> Decisions {
    decisions.because.clear();
    decisions.devices.iter_mut().for_each(|device| device.reason.clear());
    let asks = |check: &Check| matches!(check.subject, Subject::Node { fact: NodeFact::NotSelected, .. });
    let asks_then = |step: &Step| match &step.action {
        Action::Check { expectations, .. } => expectations.iter().any(asks),
        _ => false,
    };
    // Agents that start here may be looked at by any check that follows.
    let asserts_reasons = case.expectations.iter().any(asks) || step::flat(&case.steps).into_iter().any(asks_then);
    if !asserts_reasons {
        decisions.not_selected.iter_mut().for_each(|device| device.reason.clear());
    }
    decisions
}
