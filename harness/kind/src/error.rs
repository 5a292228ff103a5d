//! What went wrong with a cluster.

use std::io;
use std::time::Duration;

/// What went wrong with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program isn't there.
    #[error("{program} can't be run: {source}")]
    Absent {
        /// The program.
        program: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program failed.
    #[error("{call}: {said}")]
    Failed {
        /// The program and its arguments.
        call: String,
        /// What it wrote to standard error, else its exit code.
        said: String,
    },
    /// A program took too long, and was ended.
    #[error("{call}: no end within {} s", .patience.as_secs())]
    Late {
        /// The program and its arguments.
        call: String,
        /// How long it had.
        patience: Duration,
    },
    /// Somebody said something that can't be understood, or not what must be there.
    #[error("{what}: {reason}")]
    Unread {
        /// What was looked for.
        what: &'static str,
        /// What is there instead.
        reason: String,
    },
    /// A stage isn't reached.
    #[error("{stage}: after {} s {reason}", .patience.as_secs())]
    Stage {
        /// What was waited for.
        stage: &'static str,
        /// How long.
        patience: Duration,
        /// Why it isn't so yet.
        reason: String,
    },
    /// A file of a node can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The lab's part of it failed.
    #[error(transparent)]
    Lab(#[from] lab::Error),
}

/// What comes of working with a cluster.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Something that isn't there or can't be understood.
    pub fn unread(what: &'static str, reason: impl ToString) -> Self {
        Self::Unread { what, reason: reason.to_string() }
    }
}
