//! What became of each probe's packet, once all probes are done.

use std::collections::HashMap;

use probe::Evidence;
use probe::capture::{Capture, Trail};
use probe::walk::facts::Facts;
use probe::walk::{self, Known};

use crate::case::Case;
use crate::observed::Trace;

/// The trace of each probe whose packets could be told from others.
pub fn traces(case: &Case, capture: &Capture, probes: &[(String, String, Evidence)]) -> Vec<(String, Trace)> {
    let overlay = case.network.overlay.as_ref().map(|overlay| overlay.interface.as_str());
    let mut known_facts: HashMap<String, Option<Facts>> = HashMap::new();
    let mut facts = |name: &str| {
        let ask = || capture.namespace(name).and_then(|namespace| Facts::of(&namespace).ok());
        known_facts.entry(name.to_owned()).or_insert_with(ask).clone()
    };
    probes
        .iter()
        .map(|(id, from, evidence)| {
            let trails: Vec<_> = evidence.marks.iter().filter_map(|mark| capture.trail(mark)).collect();
            let nothing = Trail::default();
            let trail = trails.last().unwrap_or(&nothing);
            let walk = walk::walk(&Known { from, evidence, trail, overlay }, &mut facts);
            let places = walk::places(trails.iter().flat_map(|trail| &trail.sightings));
            let gaps = trails.iter().any(|trail| trail.lost > 0 || trail.left_out > 0);
            let sightings = trails.into_iter().flat_map(|trail| trail.sightings).collect();
            (id.clone(), Trace { walk, places, sightings, gaps, astray: None })
        })
        .collect()
}
