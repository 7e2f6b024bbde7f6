//! Entities: loaded, resolved through packages and bindings, written, and cached. Every other part of the controller
//! reads and writes them through here, so what one request wrote the next one sees.

pub(crate) mod address;
pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod document;
pub(crate) mod doors;
pub(crate) mod merged;
pub(crate) mod resolve;
pub(crate) mod resolved_action;
pub(crate) mod versions;

use std::sync::Arc;

use chasen_entity::{ByteSize, FullyQualifiedName, Package, Revision, Trigger};
use chasen_spi::{ArtifactStore, Runtimes};

pub(crate) use self::address::ActionAddress;
pub(crate) use self::batch::{Batch, Tries};
use self::cache::{Cached, EntityCache, Found};
use self::document::id_of;
pub(crate) use self::document::{Entity, LoadError, Stored, optional};
use self::doors::Doors;
use self::merged::Merged;
pub(crate) use self::resolve::ResolvedPackage;
pub(crate) use self::resolved_action::{KindState, ResolvedAction};

/// See the module.
pub(crate) struct Entities {
    store: Arc<dyn ArtifactStore>,
    runtimes: Arc<Runtimes>,
    cache: EntityCache,
    merged: Merged,
    doors: Doors,
}

impl Entities {
    /// The entities in this store; `bound` is the memory of the cache.
    pub(crate) fn new(store: Arc<dyn ArtifactStore>, runtimes: Arc<Runtimes>, bound: ByteSize) -> Self {
        Self {
            store,
            runtimes,
            cache: EntityCache::new(bound),
            merged: Merged::new(bound),
            doors: Doors::new(),
        }
    }

    /// The store itself, for lists.
    pub(crate) fn store(&self) -> &Arc<dyn ArtifactStore> {
        &self.store
    }

    /// The doors of packages, for those who write what is in them, and of triggers, for those who link rules to them.
    pub(crate) fn doors(&self) -> &Doors {
        &self.doors
    }

    /// An entity as the store has it, past the cache: what a change is made from.
    pub(crate) async fn load<T: Entity>(&self, name: &FullyQualifiedName) -> Result<Stored<T>, LoadError> {
        let document = self.store.get(&id_of(name)).await?.ok_or(LoadError::Missing)?;
        let entity = document::read(&document)?;
        Ok(Stored { entity, revision: document.revision })
    }

    /// A package, by preference from memory.
    pub(crate) async fn package(
        &self,
        name: &FullyQualifiedName,
    ) -> Result<(Arc<Package>, Revision), LoadError> {
        let found = self.find(name).await?;
        match found.entity {
            Cached::Package(package) => Ok((package, found.revision)),
            _ => Err(LoadError::WrongType),
        }
    }

    /// A trigger, by preference from memory.
    pub(crate) async fn trigger(
        &self,
        name: &FullyQualifiedName,
    ) -> Result<(Arc<Trigger>, Revision), LoadError> {
        let found = self.find(name).await?;
        match found.entity {
            Cached::Trigger(trigger) => Ok((trigger, found.revision)),
            _ => Err(LoadError::WrongType),
        }
    }

    /// A trigger to be changed: large ones are read from the store only where memory has misled an earlier try.
    pub(crate) async fn trigger_to_change(
        &self,
        name: &FullyQualifiedName,
        tries: &Tries,
    ) -> Result<Stored<Trigger>, LoadError> {
        if !tries.is_first() {
            return self.load(name).await;
        }
        let (trigger, revision) = self.trigger(name).await?;
        Ok(Stored { entity: Arc::unwrap_or_clone(trigger), revision })
    }

    /// Forgets what was prepared under another manifest.
    pub(crate) fn runtimes_changed(&self) {
        self.cache.clear();
        self.merged.clear();
    }

    /// Whatever has this name, by preference from memory.
    async fn find(&self, name: &FullyQualifiedName) -> Result<Found, LoadError> {
        if let Some(found) = self.cache.get(name) {
            return Ok(found);
        }
        let entries = self.cache.before_read();
        let document = self.store.get(&id_of(name)).await?.ok_or(LoadError::Missing)?;
        let entity = Cached::read(&document, &self.runtimes.manifest())?;
        let found = Found { revision: document.revision, entity };
        self.cache.remember(&entries, name, found.clone(), document.body.len());
        Ok(found)
    }
}
