//! Listening: connections are taken, watched, bounded in number, and drained at the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::admin::Admin;
use crate::controller::Controller;
use crate::wire::admission::{Admission, Place, Source};
use crate::wire::connection::{Activity, WatchedStream};
use crate::wire::{handshake, service};

/// Pause after a failed accept, which means that the process or the machine is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the watchdog of a busy connection looks again.
const BUSY_LOOK: Duration = Duration::from_secs(60);

/// What a listener lets in to.
#[derive(Clone)]
pub(crate) enum Door {
    /// The REST API and what lies beside it.
    Api,
    /// Administration.
    Admin(Arc<Admin>),
}

/// How a listener lets in.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) door: Door,
    /// Connections that one source may have open.
    pub(crate) per_source: usize,
    /// What handshakes are made with; plain HTTP without.
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Tells connections to end after the request in hand.
#[derive(Default)]
struct Drain {
    began: AtomicBool,
    told: Notify,
}

impl Controller {
    /// Serves a listener until `shutdown` resolves; then takes no more connections, closes idle ones, and returns
    /// when every request in hand has its response. Dropping the future cuts everything. Bounding the drain is the
    /// caller's choice: wrap the call in a timeout from the moment of the shutdown.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let entrance = self.api_entrance(None);
        self.listen(listener, entrance, shutdown).await;
    }

    /// The same over TLS. Handshakes are bounded in time and count as connections.
    pub async fn serve_tls(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        shutdown: impl Future<Output = ()>,
    ) {
        let entrance = self.api_entrance(Some(tls.into()));
        self.listen(listener, entrance, shutdown).await;
    }

    /// The same for the listener that sandboxes reach, where one address is one tenant's code and gets no more than
    /// its share of connections.
    pub async fn serve_sandboxes(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let per_source = self.config.max_connections_per_sandbox;
        let entrance = Entrance { door: Door::Api, per_source, tls: None };
        self.listen(listener, entrance, shutdown).await;
    }

    fn api_entrance(&self, tls: Option<TlsAcceptor>) -> Entrance {
        Entrance { door: Door::Api, per_source: self.config.max_connections_per_address, tls }
    }

    pub(crate) async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        entrance: Entrance,
        shutdown: impl Future<Output = ()>,
    ) {
        let drain = Arc::new(Drain::default());
        let mut connections = self.take_connections(listener, entrance, shutdown, &drain).await;
        drain.began.store(true, Ordering::Release);
        drain.told.notify_waiters();
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }

    /// Takes connections until `shutdown` resolves; gives those that are left. The listener is closed then.
    async fn take_connections(
        self: Arc<Self>,
        listener: TcpListener,
        entrance: Entrance,
        shutdown: impl Future<Output = ()>,
        drain: &Arc<Drain>,
    ) -> JoinSet<()> {
        let admission = Admission::new(self.config.max_connections, entrance.per_source);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        // Kept while others end: it may hold a connection that waits for room.
        let mut next = pin!(accept(&listener, &admission));
        loop {
            tokio::select! {
                () = &mut shutdown => return connections,
                Some(ended) = connections.join_next() => report(ended),
                accepted = &mut next => {
                    connections.spawn(connection(self.clone(), entrance.clone(), accepted, drain.clone()));
                    next.set(accept(&listener, &admission));
                }
            }
        }
    }
}

/// A connection that there is room for.
struct Accepted {
    stream: TcpStream,
    activity: Arc<Activity>,
    place: Place,
}

/// The next one.
async fn accept(listener: &TcpListener, admission: &Admission) -> Accepted {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(accepted) = admit(stream, peer, admission).await {
                    return accepted;
                }
                tracing::debug!(address = %peer.ip(), "a connection too many was closed");
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn admit(stream: TcpStream, peer: SocketAddr, admission: &Admission) -> Option<Accepted> {
    let activity = Activity::new(peer.ip());
    let mut place = admission.admit(Source::of(peer.ip()), activity.clone())?;
    admission.settle(&mut place).await;
    Some(Accepted { stream, activity, place })
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

/// One connection from its handshake to its end.
async fn connection(controller: Arc<Controller>, entrance: Entrance, accepted: Accepted, drain: Arc<Drain>) {
    let Accepted { stream, activity, place } = accepted;
    // Held to the end.
    let _place = place;
    // Answers are small and awaited: never held back for more. A failure means the peer is gone already.
    let _ = stream.set_nodelay(true);
    match &entrance.tls {
        None => requests(controller, entrance.door, stream, activity, drain).await,
        Some(tls) => {
            if let Some(stream) = shaken(&controller, tls, stream, &activity, &drain).await {
                requests(controller, entrance.door, stream, activity, drain).await;
            }
        }
    }
}

/// The stream after its handshake, unless that fails, or has to make room, or the node stops.
async fn shaken(
    controller: &Controller,
    tls: &TlsAcceptor,
    stream: TcpStream,
    activity: &Activity,
    drain: &Drain,
) -> Option<TlsStream<TcpStream>> {
    let mut told = pin!(drain.told.notified());
    told.as_mut().enable();
    if drain.began.load(Ordering::Acquire) {
        return None;
    }
    tokio::select! {
        shaken = handshake::shake(tls, stream, controller.config.handshake_timeout) => shaken,
        () = poll_fn(|cx| activity.poll_evicted(cx)) => None,
        () = told => None,
    }
}

/// The requests of a connection.
async fn requests<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    controller: Arc<Controller>,
    door: Door,
    stream: S,
    activity: Arc<Activity>,
    drain: Arc<Drain>,
) {
    let (head, idle) = (controller.config.header_timeout, controller.config.idle_timeout);
    let io = TokioIo::new(WatchedStream::new(stream, activity.clone()));
    let service = service_fn(|request| {
        let (controller, door, activity) = (controller.clone(), door.clone(), activity.clone());
        async move {
            activity.begin();
            let response = service::respond(&controller, &door, request, &activity).await;
            activity.end();
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .max_header_size(controller.config.max_header_size)
            .header_read_timeout(None)
            .serve_connection(io, service)
    );
    let mut told = pin!(drain.told.notified());
    let mut watchdog = pin!(tokio::time::sleep(idle.min(head)));
    let (mut registered, mut draining) = (false, false);
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The notification is shared by all connections: it is polled once to leave the waker, then the flag tells.
        if !draining {
            let now = !std::mem::replace(&mut registered, true) && told.as_mut().poll(cx).is_ready();
            if now || drain.began.load(Ordering::Acquire) {
                draining = true;
                connection.as_mut().graceful_shutdown();
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
        }
        if activity.poll_evicted(cx).is_ready() {
            return Poll::Ready(());
        }
        while watchdog.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match activity.deadline(head, idle) {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                // A new head may have begun by then: look again no later than its bound.
                Some(deadline) => watchdog.as_mut().reset(deadline.min(now + head)),
                None => watchdog.as_mut().reset(now + head.min(idle).min(BUSY_LOOK)),
            }
        }
        Poll::Pending
    })
    .await;
}
