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

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A running server. Dropping it ends the server and every connection it has.
#[derive(Debug)]
#[must_use = "a server ends when this is dropped"]
pub struct Service(AbortHandle);

impl Service {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts connections and runs `serve` on each, until the listener fails. The connections end with the returned
/// future.
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
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
