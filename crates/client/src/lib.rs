//! A client of the platform's API over HTTP/1.1, with TLS or without: what the command line and the tests speak with.
//!
//! Knows requests and replies, and the few paths that callers share; never interprets a reply's meaning.

mod actions;
mod durable;
mod record;
mod trust;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chasen_entity::RawJson;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::Value;

pub use actions::{ActionCode, Target};
pub use durable::Page;
pub use record::{Record, RecordResponse};
pub use trust::{Trust, refused_certificate};

/// Largest reply that is read, in bytes.
const MAX_REPLY: usize = 64 << 20;
/// Default bound on a whole exchange; a blocking call may wait a minute.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request cannot be written.
    #[error("the request to {url} is not valid: {why}")]
    Request {
        /// Whole URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// `https` cannot be spoken.
    #[error("{base} cannot be asked over TLS: {why}")]
    Trust {
        /// `https://host:port`
        base: String,
        /// What is missing.
        why: String,
    },
    /// Nobody answered, or not whole.
    #[error("no answer from {url}: {why}")]
    NoAnswer {
        /// Whole URL.
        url: String,
        /// What happened.
        why: String,
    },
}

/// A whole reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of one server. Keeps connections open between requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Connections,
    base: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// Connections that are kept between requests.
#[derive(Debug, Clone)]
enum Connections {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Encrypted(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Connections {
    async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, PoolError> {
        match self {
            Self::Plain(pool) => pool.request(request).await,
            Self::Encrypted(pool) => pool.request(request).await,
        }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

impl Client {
    /// A client of the server at `base` (`http://host:port`), without credentials.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self::with_pool(base, Connections::Plain(Pool::builder(TokioExecutor::new()).build(connector())))
    }

    /// The same for `https://host:port`, too.
    pub fn trusting(base: &str, trust: &Trust) -> Result<Self, ClientError> {
        let is_encrypted = base.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        if !is_encrypted {
            return Ok(Self::new(base));
        }
        let config = trust.config().map_err(|why| ClientError::Trust { base: base.to_owned(), why })?;
        let mut connector = connector();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::with_pool(
            base,
            Connections::Encrypted(Pool::builder(TokioExecutor::new()).build(connector)),
        ))
    }

    fn with_pool(base: &str, pool: Connections) -> Self {
        Self { pool, base: base.trim_end_matches('/').to_owned(), authorization: None, timeout: TIMEOUT }
    }

    /// Sends these credentials (`uuid:key`) with every request.
    #[must_use]
    pub fn with_credentials(mut self, credentials: &str) -> Self {
        let value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(credentials)));
        self.authorization = value.ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self
    }

    /// Waits at most this long for each whole reply.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// `http://host:port`
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.request(Method::GET, path, None).await
    }

    /// `DELETE` of a path.
    pub async fn delete(&self, path: &str) -> Result<Reply, ClientError> {
        self.request(Method::DELETE, path, None).await
    }

    /// `PUT` of a document.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Reply, ClientError> {
        self.request(Method::PUT, path, Some(body)).await
    }

    /// `PUT` of a document that is written already.
    pub async fn put_text(&self, path: &str, body: String) -> Result<Reply, ClientError> {
        self.request_text(Method::PUT, path, Some(body)).await
    }

    /// `POST` of a document.
    pub async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + Sync + ?Sized),
    ) -> Result<Reply, ClientError> {
        let body = RawJson::from_value(body).as_str().to_owned();
        self.request_text(Method::POST, path, Some(body)).await
    }

    /// Any method, with a JSON body or none.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, ClientError> {
        self.request_text(method, path, body.map(Value::to_string)).await
    }

    async fn request_text(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Reply, ClientError> {
        let builder = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = match body {
            Some(body) => builder.header(CONTENT_TYPE, "application/json").body(Bytes::from(body)),
            None => builder.body(Bytes::new()),
        };
        let failed =
            |error: http::Error| ClientError::Request { url: self.url(path), why: error.to_string() };
        self.send(request.map_err(failed)?).await
    }

    /// A request as it is, with the client's credentials unless it has its own. Its URI is absolute.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Reply, ClientError> {
        if let Some(authorization) = &self.authorization
            && !request.headers().contains_key(AUTHORIZATION)
        {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let url = request.uri().to_string();
        let no_answer = |why: String| ClientError::NoAnswer { url: url.clone(), why };
        let not_sent =
            |error: &PoolError| no_answer(refused_certificate(error).unwrap_or_else(|| chain(error)));
        let exchange = async {
            let response =
                self.pool.request(request.map(Full::new)).await.map_err(|error| not_sent(&error))?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_REPLY).collect().await.map_err(|error| no_answer(chain(&*error)))?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(no_answer(format!("no whole reply within {} s", self.timeout.as_secs()))),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers one connection with fixed bytes; gives what it was asked.
    async fn serve(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        (base, asked)
    }

    #[tokio::test]
    async fn credentials_and_bodies_go_out_and_replies_come_back() {
        let (base, asked) = serve(b"HTTP/1.1 202 Accepted\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
        let client = Client::new(&base).with_credentials("user:secret");
        let reply = client.invoke("my hello", &serde_json::json!({"n": 1}), false).await.unwrap();
        assert_eq!((reply.status, reply.json()["a"].as_u64()), (StatusCode::ACCEPTED, Some(1)));
        let asked = asked.await.unwrap();
        assert!(
            asked.starts_with("POST /api/v1/namespaces/_/actions/my%20hello?blocking=false HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{asked}");
        assert!(asked.ends_with("{\"n\":1}"), "{asked}");
        assert!(!format!("{client:?}").contains("dXNlcjpzZWNyZXQ="));
    }

    #[tokio::test]
    async fn silence_is_an_error_that_names_the_url() {
        let (base, _asked) = serve(b"").await;
        let client = Client::new(&base).with_timeout(Duration::from_millis(200));
        let error = client.get("/ping").await.unwrap_err().to_string();
        assert!(error.contains(&format!("{base}/ping")), "{error}");
    }
}
