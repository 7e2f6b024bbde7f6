//! Which requests were accepted under which key of their clients.

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Millis};

use crate::StoreError;

/// How long a key is kept, in milliseconds: 24 hours.
pub const KEPT: Millis = 24 * 3600 * 1000;

/// A request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// Namespace of the caller: keys of different namespaces have nothing to do with each other.
    pub namespace: EntityName,
    /// The client's key.
    pub key: String,
    /// SHA-256 of what is asked for: the action or trigger, and the body.
    pub digest: [u8; 32],
    /// Id that the activation gets if the key is new.
    pub activation_id: ActivationId,
    /// When the request arrived.
    pub at: Millis,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The asker's: it is on the disk under the asker's id when this is returned.
    New,
    /// An earlier request's that asked for the same.
    Same(ActivationId),
    /// An earlier request's that asked for something else.
    Other,
}

/// Keys of requests, kept for 24 hours.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// What [`claim`](Self::claim) would give, without claiming: [`Claim::New`] of a key that is nobody's.
    async fn look(&self, request: &KeyedRequest) -> Result<Claim, StoreError>;

    /// Claims the key. Of several who claim at the same time one gets [`Claim::New`].
    async fn claim(&self, request: &KeyedRequest) -> Result<Claim, StoreError>;

    /// Gives a key back: the request that claimed it under this id was not accepted.
    async fn release(&self, namespace: &EntityName, key: &str, id: &ActivationId) -> Result<(), StoreError>;
}
