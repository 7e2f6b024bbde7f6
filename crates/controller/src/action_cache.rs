//! Actions ready to be invoked: read and prepared once per revision, found without a lock.
//!
//! A write through this node replaces the entry before the writer has its answer. A reader that was overtaken cannot
//! put an older state back: entries only move to larger revisions, deletions stay as such, and what is read before the
//! cache was emptied goes into the emptied one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use chasen_entity::invocation::Delivery;
use chasen_entity::{Action, ByteSize, ExecutableAction, FullyQualifiedName, Manifest, Parameters, Revision};
use chasen_spi::StoreError;
use papaya::{Compute, Operation};

/// Bytes that an entry costs beside its document.
const OVERHEAD: u64 = 1024;

/// An action with everything that an invocation asks of it.
#[derive(Debug)]
pub(crate) struct ResolvedAction {
    pub(crate) executable: Arc<ExecutableAction>,
    /// Default arguments.
    pub(crate) parameters: Parameters,
    /// Keys that a request may not set.
    pub(crate) finals: HashSet<String>,
    /// True if some parameters go to the environment.
    pub(crate) has_init: bool,
    pub(crate) delivery: Delivery,
    /// True if the kind may not be invoked any more.
    pub(crate) deprecated: bool,
}

impl ResolvedAction {
    /// Prepares a stored action.
    pub(crate) fn of(action: &Action, revision: Revision, manifest: &Manifest) -> Self {
        let annotated =
            |key: &str, value: &str| action.annotations.get(key).is_some_and(|is| is.as_str() == value);
        let defined = action.parameters.iter().filter(|parameter| parameter.value.as_str() != "null");
        let finals = if annotated("final", "true") {
            defined.map(|p| p.key.clone()).collect()
        } else {
            HashSet::new()
        };
        Self {
            executable: Arc::new(ExecutableAction::of(action, revision)),
            parameters: action.parameters.clone(),
            finals,
            has_init: action.parameters.iter().any(|parameter| parameter.init),
            delivery: if annotated("delivery", "\"at-least-once\"") {
                Delivery::AtLeastOnce
            } else {
                Delivery::AtMostOnce
            },
            deprecated: manifest.resolve(&action.exec.kind).is_some_and(|kind| kind.deprecated),
        }
    }
}

/// The cache, bounded in bytes: a full one is emptied.
pub(crate) struct ActionCache {
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
    action: Option<Arc<ResolvedAction>>,
    weight: u64,
}

impl ActionCache {
    pub(crate) fn new(bound: ByteSize) -> Self {
        Self { bound: bound.as_bytes(), current: ArcSwap::default() }
    }

    /// The action of this name, if it is known.
    pub(crate) fn get(&self, name: &FullyQualifiedName) -> Option<Arc<ResolvedAction>> {
        self.current.load().map.pin().get(name).and_then(|entry| entry.action.clone())
    }

    /// The entries that what is read from the store from now on belongs into.
    pub(crate) fn before_read(&self) -> Arc<Entries> {
        self.current.load_full()
    }

    /// Remembers what was read after [`before_read`](Self::before_read), unless it is overtaken.
    /// `length` is that of its document.
    pub(crate) fn remember(&self, entries: &Entries, action: &Arc<ResolvedAction>, length: usize) {
        let executable = &action.executable;
        self.put(
            entries,
            executable.name.clone(),
            Entry {
                revision: executable.revision,
                action: Some(action.clone()),
                weight: OVERHEAD + length as u64,
            },
        );
    }

    /// An action was written.
    pub(crate) fn written(&self, action: &Arc<ResolvedAction>, length: usize) {
        self.remember(&self.current.load(), action, length);
    }

    /// An action was deleted in this state.
    pub(crate) fn deleted(&self, name: FullyQualifiedName, revision: Revision) {
        self.put(&self.current.load(), name, Entry { revision, action: None, weight: OVERHEAD });
    }

    /// A write failed. One whose outcome is unknown may have changed what is cached.
    pub(crate) fn after(&self, error: &StoreError) {
        if !matches!(error, StoreError::Conflict) {
            self.current.store(Arc::default());
        }
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
            self.current.store(Arc::default());
        }
    }
}

impl Entry {
    /// A deletion comes after the state that was deleted and before every later one.
    fn rank(&self) -> (Revision, bool) {
        (self.revision, self.action.is_none())
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ActionLimits, EntityName, EntityPath, Exec, Version};

    use super::*;

    fn action(name: &str) -> Action {
        let parameters =
            r#"[{"key":"a","value":1},{"key":"n","value":null},{"key":"i","value":2,"init":true}]"#;
        Action {
            name: chasen_entity::action::ActionName {
                namespace: EntityPath::parse("guest").unwrap(),
                name: EntityName::new(name).unwrap(),
            },
            exec: Exec { kind: "k:1".to_owned(), ..Exec::default() },
            parameters: serde_json::from_str(parameters).unwrap(),
            limits: ActionLimits::default(),
            version: Version::default(),
            publish: false,
            annotations: serde_json::from_str(r#"[{"key":"final","value":true}]"#).unwrap(),
            updated: 1,
        }
    }

    fn resolved(revision: Revision) -> Arc<ResolvedAction> {
        Arc::new(ResolvedAction::of(&action("hello"), revision, &Manifest::default()))
    }

    #[test]
    fn preparation_finds_what_invocations_ask() {
        let resolved = resolved(1);
        assert_eq!(resolved.finals, ["a", "i"].map(str::to_owned).into());
        assert!(resolved.has_init && !resolved.deprecated);
        assert_eq!(resolved.delivery, Delivery::AtMostOnce);
    }

    #[test]
    fn an_overtaken_reader_changes_nothing() {
        let cache = ActionCache::new(ByteSize::mb(1));
        let name = resolved(1).executable.name.clone();
        let revision = || cache.get(&name).map(|action| action.executable.revision);
        let slow = cache.before_read();
        cache.written(&resolved(5), 10);
        cache.remember(&slow, &resolved(4), 10);
        assert_eq!(revision(), Some(5));
        cache.deleted(name.clone(), 5);
        assert_eq!(revision(), None);
        cache.remember(&slow, &resolved(5), 10);
        assert_eq!(revision(), None, "deleted");
        cache.written(&resolved(6), 10);
        assert_eq!(revision(), Some(6), "created again");
    }

    #[test]
    fn a_full_cache_is_emptied_and_old_reads_stay_out() {
        let cache = ActionCache::new(ByteSize::bytes(3 * OVERHEAD));
        let slow = cache.before_read();
        cache.written(&resolved(1), 0);
        let name = resolved(1).executable.name.clone();
        assert!(cache.get(&name).is_some());
        cache.written(&resolved(2), 0);
        assert!(cache.get(&name).is_some(), "what is replaced does not count");
        cache.written(&resolved(3), 3 * 1024);
        assert!(cache.get(&name).is_none(), "emptied");
        cache.remember(&slow, &resolved(9), 0);
        assert!(cache.get(&name).is_none(), "an old read goes into the old entries");
    }
}
