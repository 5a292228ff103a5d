//! Which of Cilium's rules differ between two versions, from the model's own table.

use cilium::{Rules, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::human::shown;

/// A rule that differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// Its name in [`cilium::Rules`], with dashes: `skip-fib`, `mark-carries-identity`.
    pub rule: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// The rules that differ between two versions.
pub fn differing(before: &Version, after: &Version) -> Vec<RuleChange> {
    let table = |version| match serde_json::to_value(Rules::of(version)) {
        Ok(Value::Object(rules)) => rules,
        _ => unreachable!("rules are a struct of plain values"),
    };
    let (before, after) = (table(before), table(after));
    let changed = before.iter().filter_map(|(name, was)| {
        let is = after.get(name)?;
        (was != is).then(|| RuleChange { rule: name.replace('_', "-"), before: shown(was), after: shown(is) })
    });
    changed.collect()
}

/// The same of versions as written; none where the model doesn't know one of them.
pub(super) fn differing_texts(before: &str, after: &str) -> Vec<RuleChange> {
    match (Version::parse(before), Version::parse(after)) {
        (Ok(before), Ok(after)) => differing(&before, &after),
        _ => Vec::new(),
    }
}
