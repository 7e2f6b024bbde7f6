//! Dead letters: work that was lost as often as it may be.

use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Invocation, Millis};

use crate::StoreError;

/// An activation that was delivered at least once, lost each time, and is not tried again by itself. It has its record.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// What was accepted, its arguments with it; locked values are locked.
    pub invocation: Arc<Invocation>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: Millis,
}

impl DeadLetter {
    /// Namespace of the caller, which the letter belongs to.
    #[must_use]
    pub fn namespace(&self) -> &EntityName {
        &self.invocation.identity.namespace.name
    }

    /// `[package/]name` of the action.
    #[must_use]
    pub fn name(&self) -> String {
        let action = &self.invocation.action.name;
        match action.path.package_name() {
            Some(package) => format!("{package}/{}", action.name),
            None => action.name.to_string(),
        }
    }
}

/// A page of dead letters of one namespace, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Namespace of the callers.
    pub namespace: EntityName,
    /// Only those of this action: `[package/]name`.
    pub name: Option<String>,
    /// How many to leave out.
    pub skip: u64,
    /// Most to return.
    pub limit: u64,
}

/// The dead letters of all namespaces. A letter stays until it is retried or dropped.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Keeps a letter, in the place of an older one of the same activation; on the disk when this returns.
    async fn put(&self, letter: &DeadLetter) -> Result<(), StoreError>;

    /// The letter of this activation, if it belongs to the namespace.
    async fn get(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<DeadLetter>, StoreError>;

    /// A page of letters.
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError>;

    /// How many match; `skip` and `limit` are ignored.
    async fn count(&self, query: &DeadLetterQuery) -> Result<u64, StoreError>;

    /// Takes a letter away; false if there is none.
    async fn remove(&self, namespace: &EntityName, id: &ActivationId) -> Result<bool, StoreError>;
}
