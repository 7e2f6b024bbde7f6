//! What layers are kept in: each is made once however many ask, stays while it is used, and for a while after.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{Layer, Retention};

/// Bytes that stand for what costs memory only.
const PAGE: u64 = 4096;

/// Layers by `K`; `E` says why one could not be made.
#[derive(Debug)]
pub(crate) struct Store<K, E> {
    retention: Retention,
    /// How long it is believed that a layer cannot be made.
    failures: Duration,
    entries: Mutex<HashMap<K, Entry<E>>>,
}

/// A layer, or why there is none and since when that is known.
type Outcome<E> = Result<Arc<Layer>, (E, Instant)>;

#[derive(Debug)]
struct Entry<E> {
    outcome: Arc<OnceCell<Outcome<E>>>,
    used: Instant,
}

impl<E> Entry<E> {
    fn bytes(&self) -> u64 {
        match self.outcome.get() {
            Some(Ok(layer)) => layer.bytes.max(PAGE),
            Some(Err(_)) | None => PAGE,
        }
    }

    /// True if nobody holds the layer or waits for it.
    fn is_unused(&self) -> bool {
        let waited_for = Arc::strong_count(&self.outcome) > 1;
        !waited_for
            && self
                .outcome
                .get()
                .is_none_or(|outcome| outcome.as_ref().map_or(true, |layer| Arc::strong_count(layer) == 1))
    }

    /// True for a failure that is no longer believed.
    fn is_stale(&self, failures: Duration) -> bool {
        matches!(self.outcome.get(), Some(Err((_, since))) if since.elapsed() >= failures)
    }
}

impl<K: Clone + Eq + Hash + Ord + Send + 'static, E: Clone + Send + Sync + 'static> Store<K, E> {
    /// A store that believes failures for this long.
    pub(crate) fn new(retention: Retention, failures: Duration) -> Self {
        Self { retention, failures, entries: Mutex::default() }
    }

    /// Takes a layer in that was made before, and last used this long ago. A second one of a key goes.
    pub(crate) fn adopt(&self, key: K, layer: Layer, unused: Duration) {
        let now = Instant::now();
        let used = now.checked_sub(unused).unwrap_or(now);
        let outcome = Arc::new(OnceCell::new_with(Some(Ok(Arc::new(layer)))));
        let second = self.entries.lock().insert(key, Entry { outcome, used });
        if let Some(Ok(layer)) = second.as_ref().and_then(|second| second.outcome.get()) {
            layer.give_up();
        }
    }

    /// The layer of `key`; made by `make` if there is none. Whoever waits for a maker that is dropped makes it itself.
    ///
    /// # Errors
    /// The outer one when `make` could not tell; the inner one when there is no such layer.
    pub(crate) async fn get<P, F>(&self, key: K, make: impl FnOnce() -> F) -> Result<Result<Arc<Layer>, E>, P>
    where
        F: Future<Output = Result<Result<Layer, E>, P>>,
    {
        let cell = {
            let mut entries = self.entries.lock();
            if entries.get(&key).is_some_and(|entry| entry.is_stale(self.failures)) {
                entries.remove(&key);
            }
            let entry =
                entries.entry(key).or_insert_with(|| Entry { outcome: Arc::default(), used: Instant::now() });
            entry.used = Instant::now();
            Arc::clone(&entry.outcome)
        };
        let mut is_new = false;
        let outcome = cell
            .get_or_try_init(|| {
                is_new = true;
                let made = make();
                async move { Ok(made.await?.map(Arc::new).map_err(|error| (error, Instant::now()))) }
            })
            .await?
            .clone();
        drop(cell);
        if is_new {
            self.sweep();
        }
        Ok(outcome.map_err(|(error, _)| error))
    }

    /// Removes failures that are believed no more, unused layers that are too old, then the longest unused while all
    /// are too large.
    pub(crate) fn sweep(&self) {
        let mut entries = self.entries.lock();
        // What is said of a failure may be long, and whoever fails on purpose fails differently every time.
        entries.retain(|_, entry| !entry.is_stale(self.failures));
        let mut total: u64 = entries.values().map(Entry::bytes).sum();
        let mut unused: Vec<(Instant, K, u64)> = entries
            .iter()
            .filter(|(_, entry)| entry.is_unused())
            .map(|(key, entry)| (entry.used, key.clone(), entry.bytes()))
            .collect();
        unused.sort_unstable();
        let mut removed = Vec::new();
        for (used, key, bytes) in unused {
            if total <= self.retention.total && used.elapsed() < self.retention.age {
                break;
            }
            total = total.saturating_sub(bytes);
            removed.extend(entries.remove(&key));
        }
        drop(entries);
        for entry in &removed {
            if let Some(Ok(layer)) = entry.outcome.get() {
                layer.give_up();
            }
        }
        if !removed.is_empty() {
            // Dropping a layer removes its files.
            tokio::task::spawn_blocking(move || drop(removed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_layers_that_were_there_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::<u32, String>::new(Retention::default(), Duration::ZERO);
        for name in ["one", "two"] {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            store.adopt(7, Layer::lasting(path, crate::layer::Shape::Archive, 1), Duration::ZERO);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[tokio::test]
    async fn failures_are_forgotten_when_they_are_believed_no_more() {
        let store = Store::<u32, String>::new(Retention::default(), Duration::ZERO);
        for key in 0..100 {
            let failed = store.get::<(), _>(key, || async { Ok(Err("x".repeat(1000))) }).await;
            assert!(failed.unwrap().is_err());
            assert!(store.entries.lock().len() <= 1, "{key}");
        }
        let lasting = Store::<u32, String>::new(Retention::default(), Duration::MAX);
        for key in 0..100 {
            let failed = lasting.get::<(), _>(key, || async { Ok(Err(String::new())) }).await;
            assert!(failed.unwrap().is_err());
        }
        assert_eq!(lasting.entries.lock().len(), 100);
    }
}
