//! `underlay plan`: what each node's agent would decide, without building anything.

use std::fmt::Write as _;
use std::io::{self, Write};

use cilium::decisions::{Egress, Masquerade};
use cilium::{Decisions, Values};
use serde_json::{Value, json};

use super::test::Format;
use super::{Stop, select};
use crate::case::{Case, NodeFact};
use crate::engine::netns::agents;
use crate::engine::{inputs, install};
use crate::exit;
use crate::report::human::{shown, tame_text, wrap};
use crate::report::paint::{Color, Paint};
use crate::scenario::Overrides;
use crate::verdict;

const EXAMPLES: &str = "\
Examples:
  underlay plan scenarios/guide/table.yaml
  underlay plan scenarios/guide/table.yaml::enp0s6
  underlay plan --model cilium --cilium 1.19.0 scenarios/guide/table.yaml";

/// Show what Cilium decides in a scenario, and why, without building anything.
///
/// Needs no privileges: what the agents would see is foretold from the topology.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Scenario files, folders of them, or FILE::VARIANT.
    #[arg(required = true)]
    scenario: Vec<select::Target>,

    /// Whose rules decide, in place of what the file says: `cilium` or `guide`.
    #[arg(long, value_name = "MODEL")]
    model: Option<cilium::Model>,

    /// The Cilium version, in place of what the file says.
    #[arg(long, value_name = "VERSION")]
    cilium: Option<cilium::Version>,

    /// How to write the plan.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// So many characters of a list of values go into a line.
const WIDTH: usize = 70;

/// A node and what its agent decides, or dies of.
type Agent = (String, Result<Decisions, String>);

/// What comes of a case's values.
struct Plan<'a> {
    case: &'a Case,
    modelled: Vec<String>,
    not_modelled: Vec<String>,
    unknown: Vec<String>,
    /// Helm's refusal, or each node's agent.
    agents: Result<Vec<Agent>, String>,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let overrides = Overrides { model: args.model, version: args.cilium.clone(), deadline: None };
    let cases = select::cases(&args.scenario, &[], &overrides)?;
    let plans: Vec<_> = cases.iter().map(|case| plan(case)).collect();
    let text = match args.format {
        Format::Human => {
            let paint = color.for_stream(&io::stdout());
            plans.iter().map(|plan| human(plan, paint)).collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let plans: Vec<_> = plans.iter().map(machine).collect();
            format!("{:#}\n", json!({ "schema": "underlay.plan/1", "plans": plans }))
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(exit::OK)
}

fn plan(case: &Case) -> Plan<'_> {
    let mut values = Values::from(case.values.clone());
    // An argument that Helm refuses is told of below.
    case.set.iter().for_each(|argument| drop(values.set(argument)));
    let sorted = values.sort(&case.version);
    let agents = install::install(case).map(|installed| {
        let seen: Vec<_> = case.network.cluster_nodes().map(|node| inputs::predict(case, node)).collect();
        agents::decide(case, &installed.config, &seen)
            .into_iter()
            .map(|(node, agent)| (node, agent.map_err(|fatal| fatal.to_string())))
            .collect()
    });
    Plan {
        case,
        modelled: sorted.modelled,
        not_modelled: sorted.not_modelled,
        unknown: sorted.unknown.iter().map(ToString::to_string).collect(),
        agents,
    }
}

/// For people. Values and what is decided by them are a file's words, which are not to move a terminal's cursor.
fn human(plan: &Plan<'_>, paint: Paint) -> String {
    let case = plan.case;
    let id = tame_text(&case.id());
    let mut out = format!("{} — model: {} · Cilium {}\n", paint.strong(&id), case.model, case.version);
    let mut values = |name: &str, list: &[String]| {
        if !list.is_empty() {
            let lines = wrap(&tame_text(&list.join(", ")), WIDTH, &[' ']);
            let _ = writeln!(out, "  {name:<24}{}", lines.join(&format!("\n{:26}", "")));
        }
    };
    values("values modelled", &plan.modelled);
    values("--set", &case.set);
    values("values not modelled", &plan.not_modelled);
    values("values not in the chart", &plan.unknown);
    let agents = match &plan.agents {
        Ok(agents) => agents,
        Err(refusal) => {
            let _ = writeln!(out, "  {} {}", paint.bad("Helm refuses:"), tame_text(refusal));
            return out;
        }
    };
    for (node, agent) in agents {
        match agent {
            Ok(decisions) => out.push_str(&agent_text(node, decisions, paint)),
            Err(fatal) => {
                let (node, fatal) = (tame_text(node), tame_text(fatal));
                let _ = writeln!(out, "\n  {}\n    {} {fatal}", paint.strong(&node), paint.bad("the agent dies:"));
            }
        }
    }
    out
}

fn agent_text(node: &str, decisions: &Decisions, paint: Paint) -> String {
    let mut out = format!("\n  {}\n", paint.strong(&tame_text(node)));
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "    {:<24}{}", tame_text(name), tame_text(text));
    };
    for device in &decisions.devices {
        line(&format!("+ {}", device.name), &device.reason);
    }
    for device in &decisions.not_selected {
        line(&format!("- {}", device.name), &device.reason);
    }
    let fact = |fact: NodeFact| shown(&verdict::measured(fact, decisions));
    line("node IP", &fact(NodeFact::NodeIp));
    line("direct routing device", &fact(NodeFact::DirectRoutingDevice));
    line("host routing", &fact(NodeFact::HostRouting));
    line("skip-FIB", &decisions.skip_fib.as_ref().map_or("off".to_owned(), |device| format!("on: all to {device}")));
    line("pods' egress", &egress(&decisions.egress));
    if egress(&decisions.service_egress) != egress(&decisions.egress) {
        line("services' egress", &egress(&decisions.service_egress));
    }
    line("masquerading", &fact(NodeFact::Masquerade));
    if decisions.masquerade != Masquerade::Off {
        for device in &decisions.devices {
            let source = device.masquerade_source.map_or("none".to_owned(), |source| source.to_string());
            line(&format!("  source on {}", device.name), &source);
        }
        line("  never to", &decisions.snat_exclusion.to_string());
    }
    line("host addresses known", &list(&decisions.host_addresses));
    for device in &decisions.devices {
        line(&format!("NodePort on {}", device.name), &list(&device.nodeport_addresses));
    }
    line("MTU of pods / device", &format!("{} / {}", decisions.pod_mtu, decisions.device_mtu));
    for tunnel in &decisions.tunnels {
        let endpoint = tunnel.endpoint.map_or("none: it is the own node IP".to_owned(), |to| to.to_string());
        line(&format!("tunnel to {}", tunnel.peer), &format!("{} via {endpoint}", tunnel.pod_cidr));
    }
    if !decisions.because.is_empty() {
        let _ = writeln!(out, "    because");
    }
    for rule in &decisions.because {
        let source = paint.faint(&tame_text(&format!("[{}]", rule.source)));
        let _ = writeln!(out, "      {}: {}\n        {source}", rule.decision, tame_text(&rule.says));
    }
    out
}

fn egress(egress: &Egress) -> String {
    match egress {
        Egress::Fib => "by the kernel's routes".to_owned(),
        Egress::Device { device } => format!("always {device}"),
    }
}

fn list(items: &[impl ToString]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn machine(plan: &Plan<'_>) -> Value {
    let case = plan.case;
    let nodes = plan.agents.as_ref().ok().map(|agents| {
        let nodes = agents.iter().map(|(node, agent)| {
            let agent = match agent {
                Ok(decisions) => json!({ "agent": "running", "decisions": decisions }),
                Err(fatal) => json!({ "agent": fatal }),
            };
            (node.clone(), agent)
        });
        Value::Object(nodes.collect())
    });
    json!({
        "scenario": case.scenario, "variant": case.variant,
        "model": case.model.to_string(), "cilium": case.version.to_string(),
        "helm": { "accepted": plan.agents.is_ok(), "reason": plan.agents.as_ref().err() },
        "values": { "modelled": plan.modelled, "not_modelled": plan.not_modelled, "unknown": plan.unknown },
        "nodes": nodes,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario;

    #[test]
    fn nothing_of_a_file_moves_the_terminal() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/guide/table.yaml");
        let mut case = scenario::load(&file, &Overrides::default()).expect("it is right").swap_remove(0);
        let wild = "\u{1b}[2J\u{9b}31m\n";
        case.scenario.push_str(wild);
        case.values.insert(format!("unknown{wild}"), json!("x"));
        case.values.insert("devices".to_owned(), json!(format!("enp0s6 {wild}x")));
        let decided = human(&plan(&case), Paint(false));
        case.set.push("devices=enp0s6,x\u{1b}\u{9b}".to_owned());
        let refused = human(&plan(&case), Paint(false));
        assert!(refused.contains("Helm refuses"), "{refused}");
        for text in [decided, refused] {
            let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
            assert_eq!(control, None, "a control character came through:\n{text:?}");
        }
    }
}
