//! What programs were asked and said: written down from real runs, and played in their place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tools::{Call, Run, Said, Tool, Tools};

/// One program's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The program.
    pub tool: Tool,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it read from standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What came of it.
    pub said: Said,
}

/// Runs programs and writes down what comes of it.
#[derive(Clone)]
pub struct Recorder {
    inner: Tools,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Recorder {
    /// Writes down what these say.
    pub fn new(inner: Tools) -> Self {
        Self { inner, entries: Arc::default() }
    }

    /// What was written down.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Run for Recorder {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Said>> {
        Box::pin(async move {
            let said = self.inner.said(call).await?;
            let entry = Entry {
                tool: call.tool,
                arguments: call.arguments.clone(),
                input: call.input.clone(),
                said: said.clone(),
            };
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            Ok(said)
        })
    }
}

/// Says what was written down, to whoever asks the same in the same order.
pub struct Player(Mutex<VecDeque<Entry>>);

impl Player {
    /// Plays these.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self(Mutex::new(entries.into_iter().collect()))
    }
}

impl Run for Player {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Said>> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let answer = match next {
            Some(next) if (next.tool, &next.arguments, &next.input) == (call.tool, &call.arguments, &call.input) => {
                Ok(next.said)
            }
            Some(next) => {
                let expected = Call::new(next.tool, next.arguments);
                Err(Error::unread("the transcript", format!("it goes on with `{expected}`, not with `{call}`")))
            }
            None => Err(Error::unread("the transcript", format!("it is over, and `{call}` comes"))),
        };
        Box::pin(std::future::ready(answer))
    }
}
