//! Records of activations, as readers see them. Written through the event log.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{Activation, ActivationId, Millis};

use crate::StoreError;

/// A page of records of one namespace, newest start first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivationQuery {
    /// Namespace of the callers.
    pub namespace: String,
    /// Only records whose [`Activation::filter_name`] is this.
    pub name: Option<String>,
    /// Only records caused by this activation: the steps of a sequence or composition.
    pub cause: Option<ActivationId>,
    /// Earliest start, inclusive.
    pub since: Option<Millis>,
    /// Latest start, inclusive.
    pub upto: Option<Millis>,
    /// Newest ones to leave out.
    pub skip: u64,
    /// Most to return.
    pub limit: u64,
}

/// Is shown records one after the other, and says when it has seen enough.
pub type RecordVisitor = Box<dyn FnMut(&Activation) -> ControlFlow<()> + Send>;

/// The store of records. A record is visible here from the moment its `Finished` event was appended.
#[async_trait]
pub trait ActivationStore: Send + Sync {
    /// The record of this id, if it belongs to the namespace.
    async fn get(&self, namespace: &str, id: &ActivationId) -> Result<Option<Arc<Activation>>, StoreError>;

    /// A page of records.
    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>, StoreError>;

    /// Shows the page of a query record by record, so that it never lies in memory as a whole. The visitor may be
    /// called on a thread where it may take its time, and is dropped before this returns.
    async fn visit(&self, query: &ActivationQuery, visitor: RecordVisitor) -> Result<(), StoreError>;

    /// How many records match; `skip` and `limit` are ignored.
    async fn count(&self, query: &ActivationQuery) -> Result<u64, StoreError>;
}
