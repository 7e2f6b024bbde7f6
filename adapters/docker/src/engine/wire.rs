//! One request to the engine: a connection of its own over the Unix socket, bounded in time and size.
//!
//! Engines are local and calls are few beside what they start, so connections are not kept: a broken one then never
//! outlives its call.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::model::Complaint;

/// Longest answer that is read, bytes. An inspected image or a list of some thousand containers is far below.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How long a refusal's text may take to arrive once its head is there.
const COMPLAINT_DEADLINE: Duration = Duration::from_secs(5);

/// Why the engine did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at the socket.
    #[error("no container engine answers at {}: {source}; start it, or set docker.socket", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It took the request and said nothing in time.
    #[error("the container engine did not {call} within {} s", deadline.as_secs())]
    Slow {
        /// What it was asked to do.
        call: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// It said no.
    #[error("the container engine did not {call}: {message} (status {status})")]
    Refused {
        /// What it was asked to do.
        call: &'static str,
        /// Its status.
        status: StatusCode,
        /// Its reason.
        message: String,
    },
    /// The connection broke, or what came was no answer to this request.
    #[error("the container engine's answer to '{call}' cannot be read: {why}")]
    Garbled {
        /// What it was asked to do.
        call: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl EngineError {
    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A request in the making.
#[derive(Debug)]
pub(super) struct Call {
    /// Ends sentences such as "the engine did not …".
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// JSON; empty for none.
    pub(super) body: Bytes,
    /// One more header field.
    pub(super) header: Option<(&'static str, String)>,
    /// Until the head of the answer, and then once more until its end where the whole body is read.
    pub(super) deadline: Duration,
}

impl Call {
    pub(super) fn new(what: &'static str, method: Method, target: String, deadline: Duration) -> Self {
        Self { what, method, target, body: Bytes::new(), header: None, deadline }
    }

    fn garbled(&self, why: impl ToString) -> EngineError {
        EngineError::Garbled { call: self.what, why: why.to_string() }
    }

    fn slow(&self) -> EngineError {
        EngineError::Slow { call: self.what, deadline: self.deadline }
    }

    fn request(&self, upgrade: bool) -> Result<Request<Full<Bytes>>, EngineError> {
        let mut request = Request::builder().method(&self.method).uri(&self.target).header(HOST, "engine");
        if !self.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        if upgrade {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        request.body(Full::new(self.body.clone())).map_err(|error| self.garbled(error))
    }

    /// Sends it; the answer's head has come and its status is one of success.
    async fn send(&self, socket: &Path, upgrade: bool) -> Result<Response<Incoming>, EngineError> {
        let exchange = async {
            let unreachable = |source| EngineError::Unreachable { socket: socket.to_path_buf(), source };
            let stream = UnixStream::connect(socket).await.map_err(unreachable)?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.garbled(error))?;
            // It ends with the answer's body, or when that is dropped.
            drop(tokio::spawn(connection.with_upgrades()));
            sender.send_request(self.request(upgrade)?).await.map_err(|error| self.garbled(error))
        };
        let answer = timeout(self.deadline, exchange).await.map_err(|_| self.slow())??;
        let status = answer.status();
        if status.is_success() || (upgrade && status == StatusCode::SWITCHING_PROTOCOLS) {
            return Ok(answer);
        }
        let said = timeout(COMPLAINT_DEADLINE, self.body(answer)).await.ok().and_then(Result::ok);
        let said = said.unwrap_or_default();
        let message = match serde_json::from_slice::<Complaint>(&said) {
            Ok(complaint) => complaint.message,
            Err(_) => String::from_utf8_lossy(&said).trim().to_owned(),
        };
        Err(EngineError::Refused { call: self.what, status, message })
    }

    async fn body(&self, answer: Response<Incoming>) -> Result<Bytes, EngineError> {
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
        Ok(body.await.map_err(|error| self.garbled(error))?.to_bytes())
    }

    /// Sends it and reads the whole answer.
    pub(super) async fn bytes(&self, socket: &Path) -> Result<Bytes, EngineError> {
        let answer = self.send(socket, false).await?;
        timeout(self.deadline, self.body(answer)).await.map_err(|_| self.slow())?
    }

    /// Sends it and reads the answer's JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, socket: &Path) -> Result<T, EngineError> {
        serde_json::from_slice(&self.bytes(socket).await?).map_err(|error| self.garbled(error))
    }

    /// Sends it; the answer's body goes on for as long as the caller reads it.
    pub(super) async fn stream(&self, socket: &Path) -> Result<Incoming, EngineError> {
        Ok(self.send(socket, false).await?.into_body())
    }

    /// Sends it; the connection becomes a stream of bytes.
    pub(super) async fn upgrade(
        &self,
        socket: &Path,
    ) -> Result<TokioIo<hyper::upgrade::Upgraded>, EngineError> {
        let answer = self.send(socket, true).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.garbled("the connection was not handed over"));
        }
        let upgraded = timeout(self.deadline, hyper::upgrade::on(answer)).await.map_err(|_| self.slow())?;
        Ok(TokioIo::new(upgraded.map_err(|error| self.garbled(error))?))
    }
}
