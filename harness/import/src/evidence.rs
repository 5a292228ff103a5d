//! What the files say, put together: by node what `ip` printed there, and the cluster's objects.

use std::collections::BTreeMap;

use cilium::Values;
use indexmap::IndexMap;
use serde_json::Value;
use topology::source::{Diagnostic, shown};

use crate::archive::{Files, Item};
use crate::ip::{self, Seen, Sight};
use crate::kube::Objects;
use crate::layout::{Content, Owner};

/// The most YAML nodes (keys, values, lists, maps) that are read of one file: some 5000 nodes of Kubernetes.
const MAX_YAML_NODES: usize = 5_000_000;
const MAX_DEPTH: usize = 64;

/// All that was read.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// What `ip` printed, by the node's name.
    pub(crate) nodes: BTreeMap<String, Seen>,
    pub(crate) objects: Objects,
    /// Helm's values, where there is no ConfigMap to tell what became of them.
    pub(crate) helm: Option<Values>,
    /// `cilium status`'s words on masquerading, by node.
    pub(crate) masquerading: BTreeMap<String, String>,
    /// Files that something was taken from, with what it was.
    pub(crate) read: Vec<(String, &'static str)>,
    /// Files in which nothing of use was found.
    pub(crate) of_no_use: usize,
    pub(crate) problems: Vec<Diagnostic>,
}

/// What one file says.
#[derive(Default)]
struct Found {
    seen: Seen,
    objects: Objects,
    any_object: bool,
    helm: Option<Values>,
    host_name: Option<String>,
    masquerading: Option<String>,
}

impl Evidence {
    pub(crate) fn of(files: Files) -> Self {
        let mut evidence = Self { problems: files.problems, ..Self::default() };
        let mut seen: IndexMap<Owner, Sight> = IndexMap::new();
        let mut masquerading = Vec::new();
        let mut host_names = BTreeMap::new();
        for item in files.items {
            let owner = Owner::of(&item.path);
            let found = evidence.file(&item);
            let what = found.what();
            match what {
                Some(what) => evidence.read.push((item.path, what)),
                None => evidence.of_no_use += 1,
            }
            evidence.objects.merge(found.objects);
            evidence.helm = evidence.helm.take().or(found.helm);
            host_names.extend(found.host_name.map(|name| (owner.clone(), name)));
            masquerading.extend(found.masquerading.map(|words| (owner.clone(), words)));
            if !found.seen.is_empty() {
                seen.entry(owner).or_default().add(found.seen);
            }
        }
        // Whose pod it was is known when all is read.
        let mut sights: BTreeMap<String, Sight> = BTreeMap::new();
        for (owner, sight) in seen {
            sights.entry(evidence.node(&owner, &host_names)).or_default().add(sight.all());
        }
        for (node, sight) in sights {
            let seen = sight.all();
            if seen.more > 0 {
                let message = format!("there are {} links, addresses, routes and rules too many of it", seen.more);
                evidence.problem(&node, message, "is it one node's output? those that came first are taken");
            }
            evidence.nodes.insert(node, seen);
        }
        for (owner, words) in masquerading {
            let node = evidence.node(&owner, &host_names);
            evidence.masquerading.insert(node, words);
        }
        evidence
    }

    /// The node's name in Kubernetes, if it is one of the cluster.
    fn node(&self, owner: &Owner, host_names: &BTreeMap<Owner, String>) -> String {
        let name = match owner {
            Owner::Pod(pod) => match self.objects.pods.get(pod) {
                Some(node) => return node.clone(),
                None => host_names.get(owner).unwrap_or(pod),
            },
            Owner::Node(name) => name,
        };
        let known = || self.objects.nodes.iter().map(|node| &node.name).chain(self.cilium_names());
        let label = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let continued =
            |known: &&String| name.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with(['-', '_', '.']));
        let found = known()
            .find(|known| *known == name)
            .or_else(|| known().find(|known| label(known) == label(name)))
            .or_else(|| known().filter(continued).max_by_key(|known| known.len()));
        found.unwrap_or(name).clone()
    }

    fn cilium_names(&self) -> impl Iterator<Item = &String> {
        self.objects.cilium_nodes.iter().map(|node| &node.name)
    }

    fn file(&mut self, item: &Item) -> Found {
        let mut found = Found::default();
        let text = match std::str::from_utf8(&item.bytes) {
            Ok(text) => text.trim_start_matches('\u{feff}'),
            Err(error) => {
                let message = format!("byte {} isn't UTF-8: it was not read", error.valid_up_to());
                self.problem(&item.path, message, "is it text? Windows' shells redirect output as UTF-16");
                return found;
            }
        };
        match item.content {
            Content::Ip(table) => found.seen = ip::text::read(text, table),
            Content::HostName => {
                let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', '`']));
                found.host_name = name.filter(|name| name.len() <= 253).map(str::to_owned);
            }
            Content::Status => found.masquerading = text.lines().find_map(masquerading),
            Content::Objects(kind) => self.objects_in(item, text, Some(kind), &mut found),
            Content::HelmValues => {
                let list = self.yaml(item, text);
                found.helm = list.into_iter().find_map(|values| Some(values.as_object()?.clone().into()));
            }
            Content::Any if text.trim_start().starts_with(['[', '{']) => self.json(item, text, None, &mut found),
            Content::Any if text.lines().any(|line| line.starts_with("kind:") || line.starts_with("- apiVersion:")) => {
                self.objects_in(item, text, None, &mut found);
            }
            Content::Any => found.seen = ip::text::read(text, None),
            Content::Archive => {}
        }
        found
    }

    fn objects_in(&mut self, item: &Item, text: &str, kind: Option<&str>, found: &mut Found) {
        if text.trim_start().starts_with('{') {
            return self.json(item, text, kind, found);
        }
        for object in self.yaml(item, text) {
            found.any_object |= found.objects.read(&object, kind);
        }
    }

    /// JSON, one value or several after each other.
    fn json(&mut self, item: &Item, text: &str, kind: Option<&str>, found: &mut Found) {
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            match value {
                Ok(Value::Array(list)) => found.seen.append(ip::json::read(&Value::Array(list), None)),
                Ok(object) => found.any_object |= found.objects.read(&object, kind),
                Err(error) => {
                    let at = (error.line(), error.column());
                    let help = if error.is_eof() { "it ends too early: was it copied whole?" } else { "is it JSON?" };
                    let words = error.to_string();
                    let words = words.split(" at line ").next().unwrap_or_default();
                    self.problem(&item.path, format!("line {}, column {}: {}", at.0, at.1, shown(words)), help);
                    break;
                }
            }
        }
    }

    fn yaml(&mut self, item: &Item, text: &str) -> Vec<Value> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_DEPTH,
                flow_nesting_limit: MAX_DEPTH,
                max_nodes: MAX_YAML_NODES,
                max_events: 2 * MAX_YAML_NODES,
                max_documents: 64,
                max_anchors: 100,
                max_aliases: 100,
            },
            emit_comments: false,
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_multiple_with_options(text, options) {
            Ok(list) => list,
            Err(error) => {
                let place = error.location().map(|at| format!("line {}, column {}: ", at.line(), at.column()));
                let words = error.to_string();
                let words = words.lines().next().unwrap_or_default();
                let words = words.split(" at line ").next().unwrap_or_default();
                let message = format!("{}{}", place.unwrap_or_default(), shown(words));
                self.problem(&item.path, message, "is it YAML, as `kubectl get … -o yaml` prints it, and whole?");
                Vec::new()
            }
        }
    }

    fn problem(&mut self, path: &str, message: String, help: &str) {
        let mut problem = Diagnostic::of_file(path, message);
        problem.help(help);
        self.problems.push(problem);
    }
}

impl Found {
    /// What was taken from the file, in words.
    fn what(&self) -> Option<&'static str> {
        let (seen, objects) = (&self.seen, &self.objects);
        let parts = [
            (!seen.links.is_empty(), "links and addresses"),
            (!seen.routes.is_empty(), "routes"),
            (!seen.rules.is_empty(), "rules"),
            (objects.config.is_some(), "cilium-config"),
            (!objects.nodes.is_empty() && !objects.cilium_nodes.is_empty(), "nodes, ciliumnodes"),
            (!objects.nodes.is_empty(), "nodes"),
            (!objects.cilium_nodes.is_empty(), "ciliumnodes"),
            (self.helm.is_some(), "Helm values"),
            (self.masquerading.is_some(), "cilium status"),
            (self.any_object || self.host_name.is_some(), "the cluster's objects"),
        ];
        parts.into_iter().find(|(there, _)| *there).map(|(_, what)| what)
    }
}

/// `BPF [enp0s6, tailscale0]`, `IPTables` or `Disabled` of the line `Masquerading:` of `cilium status`.
fn masquerading(line: &str) -> Option<String> {
    let words = line.trim().strip_prefix("Masquerading:")?.trim();
    let kind = words.split_whitespace().next()?;
    match kind {
        "BPF" => {
            let devices = words.split_once('[')?.1.split_once(']')?.0;
            // Without devices the next bracket is that of the families.
            (!devices.contains(':')).then(|| format!("BPF [{devices}]"))
        }
        "IPTables" | "Disabled" => Some(kind.to_owned()),
        _ => None,
    }
}
