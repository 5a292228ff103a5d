//! Reports of several runs, joined into one: shares of the same cases, and the same cases on several hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

use super::paint::Paint;
use super::schema::{Case, Host, Report, SCHEMA, Unfinished};
use super::table;
use crate::shard::Shard;
use crate::verdict::Summary;

/// Lines told of each kind of trouble; the JSON has all.
const TOLD: usize = 20;

/// What a report was joined from, and what is wrong with that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Merge {
    /// The reports, by their files' names.
    pub parts: Vec<Part>,
    /// Shares that nobody brought.
    pub missing: Vec<Shard>,
    /// Cases that were brought more than once from the same kind of host.
    pub doubles: Vec<Double>,
    /// What differs between hosts.
    pub differing: Vec<Differing>,
}

/// A report that was joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its file.
    pub file: String,
    /// Where it ran, and which share it was given.
    pub host: Host,
    /// How many cases it has.
    pub cases: usize,
    /// The signal that ended its run before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
    /// Whether others of the same kind of host have all that it didn't come to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

impl Part {
    /// What ended its run before its time, where that matters still.
    fn cut(&self) -> Option<&str> {
        self.interrupted.as_deref().filter(|_| !self.superseded)
    }
}

/// A case that is there more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Double {
    /// Its name.
    pub case: String,
    /// The files it is in.
    pub files: Vec<String>,
}

/// Something that came out otherwise on another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// The case's name.
    pub case: String,
    /// `verdict`, or a column of the table.
    pub about: String,
    /// What it came to, by kernel, architecture and kind of user.
    pub values: IndexMap<String, String>,
}

impl Merge {
    /// Whether all that was run is there, once.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.doubles.is_empty() && self.parts.iter().all(|part| part.cut().is_none())
    }

    /// What keeps it from being whole, by kind.
    pub fn faults(&self) -> [(&'static str, Vec<String>); 3] {
        let cut = self.parts.iter().filter_map(|part| Some(format!("{}: by {}", part.file, part.cut()?)));
        let doubles = self.doubles.iter().map(|double| format!("{} in {}", double.case, double.files.join(", ")));
        [
            ("missing", self.missing.iter().map(ToString::to_string).collect()),
            ("interrupted", cut.collect()),
            ("twice", doubles.collect()),
        ]
    }

    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let cases: usize = self.parts.iter().map(|part| part.cases).sum();
        let hosts: BTreeSet<_> = self.parts.iter().map(|part| part.host.place()).collect();
        let hosts = hosts.into_iter().collect::<Vec<_>>().join("; ");
        let _ = writeln!(out, "{} reports, {cases} cases, on {hosts}", self.parts.len());
        let shares: BTreeSet<_> = self.parts.iter().filter_map(|part| part.host.shard).collect();
        for of in shares.iter().map(|share| share.of).collect::<BTreeSet<_>>() {
            let there = shares.iter().filter(|share| share.of == of).count();
            let _ = writeln!(out, "shards: {there} of {of}");
        }
        for (kind, lines) in self.faults() {
            list(&mut out, &paint.bad(&format!("{kind}:")), &lines);
        }
        let differing = self.differing.iter().map(|differing| {
            let values: Vec<_> = differing.values.iter().map(|(place, value)| format!("{value} on {place}")).collect();
            format!("{} of {}: {}", differing.about, differing.case, values.join(", "))
        });
        list(&mut out, &paint.doubtful("differs:"), &differing.collect::<Vec<_>>());
        out
    }
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    for line in lines.iter().take(TOLD) {
        let _ = writeln!(out, "{title} {line}");
    }
    if lines.len() > TOLD {
        let _ = writeln!(out, "{title} … and {} more", lines.len() - TOLD);
    }
}

/// What makes a case another one, wherever it runs.
pub(crate) fn identity(case: &Case) -> Unfinished {
    let Case { scenario, variant, engine, model, cilium, kubernetes, kernel_overlay, .. } = case;
    Unfinished {
        scenario: scenario.clone(),
        variant: variant.clone(),
        engine: engine.clone(),
        model: model.clone(),
        cilium: cilium.clone(),
        kubernetes: kubernetes.clone(),
        kernel_overlay: *kernel_overlay,
    }
}

/// Joins reports, each with its file's name.
///
/// A case that ran on several kinds of hosts is there once for each, with the host behind its variant; one that is
/// there twice for the same stays once. Of shares, each number must be there as often as any other. A run that was
/// interrupted and done again is no second one; what came out otherwise then is told as there twice.
pub fn merge(mut reports: Vec<(String, Report)>) -> Report {
    // What was interrupted gives what the others haven't.
    reports.sort_by_key(|(_, report)| !report.unfinished.is_empty());
    let mut merge = Merge::default();
    let mut kept: IndexMap<Unfinished, BTreeMap<String, (String, Case)>> = IndexMap::new();
    let mut doubles: IndexMap<String, IndexSet<String>> = IndexMap::new();
    let mut shares: BTreeMap<Shard, usize> = BTreeMap::new();
    let mut empty: BTreeSet<(Shard, String)> = BTreeSet::new();
    let (mut interrupted, mut lacking, mut duration_ms) = (None, Vec::new(), 0);
    for (file, report) in reports {
        let Report { host, cases, unfinished, .. } = report;
        let at = host.place();
        let cut = !unfinished.is_empty();
        duration_ms = duration_ms.max(report.duration_ms);
        let (count, mut new) = (cases.len(), 0);
        for case in cases {
            let places = kept.entry(identity(&case)).or_default();
            match places.get(&at) {
                Some((_, whole)) if cut && whole.verdict == case.verdict => {}
                Some((first, _)) => {
                    doubles.entry(case.id()).or_default().extend([first.clone(), file.clone()]);
                }
                None => {
                    new += 1;
                    places.insert(at.clone(), (file.clone(), case));
                }
            }
        }
        let is_there = |case: &Unfinished| kept.get(case).is_some_and(|places| places.contains_key(&at));
        let superseded = report.interrupted.is_some() && unfinished.iter().all(is_there);
        let part = Part { file, host: host.clone(), cases: count, interrupted: report.interrupted.clone(), superseded };
        merge.parts.push(part);
        if !superseded {
            interrupted = interrupted.or(report.interrupted);
            lacking.extend(unfinished);
        }
        // The same share brought twice is no second run of all shares, and half a share is none.
        if let Some(share) = host.shard.filter(|_| !cut)
            && (new > 0 || count == 0 && empty.insert((share, at)))
        {
            *shares.entry(share).or_default() += 1;
        }
    }
    merge.missing = missing(&shares);
    let double = |(case, files): (String, IndexSet<String>)| Double { case, files: files.into_iter().collect() };
    merge.doubles = doubles.into_iter().map(double).collect();

    let mut cases = Vec::new();
    for places in kept.into_values() {
        merge.differing.extend(differing(&places));
        let several = places.len() > 1;
        cases.extend(places.into_iter().map(|(place, (_, case))| match several {
            true => Case { variant: format!("{} @ {place}", case.variant), ..case },
            false => case,
        }));
    }
    let order = |case: &Case| {
        let Case { scenario, engine, model, cilium, kubernetes, kernel_overlay, variant, .. } = case;
        let conditions = (engine.clone(), model.clone(), cilium.clone(), kubernetes.clone(), *kernel_overlay);
        (scenario.clone(), conditions, variant.clone())
    };
    cases.sort_by_cached_key(order);
    let mut summary = Summary::default();
    for case in &cases {
        summary.add(case.verdict, case.claims.iter().map(|claim| claim.held));
    }
    let host = joined(&merge.parts);
    Report {
        schema: SCHEMA.to_owned(),
        host,
        cases,
        summary,
        interrupted,
        unfinished: lacking,
        duration_ms,
        merge: Some(merge),
    }
}

/// Shares that are there less often than others of as many.
fn missing(shares: &BTreeMap<Shard, usize>) -> Vec<Shard> {
    let mut missing = Vec::new();
    for of in shares.keys().map(|share| share.of).collect::<BTreeSet<_>>() {
        let count = |index| shares.get(&Shard { index, of }).copied().unwrap_or(0);
        let most = (1..=of).map(count).max().unwrap_or(0);
        let rare = (1..=of).flat_map(|index| std::iter::repeat_n(Shard { index, of }, most - count(index)));
        missing.extend(rare);
    }
    missing
}

/// What a case came to otherwise in one place than in another.
fn differing(places: &BTreeMap<String, (String, Case)>) -> Vec<Differing> {
    let mut found: IndexMap<String, IndexMap<String, String>> = IndexMap::new();
    for (place, (_, case)) in places {
        let verdict = ("verdict".to_owned(), case.verdict.to_string());
        let cells = table::subjects(&[case]).into_iter().map(|id| {
            let text = table::cell(case, &id).text;
            (id, text)
        });
        for (about, value) in std::iter::once(verdict).chain(cells) {
            found.entry(about).or_default().insert(place.clone(), value);
        }
    }
    let case = places.values().next().map(|(_, case)| case.id()).unwrap_or_default();
    let differs = |values: &IndexMap<String, String>| values.values().collect::<BTreeSet<_>>().len() > 1;
    let found = found.into_iter().filter(|(_, values)| differs(values));
    found.map(|(about, values)| Differing { case: case.clone(), about, values }).collect()
}

/// What hosts have in common; the rest side by side.
fn joined(parts: &[Part]) -> Host {
    let all = |of: fn(&Host) -> &str| {
        parts.iter().map(|part| of(&part.host)).collect::<IndexSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    Host {
        os: all(|host| &host.os),
        kernel: all(|host| &host.kernel),
        arch: all(|host| &host.arch),
        rootless: parts.iter().any(|part| part.host.rootless),
        cpus: parts.iter().map(|part| part.host.cpus).sum(),
        underlay: all(|host| &host.underlay),
        capabilities: Vec::new(),
        shard: None,
    }
}
