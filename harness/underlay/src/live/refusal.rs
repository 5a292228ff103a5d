//! Why something can't be done with a lab, told where it is found out and shown where it was asked.

use std::io;

use serde::{Deserialize, Serialize};

use crate::exit;
use crate::observed::EngineError;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It was asked for something that can't be.
    Usage,
    /// Text that was given is wrong; the message shows where.
    Text,
    /// The host or the engine lacks something.
    Host,
    /// Helm refuses the values, or an agent dies of them.
    Cluster,
    /// The harness failed.
    Harness,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Whose fault.
    pub fault: Fault,
    /// What can't be, and why.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Refusal {
    /// It was asked for something that can't be.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { fault: Fault::Usage, message: message.into(), help: Some(help.into()) }
    }

    /// The harness failed at a step.
    pub fn harness(step: &str, error: &io::Error) -> Self {
        let help = lab::limits::hint(error);
        Self { fault: Fault::Harness, message: format!("{step}: {error}"), help }
    }

    /// The code to end with.
    pub fn code(&self) -> u8 {
        match self.fault {
            Fault::Usage | Fault::Text => exit::USAGE,
            Fault::Host => exit::HOST,
            Fault::Cluster => exit::FAILED,
            Fault::Harness => exit::HARNESS,
        }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let fault = match &error {
            EngineError::Missing(_) | EngineError::Unsupported { .. } => Fault::Host,
            EngineError::Failed { .. } | EngineError::Unread { .. } => Fault::Harness,
        };
        Self { fault, message: error.to_string(), help: None }
    }
}

impl From<lab::Missing> for Refusal {
    fn from(missing: lab::Missing) -> Self {
        EngineError::from(missing).into()
    }
}
