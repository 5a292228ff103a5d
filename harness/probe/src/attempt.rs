//! One run of a probe: where from, until when, and waiting for an answer or the death of the packet.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use lab::Namespace;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::deathwatch::{Deathwatch, Watch};
use crate::error_queue::Reported;
use crate::evidence::{Evidence, Outcome, Silence, Stage};
use crate::mark::Mark;

/// How long an answer may lag behind the news of a death: deaths are told by other sockets than answers.
const GRACE: Duration = Duration::from_millis(25);

/// What every part of a running probe needs.
pub(crate) struct Attempt<'a> {
    pub(crate) from: &'a Namespace,
    deathwatch: &'a dyn Deathwatch,
    deadline: Duration,
    start: Instant,
}

/// Why a probe, or a stage of one, has no answer.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It was told, or couldn't be asked.
    Told(Outcome, String),
    /// Nothing came.
    Silent(Silence),
}

/// A mark watched over. Once its death was told nothing more is.
pub(crate) struct Watched<'a> {
    pub(crate) mark: Mark,
    watch: Option<Watch<'a>>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(from: &'a Namespace, deathwatch: &'a dyn Deathwatch, deadline: Duration) -> Self {
        Self { from, deathwatch, deadline, start: Instant::now() }
    }

    /// Has the mark of packets to this address watched from now on. To be called before anything is sent.
    pub(crate) fn watch(&self, mark: Mark, to: Ipv4Addr) -> Watched<'a> {
        Watched { watch: Some(self.deathwatch.watch_sent(mark.clone(), self.from, to)), mark }
    }

    /// Time since the attempt began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What `work` comes to, if it comes to anything before the deadline.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.start + self.deadline, work).await.ok()
    }

    /// Waits for `answer`, for the death of the watched packet or for the deadline, whichever is first.
    pub(crate) async fn wait<T>(
        &self,
        watched: &mut Watched<'_>,
        answer: impl Future<Output = T>,
    ) -> Result<T, Ending> {
        let end = self.start + self.deadline;
        let mut answer = std::pin::pin!(answer);
        let death = async {
            match &mut watched.watch {
                Some(watch) => watch.await,
                None => std::future::pending().await,
            }
        };
        let death = tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer),
            death = death => death,
            () = sleep_until(end) => return Err(Ending::Silent(Silence::Deadline(self.deadline))),
        };
        watched.watch = None;
        timeout(GRACE, answer).await.map_err(|_| Ending::Silent(Silence::Death(death)))
    }
}

impl Ending {
    /// The ending that a failed system call on a socket means. `reported` is what its error queue held.
    pub(crate) fn of_call(error: &io::Error, reported: Option<Reported>) -> Self {
        let outcome = reported.map_or_else(|| Reported::without_queue(error), |reported| reported.outcome());
        let detail = match reported.and_then(|reported| reported.by()) {
            Some(by) if outcome == Outcome::Refused => format!("refused, says {by}"),
            _ => match outcome {
                Outcome::NotPossible { .. } | Outcome::Broken | Outcome::Refused => error.to_string(),
                _ => outcome.to_string(),
            },
        };
        Self::Told(outcome, detail)
    }

    /// The ending where the lab gave no socket.
    pub(crate) fn of_lab(error: &lab::Error) -> Self {
        Self::Told(Outcome::NotPossible { errno: error.raw_os_error() }, error.to_string())
    }

    /// The ending where the probe itself makes no sense.
    pub(crate) fn impossible(reason: impl Into<String>) -> Self {
        Self::Told(Outcome::NotPossible { errno: None }, reason.into())
    }
}

impl Evidence {
    /// An answer.
    pub(crate) fn reply(rtt: Duration, marks: Vec<Mark>, detail: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Reply,
            stage: Stage::Exchange,
            source_seen: None,
            answer: None,
            status: None,
            rtt: Some(rtt),
            silence: None,
            marks,
            detail: detail.into(),
        }
    }

    /// No answer.
    pub(crate) fn ended(ending: Ending, stage: Stage, marks: Vec<Mark>) -> Self {
        let (outcome, silence, detail) = match ending {
            Ending::Told(outcome, detail) => (outcome, None, detail),
            Ending::Silent(silence) => {
                let detail = silence.to_string();
                (Outcome::Silence, Some(silence), detail)
            }
        };
        Self { outcome, stage, source_seen: None, answer: None, status: None, rtt: None, silence, marks, detail }
    }
}
