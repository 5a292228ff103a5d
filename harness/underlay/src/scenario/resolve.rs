//! From what a person wrote to cases in which everything resolves; or all that is wrong with it, each with its place.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cilium::values::Values;
use cilium::{Model, Version};
use indexmap::IndexMap;
use topology::Network;
use topology::file::TopologyFile;
use topology::network::OverlayBackend;
use topology::source::{Diagnostics, Position, Source, Spanned, closest, shown};

use super::Overrides;
use super::cluster::Layers;
use super::expect::{Block, Item};
use super::file::{ModelFile, OverrideFile, ScenarioFile};
use super::matrix::{self, Combination};
use super::report::Report;
use super::steps::{self, Context};
use super::terse::Terse;
use super::{discover, probes, text};
use crate::case::{Case, Check, Claim, Subject};
use crate::step::Step;

/// The most expectations and claims one file may expand to, all its cases together.
pub const MAX_CHECKS: usize = 100_000;

/// How long a probe waits where neither it nor the scenario says.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Every case of a scenario file.
pub(super) fn resolve(file: &ScenarioFile, source: &Source, overrides: &Overrides) -> Result<Vec<Case>, Diagnostics> {
    let mut report = Report::new(source);
    let network = match network(&file.topology, source, &mut report) {
        Ok(network) => network,
        // Nothing else can be judged without it.
        Err(wrong) => return wrong.map_or_else(|| report.finish(Vec::new()), Err),
    };
    let probes = probes::read(file, &network, &mut report);
    let deadline = file.deadline.as_ref().and_then(|deadline| text::deadline(deadline, &mut report));
    let combinations = matrix::combinations(file.variants.as_ref(), &mut report);
    let asks = !(file.expect.is_empty() && file.claims.is_empty() && file.checks.is_empty());
    if file.probes.is_empty() && !asks {
        report.add(file.topology.at, "the scenario asks nothing").help("give it `probes`, or `expect` something");
    }

    let all = combinations.as_deref().unwrap_or_default();
    let read_blocks = |blocks: &mut dyn Iterator<Item = Block<'_>>, report: &mut Report<'_>| {
        let mut read: Vec<(Vec<bool>, Vec<Item>)> = Vec::new();
        for block in blocks {
            // Without combinations no pattern can be judged.
            let selected = match combinations {
                Some(_) => matrix::select(block.variants, all, report),
                None => Vec::new(),
            };
            read.push((selected, block.read(&probes, &network, report)));
        }
        read
    };
    let expectations = read_blocks(&mut file.expect.iter().map(Block::from), &mut report);
    let claims = read_blocks(&mut file.claims.iter().map(Block::from), &mut report);
    for claim in file.claims.iter().filter(|claim| claim.by.trim().is_empty()) {
        report.add(claim.by.at, "a claim needs somebody who said it").help("such as `by: guide §3`");
    }

    let mut checks = steps::Checks::new();
    for (name, blocks) in &file.checks {
        if let Some(problem) = text::probe_name_problem(name) {
            report.add(name.at, format!("`{}` can't be the name of a set: {problem}", shown(name)));
        }
        checks.insert(name.as_str(), read_blocks(&mut blocks.0.iter().map(Block::from), &mut report));
    }

    let count = |blocks: &[(Vec<bool>, Vec<Item>)]| -> usize {
        blocks.iter().map(|(selected, items)| selected.iter().filter(|is| **is).count() * items.len()).sum()
    };
    let sum = count(&expectations) + count(&claims) + checks.values().map(|blocks| count(blocks)).sum::<usize>();
    if sum > MAX_CHECKS {
        report
            .add(file.topology.at, format!("the file expands to {sum} expectations and claims"))
            .help(format!("{MAX_CHECKS} is the most there can be: split it"));
        return report.finish(Vec::new());
    }

    if combinations.is_none() {
        // What no variant changes can be judged all the same.
        let bare = Combination { names: Vec::new(), overrides: Vec::new() };
        let context = Context {
            network: &network,
            probes: &probes,
            checks: &checks,
            combinations: None,
            index: 0,
            version: None,
        };
        settings(file, &bare, context, overrides, &mut report);
    }
    let path = Path::new(source.file());
    let specs: Vec<_> = probes.values().flatten().cloned().collect();
    let mut cases = Vec::with_capacity(all.len());
    for (index, combination) in all.iter().enumerate() {
        if report.is_full() {
            break;
        }
        let context = Context {
            network: &network,
            probes: &probes,
            checks: &checks,
            combinations: Some(all),
            index,
            version: None,
        };
        let settings = settings(file, combination, context, overrides, &mut report);
        let Some(Settings { version, model, cluster, values, set, steps }) = settings else { continue };
        cases.push(Case {
            scenario: discover::scenario_id(path),
            variant: combination.name(),
            file: path.to_owned(),
            network: network.clone(),
            kernel_overlay: network.overlay.as_ref().is_some_and(|overlay| overlay.backend == OverlayBackend::Kernel),
            model,
            version,
            cluster,
            values: values.as_map().clone(),
            set,
            steps,
            probes: specs.clone(),
            expectations: expected_of(index, &expectations),
            claims: claimed_of(index, file, &claims),
            deadline: overrides.deadline.or(deadline).unwrap_or(DEADLINE),
        });
    }
    report.finish(cases)
}

/// The topology. `Err(None)` where the mistake is in the report, `Err(Some)` where it is the topology's own.
fn network(
    topology: &Spanned<Terse<TopologyFile>>,
    source: &Source,
    report: &mut Report<'_>,
) -> Result<Arc<Network>, Option<Diagnostics>> {
    let file = Path::new(source.file());
    let written = match &topology.value {
        Terse::Short(path) => &Spanned { value: path.clone(), at: topology.at },
        Terse::Full(inlined) => {
            let name = file.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
            return topology::validate(inlined, source, &name).map(Arc::new).map_err(Some);
        }
    };
    let path = file.parent().unwrap_or(Path::new("")).join(written.as_str());
    if path.is_file() {
        return topology::load(&path).map(Arc::new).map_err(Some);
    }
    let mut near = path.parent().map(discover::yaml_files).unwrap_or_default();
    near.sort();
    let names: Vec<&str> = near.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let wanted = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if path.is_dir() {
        report
            .add(written.at, format!("`{}` is a folder", shown(written)))
            .help("name a file in it, such as ../../topologies/split-vcn.yaml");
        return Err(None);
    }
    let help = match closest(wanted, names.iter().copied()) {
        Some(name) => format!("did you mean `{}` there? The path is relative to the scenario's file", shown(name)),
        None => "the path is relative to the scenario's file, such as ../../topologies/split-vcn.yaml".to_owned(),
    };
    report.add(written.at, format!("there is no topology file `{}`", shown(written))).help(help);
    Err(None)
}

/// What a combination's layers come to.
struct Settings {
    version: Version,
    model: Model,
    cluster: crate::case::Cluster,
    values: Values,
    set: Vec<String>,
    steps: Vec<Step>,
}

fn settings(
    file: &ScenarioFile,
    combination: &Combination<'_>,
    context: Context<'_>,
    overrides: &Overrides,
    report: &mut Report<'_>,
) -> Option<Settings> {
    let mut layers = Layers::default();
    layers.kubelet(&file.kubelet);
    layers.cluster(&file.cluster);
    let mut values = Values::from(file.values.clone());
    let mut set = file.set.clone();
    let mut written_version = file.cilium.as_ref();
    let mut model = file.model.unwrap_or(ModelFile::Cilium);
    let mut written_steps = &file.steps;
    for over in &combination.overrides {
        let OverrideFile { values: over, set: more, kubelet, cluster, cilium, model: other, steps } = over;
        written_steps = steps.as_ref().unwrap_or(written_steps);
        values.merge(&Values::from(over.clone()));
        set.extend(more.iter().cloned());
        kubelet.iter().for_each(|kubelet| layers.kubelet(kubelet));
        cluster.iter().for_each(|cluster| layers.cluster(cluster));
        written_version = cilium.as_ref().or(written_version);
        model = other.unwrap_or(model);
    }
    // Read even where it is overridden: a file is right or wrong by itself.
    let version = version(written_version, file.topology.at, overrides, report);
    let network = context.network;
    let steps = steps::read(written_steps, &Context { version: version.clone(), ..context }, report);
    let version = overrides.version.clone().or(version);
    let cluster = layers.resolve(network, file.topology.at, report);
    let model = overrides.model.unwrap_or(match model {
        ModelFile::Cilium => Model::Cilium,
        ModelFile::Guide => Model::Guide,
    });
    Some(Settings { version: version?, model, cluster: cluster?, values, set, steps })
}

fn version(
    written: Option<&Spanned<String>>,
    at: Position,
    overrides: &Overrides,
    report: &mut Report<'_>,
) -> Option<Version> {
    match written {
        Some(written) => match Version::parse(written) {
            Ok(version) => Some(version),
            Err(error) => {
                report.add(written.at, shown(&error.to_string()));
                None
            }
        },
        None => {
            if overrides.version.is_none() {
                report
                    .add(at, "no Cilium version is named")
                    .help("`cilium: 1.18.2`, in the scenario or in each variant");
            }
            None
        }
    }
}

/// A combination's expectations: where two blocks speak of one thing, the later holds, in the place of the first.
pub(super) fn expected_of(index: usize, blocks: &[(Vec<bool>, Vec<Item>)]) -> Vec<Check> {
    let mut checks: IndexMap<Subject, Check> = IndexMap::new();
    for (_, items) in blocks.iter().filter(|(selected, _)| selected.get(index) == Some(&true)) {
        for Item { subject, expected, line } in items.iter().cloned() {
            checks.insert(subject.clone(), Check { subject, expected, line });
        }
    }
    checks.into_values().collect()
}

/// A combination's claims. What different people said of one thing stands side by side.
fn claimed_of(index: usize, file: &ScenarioFile, blocks: &[(Vec<bool>, Vec<Item>)]) -> Vec<Claim> {
    let mut claims: IndexMap<(&str, Subject), Claim> = IndexMap::new();
    for (claim, (selected, items)) in file.claims.iter().zip(blocks) {
        if selected.get(index) != Some(&true) {
            continue;
        }
        let by = claim.by.trim();
        for Item { subject, expected: said, line } in items.iter().cloned() {
            claims.insert((by, subject.clone()), Claim { by: by.to_owned(), subject, said, line });
        }
    }
    claims.into_values().collect()
}
