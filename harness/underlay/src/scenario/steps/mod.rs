//! Steps: from what is written to what happens; or why it can't.
//!
//! They are read in order, each against the [`World`] that the ones before have left.

pub mod file;
mod looks;
mod network;
mod world;

use std::net::Ipv4Addr;

use cilium::Version;
use cilium::release::Keep;
use indexmap::IndexMap;
use topology::Network;
use topology::source::{Position, Spanned, choices, shown};

use super::cluster::cluster_node;
use super::expect::{Block, Item};
use super::matrix::{self, Combination};
use super::probes::Probes;
use super::report::Report;
use crate::step::{Action, Chart, Step, installed_at_start};
use file::{InstallFile, StepFile, UpgradeFile};
use world::World;

/// Expectations by the name of their set: in which combinations a block holds, and what it says.
pub(super) type Checks<'a> = IndexMap<&'a str, Vec<(Vec<bool>, Vec<Item>)>>;

/// What steps refer to.
pub(super) struct Context<'a> {
    pub(super) network: &'a Network,
    pub(super) probes: &'a Probes<'a>,
    pub(super) checks: &'a Checks<'a>,
    /// Every variant; none where they are wrong.
    pub(super) combinations: Option<&'a [Combination<'a>]>,
    /// Which of them this is.
    pub(super) index: usize,
    /// The Cilium version at the beginning.
    pub(super) version: Option<Version>,
}

impl Context<'_> {
    /// Whether a block holds in this variant.
    fn selects(&self, block: &Block<'_>, report: &mut Report<'_>) -> bool {
        match self.combinations {
            Some(all) => matrix::select(block.variants, all, report).get(self.index) == Some(&true),
            None => false,
        }
    }
}

/// All steps that make sense; the report has the others.
pub(super) fn read(steps: &[Spanned<StepFile>], context: &Context<'_>, report: &mut Report<'_>) -> Vec<Step> {
    let mut world = World::new(context.network, context.version.clone(), installs_first(steps));
    read_in(steps, context, &mut world, report)
}

/// The same of steps that are to be taken in a lab that is up, after others were. What it began with is `begun`: all of
/// the case's own steps, whatever became of them.
pub(super) fn read_after(
    begun: &[Step],
    taken: &[Step],
    steps: &[Spanned<StepFile>],
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Vec<Step> {
    let mut world = World::new(context.network, context.version.clone(), !installed_at_start(begun));
    taken.iter().for_each(|step| world.after(&step.action));
    read_in(steps, context, &mut world, report)
}

/// Whether the first step about Cilium's installation installs it.
fn installs_first(steps: &[Spanned<StepFile>]) -> bool {
    fn first(steps: &[Spanned<StepFile>]) -> Option<bool> {
        steps.iter().find_map(|step| match &step.value {
            StepFile::Install(_) => Some(true),
            StepFile::Uninstall(_) => Some(false),
            StepFile::During(during) => first(&during.steps.value),
            _ => None,
        })
    }
    first(steps).unwrap_or(false)
}

fn read_in(
    steps: &[Spanned<StepFile>],
    context: &Context<'_>,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> Vec<Step> {
    let mut read = Vec::new();
    for step in steps {
        if report.is_full() {
            break;
        }
        let line = step.at.line;
        for action in read_one(step, context, world, report) {
            read.push(Step { action, line });
        }
    }
    read
}

fn read_one(
    step: &Spanned<StepFile>,
    context: &Context<'_>,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> Vec<Action> {
    let at = step.at;
    let one = |action: Option<Action>| action.into_iter().collect();
    match &step.value {
        StepFile::Install(file) => one(install(file, at, world, report)),
        StepFile::Uninstall(what) => one(uninstall(what, world, report)),
        StepFile::Upgrade(file) => one(upgrade(file, at, world, report)),
        StepFile::Restart(what) => one(restart(what, world, report)),
        StepFile::NodeIp(addresses) => {
            addresses.iter().filter_map(|(node, address)| node_ip(node, address, world, report)).collect()
        }
        StepFile::Check(_) | StepFile::Expect(_) | StepFile::WaitFor(_) | StepFile::During(_) if !world.pods => {
            report
                .add(at, "there is no cluster yet to look at")
                .help("`install` comes later in these steps; look after it");
            Vec::new()
        }
        StepFile::Check(name) => one(looks::check(name, context, report)),
        StepFile::Expect(blocks) => one(Some(looks::expect(blocks, context, report))),
        StepFile::WaitFor(file) => one(looks::wait_for(file, at, context, report)),
        StepFile::During(file) => one(looks::during(file, at, context, world, report)),
        other => network::read(other, world, report),
    }
}

fn chart(
    values: &serde_json::Map<String, serde_json::Value>,
    set: &[String],
    cilium: Option<&Spanned<String>>,
    report: &mut Report<'_>,
) -> Option<Chart> {
    let version = match cilium.map(|written| Version::parse(written)) {
        None => None,
        Some(Ok(version)) => Some(version),
        Some(Err(error)) => {
            let at = cilium.map(|written| written.at).unwrap_or(Position { line: 1, column: 1, length: 0 });
            report.add(at, shown(&error.to_string()));
            return None;
        }
    };
    Some(Chart { values: values.clone(), set: set.to_vec(), version })
}

fn install(file: &InstallFile, at: Position, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    if world.installed {
        report
            .add(at, "Cilium is installed already when this step comes")
            .help("`uninstall: cilium` before it, or `upgrade` in its place");
        return None;
    }
    let chart = chart(&file.values, &file.set, file.cilium.as_ref(), report)?;
    Some(world.take(Action::Install(chart)))
}

fn uninstall(what: &Spanned<String>, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    if what.value != "cilium" {
        report.add(what.at, format!("`{}` can't be uninstalled", shown(what))).help(choices(
            what,
            "what can",
            ["cilium"],
        ));
        return None;
    }
    needs_cilium(what.at, world, report)?;
    Some(world.take(Action::Uninstall))
}

fn needs_cilium(at: Position, world: &World<'_>, report: &mut Report<'_>) -> Option<()> {
    if !world.installed {
        report.add(at, "Cilium is not installed when this step comes").help("`install` it before: `- install: {}`");
        return None;
    }
    Some(())
}

fn upgrade(file: &UpgradeFile, at: Position, world: &mut World<'_>, report: &mut Report<'_>) -> Option<Action> {
    needs_cilium(at, world, report)?;
    let flags = [
        (&file.reuse_values, Keep::Reuse),
        (&file.reset_values, Keep::Reset),
        (&file.reset_then_reuse_values, Keep::ResetThenReuse),
    ];
    let mut given = flags.iter().filter_map(|(flag, keep)| flag.filter(|flag| flag.value).map(|flag| (flag.at, *keep)));
    let keep = given.next().map_or(Keep::AsHelm, |(_, keep)| keep);
    if let Some((at, _)) = given.next() {
        report
            .add(at, "two flags say what becomes of the values of before")
            .help("one of `reuse-values`, `reset-values`, `reset-then-reuse-values`");
    }
    let chart = chart(&file.values, &file.set, file.cilium.as_ref(), report)?;
    if let (Some(new), Some(old), Some(written)) = (&chart.version, &world.version, &file.cilium) {
        if new == old {
            report
                .add(written.at, format!("it is Cilium {old} already when this step comes"))
                .help("name a newer version, or leave `cilium` out to change values only");
        } else if new < old && !file.downgrade {
            report
                .add(written.at, format!("{new} is older than {old}, which runs when this step comes"))
                .help("name a newer version, or say `downgrade: true`");
        }
    }
    Some(world.take(Action::Upgrade { chart, keep }))
}

fn restart(what: &Spanned<String>, world: &World<'_>, report: &mut Report<'_>) -> Option<Action> {
    match what.as_str() {
        "agents" => needs_cilium(what.at, world, report).map(|()| Action::RestartAgents),
        "coredns" if world.pods => Some(Action::RestartCoreDns),
        "coredns" => {
            report.add(what.at, "there is no CoreDNS yet").help("`install` comes later in these steps");
            None
        }
        "kubelet" => Some(Action::RestartKubelet),
        other => {
            report.add(what.at, format!("`{}` can't be restarted", shown(other))).help(choices(
                other,
                "what can",
                ["agents", "coredns", "kubelet"],
            ));
            None
        }
    }
}

fn node_ip(
    name: &Spanned<String>,
    address: &Spanned<String>,
    world: &World<'_>,
    report: &mut Report<'_>,
) -> Option<Action> {
    let node = cluster_node(name, world.network, report)?;
    let Ok(parsed) = address.parse::<Ipv4Addr>() else {
        report.add(address.at, format!("`{}` is not an IPv4 address", shown(address)));
        return None;
    };
    if !world.of_node(&node.name).any(|own| own == parsed) {
        let known = world.of_node(&node.name).map(|own| own.to_string()).collect::<Vec<_>>().join(", ");
        report
            .add(address.at, format!("`{}` has no address {parsed} when this step comes", shown(name)))
            .help(format!("kubelet refuses a node IP that the host doesn't have; it has {known}"));
        return None;
    }
    Some(Action::NodeIp { node: node.name.clone(), address: parsed })
}
