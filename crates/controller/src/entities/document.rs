//! Entities as documents of the store.

use std::sync::Arc;

use chasen_entity::{
    Action, FullyQualifiedName, Location, Millis, Package, Revision, Rule, Trigger, error_text,
};
use chasen_spi::{Collection, Document, DocumentId, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::Cached;
use crate::wire::error::ApiError;

/// What the store keeps.
pub(crate) trait Entity: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    const COLLECTION: Collection;
    fn location(&self) -> &Location;
    fn updated(&self) -> Millis;
    /// Digest of its code.
    fn attachment(&self) -> Option<&str> {
        None
    }
    /// True if other namespaces find it in lists.
    fn is_public(&self) -> bool {
        false
    }
    /// The entity as it is kept in memory, where that is not worth reading it from its document.
    fn ready(&self) -> Option<Cached> {
        None
    }
}

impl Entity for Action {
    const COLLECTION: Collection = Collection::Actions;
    fn location(&self) -> &Location {
        &self.location
    }
    fn updated(&self) -> Millis {
        self.updated
    }
    fn attachment(&self) -> Option<&str> {
        self.exec.code.as_ref().map(|code| code.digest.as_str())
    }
}

impl Entity for Package {
    const COLLECTION: Collection = Collection::Packages;
    fn location(&self) -> &Location {
        &self.location
    }
    fn updated(&self) -> Millis {
        self.updated
    }
    fn is_public(&self) -> bool {
        Package::is_public(self)
    }
}

impl Entity for Trigger {
    const COLLECTION: Collection = Collection::Triggers;
    fn location(&self) -> &Location {
        &self.location
    }
    fn updated(&self) -> Millis {
        self.updated
    }
    fn ready(&self) -> Option<Cached> {
        Some(Cached::Trigger(Arc::new(self.clone())))
    }
}

impl Entity for Rule {
    const COLLECTION: Collection = Collection::Rules;
    fn location(&self) -> &Location {
        &self.location
    }
    fn updated(&self) -> Millis {
        self.updated
    }
}

/// The id of the entity of this name.
pub(crate) fn id_of(name: &FullyQualifiedName) -> DocumentId {
    DocumentId { path: name.path.to_string(), name: name.name.to_string() }
}

/// The document of an entity in place of this revision, 0 for a new one.
pub(crate) fn document_of<T: Entity>(entity: &T, replaces: Revision) -> Result<Document, ApiError> {
    Ok(Document {
        id: id_of(&entity.location().qualified()),
        collection: T::COLLECTION,
        revision: replaces,
        updated: entity.updated(),
        public: entity.is_public(),
        attachment: entity.attachment().map(str::to_owned),
        body: serde_json::to_string(entity).map_err(|_| ApiError::internal())?,
    })
}

/// An entity as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Stored<T> {
    pub(crate) entity: T,
    pub(crate) revision: Revision,
}

/// Why an entity could not be loaded.
#[derive(Debug, Clone)]
pub(crate) enum LoadError {
    /// There is none.
    Missing,
    /// The id belongs to an entity of another collection.
    WrongType,
    /// The document cannot be read: what, and why.
    Corrupt(String, String),
    /// A package's binding refers to itself: `ns/package`.
    Circular(String),
    /// A binding stands for another binding, which took the place of a package.
    NestedBinding,
    /// The store failed.
    Store(StoreError),
}

impl LoadError {
    /// The error of a request that reads this package or something in it: a missing one is named.
    pub(crate) fn of_package(self, package: &FullyQualifiedName) -> ApiError {
        match self {
            Self::Missing => ApiError::package_not_found(&package.to_string()),
            error => error.into(),
        }
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Missing => Self::not_found(),
            LoadError::WrongType => Self::conflict(error_text::CONFORMANCE),
            LoadError::Corrupt(what, why) => Self::corrupt(&what, &why),
            LoadError::Circular(binding) => {
                Self::refusal(http::StatusCode::UNPROCESSABLE_ENTITY, error_text::circular_binding(&binding))
            }
            LoadError::NestedBinding => Self::bad_request(error_text::BINDING_OF_BINDING),
            LoadError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { what, why } => Self::Corrupt(what, why),
            other => Self::Store(other),
        }
    }
}

/// Reads a document as an entity of one collection.
pub(crate) fn read<T: Entity>(document: &Document) -> Result<T, LoadError> {
    if document.collection != T::COLLECTION {
        return Err(LoadError::WrongType);
    }
    serde_json::from_str(&document.body).map_err(|why| {
        LoadError::Corrupt(format!("{}/{}", document.id.path, document.id.name), why.to_string())
    })
}

/// What is there, or nothing.
pub(crate) fn optional<T>(loaded: Result<T, LoadError>) -> Result<Option<T>, LoadError> {
    match loaded {
        Ok(found) => Ok(Some(found)),
        Err(LoadError::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}
