//! Recorded truth: what a real component made of a scenario's cases. A file for each scenario and version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// The schema's name and version.
pub const SCHEMA: &str = "underlay.recording/1";

/// What a scenario's cases came to on a real component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recording {
    /// [`SCHEMA`].
    pub schema: String,
    /// The scenario, `devices/node-ip-overlay`.
    pub scenario: String,
    /// Its file.
    pub file: String,
    /// The engine that ran it; of those that say nothing, `agent`.
    #[serde(default = "agent", skip_serializing_if = "is_agent")]
    pub engine: String,
    /// What was run, as it calls itself, `cilium-agent 1.18.2 5bd307e3f1`.
    pub component: String,
    /// The Cilium version of the cases.
    pub version: String,
    /// The kernel's name and release.
    pub kernel: String,
    /// The machine's architecture.
    pub arch: String,
    /// The day, `2026-11-25`.
    pub date: String,
    /// The facts of each case, by variant.
    pub cases: IndexMap<String, Facts>,
}

fn agent() -> String {
    "agent".to_owned()
}

fn is_agent(engine: &str) -> bool {
    engine == agent()
}

/// A recording that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file or folder can't be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file that is no recording.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Recording {
    /// Where it belongs: `FOLDER/1.18.2/devices/node-ip-overlay.json`, and of another engine than `agent` in a folder of its
    /// name.
    pub fn path(&self, folder: &Path) -> PathBuf {
        let folder = if is_agent(&self.engine) { folder.to_owned() } else { folder.join(&self.engine) };
        folder.join(&self.version).join(format!("{}.json", self.scenario))
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file can't be read, or is none.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let wrong = |reason: String| RecordingError::Content { path: path.to_owned(), reason };
        let text = fs::read(path).map_err(|source| RecordingError::Io { path: path.to_owned(), source })?;
        let recording: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        match recording.schema == SCHEMA {
            true => Ok(recording),
            false => Err(wrong(format!("its schema is {:?}, not {SCHEMA}", recording.schema))),
        }
    }

    /// Writes it to where it belongs, in place of what is there.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, RecordingError> {
        let path = self.path(folder);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
        };
        write().map_err(|source| RecordingError::Io { path: path.clone(), source })?;
        Ok(path)
    }
}

/// All recordings below a folder, sorted by path.
///
/// # Errors
/// One can't be read.
pub fn read_all(folder: &Path) -> Result<Vec<Recording>, RecordingError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| RecordingError::Io { path, source }
    };
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
            let path = entry.map_err(failed(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "json") {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    files.iter().map(|path| Recording::read(path)).collect()
}
