//! Group commit: one thread brings the log to the disk for everybody who waits.
//!
//! Whoever waits joins a round: the one under way if that covers its events, else the next one. A commit thus wakes those
//! it satisfies and nobody else. Commits begin [`PACE`] apart at least, so that on a quick disk a round gathers many, and
//! farther apart while many wait: a commit costs the processor as much as some activations do, and its pages are written
//! to anew afterwards, each with a fault.
//!
//! A failed commit is not tried again on the same files: what the disk dropped is not known, and the kernel may call the
//! next sync of it a success. The log goes on in another segment, what may be lost is written again there (`rewrite`), and
//! that is synced, once a second until it works.

use std::time::{Duration, Instant};

use chasen_spi::{Position, StoreError};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::health::{Change, Health, Sample};
use super::{Log, Shared};

/// Shortest time from the beginning of one commit to that of the next.
const PACE: Duration = Duration::from_micros(500);
/// What everybody who waited for the one adds to that, and the most that it comes to.
const PACE_PER_WAITER: Duration = Duration::from_micros(100);
const SLOWEST_PACE: Duration = Duration::from_millis(2);
/// How often a disk that is too slow or has failed is tried.
const PROBE: Duration = Duration::from_secs(1);

/// How far the log is on the disk, and who wants it further.
pub(super) struct Commit {
    rounds: Mutex<Rounds>,
    asked: Condvar,
    /// Held by the one commit under way.
    turn: Mutex<()>,
}

struct Rounds {
    /// Everything before this is on the disk.
    reached: Position,
    /// How far the commit under way goes, and who waits for it.
    current: Option<(Position, Round)>,
    /// Since when one is under way.
    begun: Option<Instant>,
    /// Who waits for the next one.
    next: Option<Round>,
    health: Health,
    /// How long after the last commit began the next one does.
    pace: Duration,
    ending: bool,
}

/// Those who wait for one commit, and what they are told.
type Round = watch::Sender<Option<Result<(), StoreError>>>;

impl Commit {
    /// Of a log whose disk is too slow if a commit takes longer than this.
    pub(super) fn new(slow: Duration) -> Self {
        let rounds = Rounds {
            reached: Position(0),
            current: None,
            begun: None,
            next: None,
            health: Health::new(slow),
            pace: PACE,
            ending: false,
        };
        Self { rounds: Mutex::new(rounds), asked: Condvar::new(), turn: Mutex::default() }
    }

    /// Waits until the log is on the disk up to here. Dropping the future abandons the wait, not the commit.
    pub(super) async fn wait(&self, position: Position) -> Result<(), StoreError> {
        let mut told = {
            let mut rounds = self.rounds.lock();
            if rounds.reached >= position {
                return Ok(());
            }
            match &rounds.current {
                Some((upto, round)) if *upto >= position => round.subscribe(),
                _ if rounds.ending => return Err(closed()),
                _ => {
                    let next = rounds.next.get_or_insert_with(|| {
                        self.asked.notify_one();
                        watch::Sender::new(None)
                    });
                    next.subscribe()
                }
            }
        };
        let told = told.wait_for(Option::is_some).await.map_err(|_| closed())?;
        told.clone().unwrap_or_else(|| Err(closed()))
    }

    /// Why work that can be refused is refused at the moment.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let rounds = self.rounds.lock();
        rounds.health.refusal(rounds.begun.map(|begun| begun.elapsed()).unwrap_or_default())
    }

    /// Commits until the end is asked for.
    pub(super) fn run(&self, shared: &Shared) {
        let mut last = None;
        while self.wait_for_demand(last) {
            last = Some(Instant::now());
            // A failure is told to those who wait.
            self.commit(shared);
        }
    }

    /// Brings everything that was appended by now to the disk; false if that failed.
    pub(super) fn commit(&self, shared: &Shared) -> bool {
        let _turn = self.turn.lock();
        let begun = Instant::now();
        let (round, has_failed) = {
            let mut rounds = self.rounds.lock();
            rounds.begun = Some(begun);
            (rounds.next.take(), rounds.health.has_failed())
        };
        let round = round.unwrap_or_else(|| watch::Sender::new(None));
        // Not while the rounds are locked: those who append have the state locked when they ask for the disk's health.
        let end = if has_failed { shared.rewrite() } else { Ok(shared.state.lock().end()) };
        let outcome = end.and_then(|end| {
            self.rounds.lock().current = Some((end, round.clone()));
            shared.sync_all()?;
            shared.faults.committed(end);
            Ok(end)
        });
        if outcome.is_err() {
            shared.era.end();
        }
        self.note(begun.elapsed(), pace_after(round.receiver_count()), &outcome);
        let is_committed = outcome.is_ok();
        round.send_replace(Some(outcome.map(drop)));
        is_committed
    }

    /// Lets the thread end after what it is doing.
    pub(super) fn end(&self) {
        self.rounds.lock().ending = true;
        self.asked.notify_all();
    }

    /// How far the log is known to be on the disk.
    #[cfg(test)]
    pub(super) fn reached(&self) -> Position {
        self.rounds.lock().reached
    }

    fn note(&self, took: Duration, pace: Duration, outcome: &Result<Position, StoreError>) {
        let mut rounds = self.rounds.lock();
        (rounds.current, rounds.begun) = (None, None);
        rounds.pace = pace;
        let sample = match outcome {
            Ok(end) => {
                rounds.reached = rounds.reached.max(*end);
                Sample::Took(took)
            }
            Err(error) => Sample::Failed(error.to_string()),
        };
        match rounds.health.step(sample) {
            Some(Change::Refuses(why)) => {
                tracing::error!(why, "work that nobody waits for, and work that is to be synced, is refused");
            }
            Some(Change::Recovers) => {
                tracing::info!("the disk keeps the event log again; all work is accepted")
            }
            None => {}
        }
        // Whoever commits, the thread tries again in time.
        self.asked.notify_one();
    }

    /// Waits until somebody waits for a commit, or a disk that is not well is to be tried; false at the end.
    fn wait_for_demand(&self, last: Option<Instant>) -> bool {
        let mut rounds = self.rounds.lock();
        loop {
            if rounds.ending {
                return false;
            }
            let pause = match (&rounds.next, rounds.health.is_good()) {
                (Some(_), _) if !rounds.health.has_failed() => Some(rounds.pace),
                (_, false) => Some(PROBE),
                (_, true) => None,
            };
            let due = pause.map(|pause| last.map_or_else(Instant::now, |last| last + pause));
            match due {
                Some(due) if due <= Instant::now() => return true,
                Some(due) => drop(self.asked.wait_until(&mut rounds, due)),
                None => self.asked.wait(&mut rounds),
            }
        }
    }
}

impl Log {
    /// Brings the log to the disk up to here, on this thread, unless it is there.
    pub(crate) fn keep(&self, position: Position) -> Result<(), StoreError> {
        let commit = &self.shared.commit;
        let is_there = commit.rounds.lock().reached >= position;
        match is_there || commit.commit(&self.shared) {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the disk does not keep the event log".to_owned())),
        }
    }

    /// True if the log is known to be on the disk up to here.
    #[cfg(test)]
    pub(crate) fn is_kept(&self, position: Position) -> bool {
        self.shared.commit.reached() >= position
    }
}

impl Shared {
    /// Brings everything to the disk that is not there. If that is nothing, a few bytes of no meaning: how quick the disk is
    /// is to be seen by them.
    fn sync_all(&self) -> Result<(), StoreError> {
        let unsynced = self.state.lock().unsynced();
        let outcome = match unsynced.is_empty() {
            true => self.faults.sync().and_then(|()| self.checkpoint.sync()),
            false => unsynced.iter().try_for_each(|(segment, used)| segment.sync(*used)),
        };
        outcome.map_err(|error| {
            StoreError::Unavailable(format!(
                "the disk failed to keep the event log: {error}; it is tried again every second, check the disk of the data folder"
            ))
        })
    }
}

/// Time from the beginning of a commit that so many waited for to that of the next.
fn pace_after(waiters: usize) -> Duration {
    let many = u32::try_from(waiters).unwrap_or(u32::MAX);
    PACE_PER_WAITER.saturating_mul(many).clamp(PACE, SLOWEST_PACE)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the event log is closed".to_owned())
}
