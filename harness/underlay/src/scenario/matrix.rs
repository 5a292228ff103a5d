//! Variants: what the axes are, their combinations, and which of them a pattern names.

use std::collections::BTreeMap;

use topology::source::{Spanned, choices, shown};

use super::file::{Axis, OverrideFile};
use super::report::Report;
use super::terse::OneOrMany;
use super::text::{printable, variant_name_problem};

/// The most cases one file may expand to.
pub const MAX_CASES: usize = 512;

/// The name of the only variant of a scenario without variants.
pub const ONLY: &str = "default";

/// One combination.
pub(super) struct Combination<'a> {
    /// Its name on each axis.
    pub(super) names: Vec<&'a str>,
    /// What it changes, axis after axis.
    pub(super) overrides: Vec<&'a OverrideFile>,
}

impl Combination<'_> {
    pub(super) fn name(&self) -> String {
        self.names.join("/")
    }

    fn is_named_by(&self, pattern: &str) -> bool {
        is_named(&self.names, pattern)
    }
}

/// Whether a pattern names a combination: one without `/` by its name on any axis, one with `/` by all its names in
/// order.
pub(crate) fn is_named(names: &[&str], pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    match parts.as_slice() {
        [one] => names.iter().any(|name| glob(one, name)),
        all => all.len() == names.len() && all.iter().zip(names).all(|(part, name)| glob(part, name)),
    }
}

/// Every combination, the last axis turning fastest. None where there are too many of them, or none at all.
pub(super) fn combinations<'a>(
    variants: Option<&'a Spanned<OneOrMany<Axis>>>,
    report: &mut Report<'_>,
) -> Option<Vec<Combination<'a>>> {
    let Some(variants) = variants else {
        return Some(vec![Combination { names: vec![ONLY], overrides: Vec::new() }]);
    };
    let axes = &variants.value.0;
    check_names(axes, report);
    if axes.is_empty() || axes.iter().any(|axis| axis.0.is_empty()) {
        report
            .add(variants.at, "there is no variant here")
            .help("name at least one on each axis, or leave `variants` out: then there is one, named `default`");
        return None;
    }
    let count =
        axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.0.len()).filter(|n| *n <= MAX_CASES));
    if count.is_none() {
        let sizes: Vec<String> = axes.iter().take(12).map(|axis| axis.0.len().to_string()).collect();
        report
            .add(variants.at, format!("too many variants: {}", sizes.join(" × ")))
            .help(format!("a file may expand to {MAX_CASES} cases; split it"));
        return None;
    }
    let mut all = vec![Combination { names: Vec::new(), overrides: Vec::new() }];
    for axis in axes {
        all = all
            .iter()
            .flat_map(|before| {
                axis.0.iter().map(|(name, over)| Combination {
                    names: before.names.iter().copied().chain([name.as_str()]).collect(),
                    overrides: before.overrides.iter().copied().chain(over.as_ref()).collect(),
                })
            })
            .collect();
    }
    Some(all)
}

/// A name must say which axis it is of, or `in` could not tell.
fn check_names(axes: &[Axis], report: &mut Report<'_>) {
    let mut first: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
    for name in axes.iter().flat_map(|axis| axis.0.keys()) {
        if let Some(problem) = variant_name_problem(name) {
            report.add(name.at, format!("`{}` can't be a variant's name: {problem}", shown(name)));
        }
        if let Some(other) = first.insert(name.as_str(), name) {
            report
                .add(name.at, format!("`{}` is on two axes", shown(name)))
                .help("give it another name on one of them, so that `in` can tell them apart")
                .related(other.at, "here too");
        }
    }
}

/// Which combinations (by index) the patterns of an `in` name; all if there is none.
pub(super) fn select(
    patterns: Option<&Spanned<Vec<Spanned<String>>>>,
    all: &[Combination<'_>],
    report: &mut Report<'_>,
) -> Vec<bool> {
    let Some(patterns) = patterns else {
        return vec![true; all.len()];
    };
    if patterns.value.is_empty() {
        report.add(patterns.at, "`in` names no variant").help("leave it out to mean all of them");
    }
    let mut selected = vec![false; all.len()];
    for pattern in &patterns.value {
        if report.is_full() {
            break;
        }
        let mut any = false;
        for (index, combination) in all.iter().enumerate() {
            if combination.is_named_by(pattern) {
                selected[index] = true;
                any = true;
            }
        }
        if !any {
            let is_glob = pattern.contains(['*', '?']);
            let message = match is_glob {
                true => format!("no variant is named by `{}`", shown(pattern)),
                false => format!("there is no variant `{}`", shown(pattern)),
            };
            let mut known: Vec<&str> = Vec::new();
            for name in all.iter().flat_map(|combination| &combination.names) {
                if !known.contains(name) && printable(name) {
                    known.push(name);
                }
            }
            let help = choices(pattern, "variants", known.iter().copied());
            let axes = all.first().map_or(1, |first| first.names.len());
            let parts = pattern.split('/').count();
            let help = match parts {
                1 => help,
                _ if parts == axes => format!("each part must name a variant of its axis; {help}"),
                _ => format!("there {}, so no name has {parts} parts; {help}", axes_there_are(axes)),
            };
            report.add(pattern.at, message).help(help);
        }
    }
    selected
}

fn axes_there_are(count: usize) -> String {
    if count == 1 { "is one axis".to_owned() } else { format!("are {count} axes") }
}

/// Whether a glob (`*` any characters, `?` one) matches the whole of a text. Linear in practice: only the last `*` is
/// gone back to.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("enp0s6", "enp0s6", true),
            ("enp0s6", "enp0s6,tailscale0", false),
            ("enp0s6*", "enp0s6,tailscale0", true),
            ("*", "", true),
            ("**", "x", true),
            ("?", "", false),
            ("*tailscale0", "enp0s6,tailscale0", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("b*", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} against {text}");
        }
    }
}
