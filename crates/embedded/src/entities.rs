//! Entities in SQLite: the artifact store of an embedded node.

use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::Revision;
use chasen_spi::{ArtifactStore, Change, Collection, Document, DocumentId, DocumentQuery, StoreError};
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
", "
    ALTER TABLE documents ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX documents_for_others ON documents (collection, namespace, updated DESC, path, name) WHERE public;
    CREATE INDEX subjects_of_namespace ON subject_namespaces (name, subject);
"];

const COLUMNS: &str = "path, name, collection, revision, updated, attachment, body, public";

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

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        let attachments = self.attachments.clone();
        self.database
            .write(move |transaction| {
                let mut revisions = Vec::with_capacity(changes.len());
                let mut let_go = Vec::new();
                for change in &changes {
                    let (revision, attachment) = match change {
                        Change::Put(document) => put(transaction, document)?,
                        Change::Delete(id, revision) => (*revision, delete(transaction, id, *revision)?),
                    };
                    revisions.push(revision);
                    let_go.extend(attachment);
                }
                let_go.iter().for_each(|code| attachments.let_go(code));
                Ok(revisions)
            })
            .await
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        let query = query.clone();
        self.database.read(move |connection| list(connection, &query)).await
    }

    async fn namespaces(&self, after: Option<&str>, most: u64) -> Result<Vec<String>, StoreError> {
        let after = after.unwrap_or_default().to_owned();
        self.database
            .read(move |connection| {
                let sql = "SELECT DISTINCT namespace FROM documents WHERE namespace > ?1 ORDER BY namespace LIMIT ?2";
                let mut statement = connection.prepare_cached(sql).map_err(store_error)?;
                let rows = statement.query_map(params![after, integer(most)], |row| row.get(0));
                rows.and_then(Iterator::collect).map_err(store_error)
            })
            .await
    }

    async fn count(&self, query: &DocumentQuery) -> Result<u64, StoreError> {
        let query = query.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&count_text(&query)).map_err(store_error)?;
                let count = statement.query_row([query.collection.as_str(), &query.path], |row| row.get(0));
                count.map(unsigned).map_err(store_error)
            })
            .await
    }
}

/// The condition for collection `?1` and path `?2`. Nothing lies below a package.
fn matching(query: &DocumentQuery) -> &'static str {
    match (query.path_exact || query.path.contains('/'), query.public_only) {
        (false, false) => "collection = ?1 AND namespace = ?2",
        (false, true) => "collection = ?1 AND namespace = ?2 AND public",
        (true, false) => "collection = ?1 AND path = ?2",
        // The plus keeps SQLite from walking all documents of the path: few are public.
        (true, true) => {
            "collection = ?1 AND namespace = substr(?2, 1, instr(?2 || '/', '/') - 1) AND +path = ?2 AND public"
        }
    }
}

fn count_text(query: &DocumentQuery) -> String {
    format!("SELECT count(*) FROM documents WHERE {}", matching(query))
}

fn list_text(query: &DocumentQuery) -> String {
    format!(
        "SELECT {COLUMNS} FROM documents WHERE {} ORDER BY updated DESC, path, name LIMIT ?3 OFFSET ?4",
        matching(query)
    )
}

fn list(connection: &Connection, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
    let mut statement = connection.prepare_cached(&list_text(query)).map_err(store_error)?;
    let page = params![query.collection.as_str(), query.path, integer(query.limit), integer(query.skip)];
    let rows = statement.query_map(page, Stored::read).map_err(store_error)?;
    rows.map(|row| row.map_err(store_error)?.document()).collect()
}

/// Writes a document over the state that it names. Gives its new revision, and the attachment that it let go of.
fn put(transaction: &Transaction<'_>, document: &Document) -> Result<(Revision, Option<String>), StoreError> {
    let id = &document.id;
    let stored: Option<(i64, Option<String>)> = transaction
        .prepare_cached("SELECT revision, attachment FROM documents WHERE path = ?1 AND name = ?2")
        .and_then(|mut statement| {
            statement.query_row([&id.path, &id.name], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(store_error)?;
    let (stored, attachment) = stored.unwrap_or_default();
    if stored != integer(document.revision) {
        return Err(StoreError::Conflict);
    }
    let revision = count_up(transaction, "revision")?;
    let namespace = id.path.split('/').next().unwrap_or_default();
    transaction
        .prepare_cached(UPSERT)
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
                document.public,
            ])
        })
        .map_err(store_error)?;
    Ok((unsigned(revision), attachment.filter(|code| document.attachment.as_ref() != Some(code))))
}

/// Unlike `INSERT OR REPLACE` it leaves indexes alone whose columns stay the same.
const UPSERT: &str = "
    INSERT INTO documents (path, name, namespace, collection, revision, updated, attachment, body, public)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (path, name) DO UPDATE SET collection = ?4, revision = ?5, updated = ?6, attachment = ?7, body = ?8,
        public = ?9";

/// Removes a document in this state, and gives the attachment that it let go of.
fn delete(
    transaction: &Transaction<'_>,
    id: &DocumentId,
    revision: Revision,
) -> Result<Option<String>, StoreError> {
    let deleted: Option<Option<String>> = transaction
        .prepare_cached(
            "DELETE FROM documents WHERE path = ?1 AND name = ?2 AND revision = ?3 RETURNING attachment",
        )
        .and_then(|mut statement| {
            statement.query_row(params![id.path, id.name, integer(revision)], |row| row.get(0)).optional()
        })
        .map_err(store_error)?;
    deleted.ok_or(StoreError::Conflict)
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
                public: row.get(7)?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite;

    fn query(path: &str, path_exact: bool, public_only: bool) -> DocumentQuery {
        DocumentQuery {
            collection: Collection::Packages,
            path: path.to_owned(),
            path_exact,
            public_only,
            skip: 0,
            limit: 10,
        }
    }

    #[test]
    fn every_list_walks_its_own_index_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let connection = sqlite::open(&folder.path().join("x.db"), MIGRATIONS).unwrap();
        for (path_exact, public_only, expected) in [
            (false, false, "documents_of_namespace (collection=? AND namespace=?)"),
            (true, false, "documents_of_path (collection=? AND path=?)"),
            (false, true, "documents_for_others (collection=? AND namespace=?)"),
            (true, true, "documents_for_others (collection=? AND namespace=?)"),
        ] {
            let query = query("guest", path_exact, public_only);
            for text in [list_text(&query), count_text(&query)] {
                let plan = sqlite::tests::plan(&connection, &text);
                assert!(plan.contains(expected) && !plan.contains("TEMP"), "{text}: {plan}");
            }
        }
    }

    #[test]
    fn a_database_of_the_first_version_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let first = sqlite::open(&path, &MIGRATIONS[..1]).unwrap();
        let row = "INSERT INTO documents VALUES ('guest', 'p', 'guest', 'packages', 7, 3, NULL, '{}')";
        first.execute(row, []).unwrap();
        drop(first);
        let connection = sqlite::open(&path, MIGRATIONS).unwrap();
        let found = list(&connection, &query("guest", false, false)).unwrap();
        let [document] = &found[..] else { panic!("{found:?}") };
        assert_eq!((document.revision, document.public, document.body.as_str()), (7, false, "{}"));
        assert!(list(&connection, &query("guest", false, true)).unwrap().is_empty());
    }
}
