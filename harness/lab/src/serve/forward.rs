//! A DNS forwarder: passes questions on to an upstream server and its answers back.
//!
//! Timeouts and retries are those of CoreDNS's `forward` plugin with one upstream (plugin/forward/forward.go,
//! `defaultTimeout`; plugin/pkg/proxy, `readTimeout`), except that the total binds the last try too and that an upstream
//! that refuses isn't asked again.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::datagram;
use super::dns::{Answer, Question, Resolve};
use crate::namespace::Namespace;

/// Largest DNS message in bytes.
const MESSAGE: usize = 65_535;

/// How long a forwarder waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to one try.
    pub each: Duration,
    /// For all tries of one question.
    pub total: Duration,
}

impl Default for Patience {
    /// CoreDNS's: 2 s and 5 s.
    fn default() -> Self {
        Self { each: Duration::from_secs(2), total: Duration::from_secs(5) }
    }
}

/// How a forwarder fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fared {
    /// Questions passed on.
    pub requests: u64,
    /// Questions the upstream didn't answer, and which were answered SERVFAIL.
    pub failures: u64,
    /// Why the last of those failed, as CoreDNS would log it: `read udp 8.8.8.8:53: i/o timeout`.
    pub last_failure: Option<String>,
}

/// Passes questions on to one upstream, by the transport they came with and from a namespace of its own.
#[derive(Debug)]
pub struct Forwarder {
    namespace: Namespace,
    upstream: SocketAddrV4,
    patience: Patience,
    requests: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Forwarder {
    /// A forwarder to `upstream` whose sockets are made in `namespace`.
    pub fn new(namespace: Namespace, upstream: SocketAddrV4, patience: Patience) -> Self {
        Self {
            namespace,
            upstream,
            patience,
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_failure: Mutex::new(None),
        }
    }

    /// How it fared until now.
    pub fn fared(&self) -> Fared {
        Fared {
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    async fn udp(&self, query: &[u8]) -> io::Result<Message> {
        let socket = self.namespace.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None).map_err(io::Error::other)?;
        socket.connect(self.upstream).await?;
        socket.send(query).await?;
        let mut buffer = vec![0; MESSAGE];
        loop {
            let length = datagram::receive(&socket, &mut buffer).await?;
            if let Some(message) = answer_to(query, &buffer[..length]) {
                return Ok(message);
            }
        }
    }

    async fn tcp(&self, query: &[u8]) -> io::Result<Message> {
        let socket = self.namespace.tcp(None).map_err(io::Error::other)?;
        let mut stream = socket.connect(self.upstream.into()).await?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        answer_to(query, &answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    async fn forward(&self, question: Question<'_>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let end = Instant::now() + self.patience.total;
        let failure = loop {
            let try_end = end.min(Instant::now() + self.patience.each);
            let tried = timeout_at(try_end, async {
                if question.tcp { self.tcp(question.message).await } else { self.udp(question.message).await }
            });
            match tried.await {
                Ok(Ok(message)) => return Answer::Message(Box::new(message)),
                Ok(Err(error)) => break error.to_string(),
                Err(_) if Instant::now() >= end => break "i/o timeout".to_owned(),
                Err(_) => {}
            }
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        let transport = if question.tcp { "tcp" } else { "udp" };
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(format!("read {transport} {}: {failure}", self.upstream));
        Answer::Failure
    }
}

impl Resolve for Forwarder {
    fn resolve<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Answer> {
        Box::pin(self.forward(question))
    }
}

/// The answer to this query, if `bytes` is one: the same id and question.
fn answer_to(query: &[u8], bytes: &[u8]) -> Option<Message> {
    let (asked, message) = (Message::from_vec(query).ok()?, Message::from_vec(bytes).ok()?);
    (message.metadata.id == asked.metadata.id && message.queries == asked.queries).then_some(message)
}
