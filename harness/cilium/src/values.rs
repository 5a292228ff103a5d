//! Helm values as users write them.

mod set;
mod sort;

use serde::Serialize;
use serde_json::{Map, Value};

pub use set::SetError;
pub use sort::{MODELLED, MODELLED_OPTIONS, Sorted, Unknown};

/// A tree of Helm values, verbatim. A key set to null counts as absent; it stays in the tree, since it also deletes
/// what an earlier layer or the chart set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Values(Map<String, Value>);

impl Values {
    /// No values: the chart's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The tree, taken out.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Lays `later` over these values as Helm lays one values file over another: maps merge key by key, all else is
    /// replaced (helm, pkg/cli/values/options.go, `mergeMaps`). A null replaces too, which deletes.
    pub fn merge(&mut self, later: &Values) {
        merge_maps(&mut self.0, &later.0);
    }

    /// Applies one `--set` argument, which may hold several assignments, on top of these values.
    ///
    /// # Errors
    /// Helm's own parse errors, in Helm's words.
    pub fn set(&mut self, argument: &str) -> Result<(), SetError> {
        set::parse_into(&mut self.0, argument, set::Typing::Guess).map_err(|reason| SetError {
            flag: "--set",
            argument: argument.to_owned(),
            reason,
        })
    }

    /// Applies one `--set-string` argument: as [`Values::set`], but every value stays text.
    ///
    /// # Errors
    /// Helm's own parse errors, in Helm's words.
    pub fn set_string(&mut self, argument: &str) -> Result<(), SetError> {
        set::parse_into(&mut self.0, argument, set::Typing::Text).map_err(|reason| SetError {
            flag: "--set-string",
            argument: argument.to_owned(),
            reason,
        })
    }

    /// The value at a dotted path; `None` where it is absent or null.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = self.0.get(parts.next()?)?;
        for part in parts {
            value = value.as_object()?.get(part)?;
        }
        (!value.is_null()).then_some(value)
    }
}

impl From<Map<String, Value>> for Values {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

fn merge_maps(base: &mut Map<String, Value>, later: &Map<String, Value>) {
    for (key, value) in later {
        match (base.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_maps(old, new),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}
