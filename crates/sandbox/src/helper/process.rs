//! The helper process itself: one loop over the socket, the newborns' pipes and the deaths.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::{FlockOperation, Mode as FileMode, OFlags, flock};

use super::fork_servers::Outcome;
use super::ward::{Death, Kept, Ward};
use super::wire::{self, CellKey, Receiver, Report, Request, Settings};
use crate::birth::news::News;
use crate::sys;

/// Exit code of a helper that could not come back to its own namespaces.
pub(crate) const EXIT_ASTRAY: i32 = 70;
/// How long a new helper waits for the last one of the same data folder to clear away.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long to wait before looking again at a control group that was still busy.
const BURIAL_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// How often to look at fork servers that are awaited.
const FORK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// The socket's name among the events; cells use twice their key, and one more for the pipe.
const SOCKET: u64 = u64::MAX;
/// The fork servers' name among the events.
const FORK_SERVERS: u64 = u64::MAX - 1;

/// Runs the helper: what the hidden subcommand `sandbox-helper` does, before anything else of the program is set up.
///
/// Its socket is standard input. Returns when the node has gone and everything has been cleared away.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("sandbox helper: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The helper has no log of its own; its standard error is the node's.
#[allow(clippy::print_stderr, reason = "it is what the node reads")]
pub(super) fn complain(text: &str) {
    eprintln!("{text}");
}

fn run() -> Result<(), String> {
    // Ctrl-C and the service manager speak to the node; the helper ends when the node's socket does.
    let _ = rustix::process::setsid();
    // Lists of processes show the program, not the link that it was started by.
    let _ = std::fs::write("/proc/self/comm", "chasen");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        sys::ignore_signal(signal);
    }
    raise_file_limit();
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(|error| {
        format!("no socket as standard input: {error}; this command is for the node to start")
    })?;
    let mut receiver = Receiver::new();
    let settings = match wait_for_settings(&socket, &mut receiver) {
        Some(settings) => settings,
        None => {
            return Err("the node said nothing sensible; this command is for the node to start".to_owned());
        }
    };
    let prepared = take_lock(&settings).and_then(|lock| Ward::prepare(settings).map(|ward| (lock, ward)));
    let (_lock, ward) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => {
            say(socket.as_fd(), &Report::Unfit { reason: reason.clone() }, &[]);
            return Err(reason);
        }
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
    epoll::add(&epoll, &socket, epoll::EventData::new_u64(SOCKET), epoll::EventFlags::IN)
        .map_err(|error| format!("epoll: {error}"))?;
    if let Some(servers) = ward.fork_servers() {
        let data = epoll::EventData::new_u64(FORK_SERVERS);
        epoll::add(&epoll, servers, data, epoll::EventFlags::IN)
            .map_err(|error| format!("epoll: {error}"))?;
    }
    say(socket.as_fd(), &Report::Ready, &[]);
    let mut process = Process { socket, receiver, epoll, ward, burials: Vec::new(), asking: HashMap::new() };
    process.serve();
    process.end();
    Ok(())
}

/// Every cell costs the helper a few descriptors, and the usual soft limit is meant for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With less there is room for fewer cells, and a start says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn wait_for_settings(socket: &OwnedFd, receiver: &mut Receiver) -> Option<Settings> {
    loop {
        match receiver.receive::<Request>(socket.as_fd()) {
            Ok(Some((Request::Configure(settings), _))) => return Some(settings),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], None);
            }
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Makes sure that no other helper of this data folder lives: the last one may still be clearing away.
fn take_lock(settings: &Settings) -> Result<OwnedFd, String> {
    let folder = &settings.scratch_dir;
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(|error| told(&error))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = rustix::fs::open(folder.join("helper.lock"), flags, FileMode::from(0o600))
        .map_err(|error| told(&error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(told(&format!("another helper holds this folder ({error})"))),
        }
    }
}

/// Tells the node, waiting for room as long as there is a node.
fn say(socket: BorrowedFd<'_>, report: &Report, fds: &[BorrowedFd<'_>]) {
    let Ok(message) = wire::encode(report) else { return };
    while let Err(error) = wire::send(socket, &message, fds) {
        if error.kind() != io::ErrorKind::WouldBlock {
            // The node is gone, which the loop will see as well.
            return;
        }
        let _ = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None);
    }
}

struct Process {
    socket: OwnedFd,
    receiver: Receiver,
    epoll: OwnedFd,
    ward: Ward,
    burials: Vec<Death>,
    /// Starts that have not been answered yet.
    asking: HashMap<CellKey, ()>,
}

impl Process {
    /// Serves until the node hangs up.
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            let pause = match (self.burials.is_empty(), self.ward.awaits_fork_servers()) {
                (false, _) => Some(&BURIAL_PAUSE),
                (true, true) => Some(&FORK_PAUSE),
                (true, false) => None,
            };
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), pause) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    complain(&format!("sandbox helper: waiting for events: {error}"));
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    SOCKET => {
                        if !self.take_requests() {
                            return;
                        }
                    }
                    // Below, with whatever else is to be told of them.
                    FORK_SERVERS => {}
                    other if other % 2 == 1 => self.hear(other / 2),
                    other => self.bury(other / 2),
                }
            }
            self.go_on_with_births();
            self.finish_burials();
        }
    }

    /// Lets fork servers go on, and with them the cells that wait for them.
    fn go_on_with_births(&mut self) {
        for (key, outcome) in self.ward.go_on_with_births() {
            let reason = match outcome {
                Outcome::Forked(program) => {
                    self.ward.let_go_on(key, Some(program));
                    continue;
                }
                Outcome::NotForked(reason) => {
                    self.ward.let_go_on(key, None);
                    reason
                }
                Outcome::Unknown(reason) => {
                    // There may be a program: another one must not be started beside it.
                    self.ward.end(key);
                    self.answer(key, Err(reason.clone()));
                    reason
                }
            };
            if self.ward.cell(key).is_some() {
                complain(&format!("sandbox helper: no program by a fork server: {reason}"));
            }
        }
    }

    /// Takes what the node has sent; false when it has hung up.
    fn take_requests(&mut self) -> bool {
        loop {
            match self.receiver.receive::<Request>(self.socket.as_fd()) {
                Ok(Some((request, fds))) => self.take(request, fds),
                Ok(None) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    complain(&format!("sandbox helper: the node is not understood: {error}"));
                    return false;
                }
            }
        }
    }

    fn take(&mut self, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Start(start) => {
                let key = start.request;
                match self.ward.start(&start, fds).and_then(|()| self.follow(key)) {
                    Ok(()) => {
                        self.asking.insert(key, ());
                    }
                    Err(reason) => {
                        self.ward.end(key);
                        self.say(&Report::Refused { request: key, reason });
                    }
                }
            }
            Request::MountCode { request, cell, layer, upper_bytes } => {
                let report = match self.ward.mount_code(cell, &layer, upper_bytes) {
                    Ok(()) => Report::Done { request, pid: 0 },
                    Err(reason) => Report::Refused { request, reason },
                };
                self.say(&report);
            }
            Request::Socket { request, cell } => match self.ward.socket(cell) {
                Ok(made) => say(self.socket.as_fd(), &Report::Done { request, pid: 0 }, &[made.as_fd()]),
                Err(reason) => self.say(&Report::Refused { request, reason }),
            },
            Request::Kill { cell } => self.ward.end(cell),
            Request::Configure(_) => {}
        }
    }

    /// Adds a newborn's pipe and its death to the events.
    fn follow(&self, key: CellKey) -> Result<(), String> {
        let Some(cell) = self.ward.cell(key) else { return Ok(()) };
        let add = |fd: BorrowedFd<'_>, name| {
            epoll::add(&self.epoll, fd, epoll::EventData::new_u64(name), epoll::EventFlags::IN)
                .map_err(|error| format!("following the cell: {error}"))
        };
        add(cell.listener.as_fd(), key * 2 + 1)?;
        add(cell.pidfd.as_fd(), key * 2)
    }

    /// Hears what a newborn has to tell.
    fn hear(&mut self, key: CellKey) {
        let Some(cell) = self.ward.cell_mut(key) else { return };
        let (mut answer, mut not_executable, mut is_prepared) = (None, None, false);
        while let Some(news) = cell.listener.next() {
            match news {
                News::Prepared => is_prepared = true,
                News::Started => answer = Some(Ok(cell.pid)),
                News::Failed(reason) => answer = Some(Err(reason)),
                News::NotExecutable(reason) => not_executable = Some(reason),
                News::Ended(status) => cell.told = Some(status),
            }
        }
        if cell.listener.is_closed() {
            let _ = epoll::delete(&self.epoll, &cell.listener);
            if cell.is_plain() && answer.is_none() {
                // A plain process closes its pipe by executing its program.
                answer = Some(Ok(cell.pid));
            }
        }
        if is_prepared {
            self.ward.ask_for_program(key);
        }
        if let Some(reason) = not_executable {
            if self.asking.remove(&key).is_some() {
                self.say(&Report::NotExecutable { request: key, reason });
            } else {
                self.tell_of_late_failure(key, &reason);
            }
        }
        match answer {
            Some(Err(reason)) if !self.asking.contains_key(&key) => self.tell_of_late_failure(key, &reason),
            Some(answer) => self.answer(key, answer),
            None => {}
        }
    }

    /// The program of a cell that was waiting for its files does not come up. The node sees it end.
    fn tell_of_late_failure(&self, key: CellKey, reason: &str) {
        let name = self.ward.cell(key).map(Kept::name).unwrap_or_default();
        complain(&format!("sandbox helper: the program of {name} did not start: {reason}"));
    }

    /// Answers a start, once.
    fn answer(&mut self, key: CellKey, answer: Result<u32, String>) {
        if self.asking.remove(&key).is_some() {
            self.say(&match answer {
                Ok(pid) => Report::Done { request: key, pid },
                Err(reason) => Report::Refused { request: key, reason },
            });
        }
    }

    /// A cell's first process has died, and by the kernel's rule every other one with it.
    fn bury(&mut self, key: CellKey) {
        self.hear(key);
        let Some(cell) = self.ward.cell(key) else { return };
        let _ = epoll::delete(&self.epoll, &cell.pidfd);
        if !cell.listener.is_closed() {
            let _ = epoll::delete(&self.epoll, &cell.listener);
        }
        self.answer(key, Err("the first process ended before its program ran".to_owned()));
        if let Some(death) = self.ward.bury(key) {
            self.say(&Report::Exited { cell: key, exit: death.exit });
            self.burials.push(death);
        }
    }

    /// Looks again at what could not be cleared away at once.
    fn finish_burials(&mut self) {
        for mut death in std::mem::take(&mut self.burials) {
            match self.ward.clear(&mut death) {
                Some(leftover) => self.say(&Report::Gone { cell: death.key, leftover }),
                None => self.burials.push(death),
            }
        }
    }

    fn say(&self, report: &Report) {
        say(self.socket.as_fd(), report, &[]);
    }

    /// The node is gone: ends every cell and clears away.
    fn end(mut self) {
        let keys = self.ward.end_all();
        for key in keys {
            if let Some(death) = self.ward.bury(key) {
                self.burials.push(death);
            }
        }
        while !self.burials.is_empty() {
            self.finish_burials();
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Err(leftover) = self.ward.close() {
            complain(&format!("sandbox helper: left behind: {leftover}"));
        }
    }
}
