//! Entities and code in maps.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use chasen_entity::{Code, Revision};
use parking_lot::Mutex;

use super::page;
use crate::{ArtifactStore, AttachmentStore, Change, Document, DocumentId, DocumentQuery, StoreError};

/// Entities in a map.
#[derive(Default)]
pub struct MemoryArtifactStore {
    documents: Mutex<(Revision, BTreeMap<DocumentId, Document>)>,
}

impl MemoryArtifactStore {
    fn matching(&self, query: &DocumentQuery) -> Vec<Document> {
        let below = format!("{}/", query.path);
        let mut found: Vec<Document> = self
            .documents
            .lock()
            .1
            .values()
            .filter(|document| document.collection == query.collection)
            .filter(|document| document.public || !query.public_only)
            .filter(|document| {
                document.id.path == query.path || (!query.path_exact && document.id.path.starts_with(&below))
            })
            .cloned()
            .collect();
        found.sort_by(|a, b| b.updated.cmp(&a.updated).then_with(|| a.id.cmp(&b.id)));
        found
    }
}

#[async_trait]
impl ArtifactStore for MemoryArtifactStore {
    async fn get(&self, id: &DocumentId) -> Result<Option<Document>, StoreError> {
        Ok(self.documents.lock().1.get(id).cloned())
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError> {
        let mut stored = self.documents.lock();
        let (last, documents) = &mut *stored;
        let mut next = *last;
        // What the changes make of the documents that they are about.
        let mut changed: BTreeMap<DocumentId, Option<Document>> = BTreeMap::new();
        let mut revisions = Vec::new();
        for change in changes {
            let (id, expected) = match &change {
                Change::Put(document) => (document.id.clone(), document.revision),
                Change::Delete(id, revision) => (id.clone(), *revision),
            };
            let found = match changed.get(&id) {
                Some(changed) => changed.as_ref(),
                None => documents.get(&id),
            };
            let found = found.map_or(0, |document| document.revision);
            if found != expected || (found == 0 && matches!(change, Change::Delete(..))) {
                return Err(StoreError::Conflict);
            }
            match change {
                Change::Put(mut document) => {
                    next += 1;
                    document.revision = next;
                    changed.insert(id, Some(document));
                    revisions.push(next);
                }
                Change::Delete(..) => {
                    changed.insert(id, None);
                    revisions.push(expected);
                }
            }
        }
        *last = next;
        for (id, document) in changed {
            match document {
                Some(document) => documents.insert(id, document),
                None => documents.remove(&id),
            };
        }
        Ok(revisions)
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        Ok(page(self.matching(query), query.skip, query.limit))
    }

    async fn namespaces(&self, after: Option<&str>, most: u64) -> Result<Vec<String>, StoreError> {
        let stored = self.documents.lock();
        let namespaces = stored.1.keys().map(|id| id.path.split('/').next().unwrap_or_default());
        let later: BTreeSet<&str> =
            namespaces.filter(|name| after.is_none_or(|after| *name > after)).collect();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(later.into_iter().take(most).map(str::to_owned).collect())
    }

    async fn count(&self, query: &DocumentQuery) -> Result<u64, StoreError> {
        Ok(self.matching(query).len() as u64)
    }
}

/// Code in a map.
#[derive(Default)]
pub struct MemoryAttachmentStore {
    texts: Mutex<Vec<(Code, Bytes)>>,
}

#[async_trait]
impl AttachmentStore for MemoryAttachmentStore {
    async fn put(&self, text: Bytes) -> Result<Code, StoreError> {
        let mut texts = self.texts.lock();
        if let Some((code, _)) = texts.iter().find(|(_, stored)| *stored == text) {
            return Ok(code.clone());
        }
        let code = Code { digest: format!("{:064x}", texts.len() + 1), length: text.len() as u64 };
        texts.push((code.clone(), text));
        Ok(code)
    }

    async fn get(&self, code: &Code) -> Result<Option<Bytes>, StoreError> {
        Ok(self.texts.lock().iter().find(|(stored, _)| stored == code).map(|(_, text)| text.clone()))
    }
}
