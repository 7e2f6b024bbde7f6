//! In-memory references of the sockets: doubles for tests, and the model that real stores are checked against.

mod containers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chasen_entity::{
    Activation, ActivationId, AuthKey, Code, EntityName, EntityPath, Event, Identity, Millis, Namespace,
    Outcome, Parameters, RawJson, Response, Revision, Subject, UserLimits, Version,
};
use parking_lot::Mutex;

pub use containers::{MemoryContainerFactory, Notes, invocation};

use crate::event_log::Unfinished;
use crate::{
    ActivationQuery, ActivationStore, ArtifactStore, AttachmentStore, Change, Document, DocumentId,
    DocumentQuery, Entitlement, EventLog, Position, Privilege, Resource, StoreError, SubjectDocument,
    SubjectNamespace, SubjectStore,
};

/// A record for tests.
#[must_use]
#[expect(clippy::unwrap_used, reason = "the callers are tests with legal names")]
pub fn activation(namespace: &str, name: &str, start: Millis) -> Activation {
    Activation {
        namespace: EntityPath::parse(namespace).unwrap(),
        name: EntityName::new(name).unwrap(),
        subject: Subject::new("guest").unwrap(),
        activation_id: ActivationId::generate(),
        cause: None,
        start,
        end: start + 1,
        duration: None,
        response: Response {
            outcome: Outcome::Success,
            result: Some(RawJson::empty_object()),
            size: Some(2),
        },
        logs: Vec::new(),
        version: Version::default(),
        annotations: Parameters::new(),
    }
}

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
        let (mut last, mut documents) = stored.clone();
        let mut revisions = Vec::new();
        for change in changes {
            let (id, expected) = match &change {
                Change::Put(document) => (document.id.clone(), document.revision),
                Change::Delete(id, revision) => (id.clone(), *revision),
            };
            let found = documents.get(&id).map_or(0, |document| document.revision);
            if found != expected || (found == 0 && matches!(change, Change::Delete(..))) {
                return Err(StoreError::Conflict);
            }
            match change {
                Change::Put(mut document) => {
                    last += 1;
                    document.revision = last;
                    documents.insert(id, document);
                    revisions.push(last);
                }
                Change::Delete(..) => {
                    documents.remove(&id);
                    revisions.push(expected);
                }
            }
        }
        *stored = (last, documents);
        Ok(revisions)
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        Ok(page(self.matching(query), query.skip, query.limit))
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

/// The log and the records built from it, in a list.
#[derive(Default)]
pub struct MemoryEventLog {
    events: Mutex<Vec<Event>>,
}

impl MemoryEventLog {
    /// Everything that was appended.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    fn records(&self, query: &ActivationQuery) -> Vec<Arc<Activation>> {
        let mut found: Vec<Arc<Activation>> = self
            .events
            .lock()
            .iter()
            .filter_map(|event| match event {
                Event::Finished(record) => Some(record.clone()),
                _ => None,
            })
            .filter(|record| record.namespace.as_str() == query.namespace)
            .filter(|record| query.name.as_ref().is_none_or(|name| record.filter_name() == *name))
            .filter(|record| query.cause.is_none() || record.cause == query.cause)
            .filter(|record| query.since.is_none_or(|since| record.start >= since))
            .filter(|record| query.upto.is_none_or(|upto| record.start <= upto))
            .collect();
        found.sort_by(|a, b| b.start.cmp(&a.start).then_with(|| b.activation_id.cmp(&a.activation_id)));
        found
    }
}

#[async_trait]
impl EventLog for MemoryEventLog {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        let mut events = self.events.lock();
        events.push(event.clone());
        Ok(Position(events.len() as u64))
    }

    async fn sync(&self, _position: Position) -> Result<(), StoreError> {
        Ok(())
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let mut open: Vec<Unfinished> = Vec::new();
        for event in self.events.lock().iter() {
            let id = event.activation_id();
            match event {
                Event::Accepted(invocation) => {
                    open.push(Unfinished { invocation: invocation.clone(), started: None });
                }
                Event::Started { attempt, .. } => {
                    for work in open.iter_mut().filter(|work| work.invocation.activation_id == id) {
                        work.started = work.started.max(Some(*attempt));
                    }
                }
                Event::Finished(_) | Event::Ended(_) => {
                    open.retain(|work| work.invocation.activation_id != id)
                }
            }
        }
        Ok(open)
    }
}

#[async_trait]
impl ActivationStore for MemoryEventLog {
    async fn get(&self, namespace: &str, id: &ActivationId) -> Result<Option<Arc<Activation>>, StoreError> {
        let query = ActivationQuery { namespace: namespace.to_owned(), ..ActivationQuery::default() };
        Ok(self.records(&query).into_iter().find(|record| record.activation_id == *id))
    }

    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>, StoreError> {
        Ok(page(self.records(query), query.skip, query.limit))
    }

    async fn count(&self, query: &ActivationQuery) -> Result<u64, StoreError> {
        Ok(self.records(query).len() as u64)
    }
}

/// Subjects in a map.
#[derive(Default)]
pub struct MemorySubjectStore {
    subjects: Mutex<HashMap<String, SubjectDocument>>,
    limits: Mutex<HashMap<String, UserLimits>>,
    generation: AtomicU64,
}

impl MemorySubjectStore {
    fn identity_where(&self, wanted: impl Fn(&SubjectNamespace) -> bool) -> Option<Arc<Identity>> {
        let subjects = self.subjects.lock();
        let mut unblocked: Vec<_> = subjects.values().filter(|subject| !subject.blocked).collect();
        unblocked.sort_by(|a, b| a.subject.as_str().cmp(b.subject.as_str()));
        let (subject, namespace) = unblocked.into_iter().find_map(|subject| {
            let namespace = subject.namespaces.iter().find(|namespace| wanted(namespace))?;
            Some((subject.subject.clone(), namespace.clone()))
        })?;
        let limits = self.limits.lock().get(namespace.name.as_str()).cloned().unwrap_or_default();
        Some(Arc::new(Identity {
            subject,
            namespace: Namespace { name: namespace.name, uuid: namespace.auth_key.uuid.clone() },
            auth_key: namespace.auth_key,
            limits,
        }))
    }
}

#[async_trait]
impl SubjectStore for MemorySubjectStore {
    async fn get(&self, subject: &str) -> Result<Option<SubjectDocument>, StoreError> {
        Ok(self.subjects.lock().get(subject).cloned())
    }

    async fn put(&self, subject: &SubjectDocument) -> Result<(), StoreError> {
        self.subjects.lock().insert(subject.subject.as_str().to_owned(), subject.clone());
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    async fn delete(&self, subject: &str) -> Result<bool, StoreError> {
        self.generation.fetch_add(1, Ordering::Release);
        Ok(self.subjects.lock().remove(subject).is_some())
    }

    async fn identity(&self, key: &AuthKey) -> Result<Option<Arc<Identity>>, StoreError> {
        Ok(self.identity_where(|namespace| namespace.auth_key == *key))
    }

    async fn identity_of_namespace(&self, namespace: &str) -> Result<Option<Arc<Identity>>, StoreError> {
        Ok(self.identity_where(|owned| owned.name.as_str() == namespace))
    }

    async fn owners(&self, namespace: &str) -> Result<Vec<SubjectDocument>, StoreError> {
        let owns = |subject: &&SubjectDocument| {
            subject.namespaces.iter().any(|owned| owned.name.as_str() == namespace)
        };
        let mut owners: Vec<_> = self.subjects.lock().values().filter(owns).cloned().collect();
        owners.sort_by(|a, b| a.subject.as_str().cmp(b.subject.as_str()));
        Ok(owners)
    }

    async fn limits(&self, namespace: &str) -> Result<Option<UserLimits>, StoreError> {
        Ok(self.limits.lock().get(namespace).cloned())
    }

    async fn set_limits(&self, namespace: &str, limits: Option<&UserLimits>) -> Result<(), StoreError> {
        let mut all = self.limits.lock();
        match limits {
            Some(limits) => all.insert(namespace.to_owned(), limits.clone()),
            None => all.remove(namespace),
        };
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Grants in a set.
#[derive(Default)]
pub struct MemoryEntitlement {
    grants: Mutex<HashSet<(String, Privilege, Resource)>>,
}

impl MemoryEntitlement {
    /// Gives a subject a right.
    pub fn grant(&self, subject: &str, privilege: Privilege, resource: Resource) {
        self.grants.lock().insert((subject.to_owned(), privilege, resource));
    }

    /// Takes a right back.
    pub fn revoke(&self, subject: &str, privilege: Privilege, resource: Resource) {
        self.grants.lock().remove(&(subject.to_owned(), privilege, resource));
    }
}

#[async_trait]
impl Entitlement for MemoryEntitlement {
    async fn is_granted(
        &self,
        identity: &Identity,
        privilege: Privilege,
        resource: &Resource,
    ) -> Result<bool, StoreError> {
        let key = (identity.subject.as_str().to_owned(), privilege, resource.clone());
        Ok(self.grants.lock().contains(&key))
    }
}

fn page<T>(all: Vec<T>, skip: u64, limit: u64) -> Vec<T> {
    let bound = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    all.into_iter().skip(bound(skip)).take(bound(limit)).collect()
}
