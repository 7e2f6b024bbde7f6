//! Keys of requests in SQLite, in a file of their own.
//!
//! Claims that come while a transaction is on its way to the disk wait together and share the next one, so that their rate
//! is not that of the disk. Keys themselves are not stored, only digests of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Millis};
use chasen_spi::idempotency_store::KEPT;
use chasen_spi::{Claim, IdempotencyStore, KeyedRequest, StoreError};
use chasen_telemetry::clock;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::OpenError;
use crate::background::Background;
use crate::database::Database;
use crate::sqlite::{self, Migrations, integer, store_error};

/// Name of the file.
pub(crate) const FILE: &str = "idempotency.db";
/// Its schema.
pub(crate) const MIGRATIONS: Migrations = &["
    CREATE TABLE claims (
        key BLOB PRIMARY KEY, digest BLOB NOT NULL, id BLOB NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX claims_by_time ON claims (at);
"];

/// Claims that wait for the next transaction at most.
const MOST_WAITING: usize = 20_000;
/// How often old keys are removed.
const SWEEP: Duration = Duration::from_mins(1);
/// Keys that one transaction removes at most, so that claims do not wait for long.
const SWEPT_AT_ONCE: i64 = 1000;

/// The store.
pub(crate) struct Idempotency {
    database: Arc<Database>,
    waiting: Arc<Mutex<Vec<Job>>>,
    _sweep: Background,
}

/// What waits for the next transaction.
enum Job {
    Claim { key: [u8; 32], request: KeyedRequest, answer: oneshot::Sender<Result<Claim, StoreError>> },
    Release { key: [u8; 32], id: ActivationId, answer: oneshot::Sender<Result<(), StoreError>> },
}

impl Idempotency {
    /// The keys of a data folder.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        let connection = sqlite::open(&path, MIGRATIONS)?;
        let database = Database::serve(&path, connection, "keys-write")?;
        let swept = database.clone();
        let sweep = Background::every(SWEEP, "keys-sweep", move || {
            if let Err(error) = sweep(&swept, clock::now()) {
                tracing::warn!(%error, "old keys of requests could not be removed; trying again");
            }
        })?;
        Ok(Self { database, waiting: Arc::default(), _sweep: sweep })
    }

    /// Closes the file.
    pub(crate) fn close(&self) {
        self.database.close();
    }

    /// Lets a job wait for the next transaction, which the first that waits asks for.
    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let is_first = {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= MOST_WAITING {
                return Err(StoreError::Unavailable(
                    "too many requests with keys wait for the disk".to_owned(),
                ));
            }
            waiting.push(job);
            waiting.len() == 1
        };
        if !is_first {
            return Ok(());
        }
        let waiting = self.waiting.clone();
        let submitted = self.database.submit(move |connection| {
            let jobs = std::mem::take(&mut *waiting.lock());
            answer(connection, jobs);
        });
        if submitted.is_err() {
            // Whoever waited learns of it by the end of their channels.
            self.waiting.lock().clear();
        }
        submitted
    }
}

#[async_trait]
impl IdempotencyStore for Idempotency {
    async fn look(&self, request: &KeyedRequest) -> Result<Claim, StoreError> {
        let key = stored_key(&request.namespace, &request.key);
        let request = request.clone();
        self.database.read(move |connection| look(connection, &key, &request)).await
    }

    async fn claim(&self, request: &KeyedRequest) -> Result<Claim, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let key = stored_key(&request.namespace, &request.key);
        self.enqueue(Job::Claim { key, request: request.clone(), answer })?;
        outcome.await.map_err(|_| closed())?
    }

    async fn release(&self, namespace: &EntityName, key: &str, id: &ActivationId) -> Result<(), StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.enqueue(Job::Release { key: stored_key(namespace, key), id: *id, answer })?;
        outcome.await.map_err(|_| closed())?
    }
}

/// Does all of it in one transaction, and tells everybody when it is on the disk.
fn answer(connection: Result<&mut Connection, StoreError>, jobs: Vec<Job>) {
    let mut outcomes = Vec::with_capacity(jobs.len());
    let done = connection.and_then(|connection| {
        let transaction = sqlite::begin(connection)?;
        for job in &jobs {
            outcomes.push(match job {
                Job::Claim { key, request, .. } => Some(claim(&transaction, key, request)?),
                Job::Release { key, id, .. } => {
                    release(&transaction, key, id)?;
                    None
                }
            });
        }
        transaction.commit().map_err(store_error)
    });
    let mut outcomes = outcomes.into_iter();
    for job in jobs {
        let outcome = outcomes.next().flatten();
        // A caller that went away does not want to know.
        match job {
            Job::Claim { answer, .. } => drop(answer.send(match (&done, outcome) {
                (Ok(()), Some(claim)) => Ok(claim),
                (Err(error), _) => Err(error.clone()),
                (Ok(()), None) => Err(closed()),
            })),
            Job::Release { answer, .. } => drop(answer.send(done.clone())),
        }
    }
}

fn look(connection: &Connection, key: &[u8; 32], request: &KeyedRequest) -> Result<Claim, StoreError> {
    let known: Option<([u8; 32], [u8; 16])> = connection
        .prepare_cached("SELECT digest, id FROM claims WHERE key = ?1 AND at > ?2")
        .and_then(|mut statement| {
            let values = params![key, integer(request.at) - integer(KEPT)];
            statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(store_error)?;
    Ok(match known {
        None => Claim::New,
        Some((digest, id)) if digest == request.digest => Claim::Same(ActivationId::from_bytes(id)),
        Some(_) => Claim::Other,
    })
}

fn claim(connection: &Connection, key: &[u8; 32], request: &KeyedRequest) -> Result<Claim, StoreError> {
    let found = look(connection, key, request)?;
    if found != Claim::New {
        return Ok(found);
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO claims VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut statement| {
            let id = request.activation_id.to_bytes();
            statement.execute(params![key, request.digest, id, integer(request.at)])
        })
        .map(|_| Claim::New)
        .map_err(store_error)
}

fn release(connection: &Connection, key: &[u8; 32], id: &ActivationId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM claims WHERE key = ?1 AND id = ?2")
        .and_then(|mut statement| statement.execute(params![key, id.to_bytes()]))
        .map(drop)
        .map_err(store_error)
}

/// Removes the keys whose time is over, some at a time: claims go in between.
fn sweep(database: &Database, now: Millis) -> Result<(), StoreError> {
    loop {
        let removed = database.write_blocking(move |transaction| {
            transaction
                .execute(
                    "DELETE FROM claims WHERE key IN (SELECT key FROM claims WHERE at <= ?1 ORDER BY at LIMIT ?2)",
                    params![integer(now) - integer(KEPT), SWEPT_AT_ONCE],
                )
                .map_err(store_error)
        })?;
        if removed < usize::try_from(SWEPT_AT_ONCE).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

/// What stands for a key of a namespace in the file. Names of namespaces hold no zero byte.
fn stored_key(namespace: &EntityName, key: &str) -> [u8; 32] {
    Sha256::new().chain_update(namespace.as_str()).chain_update([0]).chain_update(key).finalize().into()
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: String, at: Millis) -> KeyedRequest {
        let (namespace, activation_id) = (EntityName::new("guest").unwrap(), ActivationId::generate());
        KeyedRequest { namespace, key, digest: [7; 32], activation_id, at }
    }

    fn rows(store: &Idempotency) -> u32 {
        let connection = sqlite::open_reader(store.database.path()).unwrap();
        connection.query_row("SELECT count(*) FROM claims", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn old_keys_go_in_the_background_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Idempotency::open(folder.path()).unwrap());
        let old = u32::try_from(2 * SWEPT_AT_ONCE + 1).unwrap();
        let claims: Vec<_> = (0..old + 5)
            .map(|number| {
                let (store, at) = (store.clone(), if number < old { 1 } else { KEPT + 1 });
                tokio::spawn(async move { store.claim(&request(format!("k{number}"), at)).await })
            })
            .collect();
        for claim in claims {
            assert_eq!(claim.await.unwrap(), Ok(Claim::New));
        }
        assert_eq!(rows(&store), old + 5);
        let database = store.database.clone();
        tokio::task::spawn_blocking(move || sweep(&database, KEPT + 1)).await.unwrap().unwrap();
        assert_eq!(rows(&store), 5);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_who_claim_at_once_one_gets_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Idempotency::open(folder.path()).unwrap());
        let claims: Vec<_> = (0..500)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(
                    async move { store.claim(&request(format!("k{}", number % 50), 1)).await.unwrap() },
                )
            })
            .collect();
        let mut new = 0;
        for claim in claims {
            new += u32::from(claim.await.unwrap() == Claim::New);
        }
        assert_eq!((new, rows(&store)), (50, 50));
        store.close();
        let error = store.claim(&request("late".to_owned(), 1)).await.unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
        assert!(store.waiting.lock().is_empty());
    }
}
