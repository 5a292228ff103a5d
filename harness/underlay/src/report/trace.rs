//! What `underlay trace` shows: one probe, what came back, and its packet's way.

use std::fmt::Write as _;

use probe::Evidence;
use serde::{Deserialize, Serialize};

use super::paint::Paint;
use super::schema::walk::Walk;
use super::walk;
use crate::case::{Case, ProbeSpec};
use crate::observed;
use crate::verdict::outcome_word;

/// The schema's name and version.
pub const SCHEMA: &str = "underlay.trace/1";

/// A probe that was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    /// [`SCHEMA`].
    pub schema: String,
    /// The scenario, `guide/table`.
    pub scenario: String,
    /// The variant, `enp0s6`.
    pub variant: String,
    /// `icmp`, `udp`, `tcp`, `dns`, `http` or `https`.
    pub kind: String,
    /// From where.
    pub from: String,
    /// To where, or what was asked for.
    pub to: String,
    /// `works`, or how it failed.
    pub outcome: String,
    /// What came back, in words.
    pub detail: String,
    /// Its way; none where nothing was captured.
    pub walk: Option<Walk>,
}

impl Traced {
    /// From what an engine found out.
    pub fn of(case: &Case, probe: &ProbeSpec, evidence: &Evidence, trace: Option<&observed::Trace>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            scenario: case.scenario.clone(),
            variant: case.variant.clone(),
            kind: probe.kind.name().to_owned(),
            from: probe.from.to_string(),
            to: probe.kind.target(),
            outcome: outcome_word(evidence),
            detail: evidence.detail.clone(),
            walk: trace.and_then(|trace| Walk::of(&trace.walk)),
        }
    }

    /// Whether an answer came.
    pub fn works(&self) -> bool {
        self.outcome == "works"
    }

    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let title = format!("{} {} → {}", self.kind, self.from, self.to);
        let told = if self.works() { paint.good(&self.outcome) } else { paint.bad(&self.outcome) };
        let (scenario, variant, detail) = (&self.scenario, &self.variant, &self.detail);
        let mut out = format!("{} — {scenario}::{variant}\n{told}: {detail}\n\n", paint.strong(&title));
        match &self.walk {
            Some(walk) => out.push_str(&walk::text(walk, paint)),
            None => {
                let _ = writeln!(out, "nothing was captured");
            }
        }
        out
    }
}
