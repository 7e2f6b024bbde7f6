//! A client that sees exactly what is on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    /// All lines of all headers, by lower-case name.
    pub(crate) lines: Vec<(String, String)>,
    /// The words after the status.
    pub(crate) reason: String,
    pub(crate) body: Vec<u8>,
}

/// `Basic …` of these credentials.
pub(crate) fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

impl Request {
    /// `"GET /path"`.
    pub(crate) fn new(line: &str) -> Self {
        let (method, path) = line.split_once(' ').expect("method and path");
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn auth(self, credentials: &str) -> Self {
        self.header("authorization", &basic(credentials))
    }

    /// A body with its length and nothing else.
    pub(crate) fn raw_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// A JSON body.
    pub(crate) fn json(self, body: impl ToString) -> Self {
        self.header("content-type", "application/json").raw_body(body.to_string())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            text += "host: test\r\n";
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            text += &format!("content-length: {}\r\n", body.len());
        }
        text += "\r\n";
        [text.as_bytes(), self.body.as_deref().unwrap_or_default()].concat()
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The `error` of a JSON error body, or the whole text.
    pub(crate) fn error(&self) -> String {
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(body) => body["error"].as_str().map_or_else(|| body.to_string(), str::to_owned),
            Err(_) => self.text(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The values of every line of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter(|(line, _)| line == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn has_cors(&self) -> bool {
        self.header("access-control-allow-origin") == Some("*")
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, request: &Request) -> Response {
        self.write(&request.bytes()).await;
        self.receive(request.is_head()).await.expect("a response")
    }

    /// Writes as much as the other side takes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]).await {
                Ok(count) if count > 0 => written += count,
                _ => break,
            }
        }
        written
    }

    /// The next response; `None` if the connection was closed before one.
    pub(crate) async fn receive(&mut self, bodiless: bool) -> Option<Response> {
        tokio::time::timeout(SOON, self.receive_unbounded(bodiless)).await.expect("an answer in time")
    }

    async fn receive_unbounded(&mut self, bodiless: bool) -> Option<Response> {
        let head_end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.read.drain(..head_end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let (status, reason) = lines.next()?.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
        let (status, reason) = (status.parse().ok()?, reason.to_owned());
        let lines: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let headers: BTreeMap<String, String> = lines.iter().cloned().collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let length = if bodiless { 0 } else { length };
        while self.read.len() < length {
            self.fill().await?;
        }
        let body = self.read.drain(..length).collect();
        Some(Response { status, headers, lines, reason, body })
    }

    async fn fill(&mut self) -> Option<()> {
        let mut chunk = [0u8; 16 * 1024];
        let count = self.stream.read(&mut chunk).await.ok()?;
        self.read.extend_from_slice(&chunk[..count]);
        (count > 0).then_some(())
    }

    /// Resolves when the other side has closed.
    pub(crate) async fn closed(&mut self) {
        let end = async { while self.fill().await.is_some() {} };
        tokio::time::timeout(SOON, end).await.expect("closed in time");
    }
}
