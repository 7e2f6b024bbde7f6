//! Subjects in SQLite: who may call, with keys sealed and found by digest.
//!
//! A key is looked up by the SHA-256 of `uuid:key`. An unknown uuid and a wrong key miss the same index in the
//! same way, and what the index compares is a digest that a caller cannot steer, so times tell nothing.
//!
//! Other processes (`chasen admin`) may write the same file. A thread asks SQLite twice a second whether somebody
//! did, so that [`SubjectStore::generation`] is a load of one number.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{AuthKey, EntityName, Identity, Namespace, Subject, UserLimits};
use chasen_spi::{StoreError, SubjectDocument, SubjectNamespace, SubjectStore};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};

use crate::background::Background;
use crate::database::Database;
use crate::entities::{self, count_up};
use crate::node_key::{KeyFile, NodeKey};
use crate::parameter_keys::FILE as PARAMETER_KEY_FILE;
use crate::sqlite::{self, integer, store_error, unsigned};
use crate::{OpenError, files};

/// Name of the file that entities and subjects share.
pub(crate) const FILE: &str = "entities.db";
/// Counter that every write of this store moves.
const GENERATION: &str = "subject-generation";
/// Which key the secrets were sealed with.
pub(crate) const NODE_KEY: &str = "key-fingerprint";
/// Which key parameters are locked with that nobody has given one for.
pub(crate) const PARAMETER_KEY: &str = "parameter-key-fingerprint";
/// How often changes by other processes are looked for; they are promised within a second.
const POLL: Duration = Duration::from_millis(500);

/// The store of subjects.
pub struct Subjects {
    database: Arc<Database>,
    key: Arc<NodeKey>,
    generation: Arc<AtomicU64>,
    _poll: Background,
}

impl Subjects {
    /// Opens the subjects of a data folder beside a node that may be running on it; makes the folder if there
    /// is none. The node sees changes at most a second later.
    pub fn open_shared(data_dir: &Path) -> Result<Self, OpenError> {
        files::create_folder(data_dir)?;
        let key = Arc::new(NodeKey::open(data_dir)?);
        let database = open_database(data_dir, &key)?;
        Self::new(database, key)
    }

    /// The subjects in this database.
    pub(crate) fn new(database: Arc<Database>, key: Arc<NodeKey>) -> Result<Self, OpenError> {
        let refused = |source| OpenError::Store { file: database.path().to_owned(), source };
        let connection = sqlite::open_reader(database.path()).map_err(refused)?;
        let generation = Arc::new(AtomicU64::new(counter(&connection, GENERATION).map_err(refused)?));
        let poll = watch(connection, generation.clone())?;
        Ok(Self { database, key, generation, _poll: poll })
    }

    /// A write that moves the generation.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (value, generation) = self
            .database
            .write(move |transaction| {
                let value = work(transaction)?;
                Ok((value, count_up(transaction, GENERATION)?))
            })
            .await?;
        self.generation.fetch_max(unsigned(generation), Ordering::AcqRel);
        Ok(value)
    }
}

#[async_trait]
impl SubjectStore for Subjects {
    async fn get(&self, subject: &str) -> Result<Option<SubjectDocument>, StoreError> {
        let (subject, key) = (subject.to_owned(), self.key.clone());
        self.database.read(move |connection| load(connection, &key, &subject)).await
    }

    async fn put(&self, subject: &SubjectDocument) -> Result<(), StoreError> {
        let (subject, key) = (subject.clone(), self.key.clone());
        self.change(move |transaction| store(transaction, &key, &subject)).await
    }

    async fn delete(&self, subject: &str) -> Result<bool, StoreError> {
        let subject = subject.to_owned();
        self.change(move |transaction| {
            let deleted = transaction.execute("DELETE FROM subjects WHERE subject = ?1", [subject]);
            deleted.map(|rows| rows > 0).map_err(store_error)
        })
        .await
    }

    async fn identity(&self, key: &AuthKey) -> Result<Option<Arc<Identity>>, StoreError> {
        let key = key.clone();
        self.database.read(move |connection| identify(connection, key)).await
    }

    async fn identity_of_namespace(&self, namespace: &str) -> Result<Option<Arc<Identity>>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), self.key.clone());
        self.database.read(move |connection| speaker(connection, &key, &namespace)).await
    }

    async fn owners(&self, namespace: &str) -> Result<Vec<SubjectDocument>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), self.key.clone());
        self.database.read(move |connection| owners(connection, &key, &namespace)).await
    }

    async fn list(&self, after: Option<&str>, most: u64) -> Result<Vec<SubjectDocument>, StoreError> {
        let (after, key) = (after.unwrap_or_default().to_owned(), self.key.clone());
        self.database.read(move |connection| list(connection, &key, &after, most)).await
    }

    async fn limits(&self, namespace: &str) -> Result<Option<UserLimits>, StoreError> {
        let namespace = namespace.to_owned();
        self.database.read(move |connection| limits(connection, &namespace)).await
    }

    async fn set_limits(&self, namespace: &str, limits: Option<&UserLimits>) -> Result<(), StoreError> {
        let namespace = namespace.to_owned();
        let body = limits
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| StoreError::Unavailable(format!("limits cannot be written: {error}")))?;
        self.change(move |transaction| {
            match body {
                Some(body) => {
                    transaction.execute("INSERT OR REPLACE INTO limits VALUES (?1, ?2)", [namespace, body])
                }
                None => transaction.execute("DELETE FROM limits WHERE namespace = ?1", [namespace]),
            }
            .map_err(store_error)
            .map(drop)
        })
        .await
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Follows the generation that other processes write. SQLite says cheaply whether there is anything to read.
fn watch(connection: Connection, generation: Arc<AtomicU64>) -> Result<Background, OpenError> {
    let mut seen: Option<i64> = None;
    Background::every(POLL, "subject-poll", move || {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0));
        let moved = version.map_err(store_error).and_then(|version| {
            if seen.replace(version) == Some(version) {
                return Ok(());
            }
            counter(&connection, GENERATION).map(|stored| {
                generation.fetch_max(stored, Ordering::AcqRel);
            })
        });
        if let Err(error) = moved {
            seen = None;
            tracing::warn!(%error, "changes of subjects by other processes cannot be seen; trying again");
        }
    })
}

/// Opens the database of a data folder. The first opener leaves the key's fingerprint in it; every later one
/// must have the same key.
pub(crate) fn open_database(data_dir: &Path, key: &NodeKey) -> Result<Arc<Database>, OpenError> {
    let path = data_dir.join(FILE);
    let connection = sqlite::open(&path, entities::MIGRATIONS)?;
    require_key(&connection, &path, NODE_KEY, key.fingerprint(), key.file())?;
    Database::serve(&path, connection, "entities-write")
}

/// Opens the key of a data folder that parameters are locked with where nobody has given one; makes it if there is none.
/// The folder's database must have been opened before.
pub(crate) fn open_parameter_key(data_dir: &Path) -> Result<KeyFile, OpenError> {
    let is_used = || Ok(fingerprint(data_dir, PARAMETER_KEY)?.is_some());
    let key = KeyFile::open(data_dir, PARAMETER_KEY_FILE, is_used)?;
    let path = data_dir.join(FILE);
    let connection = sqlite::open(&path, entities::MIGRATIONS)?;
    require_key(&connection, &path, PARAMETER_KEY, key.fingerprint(), &key.file)?;
    Ok(key)
}

/// Leaves a key's fingerprint in the database, or compares it with the one that is there.
fn require_key(
    connection: &Connection,
    path: &Path,
    name: &str,
    fingerprint: i64,
    file: &Path,
) -> Result<(), OpenError> {
    let stored: i64 = connection
        .query_row(
            "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = value RETURNING value",
            params![name, fingerprint],
            |row| row.get(0),
        )
        .map_err(|error| OpenError::Store { file: path.to_owned(), source: store_error(error) })?;
    if stored == fingerprint { Ok(()) } else { Err(OpenError::WrongKey { file: file.to_owned() }) }
}

/// Fingerprint of the key of this name that secrets in the folder were sealed with; `None` if none were.
pub(crate) fn fingerprint(data_dir: &Path, name: &str) -> Result<Option<i64>, OpenError> {
    let path = data_dir.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let connection = sqlite::open(&path, entities::MIGRATIONS)?;
    connection
        .query_row("SELECT value FROM counters WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(|error| OpenError::Store { file: path, source: store_error(error) })
}

fn counter(connection: &Connection, name: &str) -> Result<u64, StoreError> {
    connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .map(|value: Option<i64>| value.map_or(0, unsigned))
        .map_err(store_error)
}

fn digest(key: &AuthKey) -> [u8; 32] {
    Sha256::digest(key.to_credentials()).into()
}

fn store(transaction: &Transaction<'_>, key: &NodeKey, document: &SubjectDocument) -> Result<(), StoreError> {
    let subject = document.subject.as_str();
    transaction
        .execute("DELETE FROM subjects WHERE subject = ?1", [subject])
        .and_then(|_| {
            transaction.execute("INSERT INTO subjects VALUES (?1, ?2)", params![subject, document.blocked])
        })
        .map_err(store_error)?;
    for (position, namespace) in (0i64..).zip(&document.namespaces) {
        let AuthKey { uuid, key: secret } = &namespace.auth_key;
        let sealed = key
            .seal(secret.as_bytes(), uuid.as_bytes())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        transaction
            .execute(
                "INSERT INTO subject_namespaces VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    subject,
                    position,
                    namespace.name.as_str(),
                    uuid.as_ref(),
                    sealed,
                    digest(&namespace.auth_key)
                ],
            )
            .map_err(store_error)?;
    }
    Ok(())
}

fn load(connection: &Connection, key: &NodeKey, name: &str) -> Result<Option<SubjectDocument>, StoreError> {
    let blocked: Option<bool> = connection
        .prepare_cached("SELECT blocked FROM subjects WHERE subject = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .map_err(store_error)?;
    let Some(blocked) = blocked else { return Ok(None) };
    let mut statement = connection
        .prepare_cached(
            "SELECT subject, name, uuid, sealed_key FROM subject_namespaces WHERE subject = ?1 ORDER BY position",
        )
        .map_err(store_error)?;
    let rows = statement.query_map([name], Owned::read).map_err(store_error)?;
    let namespaces =
        rows.map(|row| row.map_err(store_error)?.open(key)).collect::<Result<_, StoreError>>()?;
    Ok(Some(SubjectDocument { subject: subject_name(name)?, blocked, namespaces }))
}

/// A namespace of a subject, its key sealed.
struct Owned {
    subject: String,
    name: String,
    uuid: String,
    sealed_key: Vec<u8>,
}

impl Owned {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { subject: row.get(0)?, name: row.get(1)?, uuid: row.get(2)?, sealed_key: row.get(3)? })
    }

    fn open(self, key: &NodeKey) -> Result<SubjectNamespace, StoreError> {
        let secret = key
            .open_sealed(&self.sealed_key, self.uuid.as_bytes())
            .ok()
            .and_then(|secret| String::from_utf8(secret).ok())
            .ok_or_else(|| corrupt(&self.subject, "its key cannot be opened"))?;
        Ok(SubjectNamespace {
            name: entity_name(&self.subject, &self.name)?,
            auth_key: AuthKey { uuid: self.uuid.into(), key: secret.into() },
        })
    }
}

fn identify(connection: &Connection, key: AuthKey) -> Result<Option<Arc<Identity>>, StoreError> {
    let found: Option<(String, String)> = connection
        .prepare_cached(
            "SELECT subjects.subject, name FROM subject_namespaces JOIN subjects USING (subject)
             WHERE digest = ?1 AND NOT blocked",
        )
        .and_then(|mut statement| {
            statement.query_row([digest(&key)], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(store_error)?;
    let Some((subject, namespace)) = found else { return Ok(None) };
    let namespace = SubjectNamespace { name: entity_name(&subject, &namespace)?, auth_key: key };
    identity(connection, &subject, namespace).map(Some)
}

/// The identity that speaks for a namespace.
fn speaker(
    connection: &Connection,
    key: &NodeKey,
    namespace: &str,
) -> Result<Option<Arc<Identity>>, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT subject, name, uuid, sealed_key FROM subject_namespaces JOIN subjects USING (subject)
             WHERE name = ?1 AND NOT blocked ORDER BY subject, position LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([namespace], Owned::read).optional())
        .map_err(store_error)?;
    let Some(owned) = found else { return Ok(None) };
    let subject = owned.subject.clone();
    identity(connection, &subject, owned.open(key)?).map(Some)
}

fn identity(
    connection: &Connection,
    subject: &str,
    namespace: SubjectNamespace,
) -> Result<Arc<Identity>, StoreError> {
    let SubjectNamespace { name, auth_key } = namespace;
    let limits = limits(connection, name.as_str())?.unwrap_or_default();
    let namespace = Namespace { name, uuid: auth_key.uuid.clone() };
    Ok(Arc::new(Identity { subject: subject_name(subject)?, namespace, auth_key, limits }))
}

fn owners(
    connection: &Connection,
    key: &NodeKey,
    namespace: &str,
) -> Result<Vec<SubjectDocument>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT DISTINCT subject FROM subject_namespaces WHERE name = ?1 ORDER BY subject")
        .map_err(store_error)?;
    let names: Vec<String> = statement
        .query_map([namespace], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(store_error)?;
    names.iter().filter_map(|name| load(connection, key, name).transpose()).collect()
}

fn list(
    connection: &Connection,
    key: &NodeKey,
    after: &str,
    most: u64,
) -> Result<Vec<SubjectDocument>, StoreError> {
    let names: Vec<String> = connection
        .prepare_cached("SELECT subject FROM subjects WHERE subject > ?1 ORDER BY subject LIMIT ?2")
        .and_then(|mut statement| {
            statement.query_map(params![after, integer(most)], |row| row.get(0)).and_then(Iterator::collect)
        })
        .map_err(store_error)?;
    names.iter().filter_map(|name| load(connection, key, name).transpose()).collect()
}

fn limits(connection: &Connection, namespace: &str) -> Result<Option<UserLimits>, StoreError> {
    let body: Option<String> = connection
        .prepare_cached("SELECT body FROM limits WHERE namespace = ?1")
        .and_then(|mut statement| statement.query_row([namespace], |row| row.get(0)).optional())
        .map_err(store_error)?;
    let read = |body: String| {
        serde_json::from_str(&body).map_err(|error| StoreError::Corrupt {
            what: format!("the limits of {namespace}"),
            why: error.to_string(),
        })
    };
    body.map(read).transpose()
}

/// Subjects whose keys this key does not open.
pub(crate) fn unreadable(connection: &Connection, key: &NodeKey) -> Result<Vec<String>, StoreError> {
    let mut statement = connection
        .prepare("SELECT subject, name, uuid, sealed_key FROM subject_namespaces ORDER BY subject, position")
        .map_err(store_error)?;
    let rows = statement.query_map([], Owned::read).map_err(store_error)?;
    let mut found = Vec::new();
    for row in rows {
        let owned = row.map_err(store_error)?;
        let subject = owned.subject.clone();
        found.extend(owned.open(key).is_err().then_some(subject));
    }
    Ok(found)
}

fn subject_name(text: &str) -> Result<Subject, StoreError> {
    Subject::new(text).map_err(|why| corrupt(text, why))
}

fn entity_name(subject: &str, text: &str) -> Result<EntityName, StoreError> {
    EntityName::new(text).ok_or_else(|| corrupt(subject, "it has a namespace without a legal name"))
}

fn corrupt(subject: &str, why: &str) -> StoreError {
    StoreError::Corrupt { what: format!("the subject {subject}"), why: why.to_owned() }
}
