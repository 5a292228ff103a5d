//! A process of a node, and what it said.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab::Surroundings;
use lab::surroundings::Program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// Lines of a log that are kept: the first, which tell of the start, and the last.
const KEPT_FIRST: usize = 2000;
const KEPT_LAST: usize = 4000;
/// How long a question may take.
pub const QUESTION: Duration = Duration::from_secs(30);
/// How long a process may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(20);

/// What a process said, line by line, as far as it is kept.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    first: Vec<String>,
    last: VecDeque<String>,
    left_out: usize,
}

impl Log {
    fn add(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.first.len() < KEPT_FIRST {
            lines.first.push(line);
            return;
        }
        if lines.last.len() == KEPT_LAST {
            lines.last.pop_front();
            lines.left_out += 1;
        }
        lines.last.push_back(line);
    }

    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = (lines.left_out > 0).then(|| format!("[{} lines left out]", lines.left_out));
        lines.first.iter().cloned().chain(gap).chain(lines.last.iter().cloned()).collect()
    }

    /// Reads to the end.
    async fn read(self, from: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(from).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            self.add(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// A process that goes on until it is told to end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it says.
    pub log: Log,
}

impl Process {
    /// Starts it; what it says is added to `log`.
    ///
    /// # Errors
    /// The kernel's answer.
    pub async fn start(surroundings: &Surroundings, program: Program, log: Log) -> lab::Result<Self> {
        let mut child = surroundings.start(program).await?;
        if let Some(output) = child.stdout.take() {
            tokio::spawn(log.clone().read(output));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(log.clone().read(output));
        }
        Ok(Self { child, log })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, as kubelet does, and waits; kills it if it doesn't.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(FAREWELL, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Runs a program to its end and gives what it wrote to standard output.
///
/// # Errors
/// It can't be started, takes longer than `patience`, or fails; in words.
pub async fn output(surroundings: &Surroundings, program: Program, patience: Duration) -> Result<String, String> {
    let name = std::iter::once(program.path.display().to_string()).chain(program.arguments.clone());
    let name = name.collect::<Vec<_>>().join(" ");
    let child = surroundings.start(program).await.map_err(|error| format!("{error}: {}", source(&error)))?;
    let output = match timeout(patience, child.wait_with_output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{name}: {error}")),
        Err(_) => return Err(format!("{name}: no end within {} s", patience.as_secs())),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {}", output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn source(error: &lab::Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
