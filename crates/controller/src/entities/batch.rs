//! Changes of entities: made together or not at all, and seen by the next reader.

use std::sync::Arc;

use chasen_entity::{FullyQualifiedName, Revision};
use chasen_spi::{Change, Document};

use super::cache::{Cached, Found};
use super::document::{Entity, document_of, id_of};
use super::doors::Passage;
use crate::aside;
use crate::controller::Controller;
use crate::wire::error::ApiError;

/// Tries of a change that is made from what is there: only who never comes through gets a 409.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    const MOST: u32 = 8;

    /// True as long as what is in memory may be trusted.
    pub(crate) fn is_first(&self) -> bool {
        self.0 == 0
    }

    /// True if the change failed because somebody else was faster, and is to be tried again.
    pub(crate) fn again<T>(&mut self, outcome: &Result<T, ApiError>) -> bool {
        self.0 += 1;
        self.0 < Self::MOST && outcome.as_ref().is_err_and(ApiError::is_stale)
    }
}

/// Changes that belong together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// With the names of entities, which versions of actions are not.
    changes: Vec<(Option<FullyQualifiedName>, Change)>,
    /// What a change makes ready to be used, of those that are large to read again.
    ready: Vec<Option<Cached>>,
    /// Kept until they are made.
    passage: Option<Passage>,
}

impl Batch {
    /// Writes an entity in place of this revision, 0 for a new one.
    pub(crate) fn put<T: Entity>(mut self, entity: &T, replaces: Revision) -> Result<Self, ApiError> {
        let document = document_of(entity, replaces)?;
        self.changes.push((Some(entity.location().qualified()), Change::Put(document)));
        self.ready.push(entity.ready());
        Ok(self)
    }

    /// Removes what has this name, in this very state.
    pub(crate) fn delete(mut self, name: FullyQualifiedName, revision: Revision) -> Self {
        let change = Change::Delete(id_of(&name), revision);
        self.changes.push((Some(name), change));
        self.ready.push(None);
        self
    }

    /// Makes these changes of kept versions as well, after what is in the batch already.
    pub(crate) fn versions(mut self, changes: Vec<Change>) -> Self {
        self.ready.extend(changes.iter().map(|_| None));
        self.changes.extend(changes.into_iter().map(|change| (None, change)));
        self
    }

    /// Keeps the passage through a door until the changes are made.
    pub(crate) fn behind(self, passage: Option<Passage>) -> Self {
        Self { passage, ..self }
    }

    /// Makes the changes, whether the client still waits or not. Returns the new revisions.
    /// A state that is not what a change names is a 409.
    pub(crate) async fn commit(self, controller: &Arc<Controller>) -> Result<Vec<Revision>, ApiError> {
        let controller = controller.clone();
        aside::finish(async move {
            let entities = &controller.entities;
            let Self { changes, ready, passage } = self;
            let (names, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
            let applied = entities.store.apply(changes.clone()).await;
            let revisions = applied.inspect_err(|error| entities.cache.after(error))?;
            let changes = names.into_iter().zip(changes).zip(ready).zip(&revisions);
            for (((name, change), ready), revision) in changes {
                let Some(name) = name else { continue };
                match change {
                    Change::Put(document) => {
                        entities.written(name, &Document { revision: *revision, ..document }, ready);
                    }
                    Change::Delete(_, revision) => entities.cache.deleted(name, revision),
                }
            }
            drop(passage);
            Ok(revisions)
        })
        .await
    }
}

impl super::Entities {
    /// Lets readers see what was written.
    fn written(&self, name: FullyQualifiedName, document: &Document, ready: Option<Cached>) {
        // Taken before the manifest: what is prepared under one that is replaced meanwhile is forgotten with it.
        let entries = self.cache.before_read();
        match ready.map_or_else(|| Cached::read(document, &self.runtimes.manifest()), Ok) {
            Ok(entity) => {
                let found = Found { revision: document.revision, entity };
                self.cache.remember(&entries, &name, found, document.body.len());
            }
            // What is not kept in memory must not be found there in an older state either.
            Err(_) => self.cache.deleted(name, document.revision),
        }
    }
}
