//! Connections to one image, and one exchange on each at a time.
//!
//! The task that asks does the reading and writing itself; there is no task per connection. A connection is used again
//! only where the image has shown that it keeps them: many servers close theirs after every answer without saying so,
//! and a request that meets such a close is lost. For the same reason none is used that was idle for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::engine::Dial;
use crate::connection::{Body, Collector, MAX_ANSWER};

/// An image that has left a connection open for this long keeps connections.
const PROOF: Duration = Duration::from_millis(100);
/// No connection is used that was idle for longer: servers close theirs after a second or more.
const MAX_IDLE: Duration = Duration::from_millis(500);
/// Most idle connections.
const MAX_KEPT: usize = 64;
/// A try to connect that takes longer is given up for the next one, where there is a next one.
const MAX_TRY: Duration = Duration::from_secs(1);
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// An answer: status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    /// HTTP status.
    pub(super) status: u16,
    /// As much of the body as is kept.
    pub(super) body: Body,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection: not one byte was sent.
    #[error("the runtime cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
    /// The connection ended before the answer did.
    #[error("the runtime closed its connection")]
    Closed,
    /// Something that is no answer.
    #[error("the runtime's answer is not HTTP: {0}")]
    Garbage(String),
    /// An answer that says that there is none.
    #[error("the runtime answered without a body")]
    Empty,
    /// The longest answer has passed and no end is in sight.
    #[error("the runtime sends without an end")]
    Endless,
}

/// What is done about a port that nobody listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is tried again, for as long as the future is polled: an image takes its time to start.
    Until,
    /// Nothing: it listened before.
    Once,
}

/// The connections to one image.
#[derive(Debug)]
pub(super) struct Client {
    /// Most bytes of an answer that are kept.
    keep: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<Line>,
    /// The image keeps connections.
    proven: bool,
}

type Driver = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// A connection that nothing is under way on.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    idle_since: Instant,
}

impl Client {
    /// No connections yet. At most `keep` bytes of an answer will be kept, the rest is counted.
    #[must_use]
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, kept: Mutex::default() }
    }

    /// A connection that is ready for a request: not one byte has been sent on it for this request.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] if nobody listens and it is tried once.
    pub(super) async fn connect(&self, image: &dyn Dial, reach: Reach) -> Result<Line, Failure> {
        if let Some(line) = self.kept.lock().take() {
            return Ok(line);
        }
        let begun = Instant::now();
        loop {
            let error = match timeout(MAX_TRY, open(image)).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            match reach {
                Reach::Once => return Err(Failure::Unreachable(error.kind())),
                // The longer it takes, the less a little more matters.
                Reach::Until => {
                    sleep((begun.elapsed() / 16).clamp(Duration::from_millis(1), MAX_PAUSE)).await
                }
            }
        }
    }

    /// Sends a request and reads its answer. What becomes of it when the future is dropped is not known to anybody.
    ///
    /// # Errors
    /// Why there is no answer; the request may have been served or not.
    pub(super) async fn exchange(
        &self,
        line: Line,
        path: &'static str,
        body: Bytes,
    ) -> Result<HttpAnswer, Failure> {
        let Line { mut sender, mut driver, .. } = line;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = hyper::Uri::from_static(path);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().extend([
            (HOST, HeaderValue::from_static("localhost:8080")),
            (CONTENT_TYPE, json.clone()),
            (ACCEPT, json),
        ]);
        let work = async {
            let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
            let says_so = says_keep_alive(&response);
            self.read(response).await.map(|answer| (answer, says_so))
        };
        let (answer, says_so) = driven(&mut driver, work).await?;
        self.kept.lock().put(Line { sender, driver, idle_since: Instant::now() }, says_so);
        Ok(answer)
    }

    /// Closes what is idle: the image is about to be stopped from running, for longer than its server will wait.
    pub(super) fn close_idle(&self) {
        self.kept.lock().lines.clear();
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<HttpAnswer, Failure> {
        let (head, mut body) = response.into_parts();
        if head.status == StatusCode::NO_CONTENT {
            return Err(Failure::Empty);
        }
        let expected = hyper::body::Body::size_hint(&body).exact().unwrap_or_default();
        let mut collector = Collector::new(self.keep, usize::try_from(expected).unwrap_or(usize::MAX));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure(&error))?;
            collector.add(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            if collector.length() > MAX_ANSWER as u64 {
                return Err(Failure::Endless);
            }
        }
        Ok(HttpAnswer { status: head.status.as_u16(), body: collector.finish() })
    }
}

impl Kept {
    /// A connection for use, if there is one that the image will not close under it.
    fn take(&mut self) -> Option<Line> {
        self.lines.retain_mut(Line::is_open);
        self.proven |= self.lines.iter().any(|line| line.idle_since.elapsed() >= PROOF);
        if !self.proven {
            return None;
        }
        self.lines.retain(|line| line.idle_since.elapsed() < MAX_IDLE);
        self.lines.pop()
    }

    /// Keeps a connection; until the image is known to keep them, only one, to watch it.
    fn put(&mut self, mut line: Line, says_so: bool) {
        self.proven |= says_so;
        let most = if self.proven { MAX_KEPT } else { 1 };
        if self.lines.len() < most && line.is_open() {
            self.lines.push(line);
        }
    }
}

impl Line {
    /// False once the image has closed it. Asks without waiting.
    fn is_open(&mut self) -> bool {
        let ended = self.driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        !ended && self.sender.is_ready()
    }
}

async fn open(image: &dyn Dial) -> io::Result<Line> {
    let stream = image.dial().await?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut driver = Box::pin(driver);
    driven(&mut driver, sender.ready()).await.map_err(io::Error::other)?;
    Ok(Line { sender, driver, idle_since: Instant::now() })
}

/// Does `work` while the connection's own part is done, too.
async fn driven<T>(driver: &mut Driver, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        // How it ended, the work is told.
        _ = driver.as_mut() => {}
    }
    work.await
}

fn says_keep_alive<B>(response: &Response<B>) -> bool {
    let said = response.headers().get(CONNECTION).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| said.split(',').any(|word| word.trim().eq_ignore_ascii_case("keep-alive")))
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        return Failure::Garbage(error.to_string());
    }
    Failure::Closed
}
