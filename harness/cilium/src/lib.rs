//! What Cilium decides from its inputs, by version, and what the guide says it decides. Pure: knows no kernel.
//!
//! Inputs: Helm values as the user wrote them ([`Values`]), a [`Version`], and what the agent sees of its node and of
//! the cluster ([`inputs`]). Output: [`Decisions`], or the [`FatalError`] the agent would die of.
//!
//! ```
//! use cilium::{AgentConfig, Values, Version};
//!
//! let version = Version::parse("1.18.2")?;
//! let mut values = Values::new();
//! values.set("devices={enp0s6,tailscale0},kubeProxyReplacement=true,bpf.masquerade=true")?;
//! let config = AgentConfig::from_values(&version, &values)?;
//! assert_eq!(config.devices.to_string(), "[enp0s6 tailscale0]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod agent;
pub mod chart;
pub mod config;
pub mod decisions;
pub mod device_filter;
pub mod devices;
pub mod direct_routing;
pub mod fatal;
pub mod first_global;
pub mod guide;
pub mod host_routing;
pub mod inputs;
pub mod masquerade;
pub mod model;
pub mod mtu;
pub mod node_address;
pub mod node_ip;
pub mod release;
pub mod rules;
pub mod tunnel;
pub mod values;
pub mod version;

pub use agent::decide;
pub use config::{AgentConfig, ConfigError};
pub use decisions::Decisions;
pub use fatal::FatalError;
pub use guide::decide_by_guide;
pub use model::Model;
pub use rules::Rules;
pub use values::Values;
pub use version::{Checked, Minor, Version};
