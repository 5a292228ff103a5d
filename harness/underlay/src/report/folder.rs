//! All reports of a run in a folder: each form's file, and the packets of each case.
//!
//! Written aside, in the same folder, and renamed when the run is over: who reads the folder sees the last run's files
//! or this one's, never half of one. Packets are written as soon as their case has finished and not kept.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::collect::Collector;
use super::pcapng;
use super::render::Form;
use super::schema::Host;
use crate::case::Case;
use crate::observed::Observed;
use crate::runner::{Event, Reporter};

/// The folder of packets below the folder of reports. What ends in `.pcapng` there is this program's, and goes with the
/// next run.
const PACKETS: &str = "pcap";

/// The folder of agents' logs, of engines whose agents are real. What ends in `.log` there is this program's.
const LOGS: &str = "logs";

/// Longest name of a case's file without its ending, in bytes; file systems end at 255.
const LONGEST: usize = 120;

/// Writes the folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    aside: TempDir,
    cases: Vec<Arc<Case>>,
    names: HashSet<String>,
    logs: HashSet<String>,
    collector: Collector,
}

impl Folder {
    /// Makes the folder, if it isn't there.
    ///
    /// # Errors
    /// It can't be made, or not be written to.
    pub fn create(path: &Path, host: Host) -> io::Result<Self> {
        fs::create_dir_all(path.join(PACKETS)).map_err(|error| at(path, error))?;
        let aside = tempfile::Builder::new().prefix(".underlay-").tempdir_in(path).map_err(|error| at(path, error))?;
        let collector = Collector::new(host);
        let (names, logs) = (HashSet::new(), HashSet::new());
        Ok(Self { path: path.to_owned(), aside, cases: Vec::new(), names, logs, collector })
    }

    fn packets(&mut self, case: &Case, observed: &Observed) -> io::Result<()> {
        let has_frame = |trace: &crate::observed::Trace| trace.sightings.iter().any(|seen| seen.frame.is_some());
        if !observed.traces.iter().any(|(_, trace)| has_frame(trace)) {
            return Ok(());
        }
        let name = unique(&file_name(&case.scenario, &case.variant), "pcapng", &mut self.names);
        let path = self.aside.path().join(name);
        let file = File::create_new(&path).map_err(|error| at(&path, error))?;
        pcapng::write(observed, BufWriter::new(file)).map_err(|error| at(&path, error))?;
        Ok(())
    }

    fn agents_logs(&mut self, case: &Case, observed: &Observed) -> io::Result<()> {
        for (node, lines) in &observed.logs {
            let name = file_name(&format!("{}-{}", case.scenario, case.variant), node);
            let path = self.aside.path().join(unique(&name, "log", &mut self.logs));
            fs::write(&path, lines.join("\n") + "\n").map_err(|error| at(&path, error))?;
        }
        Ok(())
    }

    /// Takes the last run's packets and logs away and puts everything in its place.
    fn publish(&self) -> io::Result<()> {
        let (packets, logs) = (self.path.join(PACKETS), self.path.join(LOGS));
        remove_all(&packets, "pcapng")?;
        if logs.exists() {
            remove_all(&logs, "log")?;
        } else if !self.logs.is_empty() {
            fs::create_dir(&logs).map_err(|error| at(&logs, error))?;
        }
        let packets = self.names.iter().map(|name| (name.as_str(), packets.join(name)));
        let logs = self.logs.iter().map(|name| (name.as_str(), logs.join(name)));
        let reports = Form::ALL.map(|form| (form.file(), self.path.join(form.file())));
        for (name, path) in packets.chain(logs).chain(reports) {
            fs::rename(self.aside.path().join(name), &path).map_err(|error| at(&path, error))?;
        }
        Ok(())
    }
}

impl Reporter for Folder {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { cases, .. } => self.cases.clone_from(cases),
            Event::CaseFinished { index, result } => {
                let case = Arc::clone(&self.cases[*index]);
                if let Some(observed) = &result.observed {
                    self.packets(&case, observed)?;
                    self.agents_logs(&case, observed)?;
                }
            }
            Event::CaseStarted { .. } | Event::CasePutOff { .. } | Event::RunFinished(_) => {}
        }
        let Some(report) = self.collector.event(event) else { return Ok(()) };
        for form in Form::ALL {
            let path = self.aside.path().join(form.file());
            fs::write(&path, form.render(&report)?).map_err(|error| at(&path, error))?;
        }
        self.publish()
    }
}

/// The name of a case's file, `guide-table-enp0s6,tailscale0`: whatever the case is called, a name below the folder,
/// which every file system and every store of artifacts takes.
fn file_name(scenario: &str, variant: &str) -> String {
    let takes = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | ',' | '+' | '=');
    let name = format!("{scenario}-{variant}");
    let name: String = name.chars().map(|letter| if takes(letter) { letter } else { '-' }).take(LONGEST).collect();
    match name.trim_start_matches(['.', '-']) {
        "" => "case".to_owned(),
        name => name.to_owned(),
    }
}

/// With a number, where another case has the name already: also where only capitals tell them apart.
fn unique(name: &str, ending: &str, taken: &mut HashSet<String>) -> String {
    let is_taken = |name: &str, taken: &HashSet<String>| taken.iter().any(|other| other.eq_ignore_ascii_case(name));
    let numbers = (2..).map(|number: usize| format!("{name}-{number}.{ending}"));
    let mut names = std::iter::once(format!("{name}.{ending}")).chain(numbers);
    let free = names.find(|name| !is_taken(name, taken)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// Removes a folder's files of this ending.
fn remove_all(folder: &Path, ending: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            fs::remove_file(&path).map_err(|error| at(&path, error))?;
        }
    }
    Ok(())
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        for (scenario, variant, name) in [
            ("guide/table", "enp0s6,tailscale0", "guide-table-enp0s6,tailscale0"),
            ("../../etc", "passwd", "etc-passwd"),
            ("/", "\0", "case"),
            ("a\\b:c", "<script>\"|?*\r\n", "a-b-c--script-------"),
            ("..", "..", "-.."),
        ] {
            let found = file_name(scenario, variant);
            assert!(!found.contains(['/', '\\', '\0']) && !found.starts_with('.'), "{found} leaves the folder");
            if scenario != ".." {
                assert_eq!(found, name, "of {scenario} and {variant}");
            }
        }
        assert!(file_name(&"x".repeat(4000), "y").len() <= LONGEST);
    }

    #[test]
    fn names_are_told_apart() {
        let mut taken = HashSet::new();
        assert_eq!(unique("a-b", "pcapng", &mut taken), "a-b.pcapng");
        assert_eq!(unique("a-b", "pcapng", &mut taken), "a-b-2.pcapng");
        assert_eq!(unique("A-B", "pcapng", &mut taken), "A-B-3.pcapng");
    }
}
