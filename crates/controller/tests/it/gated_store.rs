//! A store of entities whose writes can be held up.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chasen_entity::Revision;
use chasen_spi::memory::MemoryArtifactStore;
use chasen_spi::{ArtifactStore, Change, Document, DocumentId, DocumentQuery, StoreError};
use tokio::sync::watch;

/// Passes everything on; while it is closed, writes wait.
pub(crate) struct GatedStore {
    inner: MemoryArtifactStore,
    open: watch::Sender<bool>,
    /// Writes that are still to find that somebody else was faster.
    pub(crate) conflicts: AtomicUsize,
    /// Writes that have come so far.
    pub(crate) writes: watch::Sender<usize>,
}

impl Default for GatedStore {
    fn default() -> Self {
        Self {
            inner: MemoryArtifactStore::default(),
            open: watch::Sender::new(true),
            conflicts: AtomicUsize::new(0),
            writes: watch::Sender::new(0),
        }
    }
}

impl GatedStore {
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    async fn pass(&self) {
        self.writes.send_modify(|writes| *writes += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

#[async_trait]
impl ArtifactStore for GatedStore {
    async fn get(&self, id: &DocumentId) -> Result<Option<Document>, StoreError> {
        self.inner.get(id).await
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        self.pass().await;
        let one_less = |conflicts: usize| conflicts.checked_sub(1);
        if self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(StoreError::Conflict);
        }
        self.inner.apply(changes).await
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        self.inner.list(query).await
    }

    async fn namespaces(&self, after: Option<&str>, most: u64) -> Result<Vec<String>, StoreError> {
        self.inner.namespaces(after, most).await
    }

    async fn count(&self, query: &DocumentQuery) -> Result<u64, StoreError> {
        self.inner.count(query).await
    }
}
