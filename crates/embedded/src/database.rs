//! One SQLite file used from async code: a thread that writes, and connections that read.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use chasen_spi::StoreError;
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use crate::places::{PATIENCE, Places, late};
use crate::sqlite::{self, store_error};
use crate::{OpenError, background};

/// Writes that wait or run at once; the next caller waits for its turn to queue.
const WRITERS: usize = 64;
/// Reads at once.
const READERS: usize = 4;

/// A write. While somebody else has the file locked each takes as long as a statement waits; those behind it are told
/// that it is late when their turn comes, and do not wait for one such time after the other.
struct Job {
    work: Work,
    due: Instant,
}

type Work = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// A database. Writes are one transaction each, durable when they return; reads see the last one.
pub(crate) struct Database {
    path: PathBuf,
    queue: Arc<Queue>,
    writes: Places,
    thread: Mutex<Option<JoinHandle<()>>>,
    idle: Mutex<Vec<Connection>>,
    reads: Places,
}

impl Database {
    /// Serves the file that this connection writes, with a thread of this name.
    pub(crate) fn serve(
        path: &Path,
        mut connection: Connection,
        thread: &'static str,
    ) -> Result<Arc<Self>, OpenError> {
        let queue = Arc::new(Queue::default());
        let jobs = queue.clone();
        let thread = background::spawn(thread, move || {
            while let Some(job) = jobs.next() {
                (job.work)(if Instant::now() < job.due { Ok(&mut connection) } else { Err(late()) });
            }
        })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            queue,
            writes: Places::new(WRITERS),
            thread: Mutex::new(Some(thread)),
            idle: Mutex::default(),
            reads: Places::new(READERS),
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
        let _place = self.writes.take().await?;
        let (job, outcome) = transaction(work);
        self.queue.push(job)?;
        outcome.await.map_err(|_| closed())?
    }

    /// Queues work that makes its own transaction. It is as bounded as who submits it.
    pub(crate) fn submit(
        &self,
        job: impl FnOnce(Result<&mut Connection, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.queue.push(Box::new(job))
    }

    /// [`Database::write`] for threads outside the runtime.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, outcome) = transaction(work);
        self.queue.push(job)?;
        outcome.blocking_recv().map_err(|_| closed())?
    }

    /// Runs a query.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _place = self.reads.take().await?;
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

    /// Ends every write that was begun and closes the file. Later writes fail.
    pub(crate) fn close(&self) {
        self.queue.close();
        background::join(self.thread.lock().take());
        self.idle.lock().clear();
    }
}

/// Writes in the order of their coming.
#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn push(&self, work: Work) -> Result<(), StoreError> {
        let mut jobs = self.jobs.lock();
        if jobs.closed {
            return Err(closed());
        }
        jobs.waiting.push_back(Job { work, due: Instant::now() + PATIENCE });
        self.changed.notify_one();
        Ok(())
    }

    /// The next job; `None` when the queue is closed and everything in it is done.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        while jobs.waiting.is_empty() && !jobs.closed {
            self.changed.wait(&mut jobs);
        }
        jobs.waiting.pop_front()
    }

    fn close(&self) {
        self.jobs.lock().closed = true;
        self.changed.notify_all();
    }
}

fn transaction<T: Send + 'static>(
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> (Work, oneshot::Receiver<Result<T, StoreError>>) {
    let (tell, outcome) = oneshot::channel();
    let job: Work = Box::new(move |connection| {
        let result = connection.and_then(|connection| {
            let transaction = sqlite::begin(connection)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_whose_turn_comes_late_is_told_and_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let connection = sqlite::open(&path, &["CREATE TABLE a (x)"]).unwrap();
        let database = Database::serve(&path, connection, "test-write").unwrap();
        let insert = |transaction: &Transaction<'_>| {
            transaction.execute("INSERT INTO a VALUES (1)", []).map_err(store_error)
        };
        let (work, outcome) = transaction(insert);
        database.queue.jobs.lock().waiting.push_back(Job { work, due: Instant::now() });
        database.queue.changed.notify_one();
        assert_eq!(outcome.await.unwrap(), Err(late()));
        assert_eq!(database.write(insert).await, Ok(1));
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).map_err(store_error)
        };
        assert_eq!(database.read(count).await, Ok(1));
        database.close();
    }
}
