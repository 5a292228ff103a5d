//! What a file is, by its name: the layout of `cilium sysdump`'s archives, and of folders that people fill by hand.
//!
//! Names of a sysdump's files: cilium, cilium-cli/sysdump/constants.go (1.14 to 1.19; `<ts>` is 20060102-150405). Names
//! below `cmd/` are the command with spaces and slashes replaced by hyphens: bugtool/cmd/root.go, `writeCmdToFile`; the
//! commands: bugtool/cmd/configuration.go. Some versions leave a bugtool's archive as it is, others unpack it.

/// What is to be found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Whatever shows in it: objects of Kubernetes, or what `ip` prints.
    Any,
    /// Objects of one kind of Kubernetes'; the kind, should the file not name it.
    Objects(&'static str),
    /// Helm's values.
    HelmValues,
    /// What `ip` prints; of `ip route` the table, which its lines don't name when one was asked for.
    Ip(Option<u32>),
    /// A node's host name.
    HostName,
    /// `cilium status --verbose`.
    Status,
    /// An archive in the archive.
    Archive,
}

/// What a message says was looked for.
pub(crate) const LOOKED_FOR: &str = "of a sysdump: k8s-nodes-….yaml, ciliumnodes-….yaml, cilium-configmap-….yaml and, \
     in each cilium-bugtool-…, cmd/ip-a.md, ip--d--s-l.md, ip--4-r.md, ip-rule.md; else files with the output of \
     `ip -j -d addr`, `ip -j -d link`, `ip -j -d route show table all`, `ip -j rule`, and of kubectl as JSON or YAML";

/// Files of a sysdump, and the kind of what is listed in each.
const SYSDUMP: [(&str, Content); 8] = [
    ("k8s-nodes", Content::Objects("NodeList")),
    ("ciliumnodes", Content::Objects("CiliumNodeList")),
    ("cilium-configmap", Content::Objects("ConfigMap")),
    ("k8s-pods", Content::Objects("PodList")),
    ("k8s-services", Content::Objects("ServiceList")),
    ("k8s-endpoints", Content::Objects("EndpointsList")),
    ("cilium-daemonset", Content::Objects("DaemonSet")),
    ("cilium-helm-values", Content::HelmValues),
];

/// What the file at this path of a folder or an archive holds, if it may hold anything of use.
pub(crate) fn content(path: &str) -> Option<Content> {
    let mut parts = path.rsplit('/');
    let file = parts.next().unwrap_or_default();
    let folder = parts.next().unwrap_or_default();
    let (stem, ending) = file.rsplit_once('.').unwrap_or((file, ""));
    if file.starts_with("cilium-bugtool") && [".tar.gz", ".tgz", ".tar"].iter().any(|end| file.ends_with(end)) {
        return Some(Content::Archive);
    }
    if folder == "cmd" {
        return command(stem);
    }
    if let Some(prefix) = without_time(stem) {
        let known = SYSDUMP.iter().find(|(known, _)| *known == prefix);
        return known.filter(|_| matches!(ending, "yaml" | "yml" | "json")).map(|(_, content)| *content);
    }
    if path.split('/').rev().skip(1).any(|part| part.starts_with("cilium-bugtool")) || file.starts_with('.') {
        return None;
    }
    matches!(ending, "json" | "yaml" | "yml" | "txt" | "md" | "out" | "").then_some(Content::Any)
}

/// A file of a bugtool's folder `cmd`.
fn command(stem: &str) -> Option<Content> {
    if let Some(table) = stem.strip_prefix("ip--4-route-show-table-") {
        return table.parse().ok().map(|table| Content::Ip(Some(table)));
    }
    match stem {
        "ip-a" | "ip-link" | "ip--d--s-l" | "ip-r" | "ip--4-r" | "ip-rule" | "ip--d-rule" | "ip--4-rule" => {
            Some(Content::Ip(None))
        }
        "hostname" => Some(Content::HostName),
        "cilium-status---verbose" | "cilium-dbg-status---verbose" => Some(Content::Status),
        _ => None,
    }
}

/// The name before `-20060102-150405`, if that is how it ends.
fn without_time(stem: &str) -> Option<&str> {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, time) = stem.rsplit_once('-')?;
    let (prefix, date) = rest.rsplit_once('-')?;
    (digits(time, 6) && digits(date, 8)).then_some(prefix)
}

/// Whose output a file is: a node's name, or a Cilium pod's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// The node, as the folder or file is called.
    Node(String),
    /// The pod of a bugtool's archive, `cilium-x7k2p`.
    Pod(String),
}

/// Words that files are called by after what they hold, not whose it is.
const WORDS: [&str; 11] =
    ["addr", "address", "addresses", "ip", "link", "links", "route", "routes", "rule", "rules", "network"];

impl Owner {
    /// Who a file's output is of, by its path: the pod of the bugtool's folder, `<node>/addr.json`, `<node>.json`,
    /// `<node>.addr.json`, `addr-<node>.json`.
    pub(crate) fn of(path: &str) -> Self {
        let mut parts: Vec<&str> = path.split('/').collect();
        let file = parts.pop().unwrap_or_default();
        if let Some(pod) = parts.iter().rev().find_map(|part| bugtool_pod(part)) {
            return Self::Pod(pod.to_owned());
        }
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let mut name = stem;
        while let Some((rest, _)) = name.rsplit_once(['-', '_', '.']).filter(|(_, word)| WORDS.contains(word)) {
            name = rest;
        }
        // `ip-10-0-0-5` is what Amazon calls a node: `ip` stays where it leads.
        let leads = |word: &str| word != "ip" && WORDS.contains(&word);
        if let Some((_, rest)) = name.split_once(['-', '_', '.']).filter(|(word, _)| leads(word)) {
            name = rest;
        }
        let says_nothing = name.is_empty() || WORDS.contains(&name) || matches!(name, "ip-a" | "ip-r" | "ip-l" | "all");
        let folder = parts.last().copied().filter(|_| says_nothing);
        Self::Node(folder.unwrap_or(name).to_owned())
    }
}

/// The pod in `cilium-bugtool-<pod>-<ts>`, or in what a bugtool run by hand is called,
/// `cilium-bugtool-20060102-150405.999+0000-UTC-123456`, which names none.
fn bugtool_pod(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".tar.gz").or(part.strip_suffix(".tgz")).or(part.strip_suffix(".tar")).unwrap_or(part);
    let rest = part.strip_prefix("cilium-bugtool-")?;
    Some(without_time(rest).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_sysdump() {
        for (path, expected) in [
            ("cilium-sysdump-20250101-120000/k8s-nodes-20250101-120000.yaml", Some(Content::Objects("NodeList"))),
            ("ciliumnodes-20250101-120000.yaml", Some(Content::Objects("CiliumNodeList"))),
            ("x/cilium-configmap-20250101-120000.yaml", Some(Content::Objects("ConfigMap"))),
            ("x/cilium-bugtool-cilium-x7k2p-20250101-120000.tar.gz", Some(Content::Archive)),
            ("x/cilium-bugtool-cilium-x7k2p-20250101-120000/cmd/ip-a.md", Some(Content::Ip(None))),
            ("cmd/ip--4-route-show-table-52.md", Some(Content::Ip(Some(52)))),
            ("cmd/ip--4-route-show-table-x.md", None),
            ("cmd/cilium-dbg-status---verbose.md", Some(Content::Status)),
            ("cmd/iptables-save--c.md", None),
            ("x/cilium-bugtool-cilium-x7k2p-20250101-120000/conf/kernel-config", None),
            ("x/cilium-etcd-secrets-secret-20250101-120000.yaml", None),
            ("x/hubble-flows-cilium-x7k2p-20250101-120000.json", None),
            ("x/logs-cilium-x7k2p-cilium-agent-20250101-120000.log", None),
            ("dump/master/addr.json", Some(Content::Any)),
            ("nodes.yaml", Some(Content::Any)),
            ("picture.png", None),
            (".git", None),
        ] {
            assert_eq!(content(path), expected, "{path}");
        }
    }

    #[test]
    fn whose_output_it_is() {
        for (path, expected) in [
            ("dump/master/addr.json", "master"),
            ("dump/master/ip-a.txt", "master"),
            ("master.json", "master"),
            ("master.addr.json", "master"),
            ("worker-2-route.json", "worker-2"),
            ("addr-worker-2.json", "worker-2"),
            ("node-a.json", "node-a"),
            ("ip-10-0-0-5.json", "ip-10-0-0-5"),
            ("ip-10-0-0-5.eu-west-1.compute.internal.json", "ip-10-0-0-5.eu-west-1.compute.internal"),
            ("addr.json", "addr"),
        ] {
            assert_eq!(Owner::of(path), Owner::Node(expected.to_owned()), "{path}");
        }
        let pod = Owner::Pod("cilium-x7k2p".to_owned());
        for path in [
            "cilium-bugtool-cilium-x7k2p-20250101-120000/cmd/ip-a.md",
            "a.tar.gz/cilium-bugtool-cilium-x7k2p-20250101-120000.tar.gz/cmd/x",
        ] {
            assert_eq!(Owner::of(path), pod, "{path}");
        }
    }
}
