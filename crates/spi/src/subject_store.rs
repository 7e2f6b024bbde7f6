//! Who may call: subjects, their namespaces and keys.

use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{AuthKey, EntityName, Identity, Subject, UserLimits};

use crate::StoreError;

/// A subject as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectDocument {
    /// Who.
    pub subject: Subject,
    /// True while its keys are refused.
    pub blocked: bool,
    /// What it owns, at least one.
    pub namespaces: Vec<SubjectNamespace>,
}

/// One namespace of a subject with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectNamespace {
    /// Name in paths.
    pub name: EntityName,
    /// Credentials; `uuid` is the namespace's id too.
    pub auth_key: AuthKey,
}

/// The store of subjects. Keys lie encrypted in it and are found by digest.
#[async_trait]
pub trait SubjectStore: Send + Sync {
    /// The subject of this name.
    async fn get(&self, subject: &str) -> Result<Option<SubjectDocument>, StoreError>;

    /// Writes a subject whole.
    async fn put(&self, subject: &SubjectDocument) -> Result<(), StoreError>;

    /// Removes a subject; false if there was none.
    async fn delete(&self, subject: &str) -> Result<bool, StoreError>;

    /// The caller with this key, if its subject is not blocked. The comparison takes the same time for
    /// every wrong key.
    async fn identity(&self, key: &AuthKey) -> Result<Option<Arc<Identity>>, StoreError>;

    /// The identity that speaks for a namespace: that of its owner who is not blocked, of several the first by name.
    async fn identity_of_namespace(&self, namespace: &str) -> Result<Option<Arc<Identity>>, StoreError>;

    /// The subjects that own a namespace, blocked ones too, by name.
    async fn owners(&self, namespace: &str) -> Result<Vec<SubjectDocument>, StoreError>;

    /// Subjects by name, at most this many after this one.
    async fn list(&self, after: Option<&str>, most: u64) -> Result<Vec<SubjectDocument>, StoreError>;

    /// Limits set for a namespace, if there are any.
    async fn limits(&self, namespace: &str) -> Result<Option<UserLimits>, StoreError>;

    /// Sets or, with `None`, removes the limits of a namespace.
    async fn set_limits(&self, namespace: &str, limits: Option<&UserLimits>) -> Result<(), StoreError>;

    /// A number that changes with every write, from whichever process, at most a second later.
    /// Reading it is free: caches compare it on every use.
    fn generation(&self) -> u64;
}
