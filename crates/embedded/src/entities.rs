//! Entities in SQLite: the artifact store of an embedded node.

use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::Revision;
use chasen_spi::{ArtifactStore, Collection, Document, DocumentId, DocumentQuery, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::attachments::Attachments;
use crate::database::Database;
use crate::sqlite::{Migrations, integer, store_error, unsigned};

/// Schema of `entities.db`; [`crate::subjects`] has its tables in it too.
pub(crate) const MIGRATIONS: Migrations = &["
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        path TEXT NOT NULL, name TEXT NOT NULL, namespace TEXT NOT NULL, collection TEXT NOT NULL,
        revision INTEGER NOT NULL, updated INTEGER NOT NULL, attachment TEXT, body TEXT NOT NULL,
        PRIMARY KEY (path, name)
    );
    CREATE INDEX documents_of_namespace ON documents (collection, namespace, updated DESC, path, name);
    CREATE INDEX documents_of_path ON documents (collection, path, updated DESC, name);
    CREATE INDEX documents_of_attachment ON documents (attachment) WHERE attachment IS NOT NULL;

    CREATE TABLE subjects (subject TEXT PRIMARY KEY, blocked INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE subject_namespaces (
        subject TEXT NOT NULL REFERENCES subjects ON DELETE CASCADE, position INTEGER NOT NULL,
        name TEXT NOT NULL, uuid TEXT NOT NULL, sealed_key BLOB NOT NULL, digest BLOB NOT NULL UNIQUE,
        PRIMARY KEY (subject, position)
    ) WITHOUT ROWID;
    CREATE TABLE limits (namespace TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"];

const COLUMNS: &str = "path, name, collection, revision, updated, attachment, body";

/// Adds one to a counter that outlives everything it counts, and gives its new value.
pub(crate) fn count_up(transaction: &Transaction<'_>, counter: &str) -> Result<i64, StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO counters VALUES (?1, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
        )
        .and_then(|mut statement| statement.query_row([counter], |row| row.get(0)))
        .map_err(store_error)
}

/// The store of entities.
pub(crate) struct Entities {
    database: Arc<Database>,
    attachments: Attachments,
}

impl Entities {
    /// The entities of this database, which refer to these attachments.
    pub(crate) fn new(database: Arc<Database>, attachments: Attachments) -> Self {
        Self { database, attachments }
    }
}

#[async_trait]
impl ArtifactStore for Entities {
    async fn get(&self, id: &DocumentId) -> Result<Option<Document>, StoreError> {
        let id = id.clone();
        self.database
            .read(move |connection| {
                let sql = format!("SELECT {COLUMNS} FROM documents WHERE path = ?1 AND name = ?2");
                let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
                let row = statement.query_row([&id.path, &id.name], Stored::read).optional();
                row.map_err(store_error)?.map(Stored::document).transpose()
            })
            .await
    }

    async fn put(&self, document: Document) -> Result<Revision, StoreError> {
        let attachments = self.attachments.clone();
        self.database
            .write(move |transaction| {
                let replaced = replaced(transaction, &document.id, document.revision)?;
                let revision = count_up(transaction, "revision")?;
                write(transaction, &document, revision)?;
                attachments
                    .let_go(replaced.filter(|code| document.attachment.as_ref() != Some(code)).as_deref());
                Ok(unsigned(revision))
            })
            .await
    }

    async fn delete(&self, id: &DocumentId, revision: Revision) -> Result<(), StoreError> {
        let (id, attachments) = (id.clone(), self.attachments.clone());
        self.database
            .write(move |transaction| {
                let deleted: Option<Option<String>> = transaction
                    .prepare_cached(
                        "DELETE FROM documents WHERE path = ?1 AND name = ?2 AND revision = ?3 RETURNING attachment",
                    )
                    .and_then(|mut statement| {
                        let key = params![id.path, id.name, integer(revision)];
                        statement.query_row(key, |row| row.get(0)).optional()
                    })
                    .map_err(store_error)?;
                attachments.let_go(deleted.ok_or(StoreError::Conflict)?.as_deref());
                Ok(())
            })
            .await
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        let query = query.clone();
        self.database.read(move |connection| list(connection, &query)).await
    }

    async fn count(&self, query: &DocumentQuery) -> Result<u64, StoreError> {
        let query = query.clone();
        self.database
            .read(move |connection| {
                let sql = format!(
                    "SELECT count(*) FROM documents WHERE collection = ?1 AND {} = ?2",
                    scope(&query)
                );
                let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
                let count = statement.query_row([query.collection.as_str(), &query.path], |row| row.get(0));
                count.map(unsigned).map_err(store_error)
            })
            .await
    }
}

/// The column that a query's path is compared with. Nothing lies below a package.
fn scope(query: &DocumentQuery) -> &'static str {
    if query.path_exact || query.path.contains('/') { "path" } else { "namespace" }
}

fn list(connection: &Connection, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM documents WHERE collection = ?1 AND {} = ?2
         ORDER BY updated DESC, path, name LIMIT ?3 OFFSET ?4",
        scope(query)
    );
    let mut statement = connection.prepare_cached(&sql).map_err(store_error)?;
    let page = params![query.collection.as_str(), query.path, integer(query.limit), integer(query.skip)];
    let rows = statement.query_map(page, Stored::read).map_err(store_error)?;
    rows.map(|row| row.map_err(store_error)?.document()).collect()
}

/// The attachment of the document that is to be replaced, which must be in this state.
fn replaced(
    transaction: &Transaction<'_>,
    id: &DocumentId,
    revision: Revision,
) -> Result<Option<String>, StoreError> {
    let stored: Option<(i64, Option<String>)> = transaction
        .prepare_cached("SELECT revision, attachment FROM documents WHERE path = ?1 AND name = ?2")
        .and_then(|mut statement| {
            statement.query_row([&id.path, &id.name], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(store_error)?;
    let (stored, attachment) = stored.unwrap_or_default();
    if stored == integer(revision) { Ok(attachment) } else { Err(StoreError::Conflict) }
}

fn write(transaction: &Transaction<'_>, document: &Document, revision: i64) -> Result<(), StoreError> {
    let id = &document.id;
    let namespace = id.path.split('/').next().unwrap_or_default();
    transaction
        .prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        .and_then(|mut statement| {
            statement.execute(params![
                id.path,
                id.name,
                namespace,
                document.collection.as_str(),
                revision,
                integer(document.updated),
                document.attachment,
                document.body,
            ])
        })
        .map_err(store_error)?;
    Ok(())
}

/// A row whose collection is still a text.
struct Stored {
    collection: String,
    document: Document,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            collection: row.get(2)?,
            document: Document {
                id: DocumentId { path: row.get(0)?, name: row.get(1)? },
                collection: Collection::Actions,
                revision: unsigned(row.get(3)?),
                updated: unsigned(row.get(4)?),
                attachment: row.get(5)?,
                body: row.get(6)?,
            },
        })
    }

    fn document(self) -> Result<Document, StoreError> {
        let Some(collection) = Collection::parse(&self.collection) else {
            let DocumentId { path, name } = &self.document.id;
            let why = format!("'{}' is no collection", self.collection);
            return Err(StoreError::Corrupt { what: format!("the entity {path}/{name}"), why });
        };
        Ok(Document { collection, ..self.document })
    }
}
