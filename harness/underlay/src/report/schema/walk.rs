//! A packet's way as reports keep it. Words are kept as they come, so that a reason or a change that a later version
//! adds doesn't make its reports unreadable to this one.

use indexmap::IndexMap;
use probe::walk::EndReason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A packet's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// Where it was seen, in order. Empty for a packet that was never seen.
    pub hops: Vec<Hop>,
    /// How it ended.
    pub end: End,
    /// The way back of the answer, or of the ICMP error that the sender was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<Walk>>,
    /// Whether nothing is missing: no packet was lost by the capture, every sighting was kept, and the end is known.
    pub complete: bool,
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Where: `master/enp0s6`, `master/pod`, `vcn a/gateway`, `internet`.
    pub at: String,
    /// `in` or `out`, as the interface's namespace sees it.
    pub direction: String,
    /// Source, with its port where it has one.
    pub src: String,
    /// Destination, with its port where it has one.
    pub dst: String,
    /// The outermost packet around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<Outer>,
    /// Length in bytes by its IP header.
    pub size: u32,
    /// Time to live.
    pub ttl: u8,
    /// Microseconds since the first hop.
    #[serde(default)]
    pub us: u64,
    /// What was done to it since the hop before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Change>,
    /// Whether it is concluded, not seen: the packet was encrypted here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
}

/// The packet around a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    /// Source, with its port where it has one.
    pub src: String,
    /// Destination, with its port where it has one.
    pub dst: String,
    /// Length in bytes by its IP header.
    #[serde(default)]
    pub size: u32,
    /// Time to live.
    #[serde(default)]
    pub ttl: u8,
}

/// What was done to a packet: one key, `snat`, `dnat`, `encapsulated`, `decapsulated`, `fragmented`, `reassembled`,
/// `encrypted`, `decrypted`, `forwarded`, with what is to be said of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Change(pub IndexMap<String, Value>);

/// How a packet's way ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Where.
    pub at: String,
    /// Why: `delivered`, `answer-lost`, `no-arp-reply`, `source-check`, …
    pub reason: String,
    /// The evidence in words.
    #[serde(default)]
    pub detail: String,
}

/// The reason of a way that ended well.
pub const DELIVERED: &str = "delivered";

/// The reason of a way whose answer's own way ended badly.
pub const ANSWER_LOST: &str = "answer-lost";

impl Walk {
    /// From what a probe's walk was found to be.
    pub fn of(walk: &impl Serialize) -> Option<Self> {
        serde_json::from_value(serde_json::to_value(walk).ok()?).ok()
    }

    /// Where it all came to an end: the request's end, or the answer's where it was the answer that was lost.
    pub fn last_end(&self) -> &End {
        match &self.answer {
            Some(answer) if self.end.reason == ANSWER_LOST => &answer.end,
            _ => &self.end,
        }
    }

    /// Whether the packet arrived, and what came back did too.
    pub fn is_delivered(&self) -> bool {
        self.end.reason == DELIVERED
    }

    /// The way back, where it matters: the answer was lost on it.
    pub fn lost_answer(&self) -> Option<&Self> {
        self.answer.as_deref().filter(|_| self.end.reason == ANSWER_LOST)
    }
}

impl End {
    /// Why, in a few words; a reason that is not known here by its name.
    pub fn words(&self) -> &str {
        self.reason.parse().map_or(self.reason.as_str(), |known: EndReason| known.words())
    }
}

impl Change {
    /// Its kind, `snat`.
    pub fn kind(&self) -> &str {
        self.0.keys().next().map_or("", String::as_str)
    }

    /// Whether it concerns the packet around the packet.
    pub fn of_outer(&self) -> bool {
        self.0.values().any(|what| what.get("outer").and_then(Value::as_bool) == Some(true))
    }

    /// It in words: `SNAT 10.244.0.5 → 10.0.0.239`, `encapsulated 10.0.0.239 → 10.0.0.24`.
    pub fn words(&self) -> String {
        let Some((kind, what)) = self.0.iter().next() else { return String::new() };
        let text = |key: &str| what.get(key).and_then(Value::as_str).unwrap_or_default();
        let outer = if self.of_outer() { "outer " } else { "" };
        match kind.as_str() {
            "snat" | "dnat" => format!("{outer}{} {} → {}", kind.to_uppercase(), text("from"), text("to")),
            "encapsulated" => format!("encapsulated {} → {}", text("src"), text("dst")),
            "fragmented" => match what.get("pieces").and_then(Value::as_u64) {
                Some(pieces) => format!("cut into {pieces} pieces"),
                None => "cut into pieces".to_owned(),
            },
            "forwarded" => format!("asked on by {}", text("by")),
            other => other.to_owned(),
        }
    }
}
