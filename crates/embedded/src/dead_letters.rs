//! Dead letters in SQLite, in a file of their own. What a letter holds is sealed with the node's key: arguments, and the
//! key of whoever called.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Invocation, RawJson};
use chasen_spi::{DeadLetter, DeadLetterQuery, DeadLetterStore, StoreError};
use rusqlite::{OptionalExtension, Row, params};

use crate::OpenError;
use crate::database::Database;
use crate::node_key::NodeKey;
use crate::sqlite::{self, Migrations, integer, store_error, unsigned};

/// Name of the file.
pub(crate) const FILE: &str = "dead-letters.db";
/// Its schema.
pub(crate) const MIGRATIONS: Migrations = &["
    CREATE TABLE letters (
        id BLOB PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,
        attempts INTEGER NOT NULL, died INTEGER NOT NULL, sealed BLOB NOT NULL
    );
    CREATE INDEX letters_of_namespace ON letters (namespace, died DESC, id DESC);
    CREATE INDEX letters_of_action ON letters (namespace, name, died DESC, id DESC);
"];

const COLUMNS: &str = "id, attempts, died, sealed";

/// The store.
pub(crate) struct DeadLetters {
    database: Arc<Database>,
    key: Arc<NodeKey>,
}

impl DeadLetters {
    /// Those of a data folder.
    pub(crate) fn open(data_dir: &Path, key: Arc<NodeKey>) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        let connection = sqlite::open(&path, MIGRATIONS)?;
        Ok(Self { database: Database::serve(&path, connection, "letters-write")?, key })
    }

    /// Closes the file.
    pub(crate) fn close(&self) {
        self.database.close();
    }
}

#[async_trait]
impl DeadLetterStore for DeadLetters {
    async fn put(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let stored = Stored::of(letter, &self.key)?;
        let (namespace, name) = (letter.namespace().to_string(), letter.name());
        self.database
            .write(move |transaction| {
                let Stored { id, attempts, died, sealed } = stored;
                let values = params![id, namespace, name, attempts, died, sealed];
                transaction
                    .execute("INSERT OR REPLACE INTO letters VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values)
                    .map(drop)
                    .map_err(store_error)
            })
            .await
    }

    async fn get(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<DeadLetter>, StoreError> {
        let (namespace, id, key) = (namespace.to_string(), id.to_bytes(), self.key.clone());
        self.database
            .read(move |connection| {
                let text = format!("SELECT {COLUMNS} FROM letters WHERE id = ?1 AND namespace = ?2");
                let mut statement = connection.prepare_cached(&text).map_err(store_error)?;
                let row = statement.query_row(params![id, namespace], Stored::read).optional();
                row.map_err(store_error)?.map(|stored| stored.letter(&key)).transpose()
            })
            .await
    }

    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        let (query, key) = (query.clone(), self.key.clone());
        self.database
            .read(move |connection| {
                // Two statements, so that each has its index.
                let of_action = if query.name.is_some() { "AND name = ?2" } else { "AND ?2 IS NULL" };
                let text = format!(
                    "SELECT {COLUMNS} FROM letters WHERE namespace = ?1 {of_action}
                     ORDER BY died DESC, id DESC LIMIT ?3 OFFSET ?4"
                );
                let values =
                    params![query.namespace.as_str(), query.name, integer(query.limit), integer(query.skip)];
                let mut statement = connection.prepare_cached(&text).map_err(store_error)?;
                let rows = statement.query_map(values, Stored::read).map_err(store_error)?;
                rows.map(|row| row.map_err(store_error)?.letter(&key)).collect()
            })
            .await
    }

    async fn count(&self, query: &DeadLetterQuery) -> Result<u64, StoreError> {
        let query = query.clone();
        self.database
            .read(move |connection| {
                let text = "SELECT count(*) FROM letters WHERE namespace = ?1 AND (?2 IS NULL OR name = ?2)";
                let mut statement = connection.prepare_cached(text).map_err(store_error)?;
                let counted =
                    statement.query_row(params![query.namespace.as_str(), query.name], |row| row.get(0));
                counted.map(unsigned).map_err(store_error)
            })
            .await
    }

    async fn remove(&self, namespace: &EntityName, id: &ActivationId) -> Result<bool, StoreError> {
        let (namespace, id) = (namespace.to_string(), id.to_bytes());
        self.database
            .write(move |transaction| {
                let text = "DELETE FROM letters WHERE id = ?1 AND namespace = ?2";
                transaction.execute(text, params![id, namespace]).map(|rows| rows > 0).map_err(store_error)
            })
            .await
    }
}

/// A letter as it lies in the file.
pub(crate) struct Stored {
    id: [u8; 16],
    attempts: u32,
    died: i64,
    sealed: Vec<u8>,
}

impl Stored {
    fn of(letter: &DeadLetter, key: &NodeKey) -> Result<Self, StoreError> {
        let invocation = &letter.invocation;
        let id = invocation.activation_id.to_bytes();
        let identity = RawJson::from_value(&*invocation.identity);
        let unavailable = |error: String| StoreError::Unavailable(format!("a dead letter: {error}"));
        let text = serde_json::to_vec(&invocation.stored(&identity))
            .map_err(|error| unavailable(error.to_string()))?;
        let sealed = key.seal(&text, &id).map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { id, attempts: letter.attempts, died: integer(letter.died_at), sealed })
    }

    /// Reads a row of [`COLUMNS`].
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, attempts: row.get(1)?, died: row.get(2)?, sealed: row.get(3)? })
    }

    fn letter(self, key: &NodeKey) -> Result<DeadLetter, StoreError> {
        let id = ActivationId::from_bytes(self.id);
        let corrupt = |why: String| StoreError::Corrupt { what: format!("the dead letter {id}"), why };
        let text = key.open_sealed(&self.sealed, &self.id).map_err(|error| corrupt(error.to_string()))?;
        let invocation: Invocation =
            serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        let died_at = unsigned(self.died);
        Ok(DeadLetter { invocation: Arc::new(invocation), attempts: self.attempts, died_at })
    }
}

/// Ids of letters that this key does not open.
pub(crate) fn unreadable(
    connection: &rusqlite::Connection,
    key: &NodeKey,
) -> Result<Vec<ActivationId>, StoreError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM letters")).map_err(store_error)?;
    let rows = statement.query_map([], Stored::read).map_err(store_error)?;
    let mut found = Vec::new();
    for row in rows {
        let stored = row.map_err(store_error)?;
        let id = ActivationId::from_bytes(stored.id);
        found.extend(stored.letter(key).is_err().then_some(id));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::invocation;

    use super::*;
    use crate::sqlite::tests::plan;

    #[tokio::test]
    async fn letters_are_sealed_and_open_with_their_node_s_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let key = Arc::new(NodeKey::open(folder.path()).unwrap());
        let letters = DeadLetters::open(folder.path(), key.clone()).unwrap();
        let one = invocation("guest", "a", "memory:1", r#"{"text":"nobodys-business"}"#);
        let id = one.activation_id;
        let letter = DeadLetter { invocation: Arc::new(one), attempts: 2, died_at: 5 };
        letters.put(&letter).await.unwrap();
        let guest = letter.namespace();
        assert_eq!(letters.get(guest, &id).await.unwrap().unwrap().invocation, letter.invocation);

        let connection = sqlite::open_reader(&folder.path().join(FILE)).unwrap();
        let sealed: Vec<u8> =
            connection.query_row("SELECT sealed FROM letters", [], |row| row.get(0)).unwrap();
        for secret in [&b"nobodys-business"[..], &[b'k'; 64]] {
            assert!(!sealed.windows(secret.len()).any(|part| part == secret));
        }
        assert!(unreadable(&connection, &key).unwrap().is_empty());
        let other = NodeKey::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(unreadable(&connection, &other).unwrap(), [id]);
        for (name, index) in [("?2 IS NULL", "letters_of_namespace"), ("name = ?2", "letters_of_action")] {
            let text = format!(
                "SELECT {COLUMNS} FROM letters WHERE namespace = ?1 AND {name} ORDER BY died DESC, id DESC LIMIT ?3 OFFSET ?4"
            );
            let plan = plan(&connection, &text);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
