//! The event log: what was accepted, started and finished, in mapped segment files.
//!
//! An append copies bytes into memory that the kernel will write, so it survives the death of the process at once
//! and a power cut after [`EventLog::sync`]. Files of records are filled from the log behind everybody's back
//! (`activations::writer`), after which segments go (`cleaner`).
//!
//! | file | concern |
//! |---|---|
//! | `record`, `segment`, `payload` | the form on disk |
//! | `ledger`, `state` | what is needed, where the log ends |
//! | `spare`, `commit`, `cleaner` | next segment, disk, removal |
//! | `admission`, `health`, `rewrite` | what is refused when, a disk that is slow, one that has failed |
//! | `recovery`, `checkpoint`, `era` | the next life |
//! | `copy` | backups and checks, beside a node that writes |
//!
//! A full disk: the next segment cannot be made, so nothing is accepted that nobody waits for or that is to be synced, and
//! what is left of the active segment is for those who wait, up to a part that is for what accepted work still has to say.
//! Should even that be used up, the ends of accepted work stay in memory, their records readable, until there is room.

mod admission;
mod checkpoint;
mod cleaner;
mod commit;
pub(crate) mod copy;
mod era;
mod health;
#[cfg(any(test, feature = "faults"))]
mod late;
mod ledger;
pub(crate) mod payload;
mod record;
mod recovery;
mod rewrite;
mod segment;
#[cfg(test)]
mod simulation;
mod spare;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chasen_entity::{ActivationId, Event, Invocation};
use chasen_spi::{EventLog, OpenActivation, Position, StoreError, TakenUp, Unfinished};
use chasen_telemetry::clock;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::activations::tail::{Entry, Source, Tail, TailRecord};
use crate::faults::Faults;
use crate::node_key::NodeKey;
use crate::{OpenError, background, files};
use checkpoint::Checkpoint;
use commit::Commit;
use era::Era;
use payload::Payloads;
/// Name of the file that says how far the log's records are in files of records.
pub(crate) const CHECKPOINT: &str = checkpoint::FILE;
#[cfg(any(test, feature = "faults"))]
pub(crate) use era::FILE as ERA;
pub(crate) use segment::Slice;
#[cfg(any(test, feature = "faults"))]
pub(crate) use segment::segments_in;
use segment::{Segment, SegmentWriter};
use state::{Fate, Spare, State};

/// Smallest segment that makes sense.
const LEAST_SEGMENT: usize = 64 << 10;
/// How long an append waits for a segment that is just being made. Only a disk that takes this long to make an
/// empty file, while a whole segment fills up, lets one wait at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// A thread keeps a buffer of up to this many bytes for its next append.
const KEPT_BUFFER: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of a node.
pub(crate) struct Log {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    #[cfg(any(test, feature = "faults"))]
    late: late::Late,
}

struct Shared {
    folder: PathBuf,
    segment_bytes: usize,
    payloads: Payloads,
    tail: Arc<Tail>,
    state: Mutex<State>,
    spare_wanted: Condvar,
    spare_changed: Condvar,
    commit: Commit,
    checkpoint: Checkpoint,
    era: Era,
    faults: Faults,
}

/// How a log is opened.
pub(crate) struct LogConfig {
    /// Bytes of a segment.
    pub(crate) segment_bytes: usize,
    /// The disk is too slow if a commit takes longer.
    pub(crate) slow: Duration,
    /// What is to go wrong.
    pub(crate) faults: Faults,
}

impl Log {
    /// Opens the log in this folder and reads what is in it. `is_recorded` says whether an activation has its
    /// record in a file already: then it has ended, whatever the log lost of it.
    pub(crate) fn open(
        folder: &Path,
        config: LogConfig,
        key: Arc<NodeKey>,
        tail: Arc<Tail>,
        is_recorded: impl Fn(&ActivationId) -> bool,
    ) -> Result<Self, OpenError> {
        files::create_folder(folder)?;
        let LogConfig { segment_bytes, slow, faults } = config;
        let segment_bytes = segment_bytes.clamp(LEAST_SEGMENT, segment::MOST);
        let (checkpoint, written) = Checkpoint::open(folder)?;
        let mut recovered = recovery::recover(folder, written, &tail, &faults)?;
        let recorded: Vec<_> = recovered.ledger.open.keys().copied().filter(|id| is_recorded(id)).collect();
        recorded.iter().for_each(|id| recovered.ledger.is_recorded(id));
        // Before anything is appended, and on the disk.
        let era = Era::open(folder, recovered.ledger.newest());
        recovered.ledger.come_after(era.begun());
        let active = Segment::create(folder, recovered.next_number, segment_bytes, clock::now(), &faults)
            .map_err(OpenError::io("make a segment of the event log in", folder))?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            segment_bytes,
            payloads: Payloads::new(key),
            tail,
            state: Mutex::new(State::new(active, recovered.ledger)),
            spare_wanted: Condvar::new(),
            spare_changed: Condvar::new(),
            commit: Commit::new(slow),
            checkpoint,
            era,
            faults,
        });
        let (maker, syncer) = (shared.clone(), shared.clone());
        let threads = vec![
            background::spawn("log-spare", move || spare::run(&maker))?,
            background::spawn("log-sync", move || syncer.commit.run(&syncer))?,
        ];
        Ok(Self {
            shared,
            threads: Mutex::new(threads),
            #[cfg(any(test, feature = "faults"))]
            late: late::Late::default(),
        })
    }

    /// Notes that these records are safe in files of records, and removes segments that nobody needs.
    pub(crate) fn written(&self, records: &[Arc<TailRecord>]) {
        self.shared.written(records);
        self.shared.clean();
    }

    /// Removes segments that nobody needs.
    pub(crate) fn clean(&self) {
        self.shared.clean();
    }

    /// Refuses every further append.
    pub(crate) fn refuse(&self) {
        self.shared.state.lock().closed = true;
        self.shared.spare_wanted.notify_all();
        self.shared.spare_changed.notify_all();
    }

    /// Brings everything to the disk and ends the threads. Blocks.
    pub(crate) fn close(&self) {
        self.refuse();
        self.shared.commit.commit(&self.shared);
        self.shared.commit.end();
        self.threads.lock().drain(..).for_each(|thread| background::join(Some(thread)));
        self.shared.leave();
    }
}

#[async_trait]
impl EventLog for Log {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        #[cfg(any(test, feature = "faults"))]
        if self.shared.faults.lies() {
            return self.late.append(&self.shared, event);
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let outcome = self.shared.append(event, buffer);
            if buffer.capacity() > KEPT_BUFFER {
                *buffer = Vec::new();
            }
            outcome
        })
    }

    async fn sync(&self, position: Position) -> Result<(), StoreError> {
        #[cfg(any(test, feature = "faults"))]
        if self.shared.faults.lies() {
            return Ok(());
        }
        let position = if position == Position::END { self.shared.end_with_held()? } else { position };
        self.shared.commit.wait(position).await
    }

    fn refusal(&self) -> Option<StoreError> {
        self.shared.refusal()
    }

    fn inherited(&self) -> Vec<ActivationId> {
        let mut inherited: Vec<_> = self.shared.state.lock().ledger.inherited().collect();
        inherited.sort_unstable();
        inherited.into_iter().map(|(_, id)| id).collect()
    }

    fn era(&self) -> Option<u64> {
        self.shared.era.number()
    }

    fn take_up(&self, id: &ActivationId) -> Result<TakenUp, StoreError> {
        let (accepted, started, progress, place) = {
            let mut state = self.shared.state.lock();
            match state.fate(id) {
                Fate::Open(open) if !open.is_inherited => return Ok(TakenUp::Elsewhere),
                Fate::Open(open) => {
                    open.is_inherited = false;
                    (open.accepted.clone(), open.started, open.progress.clone(), open.place)
                }
                Fate::Ended => return Ok(TakenUp::Ended),
                Fate::Unknown => return Ok(TakenUp::Unknown),
            }
        };
        let read = || -> Result<_, StoreError> {
            let invocation = self.shared.payloads.invocation(accepted.bytes())?;
            let progress = progress.map(|state| payload::progress(state.bytes())).transpose()?;
            Ok((Arc::new(invocation), progress))
        };
        let (invocation, progress) = read().inspect_err(|error| {
            tracing::error!(%id, %error, "accepted work cannot be read and is given up");
            self.shared.state.lock().ledger.forget(id);
        })?;
        if let Some(open) = self.shared.state.lock().ledger.open.get_mut(id) {
            open.cause = invocation.part_of();
        }
        let started = started.map(|(attempt, _)| attempt);
        let is_whole = self.shared.era.has_all_of(place);
        Ok(TakenUp::Taken(Box::new(Unfinished { invocation, started, progress, is_whole })))
    }

    fn accepted(&self, id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError> {
        let accepted = match self.shared.state.lock().fate(id) {
            Fate::Open(open) => open.accepted.clone(),
            Fate::Ended | Fate::Unknown => return Ok(None),
        };
        self.shared.payloads.invocation(accepted.bytes()).map(|invocation| Some(Arc::new(invocation)))
    }

    fn open(&self, most: usize) -> Result<Vec<OpenActivation>, StoreError> {
        let mut oldest: Vec<_> = {
            let state = self.shared.state.lock();
            state.under_way().map(|(id, open)| (open.place, *id)).collect()
        };
        oldest.sort_unstable();
        oldest.truncate(most);
        let mut found = Vec::with_capacity(oldest.len());
        for (_, id) in oldest {
            // Taken one by one, so that appends are not held up.
            let accepted = self.shared.state.lock().ledger.open.get(&id).map(|open| open.accepted.clone());
            let Some(accepted) = accepted else { continue };
            let (action, version) = payload::action(accepted.bytes())?;
            found.push(OpenActivation { activation_id: id, action, version });
        }
        Ok(found)
    }

    fn open_count(&self) -> usize {
        let state = self.shared.state.lock();
        state.ledger.open.len().saturating_sub(state.held.len())
    }
}

impl Shared {
    fn append(&self, event: &Event, buffer: &mut Vec<u8>) -> Result<Position, StoreError> {
        let mut header = self.payloads.encode(event, self.faults.now(clock::now()), buffer)?;
        let entry = match event {
            Event::Finished(record) => Some(Entry::of(record)),
            Event::Accepted(_) | Event::Started { .. } | Event::Progress { .. } | Event::Ended(_) => None,
        };
        let mut state = self.state.lock();
        if let Event::Accepted(invocation) = event {
            self.admit(&state, invocation)?;
        }
        if let Err(error) = self.make_room(&mut state, State::room_for(header.kind, buffer.len())) {
            return self.hold(&mut state, event, entry, error);
        }
        let cause = state.complete(event, &mut header, buffer)?;
        let slice = state.append(&header, buffer, cause).ok_or_else(no_room)?;
        if let Some(entry) = entry {
            state.ledger.await_writing(&slice);
            // Under the log's lock, so that the tail has the order of the log.
            self.tail.insert(entry.at(Source::Logged(slice)));
        }
        Ok(state.end())
    }

    /// Sees to it that the active segment has room for this much payload.
    fn make_room(&self, state: &mut MutexGuard<'_, State>, payload: usize) -> Result<(), StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if state.closed {
                return Err(StoreError::Unavailable("the event log is closed".to_owned()));
            }
            if self.has_spare(state, payload) {
                return Ok(());
            }
            if !self.is_for_any(payload) {
                return self.roll_to_large(state, payload);
            }
            if let Spare::Failed(why) = &state.spare {
                return Err(StoreError::Full(why.clone()));
            }
            if self.spare_changed.wait_until(state, deadline).timed_out() {
                return Err(no_room());
            }
        }
    }

    /// Gives an event that no segment of the usual size holds a segment of its own.
    fn roll_to_large(&self, state: &mut State, payload: usize) -> Result<(), StoreError> {
        let bytes = segment::PREAMBLE + record::length(payload);
        let number = state.next_number;
        let large = Segment::create(&self.folder, number, bytes, clock::now(), &self.faults)
            .map_err(|error| StoreError::Full(format!("no room for an event of {payload} bytes: {error}")))?;
        state.next_number += 1;
        if let Spare::Ready(overtaken) = std::mem::replace(&mut state.spare, Spare::Wanted) {
            spare::discard(&overtaken);
        }
        self.roll(state, large);
        Ok(())
    }

    /// Goes on in this segment.
    fn roll(&self, state: &mut State, next: SegmentWriter) {
        state.roll(next);
        self.spare_wanted.notify_one();
        self.tail.rolled();
    }

    /// Keeps the end of accepted work in memory until there is room.
    fn hold(
        &self,
        state: &mut State,
        event: &Event,
        entry: Option<Entry>,
        error: StoreError,
    ) -> Result<Position, StoreError> {
        let id = event.activation_id();
        let is_end = matches!(event, Event::Finished(_) | Event::Ended(_));
        if state.closed || !is_end || !state.ledger.open.contains_key(&id) {
            return Err(error);
        }
        state.held.retain(|held| held.activation_id() != id);
        state.held.push_back(event.clone());
        if let (Event::Finished(record), Some(entry)) = (event, entry) {
            self.tail.insert(entry.at(Source::Held(record.clone())));
        }
        // It is in memory only: safe once nothing is.
        Ok(Position::END)
    }

    /// Appends held events, as many as there is room for.
    fn append_held(&self, state: &mut State) {
        let mut buffer = Vec::new();
        while let Some(event) = state.held.pop_front() {
            buffer.clear();
            let encoded = self.payloads.encode(&event, clock::now(), &mut buffer).and_then(|mut header| {
                let cause = state.complete(&event, &mut header, &mut buffer)?;
                Ok((header, cause))
            });
            let (header, cause) = match encoded {
                Ok(encoded) => encoded,
                Err(error) => {
                    tracing::error!(id = %event.activation_id(), %error, "a record is lost");
                    continue;
                }
            };
            let room = self.has_spare(state, State::room_for(header.kind, buffer.len()));
            let Some(slice) = room.then(|| state.append(&header, &buffer, cause)).flatten() else {
                state.held.push_front(event);
                return;
            };
            if let Event::Finished(record) = &event {
                state.ledger.await_writing(&slice);
                self.tail.insert(Entry::of(record).at(Source::Logged(slice)));
            }
        }
    }

    /// Where the log ends, if everything is in it.
    fn end_with_held(&self) -> Result<Position, StoreError> {
        let state = self.state.lock();
        match state.held.len() {
            0 => Ok(state.end()),
            held => Err(StoreError::Full(format!(
                "{held} ends of activations wait in memory for room on the disk"
            ))),
        }
    }

    /// Leaves the files as small as they can be.
    fn leave(&self) {
        self.clean();
        let mut state = self.state.lock();
        if let Spare::Ready(spare) = std::mem::replace(&mut state.spare, Spare::Wanted) {
            spare::discard(&spare);
        }
        if !state.held.is_empty() {
            let lost = state.held.len();
            tracing::error!(
                lost,
                "the disk had no room for how these activations ended; they end as interrupted"
            );
        }
        let (segment, used) = (state.active.segment(), state.active.used());
        let is_needed = state.ledger.books.len() > 1
            || state.ledger.books.values().any(|book| book.unwritten > 0 || book.open_bytes > 0);
        let left = if is_needed { segment.trim(used) } else { segment.remove() };
        if let Err(error) = left {
            tracing::debug!(%error, "the last segment of the event log stays as it is");
        }
    }
}

fn no_room() -> StoreError {
    StoreError::Unavailable(
        "no segment of the event log could be made in time; the disk is too slow".to_owned(),
    )
}
