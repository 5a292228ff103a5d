//! What is said over a lab's socket.
//!
//! A line of JSON each way: who connects says who it is ([`Hello`]), the supervisor says the same, and only if both
//! speak the same version there are requests, each with its answer. Namespaces are passed as descriptors with the
//! answer they belong to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::describe::{Applied, Description};
use super::name::Name;
use super::refusal::Refusal;
use crate::report::trace::Traced;

/// The version of what is said. It changes with any change to this file.
pub const PROTOCOL: u32 = 1;

/// A line has at most so many bytes.
pub const LONGEST: usize = 1 << 22;

/// The first line of either side. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The program's version, for messages.
    pub underlay: String,
}

impl Hello {
    /// Ours.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, underlay: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the lab is and how it is.
    Describe,
    /// The way into a place: [`Answer::Entrance`].
    Enter {
        /// `master`, `master/pod`, `vcn/a`, `internet`.
        place: String,
    },
    /// The namespaces of places: an [`Answer::Namespace`] each, then [`Answer::Done`].
    Namespaces {
        /// All, where there are none.
        places: Vec<String>,
    },
    /// One probe and its packet's way: [`Answer::Traced`].
    Trace {
        /// From where.
        from: String,
        /// What, as a scenario file has it.
        what: Value,
        /// How long to wait where no death is witnessed, in milliseconds; none: as long as the scenario says.
        deadline_ms: Option<u64>,
    },
    /// Steps: [`Answer::Applied`].
    Apply {
        /// As a scenario file has them.
        text: String,
        /// Where the text is from, for messages.
        file: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Describe`].
    Lab(Box<Description>),
    /// To [`Request::Enter`], with a descriptor for each of `joins`.
    Entrance(Entrance),
    /// To [`Request::Namespaces`], with its descriptor. A user namespace comes first, if the lab has one.
    Namespace {
        /// The kind.
        kind: NamespaceKind,
        /// The name captures use.
        name: String,
    },
    /// To [`Request::Trace`].
    Traced(Box<Traced>),
    /// To [`Request::Apply`].
    Applied(Box<Applied>),
    /// The end of an answer of several lines.
    Done,
    /// To any.
    Refused(Refusal),
}

/// The way into a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// The lab.
    pub lab: Name,
    /// The place's name.
    pub place: String,
    /// Namespaces in the order in which to join them.
    pub joins: Vec<NamespaceKind>,
    /// What stands in /etc/resolv.conf there.
    pub resolv_conf: String,
}

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceKind {
    /// In which the lab's owner is root.
    User,
    /// Of the place.
    Network,
    /// In which the lab's commands live.
    Pid,
    /// In which /proc shows them.
    Mount,
}
