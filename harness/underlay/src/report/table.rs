//! What a table of a scenario holds, whoever draws it: variants in rows, what is measured in columns.

use serde_json::Value;

use super::schema::steps::Step;
use super::schema::{Case, Check};
use crate::case::NodeFact;
use crate::verdict::{Provenance, Verdict};

/// What a live agent is measured as.
pub const RUNNING: &str = "running";

/// A cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// What was measured, in few words. Empty where there is nothing to tell.
    pub text: String,
    /// How it is to look.
    pub look: Look,
    /// Whether somebody's claim about it is refuted.
    pub refuted: bool,
}

/// How a cell is to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Look {
    /// As it must be, and nothing special.
    #[default]
    Plain,
    /// Measured, but nothing is asserted of it.
    Faint,
    /// As it must be, and an answer came.
    Good,
    /// Not as it must be.
    Bad,
    /// No proof either way, or not tried.
    Doubtful,
    /// As it must be, but somebody said otherwise.
    Refuted,
}

/// `model: guide · Cilium 1.18.2 · engine netns (model)`, with Kubernetes' version where there is one,
/// and the overlay where the kernel carries it.
pub fn conditions(case: &Case) -> String {
    let decisions = match case.decisions {
        Provenance::Model => "model",
        Provenance::Real => "real",
        Provenance::Stub => "stub",
    };
    let unverified = if case.cilium_verified { "" } else { " (unverified)" };
    let kubernetes = case.kubernetes.as_ref().map(|version| format!(" · Kubernetes {version}")).unwrap_or_default();
    let has_overlay = || case.topology.as_ref().is_none_or(|topology| topology.overlay.is_some());
    let overlay = if case.kernel_overlay && has_overlay() { " · overlay by the kernel" } else { "" };
    let Case { model, cilium, engine, .. } = case;
    format!("model: {model} · Cilium {cilium}{unverified}{kubernetes} · engine {engine} ({decisions}){overlay}")
}

/// Cases that share a table: the same scenario, engine, model and versions.
pub fn groups(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases {
        let same = |group: &&mut Vec<&Case>| {
            let key = |case: &Case| {
                let Case { scenario, engine, model, cilium, kubernetes, kernel_overlay, .. } = case;
                (scenario.clone(), engine.clone(), model.clone(), cilium.clone(), kubernetes.clone(), *kernel_overlay)
            };
            key(group[0]) == key(case)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    groups
}

/// What the table shows, probes first, each once, in the order of the first variant that has it.
pub fn subjects(group: &[&Case]) -> Vec<String> {
    let mut probes: Vec<String> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for case in group {
        let checked = case.checks.iter().map(|check| &check.id);
        for id in checked.chain(case.claims.iter().map(|claim| &claim.id)) {
            let list = if case.probe(id).is_some() { &mut probes } else { &mut others };
            if !list.contains(id) {
                list.push(id.clone());
            }
        }
    }
    probes.append(&mut others);
    probes
}

/// What a table shows of a thing in a case.
pub fn cell(case: &Case, id: &str) -> Cell {
    let checks: Vec<_> = case.checks.iter().filter(|check| check.id == id).collect();
    let claims: Vec<_> = case.claims.iter().filter(|claim| claim.id == id).collect();
    if checks.is_empty() && claims.is_empty() {
        let measured = case.probe(id).and_then(|probe| probe.outcome_text.as_deref());
        return Cell { text: measured.map(signed).unwrap_or_default(), look: Look::Faint, refuted: false };
    }
    let verdict = checks.iter().map(|check| check.verdict).max();
    let mut text = match case.probe(id) {
        Some(probe) => match (probe.outcome_text.as_deref(), verdict) {
            (None, _) => "– not sent".to_owned(),
            (Some("works"), Some(Verdict::Fail)) => format!("✓ {}", worst(&checks)),
            (Some(outcome), _) => signed(outcome),
        },
        // Of several nodes the first one speaks for all, unless another is to blame.
        None => match (checks.iter().find(|check| Some(check.verdict) == verdict), claims.first()) {
            (Some(check), _) if check.verdict == Verdict::Pass => shown(&check.measured),
            (Some(Check { node: Some(node), measured, .. }), _) if !measured.is_null() => {
                format!("{} ({node})", shown(measured))
            }
            (Some(check), _) => shown(&check.measured),
            (None, Some(claim)) => shown(&claim.measured),
            (None, None) => String::new(),
        },
    };
    // An agent's last words are too many for a cell; they are told below.
    if id == NodeFact::Agent.name() && !text.starts_with(RUNNING) {
        text = "dies".to_owned();
    }
    let refuted = claims.iter().any(|claim| claim.held == Some(false));
    let look = match verdict {
        Some(Verdict::Fail | Verdict::Error) => Look::Bad,
        Some(Verdict::Inconclusive | Verdict::Skip) => Look::Doubtful,
        _ if refuted => Look::Refuted,
        Some(Verdict::Pass) if text.starts_with('✓') => Look::Good,
        _ => Look::Plain,
    };
    Cell { text, look, refuted }
}

/// The table's cross and tick say whether an answer came, as the guide's do; not whether that was right.
pub fn signed(outcome: &str) -> String {
    if outcome == "works" { "✓ works".to_owned() } else { format!("✗ {outcome}") }
}

fn worst(checks: &[&Check]) -> String {
    let worst = checks.iter().max_by_key(|check| check.verdict);
    worst.map(|check| shown(&check.measured)).unwrap_or_default()
}

/// A value as people write it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
    }
}

/// The same with a map's values, where there is room.
pub fn shown_whole(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}: {}", shown(value))).collect::<Vec<_>>().join("; ")
        }
        other => shown(other),
    }
}

/// `check healthy: node-ip of master`, `pod-to-pod`: what an unmet check is about, and in which step.
pub fn about_in(step: Option<&Step>, check: &Check) -> String {
    let about = about(&check.id, check.node.as_deref());
    match step {
        // What a wait came to is called by its step already.
        Some(step) if step.step != check.id => format!("{}: {about}", step.step),
        _ => about,
    }
}

/// `node-ip of master`, `pod-to-pod`
pub fn about(id: &str, node: Option<&str>) -> String {
    match node {
        Some(node) => format!("{id} of {node}"),
        None => id.to_owned(),
    }
}
