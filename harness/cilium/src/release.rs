//! What `helm upgrade` makes of the values of before.
//!
//! Helm keeps two things with a release: the values the user gave, and the chart with its defaults. `--reuse-values`
//! puts the values in effect in place of the chart's defaults and lays the new ones over the user's. So a null that
//! is to take a value away takes it from the user's values only, and the same value comes back as the chart's
//! default: `helm upgrade --reuse-values --set devices=null` changes nothing, and the same once more takes `devices`
//! away (helm 3.18, pkg/action/upgrade.go, `reuseValues`; pkg/chartutil/coalesce.go, `CoalesceTables`; seen with helm
//! 3.18.6).

use serde_json::{Map, Value};

use crate::values::Values;

/// What becomes of the values of before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// No flag: they are lost, unless no new ones are given at all.
    #[default]
    AsHelm,
    /// `--reuse-values`: they stay, the old chart's defaults with them.
    Reuse,
    /// `--reset-values`: they are lost.
    Reset,
    /// `--reset-then-reuse-values`: they stay, over the new chart's defaults.
    ResetThenReuse,
}

/// A release's values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Release {
    /// What the user gave, nulls included.
    user: Map<String, Value>,
    /// What stands in the chart's place beneath, beside its own defaults.
    beneath: Map<String, Value>,
}

impl Release {
    /// `helm install`.
    pub fn install(values: Values) -> Self {
        Self { user: values.into_map(), beneath: Map::new() }
    }

    /// `helm upgrade` with these values given.
    #[must_use]
    pub fn upgrade(&self, given: Values, keep: Keep) -> Self {
        let given = given.into_map();
        match keep {
            Keep::Reuse => Self { user: over(given, &self.user), beneath: self.values().into_map() },
            Keep::ResetThenReuse => Self { user: over(given, &self.user), beneath: Map::new() },
            Keep::AsHelm if given.is_empty() => Self { user: self.user.clone(), beneath: Map::new() },
            Keep::AsHelm | Keep::Reset => Self { user: given, beneath: Map::new() },
        }
    }

    /// The values in effect, beside the chart's defaults.
    pub fn values(&self) -> Values {
        Values::from(over(self.user.clone(), &self.beneath))
    }
}

/// Lays `upper` over `lower`: a null in `upper` takes the key away from both where both have it, and stays a null
/// where only `upper` has it.
fn over(mut upper: Map<String, Value>, lower: &Map<String, Value>) -> Map<String, Value> {
    for (key, below) in lower {
        match (upper.get_mut(key), below) {
            (Some(Value::Null), _) => {
                upper.remove(key);
            }
            (Some(Value::Object(table)), Value::Object(below)) => *table = over(std::mem::take(table), below),
            (Some(_), _) => {}
            (None, _) => {
                upper.insert(key.clone(), below.clone());
            }
        }
    }
    upper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(set: &str) -> Values {
        let mut values = Values::new();
        values.set(set).expect("Helm reads it");
        values
    }

    /// `devices` and `MTU` in effect after an installation with both and these upgrades; an empty text is none.
    fn after(keep: Keep, upgrades: &[&str]) -> (Option<Value>, Option<Value>) {
        let mut release = Release::install(given("devices=tailscale0,MTU=1400"));
        for set in upgrades {
            let values = if set.is_empty() { Values::new() } else { given(set) };
            release = release.upgrade(values, keep);
        }
        let values = release.values();
        (values.get("devices").cloned(), values.get("MTU").cloned())
    }

    /// What helm 3.18.6 and 3.19.0 rendered, seen by the ConfigMap of a chart without a default for `devices`.
    #[test]
    fn as_helm_did() {
        let tailscale = || Some(Value::from("tailscale0"));
        let empty = || Some(Value::from(""));
        let mtu = |mtu: i64| Some(Value::from(mtu));
        let table = [
            (Keep::Reuse, vec!["devices=null"], tailscale(), mtu(1400)),
            (Keep::Reuse, vec!["devices=null", ""], tailscale(), mtu(1400)),
            (Keep::Reuse, vec!["devices=null", "devices=null"], None, mtu(1400)),
            (Keep::Reuse, vec!["devices=null", "devices=null", ""], None, mtu(1400)),
            (Keep::Reuse, vec!["MTU=1300", ""], tailscale(), mtu(1300)),
            (Keep::Reuse, vec!["devices="], empty(), mtu(1400)),
            (Keep::Reset, vec![""], None, None),
            (Keep::Reset, vec!["MTU=1300"], None, mtu(1300)),
            (Keep::Reset, vec!["devices=null"], None, None),
            (Keep::ResetThenReuse, vec!["devices=null"], None, mtu(1400)),
            (Keep::ResetThenReuse, vec!["MTU=1300"], tailscale(), mtu(1300)),
            (Keep::ResetThenReuse, vec!["MTU=null"], tailscale(), None),
            (Keep::AsHelm, vec![""], tailscale(), mtu(1400)),
            (Keep::AsHelm, vec!["MTU=1300"], None, mtu(1300)),
            (Keep::AsHelm, vec!["devices=null", ""], None, None),
        ];
        for (keep, upgrades, devices, mtu) in table {
            assert_eq!(after(keep, &upgrades), (devices, mtu), "{keep:?} {upgrades:?}");
        }
    }

    #[test]
    fn tables_are_merged_and_emptied_key_by_key() {
        let release = Release::install(given("bpf.masquerade=true,bpf.hostLegacyRouting=true"));
        let kept = release.upgrade(given("bpf.masquerade=null"), Keep::ResetThenReuse).values();
        assert_eq!(kept.get("bpf.masquerade"), None);
        assert_eq!(kept.get("bpf.hostLegacyRouting"), Some(&Value::Bool(true)));
    }
}
