//! What an agent compiled for a pod: the constants in its endpoint's `ep_config.h`.

use std::collections::HashMap;

use serde_json::Value;

use crate::engine::real::STATE;

/// The constants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled(HashMap<String, String>);

impl Compiled {
    /// Reads `#define NAME VALUE` lines.
    pub fn read(header: &str) -> Self {
        let define = |line: &str| {
            let (name, value) = line.trim().strip_prefix("#define ")?.trim().split_once(char::is_whitespace)?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        let bare = |line: &str| Some((line.trim().strip_prefix("#define ")?.trim().to_owned(), String::new()));
        Self(header.lines().filter_map(|line| define(line).or_else(|| bare(line))).collect())
    }

    /// The index of the device all of the pod's native packets go to, where skip-FIB is compiled in (Cilium up to 1.18,
    /// pkg/datapath/linux/config/config.go, ENABLE_SKIP_FIB).
    pub fn skip_fib(&self) -> Option<u32> {
        self.0.get("ENABLE_SKIP_FIB").filter(|value| *value != "0")?;
        self.direct_routing_device()
    }

    /// The index of the direct routing device, where the program has use for it.
    pub fn direct_routing_device(&self) -> Option<u32> {
        self.0.get("DIRECT_ROUTING_DEV_IFINDEX")?.parse().ok()
    }
}

/// The file for one of the pods in an answer to `GET /v1/endpoint`. All of a node's pods are compiled for alike; the
/// host's endpoint isn't a pod, and may differ.
pub fn of_a_pod(endpoints: &Value) -> Option<String> {
    let is_pod = |endpoint: &&Value| {
        let labels = endpoint.pointer("/status/identity/labels").and_then(Value::as_array);
        labels
            .is_some_and(|labels| labels.iter().filter_map(Value::as_str).all(|label| !label.starts_with("reserved:")))
    };
    let pod = endpoints.as_array()?.iter().find(is_pod)?;
    Some(format!("{STATE}/{}/ep_config.h", pod.get("id")?.as_u64()?))
}
