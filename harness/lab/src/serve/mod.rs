//! Servers for a lab's namespaces: the internet's hosts are made of them, and so are pods, CoreDNS and API server
//! stand-ins. Each takes sockets made by the [factory](crate::socket) and opens none itself, save the
//! [forwarder](forward), which has a namespace for that.
//!
//! All of them are started inside a tokio runtime and panic outside of one.

pub mod calls;
pub mod datagram;
pub mod dns;
pub mod echo;
pub mod forward;
pub mod http;
pub mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// A running server. Dropping it ends the server and every connection it has, though perhaps a moment later.
#[derive(Debug)]
#[must_use = "a server ends when this is dropped"]
pub struct Service {
    task: Task,
    stop: oneshot::Sender<()>,
}

impl Service {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::spawn_until(|stopped| async move {
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
        })
    }

    /// Spawns work that ends itself, its listening sockets closed, when it is told to.
    fn spawn_until<F>(work: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { task: Task(tokio::spawn(work(stopped))), stop }
    }

    /// Ends the server. When this returns, the sockets it listened on are closed and can be bound again.
    pub async fn stop(self) {
        drop(self.stop);
        // It can only have ended already, which is as good.
        let mut task = self.task;
        let _ = (&mut task.0).await;
    }
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long to wait where a connection can't be accepted, for want of descriptors or memory: others let go of theirs.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts connections and runs `serve` on each. The connections end with the returned future.
async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, caller)) => { connections.spawn(serve(stream, caller)); }
                // The caller gave up while it waited to be accepted; that is no fault of the listener's.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
