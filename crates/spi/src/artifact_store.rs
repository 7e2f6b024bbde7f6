//! Entities: packages, actions, triggers and rules.

use async_trait::async_trait;
use chasen_entity::{Millis, Revision};

use crate::StoreError;

/// Which sort of entity a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Actions.
    Actions,
    /// Packages and bindings.
    Packages,
    /// Rules.
    Rules,
    /// Triggers.
    Triggers,
    /// Earlier versions of actions. No entities: they have ids that no entity can have, and go with their action.
    Versions,
}

impl Collection {
    /// Name in URLs, lists and stored rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Packages => "packages",
            Self::Rules => "rules",
            Self::Triggers => "triggers",
            Self::Versions => "versions",
        }
    }

    /// The collection of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Actions, Self::Packages, Self::Rules, Self::Triggers, Self::Versions]
            .into_iter()
            .find(|collection| collection.as_str() == name)
    }
}

/// Where a document lies: `path` is `ns` or `ns/package`. Entities of all collections share one space of ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId {
    /// Namespace, or namespace and package.
    pub path: String,
    /// Own name.
    pub name: String,
}

/// A stored entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it lies.
    pub id: DocumentId,
    /// What it is.
    pub collection: Collection,
    /// Its state's number: unique in the store and larger than that of every earlier write.
    pub revision: Revision,
    /// Last write, epoch milliseconds; lists are sorted by it, newest first. Of a version of an action the revision that it had.
    pub updated: Millis,
    /// True if other namespaces find it in lists.
    pub public: bool,
    /// Digest of the attachment it refers to, so that unused ones can be found.
    pub attachment: Option<String>,
    /// The entity as JSON.
    pub body: String,
}

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentQuery {
    /// Which sort.
    pub collection: Collection,
    /// Namespace; its packaged entities are included unless `path_exact`.
    pub path: String,
    /// Only documents whose path is exactly `path`.
    pub path_exact: bool,
    /// Only public ones.
    pub public_only: bool,
    /// Newest ones to leave out.
    pub skip: u64,
    /// Most to return.
    pub limit: u64,
}

impl DocumentQuery {
    /// All of a collection that lie at exactly this path.
    #[must_use]
    pub fn at(collection: Collection, path: impl Into<String>) -> Self {
        Self { collection, path: path.into(), path_exact: true, public_only: false, skip: 0, limit: u64::MAX }
    }
}

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a document. `revision` is that of the state it replaces, 0 for a new one.
    Put(Document),
    /// Removes a document in this very state.
    Delete(DocumentId, Revision),
}

/// The store of entities. Writes are durable when they return.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// The document of this id, of whatever collection.
    async fn get(&self, id: &DocumentId) -> Result<Option<Document>, StoreError>;

    /// Makes all changes, or none: a document that is stored in another state than its change names is a
    /// [`StoreError::Conflict`]. Returns one revision per change: of a written document its new one, of a removed one
    /// that which it had.
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Revision>, StoreError>;

    /// Writes one document and returns its new revision.
    async fn put(&self, document: Document) -> Result<Revision, StoreError> {
        let revisions = self.apply(vec![Change::Put(document)]).await?;
        revisions.first().copied().ok_or_else(|| StoreError::Unavailable("no revision".to_owned()))
    }

    /// Removes one document.
    async fn delete(&self, id: &DocumentId, revision: Revision) -> Result<(), StoreError> {
        self.apply(vec![Change::Delete(id.clone(), revision)]).await.map(drop)
    }

    /// A page, newest first; equal times by path and name.
    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError>;

    /// Namespaces that have documents, by name, at most this many after this one.
    async fn namespaces(&self, after: Option<&str>, most: u64) -> Result<Vec<String>, StoreError>;

    /// How many documents match; `skip` and `limit` are ignored.
    async fn count(&self, query: &DocumentQuery) -> Result<u64, StoreError>;
}
