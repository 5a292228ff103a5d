//! Services, as agents have carried them out.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::AgentNode;
use crate::engine::services::Service;
use crate::observed::EngineError;

/// How long agents may take to carry services out.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until an agent's services are these.
///
/// # Errors
/// It doesn't answer, or doesn't get there in time.
pub async fn carried_out(node: &impl AgentNode, services: &[Service]) -> Result<(), EngineError> {
    let began = Instant::now();
    loop {
        let known = node.api().get("/v1/service").await;
        let known = known.map_err(|error| EngineError::failed("ask for services", &error))?;
        let missing = services.iter().find(|service| !knows(&known, service));
        let Some(missing) = missing else { return Ok(()) };
        if began.elapsed() > PATIENCE {
            let reason =
                format!("{} doesn't have {} as told within {} s", node.name(), missing.name, PATIENCE.as_secs());
            return Err(EngineError::Failed { step: "tell agents of services".to_owned(), reason });
        }
        tokio::time::sleep(node.pause()).await;
    }
}

fn knows(known: &Value, service: &Service) -> bool {
    let entries = known.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().any(|entry| {
        let at = |path: &str| entry.pointer(path);
        let backends = at("/spec/backend-addresses").and_then(Value::as_array).map_or(0, Vec::len);
        at("/spec/frontend-address/ip").and_then(Value::as_str) == Some(service.address.to_string().as_str())
            && at("/spec/frontend-address/port").and_then(Value::as_u64) == Some(service.port.into())
            && at("/spec/frontend-address/protocol").and_then(Value::as_str).is_none_or(|protocol| {
                protocol.eq_ignore_ascii_case(if service.protocol == 17 { "udp" } else { "tcp" })
            })
            && backends == service.backends.len()
    })
}
