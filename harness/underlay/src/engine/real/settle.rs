//! When an agent has done what is to be done: its tables say what is so at once, its programs follow seconds later.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use cilium::inputs::flags;
use serde_json::Value;

use super::api::ApiError;
use super::readback;
use super::readback::tables::{self, DeviceRow};
use super::{AgentNode, NODE_CONFIG, STATE};
use crate::observed::EngineError;

/// How long compiling may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Within this time an agent begins to compile anew, if a change makes it (agents gather changes for 0.1 s).
const BEGINNING: Duration = Duration::from_secs(3);

/// Waits until the programs of `pods` pods and of the host are in place. The host's, on the node's devices, masquerade:
/// until then packets of pods may leave as they are. After a restart those of before are there until they are replaced by
/// what is compiled `since`.
///
/// An agent that sees two things change at once, a device and then its address, configures its node twice, and compiles for
/// all endpoints each time (Cilium 1.18, pkg/datapath/orchestrator): what was compiled before the last configuration isn't
/// in place, ready as it may be. Seen on a busy machine: a NIC that was plugged in again masqueraded to another's address
/// for 16 s.
///
/// # Errors
/// The agent doesn't answer, or they don't get there in time.
async fn in_place(node: &impl AgentNode, pods: usize, since: Option<SystemTime>) -> Result<(), EngineError> {
    let began = Instant::now();
    loop {
        let states = states(node).await?;
        let since = configured(node).max(since);
        let waiting = states.iter().find_map(|(id, state)| match (state.as_str(), since) {
            ("ready", Some(since)) if !compiled_since(node, *id, since) => Some("as it was before"),
            ("ready", _) => None,
            (other, _) => Some(other),
        });
        if waiting.is_none() && states.len() > pods {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            let of =
                waiting.map_or_else(|| format!("only {} are there", states.len()), |state| format!("one is {state}"));
            return Err(failed(node, format!("after {} s {of}", PATIENCE.as_secs())));
        }
        tokio::time::sleep(node.pause()).await;
    }
}

/// What an agent's programs were for when they were last in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// When that was.
    at: SystemTime,
    /// The selected devices: index and name.
    devices: Vec<(u32, String)>,
}

/// The same as [`in_place`], and takes note of what the programs are for.
///
/// # Errors
/// As [`in_place`].
pub async fn noted(node: &impl AgentNode, pods: usize, since: Option<SystemTime>) -> Result<(), EngineError> {
    in_place(node, pods, since).await?;
    note(node).await
}

/// Takes note of what an agent's programs are for, now that they are in place.
///
/// # Errors
/// The agent doesn't answer.
async fn note(node: &impl AgentNode) -> Result<(), EngineError> {
    let devices = selected(&devices(node).await?);
    node.settled(Settled { at: SystemTime::now(), devices });
    Ok(())
}

/// Waits until an agent that runs has taken notice of the node's links as they are, and its programs follow.
///
/// Other devices mean a new configuration of the node, and then other programs for every endpoint (Cilium 1.18,
/// pkg/datapath/orchestrator), seconds later: until then all are as ready as before.
///
/// # Errors
/// The agent doesn't answer, or doesn't get there in time.
pub async fn after_a_change(node: &impl AgentNode, pods: usize) -> Result<(), EngineError> {
    let began = Instant::now();
    let rows = loop {
        let rows = devices(node).await?;
        if sees_links(node, &rows)? {
            break rows;
        }
        if began.elapsed() > PATIENCE {
            return Err(failed(node, format!("it doesn't see the links as they are after {} s", PATIENCE.as_secs())));
        }
        tokio::time::sleep(node.pause()).await;
    };
    let before = node.last_settled().filter(|before| before.devices != selected(&rows));
    let since = match before {
        Some(before) => Some(configured_since(node, before.at).await?),
        None => None,
    };
    let seen = Instant::now();
    while since.is_none() && seen.elapsed() < BEGINNING && states(node).await?.iter().all(|(_, state)| state == "ready")
    {
        tokio::time::sleep(node.pause()).await;
    }
    loop {
        in_place(node, pods, since).await?;
        if readback::compiled_as_decided(node).await? {
            return note(node).await;
        }
        if began.elapsed() > PATIENCE {
            return Err(failed(node, format!("it hasn't compiled for its devices after {} s", PATIENCE.as_secs())));
        }
        tokio::time::sleep(node.pause()).await;
    }
}

/// When the node's configuration was written last.
fn configured(node: &impl AgentNode) -> Option<SystemTime> {
    // It is replaced as a whole; between two it isn't there.
    fs::metadata(node.file(Path::new(NODE_CONFIG))).and_then(|file| file.modified()).ok()
}

/// When the node's configuration was written, which is after `since`.
async fn configured_since(node: &impl AgentNode, since: SystemTime) -> Result<SystemTime, EngineError> {
    let began = Instant::now();
    loop {
        if let Some(written) = configured(node).filter(|written| *written > since) {
            return Ok(written);
        }
        if began.elapsed() > PATIENCE {
            let reason = format!("it has other devices, and configures nothing anew within {} s", PATIENCE.as_secs());
            return Err(failed(node, reason));
        }
        tokio::time::sleep(node.pause()).await;
    }
}

/// Its table of devices.
async fn devices(node: &impl AgentNode) -> Result<Vec<DeviceRow>, EngineError> {
    let text = node.ask(&["shell", "--", "db/show", "devices", "--format=json"]).await?;
    tables::rows("the table of devices", &text).map_err(|error| failed(node, error.to_string()))
}

fn selected(rows: &[DeviceRow]) -> Vec<(u32, String)> {
    rows.iter().filter(|row| row.selected).map(|row| (row.index, row.name.clone())).collect()
}

/// Whether its table of devices is the kernel's list of links.
fn sees_links(node: &impl AgentNode, rows: &[DeviceRow]) -> Result<bool, EngineError> {
    let known = rows.iter().map(|row| (row.index, row.name.clone(), row.raw_flags & flags::IFF_UP));
    let mut known: Vec<_> = known.collect();
    let links = node.namespace().netlink()?.links()?;
    let mut there: Vec<_> = links.into_iter().map(|link| (link.index, link.name, link.flags & flags::IFF_UP)).collect();
    known.sort();
    there.sort();
    Ok(known == there)
}

/// Whether what an endpoint's programs are made from was written after `since`.
fn compiled_since(node: &impl AgentNode, id: u64, since: SystemTime) -> bool {
    let file = node.file(Path::new(&format!("{STATE}/{id}/ep_config.h")));
    // It is replaced as a whole; between two it isn't there.
    let written = fs::metadata(file).and_then(|file| file.modified());
    written.is_ok_and(|written| written >= since)
}

/// The ids and states of a node's endpoints: the host's and the pods'.
async fn states(node: &impl AgentNode) -> Result<Vec<(u64, String)>, EngineError> {
    let endpoints = match node.api().get("/v1/endpoint").await {
        Ok(endpoints) => endpoints,
        // While it has none it says so by an error.
        Err(ApiError::Refused { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(failed(node, error.to_string())),
    };
    let state = |endpoint: &Value| {
        let state = endpoint.pointer("/status/state")?.as_str()?;
        Some((endpoint.get("id")?.as_u64()?, state.to_owned()))
    };
    Ok(endpoints.as_array().into_iter().flatten().filter_map(state).collect())
}

fn failed(node: &impl AgentNode, reason: String) -> EngineError {
    EngineError::Failed { step: format!("wait for the endpoints on {}", node.name()), reason }
}
