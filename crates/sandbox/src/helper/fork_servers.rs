//! The fork servers of a helper: one for each root and command that cells come with, started on their demand.
//!
//! Cells never wait for one to come up: until it is ready they start their program themselves, and they do so again
//! whenever it fails. A server bears one program at a time; what it is asked meanwhile waits here.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::wire::{self, CellKey, Receiver, StartRequest};
use crate::birth::fork_server::{ForkServer, Word};
use crate::root::RootSpec;

/// Most servers; for another one, that which was asked least recently ends.
const MAX_SERVERS: usize = 8;
/// How long one may take to come up; nobody waits for that.
const START_TIME: Duration = Duration::from_secs(60);
/// How long one birth may take, less than a node waits for a cell.
const BIRTH_TIME: Duration = Duration::from_secs(8);
/// How many births in a row a server may refuse; one whose cell has died meanwhile is no reason to give it up.
const MAX_REFUSALS: u32 = 3;
/// How long a command is not tried again when it did not come up, or bears nothing.
const DISTRUST: Duration = Duration::from_secs(60);

/// What a server is started from; cells that agree in all of it share one.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    root: Arc<RootSpec>,
    command: Vec<String>,
    env: Vec<(String, String)>,
    cwd: String,
}

/// One birth to be.
pub(super) struct Birth {
    pub(super) cell: CellKey,
    pub(super) message: Vec<u8>,
    /// The cell's first process, entrances, files.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// How a birth went.
pub(super) enum Outcome {
    /// The program has this number inside its cell.
    Forked(i32),
    /// There is no program, for this reason.
    NotForked(String),
    /// It is not known whether there is one.
    Unknown(String),
}

struct Server {
    number: u64,
    origin: Origin,
    process: ForkServer,
    is_ready: bool,
    /// Since when it is awaited, be it to come up or for a birth.
    since: Option<Instant>,
    current: Option<CellKey>,
    waiting: VecDeque<Birth>,
    refusals: u32,
    used: Instant,
}

/// All servers of a helper.
pub(super) struct ForkServers {
    servers: Vec<Server>,
    /// What did not come up, and until when it is not tried again.
    distrusted: Vec<(Origin, Instant)>,
    next: u64,
    epoll: OwnedFd,
    receiver: Receiver,
}

impl ForkServers {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub(super) fn new() -> Result<Self, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        let receiver = Receiver::new();
        Ok(Self { servers: Vec::new(), distrusted: Vec::new(), next: 0, epoll, receiver })
    }

    /// The number of the server for this cell, if it is up. If there is none `start` makes one, for later cells.
    pub(super) fn ready(
        &mut self,
        cell: &StartRequest,
        start: impl FnOnce(&[String]) -> Result<ForkServer, String>,
    ) -> Option<u64> {
        let origin = Origin {
            root: Arc::clone(&cell.root),
            command: cell.fork_server.clone()?,
            env: cell.env.clone(),
            cwd: cell.cwd.clone(),
        };
        let now = Instant::now();
        if let Some(server) = self.servers.iter_mut().find(|server| server.origin == origin) {
            server.used = now;
            return server.is_ready.then_some(server.number);
        }
        self.distrusted.retain(|(_, until)| *until > now);
        if self.distrusted.iter().any(|(distrusted, _)| *distrusted == origin) {
            return None;
        }
        if !self.make_room() {
            return None;
        }
        match start(&origin.command).and_then(|process| self.follow(&process).map(|()| process)) {
            Ok(process) => self.add(origin, process, now),
            Err(reason) => self.distrust(origin, &reason),
        }
        None
    }

    fn follow(&self, process: &ForkServer) -> Result<(), String> {
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.epoll, &process.socket, data, epoll::EventFlags::IN)
            .map_err(|error| format!("following it: {error}"))
    }

    /// Ends the idle server that was asked least recently if there are as many as may be; false if all are at work.
    fn make_room(&mut self) -> bool {
        if self.servers.len() < MAX_SERVERS {
            return true;
        }
        let is_idle = |server: &Server| server.current.is_none() && server.waiting.is_empty();
        let idle = self.servers.iter().enumerate().filter(|(_, server)| is_idle(server));
        match idle.min_by_key(|(_, server)| server.used) {
            Some((index, _)) => {
                self.servers.swap_remove(index);
                true
            }
            None => false,
        }
    }

    fn add(&mut self, origin: Origin, process: ForkServer, now: Instant) {
        self.next += 1;
        self.servers.push(Server {
            number: self.next,
            origin,
            process,
            is_ready: false,
            since: Some(now),
            current: None,
            waiting: VecDeque::new(),
            refusals: 0,
            used: now,
        });
    }

    fn distrust(&mut self, origin: Origin, reason: &str) {
        super::process::complain(&format!(
            "sandbox helper: the fork server {} bears nothing, cells start without: {reason}",
            origin.command.join(" ")
        ));
        self.distrusted.push((origin, Instant::now() + DISTRUST));
    }

    /// Asks a server for a birth, after those that it was asked for before.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn ask(&mut self, server: u64, birth: Birth) -> Result<(), String> {
        let server = self.servers.iter_mut().find(|known| known.number == server);
        server.ok_or("the fork server has ended")?.waiting.push_back(birth);
        Ok(())
    }

    /// Lets idle servers go on, and tells of the births that have come to an end.
    pub(super) fn go_on(&mut self) -> Vec<(CellKey, Outcome)> {
        let mut outcomes = Vec::new();
        let mut kept = Vec::new();
        for mut server in std::mem::take(&mut self.servers) {
            match server.go_on(&mut self.receiver, &mut outcomes) {
                Ok(()) => kept.push(server),
                Err(reason) => {
                    outcomes.extend(server.current.map(|cell| (cell, Outcome::Unknown(reason.clone()))));
                    let waiting = server.waiting.drain(..);
                    outcomes.extend(waiting.map(|birth| (birth.cell, Outcome::NotForked(reason.clone()))));
                    if !server.is_ready || server.refusals > 0 || server.current.is_some() {
                        self.distrust(server.origin, &reason);
                    }
                }
            }
        }
        self.servers = kept;
        outcomes
    }

    /// Whether one is awaited, so that it must be looked at even if it says nothing.
    pub(super) fn is_awaited(&self) -> bool {
        self.servers.iter().any(|server| server.since.is_some())
    }
}

impl AsFd for ForkServers {
    /// Becomes readable when a server has said something or has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Server {
    /// Hears what it says and sends what waits. An error is its end.
    fn go_on(
        &mut self,
        receiver: &mut Receiver,
        outcomes: &mut Vec<(CellKey, Outcome)>,
    ) -> Result<(), String> {
        loop {
            match receiver.receive::<Word>(self.process.socket.as_fd()) {
                Ok(Some((word, _))) => self.hear(word, outcomes)?,
                Ok(None) => return Err("the fork server has ended".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("the fork server is not understood: {error}")),
            }
        }
        if self.is_ready && self.current.is_none() {
            self.send(outcomes);
        }
        match self.since {
            _ if self.refusals >= MAX_REFUSALS => Err("it refuses every birth".to_owned()),
            Some(since) if since.elapsed() > if self.is_ready { BIRTH_TIME } else { START_TIME } => {
                Err("the fork server gave no sign".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn hear(&mut self, word: Word, outcomes: &mut Vec<(CellKey, Outcome)>) -> Result<(), String> {
        let outcome = match word {
            Word::Ready => {
                self.is_ready = true;
                self.since = None;
                return Ok(());
            }
            Word::Forked { pid } => {
                self.refusals = 0;
                Outcome::Forked(pid)
            }
            Word::Refused { reason } => {
                self.refusals += 1;
                Outcome::NotForked(reason)
            }
        };
        let cell = self.current.take().ok_or("the fork server spoke unasked")?;
        self.since = None;
        outcomes.push((cell, outcome));
        Ok(())
    }

    /// Sends the next birth; those that cannot be sent are told as such.
    fn send(&mut self, outcomes: &mut Vec<(CellKey, Outcome)>) {
        while let Some(birth) = self.waiting.pop_front() {
            let descriptors: Vec<_> = birth.descriptors.iter().map(AsFd::as_fd).collect();
            match wire::send(self.process.socket.as_fd(), &birth.message, &descriptors) {
                Ok(()) => {
                    self.current = Some(birth.cell);
                    self.since = Some(Instant::now());
                    return;
                }
                Err(error) => outcomes.push((birth.cell, Outcome::NotForked(error.to_string()))),
            }
        }
    }
}
