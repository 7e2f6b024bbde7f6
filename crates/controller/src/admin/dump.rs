//! Everything that is stored, page by page, in the form of a document database: for operators and their tools.
//!
//! A dump is a walk, not a snapshot: what is written meanwhile may be missed or shown twice.

use chasen_entity::{Activation, Millis, UserLimits};
use chasen_spi::{
    ActivationQuery, ActivationStore, ArtifactStore, Collection, Document, DocumentQuery, SubjectDocument,
    SubjectStore,
};
use chasen_telemetry::clock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::AdminError;
use super::call::AdminCall;
use crate::wire::error::ApiError;
use crate::wire::memory::Held;
use crate::wire::reply::{Cors, Reply};

/// Rows of a page.
const ROWS: u64 = 20;
/// Earlier versions of actions are left out: they are none of OpenWhisk's documents, and backups have them.
const COLLECTIONS: [Collection; 4] =
    [Collection::Packages, Collection::Actions, Collection::Triggers, Collection::Rules];

/// The stores that are walked.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    /// Entities.
    pub artifacts: &'a dyn ArtifactStore,
    /// Subjects and limits.
    pub subjects: &'a dyn SubjectStore,
    /// Records.
    pub activations: &'a dyn ActivationStore,
}

/// What can be dumped, by the names that OpenWhisk's databases have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// Subjects with their keys, and limits.
    Subjects,
    /// Packages, actions (without code), triggers and rules.
    Whisks,
    /// Records of the namespaces that have an owner.
    Activations,
}

/// A page of a dump.
#[derive(Default, Serialize, Deserialize)]
pub struct Page {
    /// What is on it; nothing, where the walk only got on.
    pub rows: Vec<Row>,
    /// Where to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A document, or a mention of it.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// Its id: `subject`, `ns/limits`, `ns/[package/]name` or `ns/activationId`.
    pub id: String,
    /// The same.
    pub key: String,
    /// What is known of it without reading it.
    pub value: Value,
    /// The document as stored, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<Box<RawValue>>,
}

/// Where the walk over entities is: namespace, index of the collection, documents to leave out.
type WhisksPlace = (String, usize, u64);
/// Where the walk over records is: subject, index of its namespace, when the walk over it began, records to leave out.
type ActivationsPlace = (String, usize, Millis, u64);

impl Database {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "subjects" => Self::Subjects,
            "whisks" | "entities" => Self::Whisks,
            "activations" => Self::Activations,
            _ => return None,
        })
    }
}

/// `GET /db/{database}`
pub(super) async fn page_of(call: &AdminCall<'_>, database: &str) -> Result<Reply, ApiError> {
    let database = Database::named(database).ok_or_else(ApiError::not_found)?;
    let docs = call.query.flag("docs", false)?;
    let controller = call.controller;
    let _turn = controller.turns.take(None).await;
    let stores = Stores {
        artifacts: &**controller.entities.store(),
        subjects: call.subjects(),
        activations: &*controller.activations,
    };
    let page = stores.page(database, call.query.get("next").as_deref(), docs).await?;
    let text = serde_json::to_vec(&page).map_err(|_| ApiError::internal())?;
    let mut held = Held::default();
    controller.downloads.cover(&mut held, text.len() as u64)?;
    Ok(Reply::prepared_json(held.until_dropped(text.into())).with_cors(Cors::Server))
}

impl Stores<'_> {
    /// The page after `next`, the first one without it; with the documents, if they are wanted.
    pub async fn page(&self, database: Database, next: Option<&str>, docs: bool) -> Result<Page, AdminError> {
        match database {
            Database::Subjects => self.subjects(next, docs).await,
            Database::Whisks => self.whisks(next.map(place).transpose()?, docs).await,
            Database::Activations => self.records(next.map(place).transpose()?, docs).await,
        }
    }

    async fn subjects(&self, next: Option<&str>, docs: bool) -> Result<Page, AdminError> {
        let found = self.subjects.list(next, ROWS).await?;
        let last = found.last().map(|subject| subject.subject.to_string());
        let mut page = Page { rows: Vec::new(), next: last.filter(|_| found.len() as u64 == ROWS) };
        for subject in &found {
            page.rows.push(row(subject.subject.to_string(), json!({}), docs, || subject_document(subject))?);
            for own in &subject.namespaces {
                if let Some(limits) = self.subjects.limits(own.name.as_str()).await? {
                    let id = format!("{}/limits", own.name);
                    page.rows.push(row(id.clone(), json!({}), docs, || limits_document(&id, &limits))?);
                }
            }
        }
        Ok(page)
    }

    async fn whisks(&self, at: Option<WhisksPlace>, docs: bool) -> Result<Page, AdminError> {
        let first = match at {
            Some(at) => Some(at),
            None => self.first_of_namespace(None).await?,
        };
        let Some((namespace, index, skip)) = first else { return Ok(Page::default()) };
        let Some(collection) = COLLECTIONS.get(index) else {
            return Err(AdminError::Cursor(index.to_string()));
        };
        let found = self
            .artifacts
            .list(&DocumentQuery {
                collection: *collection,
                path: namespace.clone(),
                path_exact: false,
                public_only: false,
                skip,
                limit: ROWS,
            })
            .await?;
        let next = if found.len() as u64 == ROWS {
            Some((namespace, index, skip.saturating_add(ROWS)))
        } else if index + 1 < COLLECTIONS.len() {
            Some((namespace, index + 1, 0))
        } else {
            self.first_of_namespace(Some(&namespace)).await?
        };
        let rows = found.into_iter().map(|document| entity_row(document, docs)).collect::<Result<_, _>>()?;
        Ok(Page { rows, next: next.map(|place| cursor(&place)) })
    }

    async fn first_of_namespace(&self, after: Option<&str>) -> Result<Option<WhisksPlace>, AdminError> {
        Ok(self.artifacts.namespaces(after, 1).await?.pop().map(|namespace| (namespace, 0, 0)))
    }

    async fn records(&self, at: Option<ActivationsPlace>, docs: bool) -> Result<Page, AdminError> {
        let (subject, index, upto, skip) = match at {
            Some((name, index, upto, skip)) => (self.subjects.get(&name).await?, index, upto, skip),
            None => (self.subjects.list(None, 1).await?.pop(), 0, clock::now(), 0),
        };
        let Some(subject) = subject else { return Ok(Page::default()) };
        let name = subject.subject.to_string();
        let mut rows = Vec::new();
        if let Some(own) = subject.namespaces.get(index) {
            // A namespace of several subjects is walked with the first of them.
            let owners = self.subjects.owners(own.name.as_str()).await?;
            if owners.first().is_none_or(|first| first.subject == subject.subject) {
                let namespace = own.name.to_string();
                let query = ActivationQuery {
                    namespace,
                    upto: Some(upto),
                    skip,
                    limit: ROWS,
                    ..ActivationQuery::default()
                };
                let found = self.activations.list(&query).await?;
                rows = found.iter().map(|record| record_row(record, docs)).collect::<Result<_, _>>()?;
            }
        }
        let next = if rows.len() as u64 == ROWS {
            Some((name, index, upto, skip.saturating_add(ROWS)))
        } else if index + 1 < subject.namespaces.len() {
            Some((name, index + 1, clock::now(), 0))
        } else {
            let later = self.subjects.list(Some(&name), 1).await?.pop();
            later.map(|subject| (subject.subject.to_string(), 0, clock::now(), 0))
        };
        Ok(Page { rows, next: next.map(|place| cursor(&place)) })
    }
}

fn entity_row(document: Document, docs: bool) -> Result<Row, AdminError> {
    let id = format!("{}/{}", document.id.path, document.id.name);
    let kind = document.collection.as_str().trim_end_matches('s');
    let value = json!({ "rev": document.revision.to_string(), "entityType": kind });
    row(id, value, docs, || RawValue::from_string(document.body))
}

fn record_row(record: &Activation, docs: bool) -> Result<Row, AdminError> {
    let id = format!("{}/{}", record.namespace, record.activation_id);
    row(id, json!({ "start": record.start }), docs, || match record.given {
        // Shown to nobody.
        Some(_) => to_raw_value(&Activation { given: None, ..record.clone() }),
        None => to_raw_value(record),
    })
}

fn row(
    id: String,
    value: Value,
    docs: bool,
    document: impl FnOnce() -> serde_json::Result<Box<RawValue>>,
) -> Result<Row, AdminError> {
    let corrupt = |error: serde_json::Error| chasen_spi::StoreError::Corrupt {
        what: id.clone(),
        why: error.to_string(),
    };
    let doc = if docs { Some(document().map_err(corrupt)?) } else { None };
    Ok(Row { key: id.clone(), id, value, doc })
}

fn subject_document(subject: &SubjectDocument) -> serde_json::Result<Box<RawValue>> {
    let own = subject
        .namespaces
        .iter()
        .map(|own| json!({ "name": own.name, "uuid": own.auth_key.uuid, "key": own.auth_key.key }));
    let mut document = json!({
        "_id": subject.subject,
        "subject": subject.subject,
        "namespaces": own.collect::<Vec<_>>(),
    });
    if let Value::Object(fields) = &mut document
        && subject.blocked
    {
        fields.insert("blocked".to_owned(), Value::Bool(true));
    }
    to_raw_value(&document)
}

fn limits_document(id: &str, limits: &UserLimits) -> serde_json::Result<Box<RawValue>> {
    let mut document = serde_json::to_value(limits)?;
    if let Value::Object(fields) = &mut document {
        fields.insert("_id".to_owned(), id.into());
    }
    to_raw_value(&document)
}

fn place<T: DeserializeOwned>(text: &str) -> Result<T, AdminError> {
    serde_json::from_str(text).map_err(|_| AdminError::Cursor(text.chars().take(128).collect()))
}

fn cursor<T: Serialize>(place: &T) -> String {
    serde_json::to_string(place).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chasen_entity::{AuthKey, EntityName, Subject};
    use chasen_spi::memory::{MemoryArtifactStore, MemoryEventLog, MemorySubjectStore};
    use chasen_spi::{DocumentId, SubjectNamespace};

    use super::*;

    async fn all(stores: &Stores<'_>, database: Database) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut next = None;
        loop {
            let page = stores.page(database, next.as_deref(), true).await.unwrap();
            assert!(page.rows.len() as u64 <= 2 * ROWS);
            rows.extend(page.rows);
            next = page.next;
            if next.is_none() {
                return rows;
            }
        }
    }

    #[tokio::test]
    async fn walks_come_past_everything_once() {
        let artifacts = MemoryArtifactStore::default();
        let subjects = MemorySubjectStore::default();
        let activations = MemoryEventLog::default();
        let stores = Stores { artifacts: &artifacts, subjects: &subjects, activations: &activations };
        for database in [Database::Subjects, Database::Whisks, Database::Activations] {
            assert!(all(&stores, database).await.is_empty());
        }
        let mut ids = Vec::new();
        for (index, collection) in COLLECTIONS.into_iter().cycle().take(170).enumerate() {
            let path = ["guest", "guest/p", "other"][index % 3].to_owned();
            let id = DocumentId { path, name: format!("e{index}") };
            ids.push(format!("{}/{}", id.path, id.name));
            let body = format!("{{\"index\":{index}}}");
            let (revision, updated, public, attachment) = (0, 7, false, None);
            let document = Document { id, collection, revision, updated, public, attachment, body };
            artifacts.put(document).await.unwrap();
        }
        let rows = all(&stores, Database::Whisks).await;
        let mut walked: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        walked.sort();
        ids.sort();
        assert_eq!(walked, ids);
        assert!(rows.iter().all(|row| row.doc.as_ref().unwrap().get().starts_with("{\"index\":")));

        for index in 0..50u64 {
            let name = format!("subject{index:02}");
            let auth_key = AuthKey { uuid: name.as_str().into(), key: "k".repeat(64).into() };
            let namespaces = vec![SubjectNamespace { name: EntityName::new(&name).unwrap(), auth_key }];
            let document =
                SubjectDocument { subject: Subject::new(&name).unwrap(), blocked: index == 1, namespaces };
            subjects.put(&document).await.unwrap();
        }
        let limits = UserLimits { fires_per_minute: Some(3), ..UserLimits::default() };
        subjects.set_limits("subject01", Some(&limits)).await.unwrap();
        let rows = all(&stores, Database::Subjects).await;
        assert_eq!(rows.len(), 51);
        let doc = |id: &str| -> Value {
            let row = rows.iter().find(|row| row.id == id).unwrap();
            serde_json::from_str(row.doc.as_ref().unwrap().get()).unwrap()
        };
        assert_eq!(doc("subject01/limits"), json!({"_id": "subject01/limits", "firesPerMinute": 3}));
        assert_eq!(doc("subject01")["blocked"], json!(true));
        assert_eq!(doc("subject02")["namespaces"][0]["uuid"], json!("subject02"));
        assert!(all(&stores, Database::Activations).await.is_empty(), "and the walk ends");
    }

    #[tokio::test]
    async fn made_up_places_are_refused() {
        let (artifacts, subjects) = (MemoryArtifactStore::default(), MemorySubjectStore::default());
        let activations = MemoryEventLog::default();
        let stores = Stores { artifacts: &artifacts, subjects: &subjects, activations: &activations };
        for (database, place) in
            [(Database::Whisks, "x"), (Database::Whisks, "[\"guest\",9,0]"), (Database::Activations, "[]")]
        {
            let error = stores.page(database, Some(place), false).await.err().unwrap();
            assert!(matches!(error, AdminError::Cursor(_)), "{place}");
        }
    }
}
