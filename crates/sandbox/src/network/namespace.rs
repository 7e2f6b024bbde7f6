//! Network namespaces: new ones with a socket that speaks for them, and visits.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::error::NetworkError;
use super::netlink::Socket;

/// A network namespace with nothing but its loopback, kept alive by its descriptor.
#[derive(Debug)]
pub(super) struct Namespace {
    fd: OwnedFd,
    socket: Socket,
}

impl Namespace {
    /// Makes a namespace. A namespace is a property of a thread: this one is left to a thread that
    /// lives for nothing else, so that no thread ever has to find its way back.
    pub(super) fn new() -> Result<Self, NetworkError> {
        inside(|| {
            let fd = File::open("/proc/thread-self/ns/net")
                .map_err(|error| NetworkError::kernel("hold a network namespace", error))?;
            Ok(Self { fd: fd.into(), socket: Socket::route()? })
        })?
    }

    /// The socket that sets up links inside.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// The descriptor alone: a namespace in use needs no set-up any more.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `work` in a new network namespace, which ends with it unless `work` holds it.
pub(super) fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
    aside(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| NetworkError::kernel("make a network namespace", error.into()))?;
        Ok(work())
    })
}

/// Runs `work` in `namespace`.
pub(super) fn visit<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetworkError> {
    aside(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|error| NetworkError::kernel("enter a network namespace", error.into()))?;
        Ok(work())
    })
}

/// Runs `work` on a thread of its own.
fn aside<T: Send>(work: impl FnOnce() -> Result<T, NetworkError> + Send) -> Result<T, NetworkError> {
    let thread_failed = |error| NetworkError::kernel("start a thread for a network namespace", error);
    thread::scope(|scope| {
        let born = thread::Builder::new()
            .name("network-visit".into())
            .spawn_scoped(scope, work)
            .map_err(thread_failed)?;
        born.join().unwrap_or_else(|_| Err(thread_failed(std::io::Error::other("the thread died"))))
    })
}
