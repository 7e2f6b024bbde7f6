//! The resolver: the one address that sandboxes ask for names, behind which the node asks its own name servers.
//!
//! So sandboxes need no way to these, which may be private or on the machine's loopback. It answers nobody but sandboxes,
//! and those that have a list of destinations only for names on that; what it tells them then may be connected to. What
//! it tells others opens nothing: the filter looks at addresses, whatever name led to them.
//!
//! It lives on a thread of its own, which holds no lock of the node's and waits for nobody but name servers.

mod places;
mod servers;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chasen_entity::Subnet;
use chasen_telemetry::task;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, sockopt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::dns::{MAX_QUESTION, Question, Refusal};
use super::egress::{
    QUESTIONS, QUESTIONS_OF_ONE, RESOLVER_CONNECTIONS, RESOLVER_CONNECTIONS_OF_ONE, RESOLVER_IDLE,
};
use super::error::NetworkError;
use super::netlink::Socket;
use super::restriction::Restrictions;
use super::rules::ResolverPorts;
use places::Places;
pub(super) use servers::Servers;
use servers::{Over, framed};

/// How long is rested after the system refused a connection or a datagram.
const REST: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 64;

/// The sockets of a resolver that does not answer yet.
#[derive(Debug)]
pub(super) struct Listening {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

/// A resolver at work; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Resolver {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Whom it answers, and how.
pub(super) struct Service {
    /// Addresses of sandboxes.
    pub(super) block: Subnet,
    pub(super) servers: Servers,
    pub(super) restrictions: Arc<Restrictions>,
    /// Table of the packet filter in which addresses are opened.
    pub(super) table: String,
    pub(super) filter: Mutex<Socket>,
}

impl Listening {
    /// Listens on the door's address, which need not be there yet.
    pub(super) fn new(door: Ipv4Addr) -> Result<Self, NetworkError> {
        let failed = |error: io::Error| NetworkError::kernel("listen for questions of sandboxes", error);
        let open = |kind| -> io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket::socket(AddressFamily::Inet, kind, flags, None)?;
            socket::setsockopt(&fd, sockopt::IpFreebind, &true)?;
            socket::bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(door, 0)))?;
            Ok(fd)
        };
        let udp = open(SockType::Datagram).map_err(failed)?;
        let tcp = open(SockType::Stream).map_err(failed)?;
        let backlog = Backlog::new(BACKLOG).map_err(|error| failed(error.into()))?;
        socket::listen(&tcp, backlog).map_err(|error| failed(error.into()))?;
        Ok(Self { udp: udp.into(), tcp: tcp.into() })
    }

    pub(super) fn ports(&self) -> Result<ResolverPorts, NetworkError> {
        let failed = |error| NetworkError::kernel("tell the port of the resolver", error);
        Ok(ResolverPorts {
            udp: self.udp.local_addr().map_err(failed)?.port(),
            tcp: self.tcp.local_addr().map_err(failed)?.port(),
        })
    }

    /// Answers, on a thread of its own, in the network of this one.
    pub(super) fn answer(self, service: Service) -> Result<Resolver, NetworkError> {
        let failed = |error| NetworkError::kernel("start the resolver", error);
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let Self { udp, tcp } = self;
        let (udp, tcp) = {
            let _entered = runtime.enter();
            (UdpSocket::from_std(udp).map_err(failed)?, TcpListener::from_std(tcp).map_err(failed)?)
        };
        let work = move || {
            let service = Arc::new(service);
            runtime.block_on(async {
                drop(task::spawn("questions over TCP", serve_tcp(tcp, Arc::clone(&service))));
                drop(task::spawn("questions", serve_udp(udp, service)));
                // Who says so, or is gone.
                let _ = ended.await;
            });
        };
        let thread = thread::Builder::new().name("resolver".into()).spawn(work).map_err(failed)?;
        Ok(Resolver { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the resolver's thread died");
        }
    }
}

impl Service {
    /// The answer for the sandbox of this address; `None` if it cannot even be put in words.
    async fn answer(&self, who: Ipv4Addr, question: &Question, over: Over) -> Option<Vec<u8>> {
        let restriction = self.restrictions.of(who);
        let ports = restriction
            .as_ref()
            .map(|restriction| question.name().map(|name| restriction.ports(&name)).unwrap_or_default());
        if ports.as_ref().is_some_and(Vec::is_empty) {
            return question.refused(Refusal::Refused);
        }
        let Some(answer) = self.servers.ask(question, over).await else {
            return question.refused(Refusal::Failed);
        };
        if let (Some(restriction), Some(ports)) = (restriction, ports)
            && let Err(error) =
                restriction.grant(&mut self.filter.lock(), &self.table, &ports, &answer.addresses)
        {
            // The sandbox's own doing, or its end.
            tracing::debug!(%error, sandbox = %who, "addresses of an allowed name stay closed");
            return question.refused(Refusal::Failed);
        }
        match over {
            Over::Udp => question.over_udp(answer.bytes),
            Over::Tcp => Some(answer.bytes),
        }
    }

    /// The sandbox that this comes from; `None` for everybody else.
    fn sandbox(&self, from: SocketAddr) -> Option<Ipv4Addr> {
        match from.ip() {
            IpAddr::V4(from) if Subnet::host(from).is_within(self.block) => Some(from),
            _ => None,
        }
    }
}

async fn serve_udp(socket: UdpSocket, service: Arc<Service>) {
    let socket = Arc::new(socket);
    let places = Places::new(QUESTIONS_OF_ONE, QUESTIONS);
    let mut message = [0; MAX_QUESTION + 1];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut message).await else {
            sleep(REST).await;
            continue;
        };
        let Some(who) = service.sandbox(from) else { continue };
        // Who asks too much at once asks again: that is how names are asked for.
        let Some(place) = places.take(who) else { continue };
        let Some(question) = message.get(..length).and_then(Question::read) else { continue };
        let (socket, service) = (Arc::clone(&socket), Arc::clone(&service));
        drop(task::spawn("a question", async move {
            if let Some(answer) = service.answer(who, &question, Over::Udp).await {
                // Who is gone hears nothing.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(place);
        }));
    }
}

async fn serve_tcp(listener: TcpListener, service: Arc<Service>) {
    let places = Places::new(RESOLVER_CONNECTIONS_OF_ONE, RESOLVER_CONNECTIONS);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(REST).await;
            continue;
        };
        let Some(who) = service.sandbox(from) else { continue };
        let Some(place) = places.take(who) else { continue };
        let service = Arc::clone(&service);
        drop(task::spawn("questions of one connection", async move {
            // How a connection ends is its client's business.
            let _ = converse(stream, who, &service).await;
            drop(place);
        }));
    }
}

/// Answers one question after the other, as long as they come.
async fn converse(mut stream: TcpStream, who: Ipv4Addr, service: &Service) -> io::Result<()> {
    loop {
        let message = timeout(RESOLVER_IDLE, async {
            let length = usize::from(stream.read_u16().await?);
            if length > MAX_QUESTION {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut message = vec![0; length];
            stream.read_exact(&mut message).await?;
            Ok(message)
        });
        let Some(question) = Question::read(&message.await??) else { return Ok(()) };
        let Some(answer) = service.answer(who, &question, Over::Tcp).await else { return Ok(()) };
        timeout(RESOLVER_IDLE, stream.write_all(&framed(&answer))).await??;
    }
}
