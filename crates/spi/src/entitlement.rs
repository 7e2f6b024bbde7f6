//! Who may do what beyond the rights that ownership and shared packages give.

use async_trait::async_trait;
use chasen_entity::Identity;

use crate::StoreError;

/// What somebody wants to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// See it.
    Read,
    /// Create or change it.
    Put,
    /// Remove it.
    Delete,
    /// Invoke or fire it.
    Activate,
}

/// What a privilege is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resource {
    /// `actions`, `packages`, `triggers`, `rules`, `activations`, `limits` or `namespaces`.
    pub collection: &'static str,
    /// Namespace it lies in.
    pub namespace: String,
    /// `[package/]name` in it; `None` for the whole collection.
    pub entity: Option<String>,
}

/// Grants rights. Asked only when ownership and shared packages give none, so an answer may take its time, but a
/// refused request waits for it.
#[async_trait]
pub trait Entitlement: Send + Sync {
    /// True if this identity was given this privilege.
    async fn is_granted(
        &self,
        identity: &Identity,
        privilege: Privilege,
        resource: &Resource,
    ) -> Result<bool, StoreError>;
}

/// Grants nothing: everybody has what is theirs, and what is shared.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGrants;

#[async_trait]
impl Entitlement for NoGrants {
    async fn is_granted(&self, _: &Identity, _: Privilege, _: &Resource) -> Result<bool, StoreError> {
        Ok(false)
    }
}
