//! Which of a case's cells changed, and which of the changed decisions bear on each.

use indexmap::IndexMap;
use probe::evidence::OutcomeKind;
use serde_json::Value;

use super::moment::{Alone, Common, Moment};
use super::{Asserted, AtStep, CellChange, DecisionChange, Trend};
use crate::case::NodeFact;
use crate::report::human::shown;
use crate::report::schema::{Case, Check, Death, Probe};
use crate::verdict::Verdict;

/// What a cell is called that stands for a whole case.
const WHOLE: &str = "case";
const DNS_READY: &str = "dns-ready";
const HELM: &str = "helm";
/// How many entries a NAT table has differs from run to run; only what is asserted of it counts.
const NAT: &str = "nat";
const RUNNING: &str = "running";

/// Every cell that changed at a moment: probes in the scenario's order, then the rest. `decisions` are those that differ
/// then.
pub(super) fn changed(moment: &Common<'_>, decisions: &[DecisionChange]) -> Vec<CellChange> {
    let pair = Pair { step: moment.step.as_ref(), before: moment.before, after: moment.after, decisions };
    let mut cells = pair.probes();
    cells.extend(pair.checks());
    cells.extend(pair.unasserted());
    cells
}

/// The one cell of two cases of which one was not observed at all, none where they came to the same; nothing where both
/// were observed.
pub(super) fn unobserved(before: &Case, after: &Case) -> Option<Vec<CellChange>> {
    nothing(before).or_else(|| nothing(after)).map(|_| whole(before, after))
}

/// Why nothing was observed of a case, if nothing was.
fn nothing(case: &Case) -> Option<String> {
    let observed = case.helm.is_some() || !case.nodes.is_empty();
    (!observed).then(|| case.reason.clone().unwrap_or_else(|| "nothing was observed".to_owned()))
}

/// What the checks came to of a step that only one of two cases has.
pub(super) fn alone(alone: Alone<'_>) -> CellChange {
    let verdict = alone.step.checks.iter().map(|check| check.verdict).max().map(|verdict| verdict.to_string());
    let (before, after) = if alone.is_before { (verdict, None) } else { (None, verdict) };
    let subject = alone.at.step.clone();
    unasserted(Some(alone.at), subject, before, after)
}

/// A cell of no probe and of no node in particular, of which nothing is asserted.
fn unasserted(step: Option<AtStep>, subject: String, before: Option<String>, after: Option<String>) -> CellChange {
    CellChange {
        step,
        subject,
        is_probe: false,
        nodes: Vec::new(),
        before,
        after,
        asserted: None,
        trend: Trend::Neither,
        behind: Vec::new(),
    }
}

/// The one cell of two cases that came to something else though none of these cells tells why.
pub(super) fn untold(before: &Case, after: &Case, cells: &[CellChange]) -> Vec<CellChange> {
    let tells = |cell: &CellChange| cell.asserted.is_some_and(|verdicts| verdicts.before != verdicts.after);
    if before.verdict == after.verdict || cells.iter().any(tells) {
        return Vec::new();
    }
    whole(before, after)
}

fn whole(before: &Case, after: &Case) -> Vec<CellChange> {
    let text = |case: &Case| match nothing(case).as_ref().or(case.reason.as_ref()) {
        Some(reason) => format!("{}: {reason}", case.verdict),
        None => case.verdict.to_string(),
    };
    let (was, is) = (text(before), text(after));
    if was == is {
        return Vec::new();
    }
    let asserted = Some(Asserted { before: before.verdict, after: after.verdict });
    let cell = unasserted(None, WHOLE.to_owned(), Some(was), Some(is));
    vec![CellChange { asserted, trend: Trend::of(asserted), ..cell }]
}

struct Pair<'a> {
    step: Option<&'a AtStep>,
    before: Moment<'a>,
    after: Moment<'a>,
    decisions: &'a [DecisionChange],
}

impl Pair<'_> {
    fn probes(&self) -> Vec<CellChange> {
        let mut ids: Vec<&str> = self.before.probes.iter().map(|probe| probe.id.as_str()).collect();
        ids.extend(
            self.after.probes.iter().map(|probe| probe.id.as_str()).filter(|id| self.before.probe(id).is_none()),
        );
        ids.into_iter().filter_map(|id| self.probe(id)).collect()
    }

    fn probe(&self, id: &str) -> Option<CellChange> {
        let (was, is) = (self.before.probe(id), self.after.probe(id));
        let asserted = both(was.and_then(|probe| probe.verdict), is.and_then(|probe| probe.verdict));
        let (before, after, behind) = match (was, is) {
            (Some(was), Some(is)) => {
                let differences = Differences::between(was, is);
                if !differences.any() && asserted.is_none_or(|verdicts| verdicts.before == verdicts.after) {
                    return None;
                }
                let behind = self.behind_probe(was, is, &differences);
                let (mut before, mut after) = (differences.text(was), differences.text(is));
                if before == after {
                    // An MTU that was told, say: then the assertion says in what they differ.
                    before = asserted_text(self.before, id).unwrap_or(before);
                    after = asserted_text(self.after, id).unwrap_or(after);
                }
                (Some(before), Some(after), behind)
            }
            (was, is) => {
                let alone = |probe: &Probe| Differences::default().text(probe);
                (was.map(alone), is.map(alone), Vec::new())
            }
        };
        Some(CellChange {
            step: self.step.cloned(),
            subject: id.to_owned(),
            is_probe: true,
            nodes: Vec::new(),
            before,
            after,
            asserted,
            trend: Trend::of(asserted),
            behind,
        })
    }

    /// What is asserted of anything but probes. Nodes of which the same is to be said are told together.
    fn checks(&self) -> Vec<CellChange> {
        type Key<'a> = (&'a str, Option<&'a str>);
        let mut all: IndexMap<Key<'_>, [Option<&Check>; 2]> = IndexMap::new();
        for (side, moment) in [self.before, self.after].into_iter().enumerate() {
            for check in moment.checks.iter().filter(|check| check.node.is_some() || moment.probe(&check.id).is_none())
            {
                all.entry((&check.id, check.node.as_deref())).or_default()[side] = Some(check);
            }
        }
        let mut cells: Vec<CellChange> = Vec::new();
        for ((id, node), [was, is]) in all {
            let before = was.map(|check| measured(check, is));
            let after = is.map(|check| measured(check, was));
            let asserted = both(was.map(|check| check.verdict), is.map(|check| check.verdict));
            let alike = asserted.is_none_or(|verdicts| verdicts.before == verdicts.after);
            // What is wrong with a NAT table is told with ports, which differ from run to run.
            let varies = id == NAT || self.before.counts || self.after.counts;
            if alike && (before == after || (varies && asserted.is_some())) {
                continue;
            }
            let same = |cell: &&mut CellChange| {
                node.is_some()
                    && cell.subject == id
                    && (&cell.before, &cell.after) == (&before, &after)
                    && cell.asserted == asserted
            };
            if let Some(known) = cells.iter_mut().find(same) {
                known.nodes.extend(node.map(str::to_owned));
                continue;
            }
            cells.push(CellChange {
                step: self.step.cloned(),
                subject: id.to_owned(),
                is_probe: false,
                nodes: node.map(str::to_owned).into_iter().collect(),
                behind: self.behind_check(id, node),
                before,
                after,
                asserted,
                trend: Trend::of(asserted),
            });
        }
        let everywhere = |nodes: &[String]| nodes.len() == self.before.nodes.len();
        cells.iter_mut().filter(|cell| everywhere(&cell.nodes)).for_each(|cell| cell.nodes.clear());
        cells
    }

    /// Helm's answer and CoreDNS, where nobody asserts anything about them.
    fn unasserted(&self) -> Vec<CellChange> {
        let is_checked = |id: &str| {
            let moments = [self.before, self.after];
            moments.iter().any(|moment| moment.checks.iter().any(|check| check.id == id))
        };
        let helm = |moment: Moment<'_>| {
            let helm = moment.helm?;
            Some(match &helm.reason {
                Some(reason) => format!("refused: {reason}"),
                None => "accepted".to_owned(),
            })
        };
        let dns = |moment: Moment<'_>| moment.dns.map(|dns| format!("{} of {}", dns.ready, dns.replicas));
        let both = [(HELM, helm(self.before), helm(self.after)), (DNS_READY, dns(self.before), dns(self.after))];
        both.into_iter()
            .filter(|(id, before, after)| before != after && !is_checked(id))
            .map(|(id, before, after)| CellChange {
                behind: self.behind_check(id, None),
                ..unasserted(self.step.cloned(), id.to_owned(), before, after)
            })
            .collect()
    }

    /// Whether values are refused on one side only, so that all else follows from that.
    fn helm_changed(&self) -> bool {
        let accepted = |moment: Moment<'_>| moment.case.helm.as_ref().is_some_and(|helm| helm.accepted);
        accepted(self.before) != accepted(self.after)
    }

    fn names<'a>(decisions: impl Iterator<Item = &'a DecisionChange>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for change in decisions {
            if !names.contains(&change.decision) {
                names.push(change.decision.clone());
            }
        }
        names
    }

    fn behind_check(&self, id: &str, node: Option<&str>) -> Vec<String> {
        if id == HELM {
            return Vec::new();
        }
        if self.helm_changed() {
            return vec![HELM.to_owned()];
        }
        let of = |change: &&DecisionChange| node.is_none_or(|node| change.nodes.iter().any(|other| other == node));
        // Why a device is left out follows from the rule that selects.
        let rule = |name: &str| id == NodeFact::NotSelected.name() && name == NodeFact::Devices.name();
        let own =
            |change: &&DecisionChange| node.is_none() || id == NAT || change.decision == id || rule(&change.decision);
        let found = Self::names(self.decisions.iter().filter(of).filter(own));
        // What can't be said of an agent that died.
        let died = || Self::names(self.decisions.iter().filter(of).filter(|change| is(change, NodeFact::Agent)));
        match node {
            Some(_) if found.is_empty() => died(),
            Some(_) if id != NAT => found,
            _ => lead(found, None),
        }
    }

    fn behind_probe(&self, was: &Probe, is: &Probe, differences: &Differences) -> Vec<String> {
        if self.helm_changed() {
            return vec![HELM.to_owned()];
        }
        // Without every agent nothing is sent at all.
        if differences.sent {
            let died = self.decisions.iter().filter(|change| self::is(change, NodeFact::Agent));
            return Self::names(died);
        }
        let nodes = self.nodes_of(is);
        let near = |change: &&DecisionChange| {
            nodes.is_empty() || change.nodes.iter().any(|node| nodes.iter().any(|near| near == node))
        };
        let found = Self::names(self.decisions.iter().filter(near));
        let size = [was, is].iter().any(|probe| probe.outcome == Some(OutcomeKind::TooBig));
        let mtu = NodeFact::PodMtu.name();
        if size && found.iter().any(|name| name == mtu) {
            return vec![mtu.to_owned()];
        }
        lead(found, Some(is))
    }

    /// The nodes of the cluster that a probe has to do with for sure; none where it may be any.
    fn nodes_of(&self, probe: &Probe) -> Vec<&str> {
        // Services stand for pods anywhere.
        if meets_any_replica(probe) {
            return Vec::new();
        }
        let node = |place: &str| {
            let name = place.split(['/', ':']).next().unwrap_or_default();
            self.after.nodes.get_key_value(name).map(|(name, _)| name.as_str())
        };
        match (node(&probe.from), node(&probe.to)) {
            (Some(from), Some(to)) => vec![from, to],
            (Some(from), None) if probe.to.parse::<std::net::Ipv4Addr>().is_ok() => vec![from],
            (None, Some(to)) => vec![to],
            _ => Vec::new(),
        }
    }
}

/// What was measured of a decision, or of what follows from them, and differs from what it's compared with.
fn measured(check: &Check, other: Option<&Check>) -> String {
    match &check.measured {
        // Last words are told with the decision.
        Value::String(words) if check.id == NodeFact::Agent.name() && words != RUNNING => "dies".to_owned(),
        Value::Object(map) => {
            let same = |key: &String, value: &Value| other.is_some_and(|other| other.measured.get(key) == Some(value));
            let differing = map.iter().filter(|(key, value)| !same(key, value));
            differing.map(|(key, value)| format!("{key}: {}", shown(value))).collect::<Vec<_>>().join("; ")
        }
        _ if check.id == NAT && check.verdict == Verdict::Pass => "as asserted".to_owned(),
        _ if check.id == NAT => check.message.clone(),
        value => shown(value),
    }
}

/// What was measured of a probe, in the terms of what is asserted.
fn asserted_text(moment: Moment<'_>, id: &str) -> Option<String> {
    let check = moment.checks.iter().find(|check| check.id == id && check.node.is_none())?;
    (!check.measured.is_null()).then(|| shown(&check.measured))
}

/// Whether any replica of CoreDNS may have to do with a probe: which one, chance decides.
fn meets_any_replica(probe: &Probe) -> bool {
    matches!(probe.kind.as_str(), "dns" | "http" | "https")
}

fn is(change: &DecisionChange, fact: NodeFact) -> bool {
    change.decision == fact.name()
}

/// Of several decisions that changed, those that can be behind an outcome. Where only one changed, it is that one.
fn lead(found: Vec<String>, probe: Option<&Probe>) -> Vec<String> {
    // NodePort's addresses matter to who comes from outside of the pods; an MTU to what is too big, which is told by
    // itself; why a device was left out to nobody.
    let from_pod = probe.is_none_or(|probe| probe.from.contains("/pod"));
    let side = |name: &str| {
        name == NodeFact::PodMtu.name()
            || name == NodeFact::NotSelected.name()
            || (name == NodeFact::NodePortAddresses.name() && from_pod)
    };
    let leading: Vec<_> = found.iter().filter(|name| !side(name)).cloned().collect();
    if leading.is_empty() { found } else { leading }
}

fn both(before: Option<Verdict>, after: Option<Verdict>) -> Option<Asserted> {
    Some(Asserted { before: before?, after: after? })
}

/// In what two probes differ, so that their cells say that and no more.
#[derive(Default)]
struct Differences {
    sent: bool,
    outcome: bool,
    source: bool,
    answer: bool,
    death: bool,
}

impl Differences {
    fn between(was: &Probe, is: &Probe) -> Self {
        // Where a query dies depends on the replica it met: by itself that is no change.
        let anywhere = meets_any_replica(was) && meets_any_replica(is);
        let place = |death: &Death| {
            let at = (!anywhere).then(|| (death.at.clone(), death.interface.clone()));
            (at, death.cause.clone())
        };
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        Self {
            sent: was.outcome.is_some() != is.outcome.is_some(),
            outcome: was.outcome_text != is.outcome_text || was.status != is.status,
            source: differ(&was.source_seen, &is.source_seen),
            // Other answers hold ports, or say again which source was seen.
            answer: was.kind == "dns" && differ(&was.answer, &is.answer),
            death: was.death.as_ref().map(place) != is.death.as_ref().map(place),
        }
    }

    fn any(&self) -> bool {
        self.sent || self.outcome || self.source || self.answer || self.death
    }

    /// A probe's cell.
    fn text(&self, probe: &Probe) -> String {
        const SHOWN: usize = 60;
        let mut text = probe.outcome_text.clone().unwrap_or_else(|| "not sent".to_owned());
        if let (true, Some(source)) = (self.source, &probe.source_seen) {
            text = format!("{text}, source {source}");
        }
        if let (true, Some(answer)) = (self.answer, &probe.answer) {
            let answer: String = answer.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
            text = format!("{text}, answer {answer}");
        }
        match &probe.death {
            Some(death) => {
                let interface = death.interface.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
                format!("{text} at {}{interface}: {}", death.at, death.cause)
            }
            // Silence on both sides differs in that.
            None if self.death && !self.outcome => format!("{text}, death not witnessed"),
            None => text,
        }
    }
}
