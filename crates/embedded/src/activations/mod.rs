//! Records of activations, as readers see them: the newest in the log, the others in files by time.
//!
//! | file | concern |
//! |---|---|
//! | `tail` | records that are only in the log yet |
//! | `writer` | from the log into files |
//! | `segment`, `records`, `catalog` | one file and what is asked of it; which files there are, expiry |
//! | `listing`, `tally` | lists and counts across all of them |

pub(crate) mod catalog;
mod listing;
pub(crate) mod records;
mod segment;
pub(crate) mod tail;
mod tally;
mod writer;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use chasen_entity::{Activation, ActivationId};
use chasen_spi::{ActivationQuery, ActivationStore, RecordVisitor, StoreError};
use parking_lot::Mutex;

use crate::event_log::{Log, payload};
use crate::faults::Faults;
use crate::places::Places;
use crate::{OpenError, background};
use catalog::Catalog;
use segment::Segment;
use tail::{Tail, TailRecord};

/// Reads of files at once.
const READERS: usize = 4;

/// The store of records.
pub(crate) struct Activations {
    tail: Arc<Tail>,
    catalog: Arc<Catalog>,
    reads: Places,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Activations {
    /// The records in this tail and these files; moves them from the one to the other.
    pub(crate) fn open(
        tail: Arc<Tail>,
        catalog: Arc<Catalog>,
        log: Arc<Log>,
        faults: Faults,
    ) -> Result<Self, OpenError> {
        let (source, target) = (tail.clone(), catalog.clone());
        let writer =
            background::spawn("records-write", move || writer::run(&source, &target, &log, &faults))?;
        Ok(Self { tail, catalog, reads: Places::new(READERS), writer: Mutex::new(Some(writer)) })
    }

    /// Writes what is left and ends. Blocks.
    pub(crate) fn close(&self) {
        self.tail.end();
        background::join(self.writer.lock().take());
    }

    /// Reads files, off the runtime's threads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _place = self.reads.take().await?;
        let catalog = self.catalog.clone();
        tokio::task::spawn_blocking(move || work(&catalog))
            .await
            .map_err(|error| StoreError::Unavailable(format!("a read was not finished: {error}")))?
    }

    /// Reads a page: what of the tail matches, newest first, and the files.
    async fn page<T: Send + 'static>(
        &self,
        query: &ActivationQuery,
        work: impl FnOnce(&ActivationQuery, Vec<Arc<TailRecord>>, Vec<Arc<Segment>>) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (tail, query) = (self.tail.clone(), query.clone());
        self.read(move |catalog| {
            let most = usize::try_from(query.skip.saturating_add(query.limit)).unwrap_or(usize::MAX);
            let newest = tail.matching(&query, most);
            work(&query, newest, catalog.newest_first())
        })
        .await
    }
}

#[async_trait]
impl ActivationStore for Activations {
    async fn get(&self, namespace: &str, id: &ActivationId) -> Result<Option<Arc<Activation>>, StoreError> {
        if let Some(record) = self.tail.get(id) {
            return if record.entry.namespace.as_str() == namespace {
                record.load().map(Some)
            } else {
                Ok(None)
            };
        }
        let (namespace, id) = (namespace.to_owned(), *id);
        self.read(move |catalog| {
            let body = catalog.body(&namespace, &id)?;
            body.map(|body| payload::activation(&body).map(Arc::new)).transpose()
        })
        .await
    }

    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>, StoreError> {
        self.page(query, |query, newest, files| {
            let mut page = Vec::new();
            listing::walk(query, newest, files, |record| {
                page.push(record);
                ControlFlow::Continue(())
            })?;
            Ok(page)
        })
        .await
    }

    async fn visit(&self, query: &ActivationQuery, mut visitor: RecordVisitor) -> Result<(), StoreError> {
        self.page(query, move |query, newest, files| {
            listing::walk(query, newest, files, |record| visitor(&record))
        })
        .await
    }

    async fn count(&self, query: &ActivationQuery) -> Result<u64, StoreError> {
        let (tail, query) = (self.tail.clone(), query.clone());
        self.read(move |catalog| {
            let newest = tail.matching(&query, usize::MAX);
            listing::count(&query, &newest, &catalog.newest_first())
        })
        .await
    }
}
