//! Subjects and grants in maps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chasen_entity::{AuthKey, Identity, Namespace, UserLimits};
use parking_lot::Mutex;

use crate::{Entitlement, Privilege, Resource, StoreError, SubjectDocument, SubjectNamespace, SubjectStore};

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

    async fn list(&self, after: Option<&str>, most: u64) -> Result<Vec<SubjectDocument>, StoreError> {
        let later = |subject: &&SubjectDocument| after.is_none_or(|after| subject.subject.as_str() > after);
        let mut found: Vec<_> = self.subjects.lock().values().filter(later).cloned().collect();
        found.sort_by(|a, b| a.subject.as_str().cmp(b.subject.as_str()));
        found.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(found)
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
