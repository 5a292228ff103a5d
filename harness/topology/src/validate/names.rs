//! Rules for names.

use crate::source::{Diagnostic, Mistakes, Position, Spanned, shown};

/// Names an interface can't have: the kernel's own, and what Cilium makes on every node.
const TAKEN: [&str; 9] =
    ["lo", "all", "default", ".", "..", "cilium_host", "cilium_net", "cilium_vxlan", "cilium_geneve"];

/// What beside nodes is named where places are, with what that is.
const PLACES: [(&str, &str); 2] =
    [("internet", "the lab's internet is called so"), ("vcn", "`vcn/NAME` is a VCN's gateway")];

/// How the links of pods begin on each node that has some: `lxc-pod`, `lxc-coredns`.
const PODS: &str = "lxc-";

/// A node's name: a label, and no other place's.
pub(super) fn node(name: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    label(name, "a node's name", mistakes);
    if let Some((_, other)) = PLACES.iter().find(|(place, _)| *place == name.as_str()) {
        quoted(name, mistakes, &format!("can't be a node's name: {other}")).help("choose another");
    }
}

/// An interface of a node that has pods: none of theirs.
pub(super) fn beside_pods(name: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    if name.starts_with(PODS) {
        quoted(name, mistakes, "is taken")
            .help("on the cluster's nodes, links to pods begin with `lxc-`: choose another name");
    }
}

/// A DNS label (RFC 1123): what host names and Kubernetes names are made of. `what` is "a node's name".
pub(super) fn label(name: &Spanned<String>, what: &str, mistakes: &mut Mistakes<'_>) {
    let problem = label_problem(name);
    if let Some(problem) = problem {
        quoted(name, mistakes, &format!("is not {what}: {problem}"))
            .help("1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end");
    }
}

/// A DNS name: labels with dots between.
pub(super) fn dns_name(name: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    let problem = if name.len() > 253 {
        Some("it is longer than 253 characters".to_owned())
    } else {
        name.split('.').find_map(label_problem)
    };
    if let Some(problem) = problem {
        quoted(name, mistakes, &format!("is not a DNS name: {problem}"))
            .help("a name such as `api.ipify.org`, in lower case, with no dot at the end");
    }
}

/// An interface's name, by the kernel's rule (net/core/dev.c, `dev_valid_name`) and a little stricter: no `%`, which
/// the kernel takes for a pattern, and nothing outside ASCII, which no tool prints well.
pub(super) fn interface(name: &Spanned<String>, mistakes: &mut Mistakes<'_>) {
    if name.is_empty() {
        mistakes.add(name.at, "an interface's name can't be empty");
    } else if name.len() > 15 {
        quoted(name, mistakes, &format!("is {} bytes long", name.len()))
            .help("an interface's name has at most 15 bytes");
    } else if let Some(bad) = name.chars().find(|c| !c.is_ascii_graphic() || "/:%".contains(*c)) {
        quoted(name, mistakes, &format!("has {bad:?} in it"))
            .help("an interface's name is of printable ASCII without spaces, `/`, `:` and `%`");
    } else if TAKEN.contains(&name.as_str()) {
        quoted(name, mistakes, "is taken").help("every node has that name already, from the kernel or from Cilium");
    }
}

/// Why a name is no DNS label (RFC 1123), if it isn't one.
pub fn label_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if name.len() > 63 {
        Some(format!("it has {} characters", name.len()))
    } else if let Some(bad) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        Some(format!("it has {bad:?} in it"))
    } else if name.starts_with('-') || name.ends_with('-') {
        Some("it begins or ends with a hyphen".to_owned())
    } else {
        None
    }
}

fn quoted<'m>(name: &Spanned<String>, mistakes: &'m mut Mistakes<'_>, problem: &str) -> &'m mut Diagnostic {
    let at: Position = name.at;
    mistakes.add(at, format!("`{}` {problem}", shown(name)))
}
