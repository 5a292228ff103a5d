//! What can go wrong while a lab is built or used.

use std::io;

/// An error of the lab, with the name of the thing that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a namespace failed.
    #[error("namespace {namespace}: {step}")]
    Namespace {
        /// The namespace's name in the lab.
        namespace: String,
        /// What was tried.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a netlink request.
    #[error("namespace {namespace}: {step}{}", .message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Netlink {
        /// The namespace's name in the lab.
        namespace: String,
        /// The request in words, `add route 10.0.0.0/24 dev enp0s6`.
        step: String,
        /// The kernel's own words, where it gave any.
        message: Option<String>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The host lacks something the lab needs.
    #[error("{0}")]
    Missing(#[from] crate::host::Missing),
    /// A socket could not be opened or used.
    #[error("namespace {namespace}: {step}")]
    Socket {
        /// The namespace's name in the lab.
        namespace: String,
        /// What was tried, `bind udp 8.8.8.8:53`.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What programs of a node run in can't be made, or a program can't be started there.
    #[error("surroundings of {name}: {step}")]
    Surroundings {
        /// The node.
        name: String,
        /// What was tried.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A part of the overlay failed.
    #[error("overlay of {node}: {step}: {reason}")]
    Overlay {
        /// The node whose part of the overlay it is.
        node: String,
        /// What was tried.
        step: String,
        /// What came of it.
        reason: String,
    },
    /// An internet service failed to start.
    #[error("internet host {host}: {reason}")]
    Internet {
        /// The host's DNS name.
        host: String,
        /// What went wrong.
        reason: String,
        /// The kernel's answer, where it was the kernel.
        source: Option<io::Error>,
    },
    /// Something that should have become true in time did not.
    #[error("waited {waited_ms} ms for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long, in milliseconds.
        waited_ms: u64,
    },
}

impl Error {
    /// The errno behind the error, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Namespace { source, .. }
            | Self::Netlink { source, .. }
            | Self::Socket { source, .. }
            | Self::Surroundings { source, .. } => source.raw_os_error(),
            Self::Internet { source, .. } => source.as_ref().and_then(io::Error::raw_os_error),
            _ => None,
        }
    }
}

/// The lab's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;
