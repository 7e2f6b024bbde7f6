//! Code, stored by the digest of its text.

use async_trait::async_trait;
use bytes::Bytes;
use chasen_entity::Code;

use crate::StoreError;

/// The store of code. Content-addressed: equal texts are stored once and never change.
#[async_trait]
pub trait AttachmentStore: Send + Sync {
    /// Stores a text durably; storing it again is free.
    async fn put(&self, text: Bytes) -> Result<Code, StoreError>;

    /// The text of this code; `None` if it was never stored or already swept.
    async fn get(&self, code: &Code) -> Result<Option<Bytes>, StoreError>;
}
