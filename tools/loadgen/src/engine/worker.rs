//! One thread of a run: its clients, their connections, and what it counts.

mod exchange;

use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::Shared;
use super::connection::Connection;
use crate::measure::{SliceCount, Tally};

/// Bytes that are read at once; no head of a reply is larger.
const SCRATCH: usize = 64 << 10;
/// Events that are taken at once.
const EVENTS: usize = 256;
/// Time between two looks at clocks, at most.
const LONGEST_SWEEP: Duration = Duration::from_millis(50);
const SHORTEST_SWEEP: Duration = Duration::from_millis(2);

/// A thread's count of a slice.
pub(super) struct Told {
    pub(super) index: usize,
    pub(super) count: Option<SliceCount>,
}

/// Somebody who asks one request at a time.
struct Client {
    /// By place.
    connections: Vec<Option<Connection>>,
    asked: Option<Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    target: usize,
    place: usize,
    due: Instant,
    deadline: Instant,
}

pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    number: usize,
    threads: usize,
    poll: OwnedFd,
    clients: Vec<Client>,
    /// Clients that have nothing to do.
    idle: Vec<usize>,
    /// Clients beyond this are parked: the stage wants fewer.
    allowed: usize,
    parked: Vec<usize>,
    resting: Vec<(Instant, usize)>,
    under_way: usize,
    /// The next request of an open loop, and when it is due.
    next: u64,
    due: Option<Instant>,
    /// No more requests may be begun: the plan's number is reached.
    is_exhausted: bool,
    /// The same: the time is over.
    is_closed: bool,
    random: u64,
    scratch: Vec<u8>,
    counted_from: Instant,
    slice: usize,
    count: SliceCount,
    tally: Tally,
    told: SyncSender<Told>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        shared: &'a Shared<'a>,
        number: usize,
        threads: usize,
        told: SyncSender<Told>,
    ) -> std::io::Result<Self> {
        let places = shared.places.len();
        let clients = (number..shared.plan.pace.clients() as usize).step_by(threads);
        let clients: Vec<Client> = clients
            .map(|_| Client {
                connections: std::iter::repeat_with(|| None).take(places).collect(),
                asked: None,
            })
            .collect();
        Ok(Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            // The first ones on top: an open loop uses as few as it can.
            idle: (0..clients.len()).rev().collect(),
            allowed: clients.len(),
            parked: Vec::new(),
            resting: Vec::new(),
            clients,
            under_way: 0,
            next: number as u64,
            due: shared.profile.due(number as u64).map(|due| shared.begin + due),
            is_exhausted: false,
            is_closed: false,
            random: shared.plan.seed.wrapping_add(number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            scratch: vec![0; SCRATCH],
            counted_from: shared.begin + shared.plan.warm_up,
            slice: 0,
            count: SliceCount { latencies: Histogram::new_from(&shared.empty), errors: 0 },
            tally: Tally::new(if shared.plan.per_target { shared.requests.len() } else { 0 }, &shared.empty),
            shared,
            number,
            threads,
            told,
        })
    }

    /// Works until everything is answered, or late.
    pub(super) fn run(mut self) -> std::io::Result<Tally> {
        let pause = (self.shared.plan.timeout / 20).clamp(SHORTEST_SWEEP, LONGEST_SWEEP);
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut now = Instant::now();
        let mut next_sweep = now;
        loop {
            if now >= next_sweep {
                self.sweep(now);
                next_sweep = now + pause;
            }
            self.issue(now)?;
            // What was due and found a connection is sent now; the rest never is.
            self.is_closed |= now >= self.shared.end;
            let is_stopped = self.shared.halt.is_stopped();
            let is_over = self.is_closed || self.is_exhausted;
            if is_stopped || is_over && self.under_way == 0 {
                break;
            }
            self.wait(&mut events, now, next_sweep)?;
            now = Instant::now();
            for event in events.drain(..) {
                self.look(event.data.u64())?;
                now = Instant::now();
                self.issue(now)?;
            }
        }
        Ok(self.end(now))
    }

    /// Waits until a socket is ready, or something is due.
    fn wait(&self, events: &mut Vec<epoll::Event>, now: Instant, sweep: Instant) -> std::io::Result<()> {
        let mut wait = sweep.saturating_duration_since(now);
        let is_waiting_for_due = self.shared.is_open() && !self.idle.is_empty() && now < self.shared.end;
        if let (true, Some(due)) = (is_waiting_for_due, self.due) {
            // Finer than the milliseconds that the other call knows.
            wait = wait.min(due.saturating_duration_since(now));
            let mut ready = [PollFd::new(&self.poll, PollFlags::IN)];
            match poll(&mut ready, Some(&timespec(wait))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            wait = Duration::ZERO;
        }
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(events), Some(&timespec(wait))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets idle clients ask, as far as the pace wants it.
    fn issue(&mut self, now: Instant) -> std::io::Result<()> {
        if self.is_closed || self.is_exhausted || self.idle.is_empty() {
            return Ok(());
        }
        if !self.shared.is_open() {
            if now >= self.shared.end {
                return Ok(());
            }
            while let Some(client) = self.idle.pop() {
                if client >= self.allowed {
                    self.parked.push(client);
                } else if self.shared.take() {
                    self.ask(client, now, now)?;
                } else {
                    self.is_exhausted = true;
                    break;
                }
            }
            return Ok(());
        }
        while let Some(due) = self.due.filter(|due| *due <= now) {
            let Some(client) = self.idle.pop() else { break };
            if !self.shared.take() {
                self.is_exhausted = true;
                break;
            }
            self.next += self.threads as u64;
            self.due = self.shared.profile.due(self.next).map(|due| self.shared.begin + due);
            self.ask(client, due, now)?;
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
