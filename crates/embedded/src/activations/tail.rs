//! Records that are in the log and not yet in a segment file: an index in memory over payloads in the log.
//!
//! An entry is about 250 bytes, whatever the record's size: the record itself stays in the mapped log. The log
//! accepts no new work while the tail is full, so the memory is bounded even when the disk is slow.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::{Activation, ActivationId, ById, EntityPath, Millis};
use chasen_spi::{ActivationQuery, Position, StoreError};
use parking_lot::{Condvar, Mutex};

use crate::event_log::{Slice, payload};

/// Entries from which on no new work is accepted: about 50 MB.
pub(crate) const MOST: usize = 200_000;
/// Records that are written in one transaction at most.
const BATCH: usize = 1024;

/// What a record is found by.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ActivationId,
    pub(crate) start: Millis,
    pub(crate) cause: Option<ActivationId>,
    pub(crate) namespace: EntityPath,
    /// What the list filter `name` is compared with.
    pub(crate) name: Box<str>,
}

impl Entry {
    /// The entry of a record.
    pub(crate) fn of(record: &Activation) -> Self {
        Self {
            id: record.activation_id,
            start: record.start,
            cause: record.cause,
            namespace: record.namespace.clone(),
            name: record.filter_name().into(),
        }
    }

    /// The entry with the place of its record.
    pub(crate) fn at(self, source: Source) -> TailRecord {
        TailRecord { entry: self, source }
    }
}

/// One record.
#[derive(Debug)]
pub(crate) struct TailRecord {
    pub(crate) entry: Entry,
    pub(crate) source: Source,
}

/// Where a record is.
#[derive(Debug)]
pub(crate) enum Source {
    /// In the log.
    Logged(Slice),
    /// In memory only: the disk had no room.
    Held(Arc<Activation>),
}

impl TailRecord {
    /// The record itself.
    pub(crate) fn load(&self) -> Result<Arc<Activation>, StoreError> {
        match &self.source {
            Source::Held(record) => Ok(record.clone()),
            Source::Logged(slice) => payload::activation(slice.bytes()).map(Arc::new),
        }
    }

    /// Its place in the log; `None` while it has none.
    pub(crate) fn position(&self) -> Option<Position> {
        match &self.source {
            Source::Logged(slice) => Some(slice.end()),
            Source::Held(_) => None,
        }
    }
}

/// The index.
pub(crate) struct Tail {
    most: usize,
    index: Mutex<Index>,
    grown: Condvar,
}

/// The records of one namespace as lists have them, oldest first.
type ByStart = BTreeMap<(Millis, ActivationId), Arc<TailRecord>>;

#[derive(Default)]
struct Index {
    by_id: ById<Arc<TailRecord>>,
    by_start: HashMap<Box<str>, ByStart>,
    /// What is to be written to segment files, in the order of the log.
    queue: VecDeque<Arc<TailRecord>>,
    /// The log went on to another segment: there may be one to remove.
    rolled: bool,
    ending: bool,
    /// Why records cannot be written to files at the moment.
    stuck: Option<String>,
}

/// What the writer of records gets from [`Tail::next_batch`].
pub(crate) struct Batch {
    /// The oldest records, still in the tail.
    pub(crate) records: Vec<Arc<TailRecord>>,
    /// True if nothing will come after what is queued.
    pub(crate) ending: bool,
}

impl Tail {
    /// A tail that is full with this many entries.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, index: Mutex::default(), grown: Condvar::new() }
    }

    /// Adds a record, in place of an older one of the same id.
    pub(crate) fn insert(&self, record: TailRecord) {
        let record = Arc::new(record);
        let mut index = self.index.lock();
        if let Some(older) = index.by_id.insert(record.entry.id, record.clone()) {
            index.remove_start(&older);
        }
        let namespace = record.entry.namespace.as_str();
        if !index.by_start.contains_key(namespace) {
            index.by_start.insert(namespace.into(), BTreeMap::new());
        }
        if let Some(starts) = index.by_start.get_mut(namespace) {
            starts.insert((record.entry.start, record.entry.id), record.clone());
        }
        if record.position().is_some() {
            index.queue.push_back(record);
            if index.queue.len() == 1 || index.queue.len().is_multiple_of(BATCH) {
                self.grown.notify_one();
            }
        }
    }

    /// True while no new work may be accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.index.lock().by_id.len() >= self.most
    }

    /// Notes whether records can be written to files.
    pub(crate) fn set_stuck(&self, why: Option<String>) {
        self.index.lock().stuck = why;
    }

    /// Why work that can be refused is refused, if it is: its records could not be filed now.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        self.index.lock().stuck.as_ref().map(|why| {
            StoreError::Unavailable(format!(
                "records cannot be written to their files: {why}; try again later"
            ))
        })
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: &ActivationId) -> Option<Arc<TailRecord>> {
        self.index.lock().by_id.get(id).cloned()
    }

    /// Records that match, newest first, at most this many.
    pub(crate) fn matching(&self, query: &ActivationQuery, most: usize) -> Vec<Arc<TailRecord>> {
        let least = (query.since.unwrap_or(0), ActivationId::from_bytes([0; 16]));
        let largest = (query.upto.unwrap_or(u64::MAX), ActivationId::from_bytes([u8::MAX; 16]));
        let index = self.index.lock();
        let Some(starts) = index.by_start.get(query.namespace.as_str()).filter(|_| least <= largest) else {
            return Vec::new();
        };
        starts
            .range(least..=largest)
            .rev()
            .map(|(_, record)| record)
            .filter(|record| query.name.as_deref().is_none_or(|name| *record.entry.name == *name))
            .filter(|record| query.cause.is_none() || record.entry.cause == query.cause)
            .take(most)
            .cloned()
            .collect()
    }

    /// Waits for records to write: for a whole batch, or for some and the linger. Without any it waits for the patience
    /// to pass, or for the log to go on to another segment.
    pub(crate) fn next_batch(&self, linger: Duration, patience: Duration) -> Batch {
        let mut index = self.index.lock();
        let patience = Instant::now() + patience;
        while index.queue.is_empty() && !std::mem::take(&mut index.rolled) && !index.ending {
            if self.grown.wait_until(&mut index, patience).timed_out() {
                break;
            }
        }
        let linger = Instant::now() + linger;
        while !index.queue.is_empty() && index.queue.len() < BATCH && !index.ending {
            if self.grown.wait_until(&mut index, linger).timed_out() {
                break;
            }
        }
        Batch { records: index.queue.iter().take(BATCH).cloned().collect(), ending: index.ending }
    }

    /// The log went on to another segment. Work that ends without a record leaves nothing else to notice.
    pub(crate) fn rolled(&self) {
        self.index.lock().rolled = true;
        self.grown.notify_one();
    }

    /// Waits for this long, or until the end.
    pub(crate) fn pause(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut index = self.index.lock();
        while !index.ending && !self.grown.wait_until(&mut index, deadline).timed_out() {}
    }

    /// Takes records out that are in segment files now: the oldest ones of the queue.
    pub(crate) fn remove(&self, written: &[Arc<TailRecord>]) {
        let mut index = self.index.lock();
        for record in written {
            index.queue.pop_front();
            let newest = index.by_id.get(&record.entry.id).is_some_and(|newest| Arc::ptr_eq(newest, record));
            if newest {
                index.by_id.remove(&record.entry.id);
                index.remove_start(record);
            }
        }
        if index.queue.is_empty() {
            // After a burst: memory goes back when everything is written.
            index.queue.shrink_to(BATCH);
            index.by_id.shrink_to(BATCH);
        }
    }

    /// Makes waits for a batch end at once from now on.
    pub(crate) fn end(&self) {
        self.index.lock().ending = true;
        self.grown.notify_all();
    }
}

impl Index {
    fn remove_start(&mut self, record: &TailRecord) {
        let namespace = record.entry.namespace.as_str();
        if let Some(starts) = self.by_start.get_mut(namespace) {
            starts.remove(&(record.entry.start, record.entry.id));
            if starts.is_empty() {
                self.by_start.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::activation;

    use super::*;

    fn held(record: &Activation) -> TailRecord {
        Entry::of(record).at(Source::Held(Arc::new(record.clone())))
    }

    fn all() -> ActivationQuery {
        ActivationQuery { namespace: "guest".to_owned(), ..ActivationQuery::default() }
    }

    #[test]
    fn records_are_found_by_id_and_in_order() {
        let tail = Tail::new(3);
        let records = [5, 9, 7].map(|start| activation("guest", "a", start));
        for record in &records {
            assert!(!tail.is_full());
            tail.insert(held(record));
        }
        assert!(tail.is_full());
        let starts =
            |most| tail.matching(&all(), most).iter().map(|record| record.entry.start).collect::<Vec<_>>();
        assert_eq!((starts(10), starts(2)), (vec![9, 7, 5], vec![9, 7]));
        assert_eq!(*tail.get(&records[1].activation_id).unwrap().load().unwrap(), records[1]);
        let nothing = ActivationQuery { since: Some(8), upto: Some(6), ..all() };
        assert!(tail.matching(&nothing, 10).is_empty(), "a span that ends before it begins");
    }

    #[test]
    fn what_is_held_is_not_for_files() {
        let tail = Tail::new(10);
        tail.insert(held(&activation("guest", "a", 1)));
        let batch = tail.next_batch(Duration::ZERO, Duration::ZERO);
        assert!(batch.records.is_empty() && !batch.ending);
        tail.end();
        assert!(tail.next_batch(Duration::from_secs(3600), Duration::from_secs(3600)).ending);
    }
}
