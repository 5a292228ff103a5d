//! An agent's REST API, over its Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an agent may take for an answer: it compiles before it says that a pod is in.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an agent didn't do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers.
    #[error("{method} {path}: {reason}")]
    Unanswered {
        /// The request's method.
        method: Method,
        /// Its path.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// It says no.
    #[error("{method} {path}: {status}: {body}")]
    Refused {
        /// The request's method.
        method: Method,
        /// Its path.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer.
        body: String,
    },
}

/// An agent's API.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// The API at this socket.
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for `path`, `/v1/config`.
    ///
    /// # Errors
    /// The agent doesn't answer, or says no.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.ask(Method::GET, path, None).await
    }

    /// Sends `body`.
    ///
    /// # Errors
    /// The agent doesn't answer, or says no.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask(method, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let answer = timeout(PATIENCE, self.exchange(&method, path, body)).await;
        let reason = match answer {
            Ok(Ok((status, body))) if status.is_success() => {
                return Ok(serde_json::from_slice(&body).unwrap_or(Value::Null));
            }
            Ok(Ok((status, body))) => {
                let body = String::from_utf8_lossy(&body).trim().to_owned();
                return Err(ApiError::Refused { method, path: path.to_owned(), status, body });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Err(ApiError::Unanswered { method, path: path.to_owned(), reason })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(bytes))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok((status, body))
    }
}
