//! A search's steps in a file, so that one that was interrupted can go on.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Candidate, Stop};
use crate::bisect::{Mark, Votes};
use crate::report::schema;
use crate::shrink::keep;

const SCHEMA: &str = "underlay.bisect-state/1";

/// What trying one candidate came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) runs: Vec<Mark>,
    pub(super) milliseconds: u64,
    pub(super) results: Vec<schema::Case>,
}

/// The file and what is in it.
pub(super) struct State {
    file: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema: String,
    search: Search,
    steps: BTreeMap<usize, Saved>,
}

/// Which search it is: steps of one say nothing in another.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Search {
    underlay: String,
    judged_by: String,
    votes: Votes,
    candidates: Vec<String>,
    /// Of all that is run and expected of every candidate.
    digest: u64,
}

impl State {
    /// A new file; with `resume`, one that is there.
    ///
    /// # Errors
    /// It can't be read or written, holds another search, or holds one that isn't to be resumed.
    pub(super) fn open(
        file: &Path,
        resume: bool,
        candidates: &[Candidate],
        judged_by: &str,
        votes: Votes,
    ) -> Result<Self, Stop> {
        let mut hasher = DefaultHasher::new();
        for Candidate { case, .. } in candidates {
            keep::run(case).hash(&mut hasher);
            let expected = case.expectations.iter().map(|check| (&check.subject, &check.expected));
            expected.for_each(|expected| format!("{expected:?}").hash(&mut hasher));
        }
        let search = Search {
            underlay: env!("CARGO_PKG_VERSION").to_owned(),
            judged_by: judged_by.to_owned(),
            votes,
            candidates: candidates.iter().map(|candidate| candidate.label.name.clone()).collect(),
            digest: hasher.finish(),
        };
        let name = file.display();
        let wrong = |what: String, help: &str| Stop::usage(format!("--state {name}: {what}"), help);
        let steps = match (resume, std::fs::read(file)) {
            (true, Ok(text)) => {
                let content: Content = serde_json::from_slice(&text)
                    .map_err(|error| wrong(format!("it can't be read: {error}"), "begin anew, without --resume"))?;
                if content.schema != SCHEMA || content.search != search {
                    let help = "begin anew with another file: the case, what decides, the candidates or this program \
                                are not the same";
                    return Err(wrong("it holds another search".to_owned(), help));
                }
                content.steps
            }
            (true, Err(error)) => return Err(wrong(error.to_string(), "without --resume the file is made")),
            (false, Ok(_)) => {
                return Err(wrong("it is there already".to_owned(), "go on with it by --resume, or name another file"));
            }
            (false, Err(_)) => BTreeMap::new(),
        };
        let state = Self { file: file.to_owned(), content: Content { schema: SCHEMA.to_owned(), search, steps } };
        state.write()?;
        Ok(state)
    }

    /// What trying a candidate came to, if it was tried.
    pub(super) fn step(&self, index: usize) -> Option<&Saved> {
        self.content.steps.get(&index)
    }

    /// Keeps what trying one came to.
    pub(super) fn keep(&mut self, index: usize, step: &Saved) -> Result<(), Stop> {
        self.content.steps.insert(index, step.clone());
        self.write()
    }

    /// All of it at once: whoever is killed meanwhile leaves the file of before.
    fn write(&self) -> Result<(), Stop> {
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|file| {
            serde_json::to_writer(&file, &self.content)?;
            file.persist(&self.file).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| {
            Stop::usage(format!("--state {}: {error}", self.file.display()), "name a file that can be written")
        })
    }
}
