//! What came of an agent's start.

use serde_json::Value;

use super::api::Api;

/// What came of an agent's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It runs and has an address of its own.
    Running,
    /// It died; its last words.
    Fatal(String),
    /// It was ended, and there is none any more.
    Ended,
}

/// Whether the agent at this API has started; the reason why not, or not yet.
///
/// # Errors
/// The reason.
pub async fn look(api: &Api) -> Result<(), String> {
    match tokio::try_join!(api.get("/v1/config"), api.get("/v1/healthz")) {
        Ok((config, _)) if router(&config).is_none() => Err("it has no address yet".to_owned()),
        // The parts of the status are gathered one after the other.
        Ok((_, status)) if status.pointer("/routing/inter-host-routing-mode").is_none() => {
            Err("its status isn't complete yet".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The agent's own address, the pods' next hop, as its API tells it.
pub fn router(config: &Value) -> Option<std::net::Ipv4Addr> {
    config.pointer("/status/addressing/ipv4/ip")?.as_str()?.parse().ok()
}
