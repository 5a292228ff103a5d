//! Steps: what happens between installation and probes.

use std::net::Ipv4Addr;

use cilium::Version;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use topology::Network;
use topology::network::Role;
use topology::source::{Spanned, choices, shown};

use super::report::Report;
use crate::step::{Action, Step};

/// Something that happens once the cluster runs and before the probes are sent; in this order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", expecting = "a step: a map with one key, such as {overlay-down: worker}")]
pub enum StepFile {
    /// The node's tailscaled is killed: its overlay interface is gone, its peers aren't told.
    OverlayDown(Spanned<String>),
    /// An interface is set down, `master/enp0s6`.
    LinkDown(Spanned<String>),
    /// An interface is set up again and gets its default route back, `master/enp0s6`.
    LinkUp(Spanned<String>),
    /// `helm upgrade`. New values are in effect once the agents are restarted, as with the real chart.
    Upgrade(UpgradeFile),
    /// `agents` or `coredns`: every one of them is restarted.
    Restart(Spanned<String>),
    /// Kubelet is restarted with another `--node-ip`: a map from node to address. Agents read it at their start.
    NodeIp(indexmap::IndexMap<Spanned<String>, Spanned<String>>),
}

/// A `helm upgrade`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "an upgrade: a map such as {values: {devices: null}}"
)]
pub struct UpgradeFile {
    /// Helm values, laid over those of before; `null` takes away.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// More arguments of `helm --set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// `--reuse-values`; with false, `values` and `set` are all there is. Left out: true.
    pub reuse_values: Option<bool>,
    /// Another Cilium version, which restarts the agents.
    pub cilium: Option<Spanned<String>>,
}

/// All steps that make sense; the report has the others.
pub(super) fn read(steps: &[Spanned<StepFile>], network: &Network, report: &mut Report<'_>) -> Vec<Step> {
    let mut read = Vec::new();
    for step in steps {
        let line = step.at.line;
        let mut add = |action: Option<Action>| read.extend(action.map(|action| Step { action, line }));
        match &step.value {
            StepFile::OverlayDown(node) => add(overlay_down(node, network, report)),
            StepFile::LinkDown(link) => {
                add(link_of(link, network, report).map(|(node, interface)| Action::LinkDown { node, interface }))
            }
            StepFile::LinkUp(link) => {
                add(link_of(link, network, report).map(|(node, interface)| Action::LinkUp { node, interface }));
            }
            StepFile::Upgrade(upgrade) => add(upgrade_of(upgrade, report)),
            StepFile::Restart(what) => add(restart(what, report)),
            StepFile::NodeIp(addresses) => {
                for (node, address) in addresses {
                    add(node_ip(node, address, network, report));
                }
            }
        }
    }
    read
}

fn node<'a>(
    name: &Spanned<String>,
    network: &'a Network,
    report: &mut Report<'_>,
) -> Option<&'a topology::network::Node> {
    let found = network.node(name);
    if found.is_none() {
        let known = network.nodes.iter().map(|node| node.name.as_str());
        report.add(name.at, format!("there is no node `{}`", shown(name))).help(choices(name, "nodes here", known));
    }
    found
}

fn overlay_down(name: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<Action> {
    let node = node(name, network, report)?;
    if node.overlay_address.is_none() {
        report
            .add(name.at, format!("`{}` is not on the overlay", shown(name)))
            .help("name a node with `overlay-address`");
        return None;
    }
    Some(Action::OverlayDown { node: node.name.clone() })
}

fn link_of(link: &Spanned<String>, network: &Network, report: &mut Report<'_>) -> Option<(String, String)> {
    let Some((name, interface)) = link.split_once('/') else {
        report
            .add(link.at, format!("`{}` names no interface", shown(link)))
            .help("write NODE/INTERFACE: `master/enp0s6`");
        return None;
    };
    let node = node(&Spanned { value: name.to_owned(), at: link.at }, network, report)?;
    if node.nic(interface).is_none() {
        let known = node.nics.iter().map(|nic| nic.name.as_str());
        let overlay = network.overlay.as_ref().is_some_and(|overlay| overlay.interface == interface);
        let help = match overlay {
            true => "the overlay's interface goes with its program: use `overlay-down`".to_owned(),
            false => choices(interface, "interfaces there", known),
        };
        report.add(link.at, format!("`{name}` has no interface `{}`", shown(interface))).help(help);
        return None;
    }
    Some((name.to_owned(), interface.to_owned()))
}

fn upgrade_of(upgrade: &UpgradeFile, report: &mut Report<'_>) -> Option<Action> {
    let version = match &upgrade.cilium {
        None => None,
        Some(written) => match Version::parse(written) {
            Ok(version) => Some(version),
            Err(error) => {
                report.add(written.at, shown(&error.to_string()));
                return None;
            }
        },
    };
    Some(Action::Upgrade {
        values: upgrade.values.clone(),
        set: upgrade.set.clone(),
        reuse_values: upgrade.reuse_values.unwrap_or(true),
        version,
    })
}

fn restart(what: &Spanned<String>, report: &mut Report<'_>) -> Option<Action> {
    match what.as_str() {
        "agents" => Some(Action::RestartAgents),
        "coredns" => Some(Action::RestartCoreDns),
        other => {
            report.add(what.at, format!("`{}` can't be restarted", shown(other))).help(choices(
                other,
                "what can",
                ["agents", "coredns"],
            ));
            None
        }
    }
}

fn node_ip(
    name: &Spanned<String>,
    address: &Spanned<String>,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<Action> {
    let node = node(name, network, report)?;
    if node.role == Role::Host {
        report.add(name.at, format!("`{}` is not in the cluster, so it has no kubelet", shown(name)));
        return None;
    }
    let Ok(parsed) = address.parse::<Ipv4Addr>() else {
        report.add(address.at, format!("`{}` is not an IPv4 address", shown(address)));
        return None;
    };
    let own = node.nics.iter().flat_map(|nic| &nic.addresses).map(|net| net.addr()).chain(node.overlay_address);
    if !own.clone().any(|own| own == parsed) {
        let known = own.map(|own| own.to_string()).collect::<Vec<_>>().join(", ");
        report
            .add(address.at, format!("`{}` has no address {parsed}", shown(name)))
            .help(format!("kubelet refuses a node IP that the host doesn't have; it has {known}"));
        return None;
    }
    Some(Action::NodeIp { node: node.name.clone(), address: parsed })
}
