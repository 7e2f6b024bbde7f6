//! The life of one request in a thread: asked, looked after, answered or failed, counted.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;

use super::{Asked, Told, Worker};
use crate::engine::connection::{Connection, Failed, Looked};
use crate::measure::{ErrorClass, FIRST_ERROR, SliceCount, Tally};

/// How long a client of a closed loop rests after a connection that could not be made.
const REST: Duration = Duration::from_millis(100);

impl Worker<'_> {
    /// A client asks a target of the generator's choice.
    pub(super) fn ask(&mut self, client: usize, due: Instant, now: Instant) -> std::io::Result<()> {
        let target = self.pick();
        let Some(request) = self.shared.requests.get(target) else { return Ok(()) };
        let place = request.place;
        let asked = Asked { target, place, due, deadline: now + self.shared.plan.timeout };
        let Some(asking) = self.clients.get_mut(client) else { return Ok(()) };
        asking.asked = Some(asked);
        self.under_way += 1;
        match asking.connections.get_mut(place) {
            Some(Some(connection)) => connection.ask(request.is_head),
            Some(none) => {
                let Some(server) = self.shared.places.get(place) else { return Ok(()) };
                match Connection::open(server, request.is_head)? {
                    Ok(connection) => {
                        let token =
                            epoll::EventData::new_u64((client * self.shared.places.len() + place) as u64);
                        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                        epoll::add(&self.poll, connection.stream(), token, both)?;
                        *none = Some(connection);
                        self.tally.connections += 1;
                        // The poll tells when it is there.
                        return Ok(());
                    }
                    Err(why) => {
                        self.fail(client, asked, &why);
                        return Ok(());
                    }
                }
            }
            None => return Ok(()),
        }
        self.go_on(client, asked)
    }

    /// A socket is ready.
    pub(super) fn look(&mut self, token: u64) -> std::io::Result<()> {
        let (token, places) = (usize::try_from(token).unwrap_or(usize::MAX), self.shared.places.len().max(1));
        let (client, place) = (token / places, token % places);
        let Some(asking) = self.clients.get_mut(client) else { return Ok(()) };
        match asking.asked {
            Some(asked) if asked.place == place => self.go_on(client, asked),
            _ => {
                // Nothing is asked there: the server closed the connection, or says what nobody wants to know.
                if let Some(connection) = asking.connections.get_mut(place) {
                    *connection = None;
                }
                Ok(())
            }
        }
    }

    fn go_on(&mut self, client: usize, asked: Asked) -> std::io::Result<()> {
        let Some(request) = self.shared.requests.get(asked.target) else { return Ok(()) };
        let connections = self.clients.get_mut(client).map(|client| &mut client.connections);
        let Some(Some(connection)) = connections.and_then(|all| all.get_mut(asked.place)) else {
            return Ok(());
        };
        match connection.go_on(&request.bytes, &mut self.scratch) {
            Ok(Looked::Wait { to_write }) if to_write != connection.watches_write => {
                connection.watches_write = to_write;
                let token = (client * self.shared.places.len() + asked.place) as u64;
                let mut flags = epoll::EventFlags::IN;
                flags.set(epoll::EventFlags::OUT, to_write);
                epoll::modify(&self.poll, connection.stream(), epoll::EventData::new_u64(token), flags)?;
            }
            Ok(Looked::Wait { .. }) => {}
            Ok(Looked::Answered) => self.answered(client, asked),
            Err(why) => self.fail(client, asked, &why),
        }
        Ok(())
    }

    fn answered(&mut self, client: usize, asked: Asked) {
        let now = Instant::now();
        let connections = self.clients.get_mut(client).map(|client| &mut client.connections);
        let Some(place) = connections.and_then(|all| all.get_mut(asked.place)) else { return };
        let Some(done) = place else { return };
        let (status, activation, received) = (done.decoder.status, done.decoder.activation, done.received);
        let opening = if status < FIRST_ERROR { Vec::new() } else { std::mem::take(&mut done.opening) };
        if !done.release() || !self.shared.plan.keep_alive {
            *place = None;
        }
        if asked.due >= self.counted_from {
            self.roll(now);
            let latency = now.saturating_duration_since(asked.due);
            let latency = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            self.tally.received += received;
            if self.tally.answered(asked.target, status, latency) {
                let _ = self.count.latencies.record(latency);
            } else {
                self.count.errors += 1;
                self.tally.keep_status_example(status, &opening);
            }
        }
        if let (true, Some(id)) = (self.shared.plan.collect_ids, activation) {
            self.tally.keep_id(id);
        }
        self.is_free(client);
        self.idle.push(client);
    }

    fn fail(&mut self, client: usize, asked: Asked, why: &Failed) {
        let now = Instant::now();
        if let Some(connection) =
            self.clients.get_mut(client).and_then(|client| client.connections.get_mut(asked.place))
        {
            *connection = None;
        }
        if asked.due >= self.counted_from {
            self.roll(now);
            self.count.errors += 1;
            self.tally.failed(Some(asked.target), why.class, &why.why);
        }
        self.is_free(client);
        if why.class == ErrorClass::Connect && !self.shared.is_open() {
            self.resting.push((now + REST, client));
        } else {
            self.idle.push(client);
        }
    }

    fn is_free(&mut self, client: usize) {
        if let Some(client) = self.clients.get_mut(client) {
            client.asked = None;
        }
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Looks at every clock: of requests, of clients that rest, of the pace, of the slice.
    pub(super) fn sweep(&mut self, now: Instant) {
        for client in 0..self.clients.len() {
            let asked = self.clients.get(client).and_then(|client| client.asked);
            if let Some(asked) = asked.filter(|asked| asked.deadline <= now) {
                let why = format!("no whole reply within {:?}", self.shared.plan.timeout);
                self.fail(client, asked, &Failed { class: ErrorClass::Timeout, why });
            }
        }
        let idle = &mut self.idle;
        self.resting.retain(|(until, client)| {
            let rests = *until > now;
            if !rests {
                idle.push(*client);
            }
            rests
        });
        if !self.shared.is_open() {
            let wanted =
                self.shared.profile.value(now.saturating_duration_since(self.shared.begin)).round() as usize;
            self.allowed = (wanted + self.threads - 1).saturating_sub(self.number) / self.threads;
            let allowed = self.allowed;
            idle.extend(self.parked.extract_if(.., |client| *client < allowed));
        }
        if now >= self.counted_from {
            self.roll(now);
        }
    }

    /// Tells the slices that are over.
    fn roll(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.counted_from);
        self.tally.active = at;
        let slice = (at.as_nanos() / self.shared.slice.as_nanos().max(1)) as usize;
        while self.slice < slice {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let is_empty = self.count.latencies.is_empty() && self.count.errors == 0;
        let fresh = || SliceCount { latencies: Histogram::new_from(&self.count.latencies), errors: 0 };
        let count = if is_empty { None } else { Some(fresh()) };
        let count = count.map(|fresh| std::mem::replace(&mut self.count, fresh));
        // Nobody listens any more only when the run has failed.
        let _ = self.told.send(Told { index: self.slice, count });
        self.slice += 1;
    }

    /// The figures, once nothing more will come.
    pub(super) fn end(mut self, now: Instant) -> Tally {
        self.tally.cut_off = self.under_way as u64;
        if self.shared.is_open() && !self.is_exhausted {
            let until = now.min(self.shared.end).saturating_duration_since(self.shared.begin);
            let due = self.shared.profile.due_before(until);
            let unsent = due.saturating_sub(self.next).div_ceil(self.threads as u64);
            if unsent > 0 {
                self.tally.failed_often(ErrorClass::Unsent, unsent);
                self.count.errors += unsent;
            }
        }
        if now >= self.counted_from {
            self.roll(now);
            self.tell();
        }
        self.tally
    }

    /// A target by weight.
    fn pick(&mut self) -> usize {
        let Some(all) = self.shared.weights.last().filter(|_| self.shared.weights.len() > 1) else {
            return 0;
        };
        // xorshift64*: good enough for shares, and cheap.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let random = u128::from(self.random.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let drawn = (random * u128::from(*all)) >> u64::BITS;
        self.shared.weights.partition_point(|bound| u128::from(*bound) <= drawn)
    }
}
