//! Whether two cases can differ at all where a model decides: the kernel carries decisions out, so where all of them are
//! the same, so is what becomes of packets.

use cilium::Decisions;

use crate::case::{Case, NodeFact};
use crate::engine::netns::agents;
use crate::engine::{inputs, install};

/// Whether Helm says the same to both, and each agent decides the same in everything that is carried out or asserted;
/// whatever the reasons. Foretold from the topology, without building it. False where it can't be told so: what steps
/// come to is only known when they are taken.
pub fn decide_alike(a: &Case, b: &Case) -> bool {
    let has_steps = !a.steps.is_empty() || !b.steps.is_empty();
    !has_steps && foretold(a) == foretold(b)
}

/// What Helm says, else what each agent decides or dies of.
type Foretold = Result<Vec<(String, Result<Decisions, String>)>, String>;

fn foretold(case: &Case) -> Foretold {
    let installed = install::install(case)?;
    let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(case, node)).collect();
    let agents = agents::decide(case, &installed.config, &seen);
    Ok(agents
        .into_iter()
        .map(|(node, agent)| (node, agent.map(|decisions| outcome(decisions, case)).map_err(|fatal| fatal.to_string())))
        .collect())
}

/// Decisions without their reasons, but where somebody asserts those.
fn outcome(mut decisions: Decisions, case: &Case) -> Decisions {
    decisions.because.clear();
    decisions.devices.iter_mut().for_each(|device| device.reason.clear());
    let asserts_reasons = case
        .expectations
        .iter()
        .any(|check| matches!(check.subject, crate::case::Subject::Node { fact: NodeFact::NotSelected, .. }));
    if !asserts_reasons {
        decisions.not_selected.iter_mut().for_each(|device| device.reason.clear());
    }
    decisions
}
