//! What Helm makes of a case's values. Pure, so that plans need no kernel.

use cilium::Values;
use cilium::config::AgentConfig;

use crate::case::Case;

/// What Helm made of a case's values.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The agents' options.
    pub config: AgentConfig,
    /// The values, `--set` arguments included.
    pub values: Values,
    /// Values that are known to the chart and mean nothing to the model.
    pub not_modelled: Vec<String>,
    /// Values the chart doesn't know, with a suggestion where one is near.
    pub unknown: Vec<String>,
}

/// Renders the case's values as Helm and the chart would.
///
/// # Errors
/// Helm's refusal, in its words.
pub fn install(case: &Case) -> Result<Installed, String> {
    let values = values(case)?;
    let sorted = values.sort(&case.version);
    let config = AgentConfig::from_values(&case.version, &values).map_err(|error| error.to_string())?;
    Ok(Installed {
        config,
        values,
        not_modelled: sorted.not_modelled,
        unknown: sorted.unknown.iter().map(ToString::to_string).collect(),
    })
}

/// A case's values with its `--set` arguments applied.
///
/// # Errors
/// Helm's refusal of an argument, in its words.
pub fn values(case: &Case) -> Result<Values, String> {
    let mut values = Values::from(case.values.clone());
    for argument in &case.set {
        values.set(argument).map_err(|error| error.to_string())?;
    }
    Ok(values)
}
