//! The node's end of the socket: requests out, reports in, each to whoever waits for it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{oneshot, watch};

use super::wire::{self, CellKey, Receiver, Report, Request};
use crate::cell::{Exit, ExitStatus, Usage};

/// What the node knows of a cell's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    /// Its program runs, or is about to.
    Alive,
    /// Its program has ended; the rest is being cleared away.
    Ended(Exit),
    /// Nothing of it is left; or the text says what is.
    Gone(Exit, Option<String>),
}

/// The answer to one request.
pub(super) type Answer = Result<Done, Refusal>;

/// What a request gave.
#[derive(Debug)]
pub(super) struct Done {
    /// Process number of a started cell.
    pub(super) pid: u32,
    /// What was made.
    pub(super) made: Option<OwnedFd>,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A step failed.
    Step(String),
    /// The program is not there, or is none.
    NotExecutable(String),
}

impl Refusal {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Step(reason) | Self::NotExecutable(reason) => reason,
        }
    }
}

/// The socket and everybody who waits at it.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixDatagram,
    next: AtomicU64,
    answers: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    cells: Mutex<HashMap<CellKey, watch::Sender<Life>>>,
    lost: watch::Sender<bool>,
}

impl Link {
    /// Takes over the socket of a helper that has said [`Report::Ready`].
    pub(super) fn new(socket: UnixDatagram) -> Self {
        Self {
            socket,
            next: AtomicU64::new(1),
            answers: Mutex::default(),
            cells: Mutex::default(),
            lost: watch::Sender::new(false),
        }
    }

    /// Takes a number for a request and a place to wait for its answer. Dropping the place forgets the request.
    pub(super) fn expect_answer(self: &Arc<Self>) -> Expected {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.answers.lock().insert(request, sender);
        // Whoever came after the loss was noticed must not wait for it.
        if self.is_lost() {
            self.answers.lock().remove(&request);
        }
        Expected { link: Arc::clone(self), request, receiver }
    }

    /// Follows the life of a cell that is about to be started by request `key`.
    pub(super) fn follow(&self, key: CellKey) -> watch::Receiver<Life> {
        let sender = watch::Sender::new(Life::Alive);
        let receiver = sender.subscribe();
        self.cells.lock().insert(key, sender);
        if self.is_lost() {
            self.cells.lock().remove(&key);
        }
        receiver
    }

    /// Stops following: the cell never came to life.
    pub(super) fn forget(&self, key: CellKey) {
        self.cells.lock().remove(&key);
    }

    /// Sends a request, waiting for room in the socket.
    pub(super) async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = wire::encode(request)?;
        self.socket.async_io(Interest::WRITABLE, || wire::send(self.socket.as_fd(), &message, fds)).await
    }

    /// Sends a request if there is room now.
    pub(super) fn send_now(&self, request: &Request) -> io::Result<()> {
        wire::send(self.socket.as_fd(), &wire::encode(request)?, &[])
    }

    /// Tells the helper to end everything and exit.
    pub(super) fn hang_up(&self) {
        // Already closed is as good.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    pub(super) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Resolves when the helper has ended.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as `self`.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Brings reports to those who wait until the helper hangs up.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut receiver = Receiver::new();
        loop {
            match next_report(&self.socket, &mut receiver).await {
                Ok(Some((report, fds))) => self.deliver(report, fds),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the sandbox helper is not understood; its cells are given up");
                    break;
                }
            }
        }
        self.lose();
    }

    fn deliver(&self, report: Report, mut fds: Vec<OwnedFd>) {
        match report {
            Report::Done { request, pid } => self.answer(request, Ok(Done { pid, made: fds.pop() })),
            Report::Refused { request, reason } => self.answer(request, Err(Refusal::Step(reason))),
            Report::NotExecutable { request, reason } => {
                self.answer(request, Err(Refusal::NotExecutable(reason)));
            }
            Report::Exited { cell, exit } => {
                if let Some(life) = self.cells.lock().get(&cell) {
                    life.send_replace(Life::Ended(exit));
                }
            }
            Report::Gone { cell, leftover } => {
                if let Some(life) = self.cells.lock().remove(&cell) {
                    let exit = match *life.borrow() {
                        Life::Ended(exit) | Life::Gone(exit, _) => exit,
                        Life::Alive => LOST_EXIT,
                    };
                    life.send_replace(Life::Gone(exit, leftover));
                }
            }
            Report::Ready | Report::Unfit { .. } => {}
        }
    }

    fn answer(&self, request: u64, answer: Answer) {
        if let Some(waiting) = self.answers.lock().remove(&request) {
            // Whoever waited may have gone away.
            let _ = waiting.send(answer);
        }
    }

    fn lose(&self) {
        self.lost.send_replace(true);
        self.answers.lock().clear();
        // Receivers see their sender gone: `Life` of a lost cell.
        self.cells.lock().clear();
    }
}

/// Waits for the next report; `None` when the helper has hung up. Safe to cancel.
pub(super) async fn next_report(
    socket: &UnixDatagram,
    receiver: &mut Receiver,
) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    socket.async_io(Interest::READABLE, || receiver.receive::<Report>(socket.as_fd())).await
}

/// The end of a cell of which nothing more is known.
pub(super) const LOST_EXIT: Exit = Exit {
    status: ExitStatus::Lost,
    oom: false,
    usage: Usage { memory_peak: 0, memory_now: 0, cpu_ns: 0, oom_kills: 0 },
};

/// A request that has a number and may have an answer one day.
pub(super) struct Expected {
    link: Arc<Link>,
    pub(super) request: u64,
    receiver: oneshot::Receiver<Answer>,
}

impl Expected {
    /// The answer; `None` when the helper is lost.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.link.answers.lock().remove(&self.request);
    }
}
