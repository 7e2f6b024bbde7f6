//! HTTP: connections, bodies and routes, each within bounds; and the end, drained or not.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chasen_entity::error_text::runtime::NODE_BAD_REQUEST;
use chasen_runtime::personality::Personality;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::action::Action;
use crate::answer::{Answer, Outcome, Payload, Silence};
use crate::arguments::Listen;
use crate::knative;
use crate::manners::Manners;
use crate::signals::Signals;

/// Longest body.
const MAX_BODY: usize = 64 << 20;
/// Bytes of all bodies in memory; those that find no room wait.
const ALL_BODIES: usize = 4 * MAX_BODY;
/// What the budget of bodies is counted in.
const UNIT: usize = 1024;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long its body may take.
const BODY_TIME: Duration = Duration::from_secs(120);
/// Most connections at a time, where the system allows as many descriptors.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// Descriptors for everything else.
const OTHER_DESCRIPTORS: usize = 32;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long what is under way may take once the end has been asked for: less than what engines wait.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the last answers may take on their way out.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait before the next attempt when the system has no descriptor left.
const BREATH: Duration = Duration::from_millis(10);

const TOO_LARGE: &str = "The request is larger than 64 MB.";
const TOO_SLOW: &str = "The request's body did not arrive within two minutes.";
const SHUTTING_DOWN: &str = "The runtime is shutting down.";

/// Why serving has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody asked for it.
    Asked,
    /// The launcher has ended with this status, and the image's server with it.
    Launcher(u8),
}

/// What every connection shares.
struct Front {
    action: Arc<Action>,
    draining: AtomicBool,
    /// Requests that are not answered yet.
    under_way: watch::Sender<usize>,
    bodies: Arc<Semaphore>,
}

/// Opens the door.
///
/// # Errors
/// The system's.
pub(crate) async fn listen(listen: &Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::Address(address) => match bind(*address) {
            // The machine has no addresses of the other family.
            Err(error) if address.ip().is_unspecified() && address.is_ipv6() => {
                bind((std::net::Ipv4Addr::UNSPECIFIED, address.port()).into()).map_err(|_| error)
            }
            bound => bound,
        },
        Listen::StandardInput => {
            let listener = StdTcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        }
    }
}

fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the end is asked for or the launcher that stands for the server has ended; then lets what is under
/// way come to its end, within bounds.
pub(crate) async fn serve(listener: TcpListener, action: Arc<Action>, signals: &mut Signals) -> End {
    let mut launcher = action.end();
    let bodies = Arc::new(Semaphore::new(ALL_BODIES / UNIT));
    let front = Arc::new(Front {
        action,
        draining: AtomicBool::new(false),
        under_way: watch::Sender::new(0),
        bodies,
    });
    let graceful = GracefulShutdown::new();
    let door = Door { listener, connections: Arc::new(Semaphore::new(most_connections())) };
    let end = loop {
        tokio::select! {
            (stream, permit) = door.accept() => {
                let connection = graceful.watch(connection(stream, &front));
                tokio::spawn(async move {
                    // A client that breaks off is its own affair.
                    let _ = connection.await;
                    drop(permit);
                });
            }
            () = signals.asked_to_end() => break End::Asked,
            Ok(ended) = launcher.wait_for(Option::is_some) => break End::Launcher(ended.unwrap_or(255)),
        }
    };
    front.draining.store(true, Ordering::Relaxed);
    let last = async {
        if end == End::Asked {
            // Connections stay open meanwhile: whoever has just connected is told to go elsewhere.
            let mut under_way = front.under_way.subscribe();
            let _ = timeout(DRAIN, under_way.wait_for(|count| *count == 0)).await;
        }
        let _ = timeout(LAST_WORDS, graceful.shutdown()).await;
    };
    tokio::select! {
        () = last => {}
        () = signals.asked_to_end() => {}
        () = refuse(&door, &front) => {}
    }
    end
}

/// Tells new callers, for ever, that they come too late.
async fn refuse(door: &Door, front: &Arc<Front>) {
    loop {
        let (stream, permit) = door.accept().await;
        let connection = connection(stream, front);
        tokio::spawn(async move {
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// Where connections come in, so many at a time.
struct Door {
    listener: TcpListener,
    connections: Arc<Semaphore>,
}

impl Door {
    /// The next connection. Safe to cancel.
    async fn accept(&self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        loop {
            let permit = Arc::clone(&self.connections).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                // One that is gone already, or no descriptor left.
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    }
}

fn most_connections() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    allowed.map_or(MAX_CONNECTIONS, |limit| limit.saturating_sub(OTHER_DESCRIPTORS).clamp(8, MAX_CONNECTIONS))
}

fn connection(
    stream: TcpStream,
    front: &Arc<Front>,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl Service<Request<Incoming>, Response = Response<Payload>, Error = Silence, Future: Send> + use<>,
> {
    // Without it an answer may wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let front = Arc::clone(front);
    let service = service_fn(move |request| Arc::clone(&front).answer(request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
}

impl Front {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Payload>, Silence> {
        let personality = self.action.settings().kind.personality;
        let refuse = |status, text: &str| Answer::new(status, personality.error_body(text).into()).into();
        if self.draining.load(Ordering::Relaxed) {
            return Ok(refuse(503, SHUTTING_DOWN));
        }
        let under_way = UnderWay::begin(&self);
        let (head, body) = request.into_parts();
        let keeps = keeps_connection(&head);
        let (body, room) = match self.read(body).await {
            Ok(read) => read,
            Err(NotRead::TooLarge) => return Ok(refuse(413, TOO_LARGE)),
            Err(NotRead::TooSlow) => return Ok(refuse(408, TOO_SLOW)),
            Err(NotRead::Broken) => return Err(Silence),
        };
        // A task of its own: an activation comes to its end whether its caller waits or not.
        let front = Arc::clone(&self);
        let task = tokio::spawn(async move {
            let outcome = front.route(&head, &body).await;
            drop((room, under_way));
            outcome
        });
        let mut response = task.await.unwrap_or(Err(Silence)).map(Response::from)?;
        if keeps && !self.draining.load(Ordering::Relaxed) {
            // Platforms use those connections again whose servers say so.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        Ok(response)
    }

    async fn route(&self, head: &http::request::Parts, body: &[u8]) -> Outcome {
        let personality = self.action.settings().kind.personality;
        if let Some(knative) = self.action.settings().knative() {
            let request = knative::Request {
                method: &head.method,
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                headers: &head.headers,
                body,
            };
            return knative.answer(&self.action, personality, request).await;
        }
        match head.uri.path() {
            "/init" => self.action.init(body).await,
            "/run" => self.action.run(body).await,
            _ if personality == Personality::Node => {
                Ok(Answer::new(500, personality.error_body(NODE_BAD_REQUEST).into()))
            }
            _ => Ok(Answer::empty(StatusCode::OK)),
        }
    }

    /// The whole body, and the room that it takes.
    async fn read(&self, body: Incoming) -> Result<(Bytes, Option<OwnedSemaphorePermit>), NotRead> {
        let announced = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let most = announced.unwrap_or(MAX_BODY);
        if most > MAX_BODY {
            return Err(NotRead::TooLarge);
        }
        let units = u32::try_from(most.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let mut room = Arc::clone(&self.bodies).acquire_many_owned(units).await.ok();
        let read = Limited::new(body, MAX_BODY).collect();
        let bytes = match timeout(BODY_TIME, read).await {
            Ok(Ok(read)) => read.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(NotRead::TooLarge),
            Ok(Err(_)) => return Err(NotRead::Broken),
            Err(_) => return Err(NotRead::TooSlow),
        };
        // What was set aside for a body of unknown length and not used.
        let unused = most.saturating_sub(bytes.len()) / UNIT;
        drop(room.as_mut().and_then(|room| room.split(unused)));
        Ok((bytes, room))
    }
}

/// True if its caller may send another request on the same connection.
fn keeps_connection(head: &http::request::Parts) -> bool {
    let mut said = head.headers.get_all(CONNECTION).iter();
    let closes =
        |said: &HeaderValue| said.as_bytes().to_ascii_lowercase().windows(5).any(|word| word == b"close");
    head.version == Version::HTTP_11 && !said.any(closes)
}

/// One request that is not answered yet.
struct UnderWay(Arc<Front>);

impl UnderWay {
    fn begin(front: &Arc<Front>) -> Self {
        front.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(front))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Why a body is not there.
enum NotRead {
    TooLarge,
    TooSlow,
    /// The client broke off.
    Broken,
}
