//! What every implementation of a store must do; each one's tests call these.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "called from tests only")]

use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{AuthKey, EntityName, Event, Subject};

use crate::memory::activation;
use crate::{
    ActivationQuery, ActivationStore, ArtifactStore, AttachmentStore, Collection, Document, DocumentId,
    DocumentQuery, EventLog, StoreError, SubjectDocument, SubjectNamespace, SubjectStore,
};

fn document(path: &str, name: &str, updated: u64) -> Document {
    Document {
        id: DocumentId { path: path.to_owned(), name: name.to_owned() },
        collection: Collection::Actions,
        revision: 0,
        updated,
        public: false,
        attachment: None,
        body: format!(r#"{{"name":"{name}"}}"#),
    }
}

fn all_of(path: &str) -> DocumentQuery {
    DocumentQuery {
        collection: Collection::Actions,
        path: path.to_owned(),
        path_exact: false,
        public_only: false,
        skip: 0,
        limit: 100,
    }
}

/// Entities: revisions, conflicts, order, pages.
pub async fn artifact_store(store: &dyn ArtifactStore) {
    let first = document("guest", "a", 1);
    let created = store.put(first.clone()).await.unwrap();
    assert!(created > 0);
    assert_eq!(store.put(first.clone()).await, Err(StoreError::Conflict), "create over an existing one");
    let read = store.get(&first.id).await.unwrap().unwrap();
    assert_eq!((read.revision, read.body.as_str()), (created, r#"{"name":"a"}"#));
    let updated = store.put(Document { updated: 5, ..read.clone() }).await.unwrap();
    assert!(updated > created);
    assert_eq!(store.put(read.clone()).await, Err(StoreError::Conflict), "stale update");
    assert_eq!(store.delete(&first.id, created).await, Err(StoreError::Conflict), "stale delete");

    store.put(document("guest", "b", 3)).await.unwrap();
    store.put(document("guest/pkg", "c", 4)).await.unwrap();
    store.put(document("guest2", "d", 9)).await.unwrap();
    let names = |documents: Vec<Document>| documents.into_iter().map(|d| d.id.name).collect::<Vec<_>>();
    assert_eq!(
        names(store.list(&all_of("guest")).await.unwrap()),
        ["a", "c", "b"],
        "newest first, packages too"
    );
    let exact = DocumentQuery { path_exact: true, ..all_of("guest") };
    assert_eq!(names(store.list(&exact).await.unwrap()), ["a", "b"]);
    let page = DocumentQuery { skip: 1, limit: 1, ..all_of("guest") };
    assert_eq!(names(store.list(&page).await.unwrap()), ["c"]);
    assert_eq!(store.count(&page).await, Ok(3), "counting ignores the page");

    store.delete(&first.id, updated).await.unwrap();
    assert_eq!(store.get(&first.id).await, Ok(None));
    assert_eq!(store.delete(&first.id, updated).await, Err(StoreError::Conflict), "nothing to delete");
    let again = store.put(first).await.unwrap();
    assert!(again > updated, "revisions never repeat");
}

/// Code: equal texts once, any size, any bytes.
pub async fn attachment_store(store: &dyn AttachmentStore) {
    let text = Bytes::from_static("fünction main() {}".as_bytes());
    let code = store.put(text.clone()).await.unwrap();
    assert_eq!(code.length, text.len() as u64);
    assert_eq!(store.put(text.clone()).await.unwrap(), code);
    assert_eq!(store.get(&code).await.unwrap(), Some(text));
    let large = Bytes::from(vec![b'x'; 3 << 20]);
    let other = store.put(large.clone()).await.unwrap();
    assert_ne!(other.digest, code.digest);
    assert_eq!(store.get(&other).await.unwrap(), Some(large));
    let unknown = chasen_entity::Code { digest: "f".repeat(64), length: 1 };
    assert_eq!(store.get(&unknown).await.unwrap(), None);
}

/// Records: visible at once, newest first, filters and pages; and what the log knows to be open.
pub async fn event_log(log: &dyn EventLog, records: &dyn ActivationStore) {
    let mut ids = Vec::new();
    for (name, start) in [("a", 10), ("b", 20), ("a", 30)] {
        let record = Arc::new(activation("guest", name, start));
        ids.push(record.activation_id);
        let position = log.append(&Event::Finished(record.clone())).unwrap();
        assert_eq!(
            records.get("guest", &record.activation_id).await.unwrap(),
            Some(record),
            "readable at once"
        );
        log.sync(position).await.unwrap();
    }
    assert_eq!(records.get("other", &ids[0]).await.unwrap(), None, "another namespace sees nothing");
    let query = ActivationQuery { namespace: "guest".to_owned(), limit: 10, ..ActivationQuery::default() };
    let starts =
        |found: Vec<Arc<chasen_entity::Activation>>| found.iter().map(|r| r.start).collect::<Vec<_>>();
    assert_eq!(starts(records.list(&query).await.unwrap()), [30, 20, 10]);
    let named = ActivationQuery { name: Some("a".to_owned()), ..query.clone() };
    assert_eq!(starts(records.list(&named).await.unwrap()), [30, 10]);
    let between = ActivationQuery { since: Some(20), upto: Some(20), ..query.clone() };
    assert_eq!(starts(records.list(&between).await.unwrap()), [20]);
    let page = ActivationQuery { skip: 1, limit: 1, ..query.clone() };
    assert_eq!(starts(records.list(&page).await.unwrap()), [20]);
    assert_eq!(records.count(&page).await, Ok(3));
    assert!(log.unfinished().unwrap().is_empty());
}

/// Subjects: keys found, blocked ones not, changes seen.
pub async fn subject_store(store: &dyn SubjectStore) {
    let key = AuthKey { uuid: "id-1".into(), key: "k".repeat(64).into() };
    let subject = SubjectDocument {
        subject: Subject::new("alice").unwrap(),
        blocked: false,
        namespaces: vec![SubjectNamespace {
            name: EntityName::new("alice-ns").unwrap(),
            auth_key: key.clone(),
        }],
    };
    let before = store.generation();
    store.put(&subject).await.unwrap();
    assert_ne!(store.generation(), before);
    assert_eq!(store.get("alice").await.unwrap(), Some(subject.clone()));
    let identity = store.identity(&key).await.unwrap().unwrap();
    assert_eq!((identity.subject.as_str(), identity.namespace.name.as_str()), ("alice", "alice-ns"));
    assert_eq!(identity.auth_key, key);
    let wrong = AuthKey { key: "x".repeat(64).into(), ..key.clone() };
    assert_eq!(store.identity(&wrong).await.unwrap(), None);
    store.put(&SubjectDocument { blocked: true, ..subject }).await.unwrap();
    assert_eq!(store.identity(&key).await.unwrap(), None, "blocked");
    assert_eq!(store.delete("alice").await, Ok(true));
    assert_eq!(store.delete("alice").await, Ok(false));
}

#[cfg(test)]
mod tests {
    use crate::memory::{MemoryArtifactStore, MemoryAttachmentStore, MemoryEventLog, MemorySubjectStore};

    #[tokio::test]
    async fn the_memory_references_conform() {
        super::artifact_store(&MemoryArtifactStore::default()).await;
        super::attachment_store(&MemoryAttachmentStore::default()).await;
        let log = MemoryEventLog::default();
        super::event_log(&log, &log).await;
        super::subject_store(&MemorySubjectStore::default()).await;
    }
}
