//! Who called a server: the far end's side of every exchange.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Calls that are remembered; older ones are forgotten first.
const REMEMBERED: usize = 4096;

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The server's own address and port.
    pub server: SocketAddr,
    /// Where the request came from, after every translation on the way.
    pub caller: SocketAddr,
    /// What was asked: a DNS name with its letters' case, an HTTP path; empty for an echo.
    pub asked: String,
}

/// What servers were asked, in order. Clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct CallLog(Arc<Mutex<VecDeque<Call>>>);

impl CallLog {
    pub(crate) fn record(&self, server: SocketAddr, caller: SocketAddr, asked: impl Into<String>) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == REMEMBERED {
            calls.pop_front();
        }
        calls.push_back(Call { server, caller, asked: asked.into() });
    }

    /// The last calls, oldest first; at most 4096.
    pub fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last call that asked for exactly this, upper and lower case told apart.
    pub fn last(&self, asked: &str) -> Option<Call> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().rev().find(|call| call.asked == asked).cloned()
    }
}
