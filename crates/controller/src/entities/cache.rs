//! Entities ready to be used: read and prepared once per revision, found without a lock.
//!
//! A write through this node replaces the entry before the writer has its answer. A reader that was overtaken cannot
//! put an older state back: entries only move to larger revisions, deletions stay as such, and what is read before the
//! cache was emptied goes into the emptied one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use chasen_entity::{Action, ByteSize, FullyQualifiedName, Manifest, Package, Revision, Trigger};
use chasen_spi::{Collection, Document, StoreError};
use papaya::{Compute, Operation};

use super::document::{LoadError, read};
use super::resolved_action::ResolvedAction;

/// Bytes that an entry costs beside its document.
const OVERHEAD: u64 = 1024;

/// What is kept of an entity.
#[derive(Debug, Clone)]
pub(crate) enum Cached {
    Action(Arc<ResolvedAction>),
    Package(Arc<Package>),
    Trigger(Arc<Trigger>),
}

impl Cached {
    /// Reads and prepares a document. Rules are not kept: nothing on a path that matters reads them.
    pub(crate) fn read(document: &Document, manifest: &Manifest) -> Result<Self, LoadError> {
        Ok(match document.collection {
            Collection::Actions => {
                let action: Action = read(document)?;
                Self::Action(Arc::new(ResolvedAction::of(&action, document.revision, manifest)))
            }
            Collection::Packages => Self::Package(Arc::new(read(document)?)),
            Collection::Triggers => Self::Trigger(Arc::new(read(document)?)),
            Collection::Rules | Collection::Versions => return Err(LoadError::WrongType),
        })
    }
}

/// A cached entity and its revision.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) revision: Revision,
    pub(crate) entity: Cached,
}

/// The cache, bounded in bytes: a full one is emptied.
pub(crate) struct EntityCache {
    bound: u64,
    current: ArcSwap<Entries>,
}

/// The entries since the cache was last emptied.
#[derive(Default)]
pub(crate) struct Entries {
    map: papaya::HashMap<FullyQualifiedName, Entry>,
    weight: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    revision: Revision,
    /// `None` for a deleted one.
    entity: Option<Cached>,
    weight: u64,
}

impl EntityCache {
    pub(crate) fn new(bound: ByteSize) -> Self {
        Self { bound: bound.as_bytes(), current: ArcSwap::default() }
    }

    /// The entity of this name, if it is known.
    pub(crate) fn get(&self, name: &FullyQualifiedName) -> Option<Found> {
        let entries = self.current.load();
        let map = entries.map.pin();
        let entry = map.get(name)?;
        Some(Found { revision: entry.revision, entity: entry.entity.clone()? })
    }

    /// The entries that what is read from the store from now on belongs into.
    pub(crate) fn before_read(&self) -> Arc<Entries> {
        self.current.load_full()
    }

    /// Remembers what was read after [`before_read`](Self::before_read), unless it is overtaken.
    /// `length` is that of its document.
    pub(crate) fn remember(&self, entries: &Entries, name: &FullyQualifiedName, found: Found, length: usize) {
        let Found { revision, entity } = found;
        let weight = OVERHEAD + length as u64;
        self.put(entries, name.clone(), Entry { revision, entity: Some(entity), weight });
    }

    /// An entity was deleted in this state.
    pub(crate) fn deleted(&self, name: FullyQualifiedName, revision: Revision) {
        self.put(&self.current.load(), name, Entry { revision, entity: None, weight: OVERHEAD });
    }

    /// A write failed. One whose outcome is unknown may have changed what is cached.
    pub(crate) fn after(&self, error: &StoreError) {
        if !matches!(error, StoreError::Conflict) {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.current.store(Arc::default());
    }

    fn put(&self, entries: &Entries, name: FullyQualifiedName, entry: Entry) {
        let map = entries.map.pin();
        let done = map.compute(name, |present| match present {
            Some((_, present)) if present.rank() >= entry.rank() => Operation::Abort(()),
            _ => Operation::Insert(entry.clone()),
        });
        match done {
            Compute::Inserted(..) => entries.weight.fetch_add(entry.weight, Ordering::Relaxed),
            Compute::Updated { old: (_, old), .. } => {
                entries.weight.fetch_add(entry.weight, Ordering::Relaxed);
                entries.weight.fetch_sub(old.weight, Ordering::Relaxed)
            }
            Compute::Removed(..) | Compute::Aborted(()) => return,
        };
        if entries.weight.load(Ordering::Relaxed) > self.bound {
            self.clear();
        }
    }
}

impl Entry {
    /// A deletion comes after the state that was deleted and before every later one.
    fn rank(&self) -> (Revision, bool) {
        (self.revision, self.entity.is_none())
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::Package;

    use super::*;

    fn id() -> FullyQualifiedName {
        FullyQualifiedName::parse("guest/hello").unwrap()
    }

    fn found(revision: Revision) -> Found {
        let text = r#"{"namespace":"guest","name":"hello","version":"0.0.1","updated":1}"#;
        let package: Package = serde_json::from_str(text).unwrap();
        Found { revision, entity: Cached::Package(Arc::new(package)) }
    }

    #[test]
    fn an_overtaken_reader_changes_nothing() {
        let cache = EntityCache::new(ByteSize::mb(1));
        let revision = || cache.get(&id()).map(|found| found.revision);
        let slow = cache.before_read();
        cache.remember(&cache.before_read(), &id(), found(5), 10);
        cache.remember(&slow, &id(), found(4), 10);
        assert_eq!(revision(), Some(5));
        cache.deleted(id(), 5);
        assert_eq!(revision(), None);
        cache.remember(&slow, &id(), found(5), 10);
        assert_eq!(revision(), None, "deleted");
        cache.remember(&cache.before_read(), &id(), found(6), 10);
        assert_eq!(revision(), Some(6), "created again");
    }

    #[test]
    fn a_full_cache_is_emptied_and_old_reads_stay_out() {
        let cache = EntityCache::new(ByteSize::bytes(3 * OVERHEAD));
        let slow = cache.before_read();
        cache.remember(&cache.before_read(), &id(), found(1), 0);
        assert!(cache.get(&id()).is_some());
        cache.remember(&cache.before_read(), &id(), found(2), 0);
        assert!(cache.get(&id()).is_some(), "what is replaced does not count");
        cache.remember(&cache.before_read(), &id(), found(3), 3 * 1024);
        assert!(cache.get(&id()).is_none(), "emptied");
        cache.remember(&slow, &id(), found(9), 0);
        assert!(cache.get(&id()).is_none(), "an old read goes into the old entries");
    }
}
