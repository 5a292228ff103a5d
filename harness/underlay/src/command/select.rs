//! Which cases a command is about.

use std::path::PathBuf;
use std::sync::Arc;

use super::Stop;
use crate::case::Case;
use crate::scenario::{self, Overrides, glob};

/// A path of the command line, with the variant behind `::` if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    path: PathBuf,
    variant: Option<String>,
}

impl std::str::FromStr for Target {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.rsplit_once("::") {
            Some((path, variant)) => Self { path: path.into(), variant: Some(variant.to_owned()) },
            None => Self { path: text.into(), variant: None },
        })
    }
}

/// The cases that targets stand for, of which a filter lets one pass if any does; all where there is none.
///
/// # Errors
/// What is wrong with the files, or that nothing is left.
pub(super) fn cases(targets: &[Target], filters: &[String], overrides: &Overrides) -> Result<Vec<Arc<Case>>, Stop> {
    let mut paths: Vec<PathBuf> = targets.iter().map(|target| target.path.clone()).collect();
    paths.dedup();
    let all = scenario::load_all(&paths, overrides).map_err(Stop::Files)?;
    for target in targets {
        let Some(variant) = &target.variant else { continue };
        let mut variants = all.iter().filter(|case| case.file.starts_with(&target.path)).map(|case| &case.variant);
        if !variants.clone().any(|name| matches(variant, name)) {
            let known: Vec<_> = variants.by_ref().map(|name| format!("`{name}`")).collect();
            let message = format!("{} has no variant `{variant}`", target.path.display());
            return Err(Stop::usage(message, format!("its variants are {}", known.join(", "))));
        }
    }
    let named = |case: &Case| {
        targets.is_empty()
            || targets.iter().any(|target| {
                case.file.starts_with(&target.path)
                    && target.variant.as_ref().is_none_or(|variant| matches(variant, &case.variant))
            })
    };
    let wanted = |case: &Case| filters.is_empty() || filters.iter().any(|filter| passes(filter, &case.id()));
    let (cases, found): (Vec<_>, usize) = {
        let found = all.len();
        (all.into_iter().filter(|case| named(case) && wanted(case)).map(Arc::new).collect(), found)
    };
    if cases.is_empty() {
        let message = match filters {
            [] => "no case was found".to_owned(),
            _ => format!("none of {found} cases is named by {}", filters.join(", ")),
        };
        return Err(Stop::usage(message, "`underlay test --list` shows their names"));
    }
    Ok(cases)
}

/// The one case that a target stands for; `what` is what needs one.
///
/// # Errors
/// What is wrong with the file, or that there are several.
pub(super) fn one(target: &Target, overrides: &Overrides, what: &str) -> Result<Case, Stop> {
    let cases = cases(std::slice::from_ref(target), &[], overrides)?;
    let [case] = cases.as_slice() else {
        let names: Vec<_> = cases.iter().map(|case| format!("`{}`", case.variant)).collect();
        return Err(Stop::usage(
            format!("{} cases are named, and {what} is of one", cases.len()),
            format!("put one behind the file, FILE::VARIANT: {}", names.join(", ")),
        ));
    };
    Ok(Case::clone(case))
}

/// A name, or a glob.
fn matches(pattern: &str, name: &str) -> bool {
    pattern == name || glob(pattern, name)
}

/// A filter with `*` or `?` must match the whole name, any other a part of it.
fn passes(filter: &str, id: &str) -> bool {
    if filter.contains(['*', '?']) { glob(filter, id) } else { id.contains(filter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (filter, passing) in [
            ("enp0s6", true),
            ("guide/", true),
            ("table::enp0s6", true),
            ("guide/*::enp0s6", true),
            ("*enp0s6", true),
            ("enp0s6*", false),
            ("tailscale0", false),
        ] {
            assert_eq!(passes(filter, "guide/table::enp0s6"), passing, "{filter}");
        }
    }

    #[test]
    fn targets() {
        let target: Target = "scenarios/a.yaml::x/y".parse().unwrap();
        assert_eq!(target, Target { path: "scenarios/a.yaml".into(), variant: Some("x/y".to_owned()) });
        let target: Target = "scenarios".parse().unwrap();
        assert_eq!(target, Target { path: "scenarios".into(), variant: None });
    }
}
