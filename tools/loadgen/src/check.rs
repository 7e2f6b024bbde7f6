//! Looks for the record of every activation that a run has begun, on connections of its own.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::engine::Halt;
use crate::reply::Decoder;
use crate::target::{Target, TargetError, Unreachable};
use crate::wire::{Place, Wire};

/// Time for one look.
const LOOK: Duration = Duration::from_secs(10);
/// Time between two rounds over what is missing.
const PAUSE: Duration = Duration::from_millis(100);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const SCRATCH: usize = 64 << 10;

/// How to look.
#[derive(Debug, Clone)]
pub struct RecordCheck {
    /// `http://host:port` of the API, or `https`.
    pub api: String,
    /// Value of the `Authorization` header.
    pub authorization: String,
    /// How long records that are missing are waited for, from the beginning of the check.
    pub wait: Duration,
    /// Connections at once.
    pub connections: usize,
    /// What handshakes are made with where the API is at `https`.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The address cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The API does not accept connections.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The key may not read records.
    #[error(
        "records cannot be read: the API answers {0}; give the key of the namespace that the activations are in"
    )]
    Refused(u16),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Ids whose record is there.
    pub found: usize,
    /// Ids whose record did not appear in time, in the order in which they were given.
    pub missing: Vec<u128>,
    /// How long it took.
    pub took: Duration,
}

/// What one look says.
enum Look {
    Found,
    Missing,
    Refused(u16),
    /// Nobody answered.
    Failed,
}

/// Looks for the records of these ids until all are there or the wait is over; each is looked for at least once, unless
/// the API stops answering. `progress` is told every second how many were found.
pub fn check_records(
    check: &RecordCheck,
    ids: &[u128],
    halt: &Halt,
    mut progress: impl FnMut(usize),
) -> Result<Checked, CheckError> {
    let template = Target::new("GET", &format!("{}/", check.api.trim_end_matches('/')))?
        .header("Authorization", &check.authorization)?;
    let place = template.authority().reach(check.tls.as_ref())?;
    let begun = Instant::now();
    let round = Round {
        template: &template,
        place,
        deadline: begun + check.wait,
        halt,
        found: AtomicUsize::new(0),
        gives_up: AtomicBool::new(false),
    };
    let mut pending: Vec<u128> = ids.to_vec();
    loop {
        pending = round.look_for(&pending, check.connections.max(1), &mut progress)?;
        let is_over = Instant::now() >= round.deadline || halt.is_stopped();
        if pending.is_empty() || is_over {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(Checked { found: ids.len() - pending.len(), missing: pending, took: begun.elapsed() })
}

struct Round<'a> {
    template: &'a Target,
    place: Place,
    deadline: Instant,
    halt: &'a Halt,
    found: AtomicUsize,
    gives_up: AtomicBool,
}

impl Round<'_> {
    /// Looks once for each; those that are missing, in their order.
    fn look_for(
        &self,
        ids: &[u128],
        connections: usize,
        progress: &mut impl FnMut(usize),
    ) -> Result<Vec<u128>, CheckError> {
        let next = AtomicUsize::new(0);
        let (sender, results) = channel();
        let mut missing: Vec<usize> = Vec::new();
        let mut refused = None;
        thread::scope(|scope| {
            for _ in 0..connections.min(ids.len()) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || sender.send(self.look_on(ids, next)));
            }
            drop(sender);
            loop {
                match results.recv_timeout(TELL) {
                    Ok(Ok(places)) => missing.extend(places),
                    Ok(Err(status)) => refused = Some(status),
                    Err(RecvTimeoutError::Timeout) => progress(self.found.load(Ordering::Relaxed)),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        match refused {
            Some(status) => Err(CheckError::Refused(status)),
            None => {
                missing.sort_unstable();
                Ok(missing.into_iter().filter_map(|place| ids.get(place).copied()).collect())
            }
        }
    }

    /// One connection's share: the places of those that are missing, or the status that refused.
    fn look_on(&self, ids: &[u128], next: &AtomicUsize) -> Result<Vec<usize>, u16> {
        let (mut missing, mut connection) = (Vec::new(), None);
        let mut scratch = vec![0; SCRATCH];
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = ids.get(place) else { return Ok(missing) };
            if self.gives_up.load(Ordering::Relaxed) || self.halt.is_stopped() {
                missing.push(place);
                continue;
            }
            match self.look(*id, &mut connection, &mut scratch) {
                Look::Found => {
                    self.found.fetch_add(1, Ordering::Relaxed);
                }
                Look::Refused(status) => {
                    self.gives_up.store(true, Ordering::Relaxed);
                    return Err(status);
                }
                Look::Missing => missing.push(place),
                Look::Failed => {
                    missing.push(place);
                    connection = None;
                    if Instant::now() >= self.deadline {
                        self.gives_up.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn look(&self, id: u128, connection: &mut Option<Wire>, scratch: &mut [u8]) -> Look {
        // A kept connection may have been closed meanwhile: then a fresh one is tried.
        for _ in 0..2 {
            let is_fresh = connection.is_none();
            let stream = match connection.take() {
                Some(kept) => Ok(kept),
                None => self.place.connect(LOOK),
            };
            let exchanged = stream.and_then(|mut stream| {
                let path = format!("/api/v1/namespaces/_/activations/{id:032x}");
                stream.write_all(&self.template.at(&path).render(true))?;
                stream.flush()?;
                Ok((read_reply(&mut stream, scratch)?, stream))
            });
            match exchanged {
                Ok((reply, stream)) => {
                    if reply.keep_alive {
                        *connection = Some(stream);
                    }
                    return match reply.status {
                        200 => Look::Found,
                        status @ (401 | 403) => Look::Refused(status),
                        _ => Look::Missing,
                    };
                }
                Err(_) if !is_fresh => {}
                Err(_) => return Look::Failed,
            }
        }
        Look::Failed
    }
}

fn read_reply(stream: &mut Wire, scratch: &mut [u8]) -> std::io::Result<Decoder> {
    let broken = |why: crate::reply::Broken| std::io::Error::other(why.to_string());
    let mut decoder = Decoder::new(false);
    let mut held = 0;
    while !decoder.is_done() {
        let free = scratch.get_mut(held..).filter(|free| !free.is_empty());
        let length = stream.read(free.ok_or_else(|| broken(crate::reply::Broken::Head))?)?;
        if length == 0 {
            decoder.end().map_err(broken)?;
            break;
        }
        let input = scratch.get(..held + length).unwrap_or_default();
        let used = decoder.decode(input, &mut |_| {}).map_err(broken)?;
        scratch.copy_within(used..held + length, 0);
        held = held + length - used;
    }
    Ok(decoder)
}
