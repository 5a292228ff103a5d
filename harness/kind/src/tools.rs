//! Programs that are run: docker, kind, helm. Never a shell: what is given is given as arguments, or on standard input.

use std::fmt;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How long a program may take where nobody says.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// Docker's command line.
    Docker,
    /// kind.
    Kind,
    /// Helm, 3.13 or newer.
    Helm,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Kind, Self::Helm];

    /// Its name in PATH.
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Kind => "kind",
            Self::Helm => "helm",
        }
    }

    /// Asks for its version; docker's is the daemon's, so that it must answer.
    pub fn version(self) -> Call {
        match self {
            Self::Docker => Call::new(self, ["version", "--format", "{{.Server.Version}}"]),
            Self::Kind => Call::new(self, ["version"]),
            Self::Helm => Call::new(self, ["version", "--short"]),
        }
    }
}

/// A program to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub tool: Tool,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it is told beside the process's own environment.
    pub environment: Vec<(String, String)>,
    /// What it reads from standard input; nothing where there is none.
    pub input: Option<String>,
    /// How long it may take.
    pub patience: Duration,
}

impl Call {
    /// A program with these arguments.
    pub fn new(tool: Tool, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { tool, arguments, environment: Vec::new(), input: None, patience: PATIENCE }
    }

    /// More arguments.
    pub fn with(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// What it reads from standard input.
    pub fn input(mut self, input: impl Into<String>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// An environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long it may take.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// As one would type it, for messages.
impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.tool.program())?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {argument}"))
    }
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Runs programs, or stands in for them.
pub trait Run: Send + Sync {
    /// Runs one to its end.
    ///
    /// # Errors
    /// It isn't there, or takes too long. That it fails is none.
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Said>>;

    /// Starts one that goes on until it is dropped, and whose standard output somebody reads meanwhile.
    ///
    /// # Errors
    /// It isn't there, or who stands in for it can't.
    fn start(&self, call: &Call) -> Result<Child> {
        Err(Error::unread("a program that goes on", format!("nobody plays `{call}`")))
    }
}

/// Programs that can be run.
#[derive(Clone)]
pub struct Tools(Arc<dyn Run>);

impl fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tools")
    }
}

impl Tools {
    /// Those of this host, run in the network the process was started in ([`lab::sandbox::outside`]): in its own there is
    /// nothing.
    pub fn of_host() -> Self {
        Self::by(Host)
    }

    /// Whoever runs them.
    pub fn by(run: impl Run + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// Runs a program to its end, whatever that is.
    ///
    /// # Errors
    /// It isn't there, or takes too long.
    pub async fn said(&self, call: &Call) -> Result<Said> {
        self.0.run(call).await
    }

    /// Starts a program that goes on until it is dropped.
    ///
    /// # Errors
    /// It isn't there.
    pub fn start(&self, call: &Call) -> Result<Child> {
        self.0.start(call)
    }

    /// Runs a program, and gives what it wrote to standard output.
    ///
    /// # Errors
    /// It isn't there, fails, or takes too long.
    pub async fn run(&self, call: &Call) -> Result<String> {
        let said = self.said(call).await?;
        if said.code == Some(0) {
            return Ok(said.output);
        }
        let words = said.error.trim();
        let said = match (words.is_empty(), said.code) {
            (false, _) => words.to_owned(),
            (true, Some(code)) => format!("exit code {code}"),
            (true, None) => "a signal ended it".to_owned(),
        };
        Err(Error::Failed { call: call.to_string(), said })
    }

    /// The same, of a program that writes JSON.
    ///
    /// # Errors
    /// As [`Self::run`]; or it isn't JSON.
    pub async fn json(&self, call: &Call) -> Result<Value> {
        let text = self.run(call).await?;
        serde_json::from_str(&text).map_err(|error| Error::unread("a program's JSON", format!("{call}: {error}")))
    }
}

/// This host's.
struct Host;

impl Run for Host {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Said>> {
        Box::pin(async move {
            let child = self.start(call)?;
            let mut group = Group(child.id());
            let late = |_| Error::Late { call: call.to_string(), patience: call.patience };
            let output = timeout(call.patience, ended(child, call.input.as_deref())).await.map_err(late)?;
            // Its number may be another's by now.
            group.0 = None;
            let output = output.map_err(|error| Error::Failed { call: call.to_string(), said: error.to_string() })?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ok(Said { code: output.status.code(), output: text(output.stdout), error: text(output.stderr) })
        })
    }

    fn start(&self, call: &Call) -> Result<Child> {
        let child = match lab::sandbox::outside() {
            Some(outside) => outside.enter(|| spawn(call))?,
            None => spawn(call),
        };
        child.map_err(|source| Error::Absent { program: call.tool.program(), source })
    }
}

/// A program and those it started, kind's dockers for one: all of them end when nobody waits any more, or one of them would
/// go on making what is being taken away.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            // Those that have ended are gone.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Starts it, in a process group of its own. It ends with whoever waits for it.
fn spawn(call: &Call) -> std::io::Result<Child> {
    Command::new(call.tool.program())
        .args(&call.arguments)
        .envs(call.environment.iter().map(|(name, value)| (name, value)))
        .stdin(if call.input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is this program's to hear: it takes down what that one was making.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn ended(mut child: Child, input: Option<&str>) -> std::io::Result<Output> {
    let stdin = child.stdin.take();
    let tell = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // One that ends before it has read everything says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    tokio::join!(tell, child.wait_with_output()).1
}

/// Who answers in place of programs, by what they are asked.
#[cfg(test)]
pub(crate) mod stand_in {
    use super::*;

    /// Answers by a function.
    pub(crate) struct By<F>(pub(crate) F);

    impl<F: Fn(&Call) -> Said + Send + Sync> Run for By<F> {
        fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Said>> {
            Box::pin(std::future::ready(Ok((self.0)(call))))
        }
    }

    /// A program that ended well.
    pub(crate) fn done(output: &str) -> Said {
        Said { code: Some(0), output: output.to_owned(), error: String::new() }
    }
}
