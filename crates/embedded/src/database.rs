//! One SQLite file used from async code: a thread that writes, and connections that read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use chasen_spi::StoreError;
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::sqlite::{self, store_error};
use crate::{OpenError, background};

/// Writes that may wait; the next caller waits for room, off the runtime's threads.
const WRITE_QUEUE: usize = 64;
/// Reads at once.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A database. Writes are one transaction each, durable when they return; reads see the last one.
pub(crate) struct Database {
    path: PathBuf,
    writes: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    idle: Mutex<Vec<Connection>>,
    reads: Semaphore,
}

impl Database {
    /// Serves the file that this connection writes.
    pub(crate) fn serve(path: &Path, mut connection: Connection) -> Result<Arc<Self>, OpenError> {
        let (writes, mut jobs) = mpsc::channel::<Job>(WRITE_QUEUE);
        let thread = background::spawn("entities-write", move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&mut connection);
            }
        })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            writes: Mutex::new(Some(writes)),
            thread: Mutex::new(Some(thread)),
            idle: Mutex::default(),
            reads: Semaphore::new(READERS),
        }))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a transaction; it is rolled back if the work fails. Once begun it ends even if nobody waits for it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, outcome) = transaction(work);
        let writes = self.sender()?;
        writes.send(job).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    /// [`Database::write`] for threads outside the runtime.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, outcome) = transaction(work);
        self.sender()?.blocking_send(job).map_err(|_| closed())?;
        outcome.blocking_recv().map_err(|_| closed())?
    }

    /// Runs a query.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.reads.acquire().await.map_err(|_| closed())?;
        let database = self.clone();
        tokio::task::spawn_blocking(move || {
            let pooled = database.idle.lock().pop();
            let connection = pooled.map_or_else(|| sqlite::open_reader(&database.path), Ok)?;
            let result = work(&connection);
            database.idle.lock().push(connection);
            result
        })
        .await
        .map_err(|error| StoreError::Unavailable(format!("a read was not finished: {error}")))?
    }

    /// Ends every write that was begun and closes the file. Later calls fail.
    pub(crate) fn close(&self) {
        self.writes.lock().take();
        background::join(self.thread.lock().take());
        self.idle.lock().clear();
    }

    fn sender(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        self.writes.lock().clone().ok_or_else(closed)
    }
}

fn transaction<T: Send + 'static>(
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, StoreError>>) {
    let (tell, outcome) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(store_error)
            .and_then(|transaction| {
                let value = work(&transaction)?;
                transaction.commit().map_err(store_error)?;
                Ok(value)
            });
        // A caller that went away does not want to know.
        drop(tell.send(result));
    });
    (job, outcome)
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
