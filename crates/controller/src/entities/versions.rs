//! Earlier versions of actions, as many as their namespace keeps: written and removed together with their action.

use std::sync::Arc;

use chasen_entity::{Action, FullyQualifiedName, Revision, Version};
use chasen_spi::{Change, Collection, Document, DocumentId, DocumentQuery, StoreError};

use super::document::{document_of, read};
use super::{ActionAddress, Entities, LoadError, ResolvedAction};
use crate::wire::error::ApiError;

/// Most versions of an action that a namespace may keep.
pub(crate) const MOST_KEPT: u32 = 100;
/// Versions read at once: each may be some megabytes.
const PIECE: u64 = 10;

/// A version of an action, as it was asked for.
pub(crate) enum Asked {
    Found(Arc<ResolvedAction>),
    /// It is not kept; these are, the newest first, the present one before them.
    NotKept(Vec<Version>),
}

/// A stored version in its state.
type Place = (DocumentId, Revision);

/// Where the versions of an action lie: no entity can have such a path.
fn path_of(action: &FullyQualifiedName) -> String {
    format!("{action}#")
}

fn id_of(action: &FullyQualifiedName, version: Version) -> DocumentId {
    DocumentId { path: path_of(action), name: version.to_string() }
}

/// Which of the stored ones beyond the newest `most - 1` go when one is put beside them, or in the place of `replaced`.
fn excess(mut beyond: Vec<Place>, replaced: Option<&DocumentId>) -> Vec<Place> {
    let Some(replaced) = replaced else { return beyond };
    let before = beyond.len();
    beyond.retain(|(id, _)| id != replaced);
    // It is among the newest: there is room for one more of the others.
    if beyond.len() == before && !beyond.is_empty() {
        beyond.remove(0);
    }
    beyond
}

impl Entities {
    /// The changes of kept versions that go with the replacement of this state of an action, where `most` are kept.
    pub(crate) async fn versions_after(
        &self,
        old: &Action,
        revision: Revision,
        most: u32,
    ) -> Result<Vec<Change>, ApiError> {
        let name = old.location.qualified();
        let most = u64::from(most.min(MOST_KEPT));
        let Some(others) = most.checked_sub(1) else { return self.versions_removed(&name).await };
        let id = id_of(&name, old.version);
        let replaced = self.store.get(&id).await?.map_or(0, |found| found.revision);
        let beyond = self.stored_versions(&name, others).await?;
        let kept = Document {
            id: id.clone(),
            collection: Collection::Versions,
            updated: revision,
            ..document_of(old, replaced)?
        };
        let removed = excess(beyond, (replaced != 0).then_some(&id));
        let removed = removed.into_iter().map(|(id, revision)| Change::Delete(id, revision));
        Ok(std::iter::once(Change::Put(kept)).chain(removed).collect())
    }

    /// The changes that remove all kept versions of an action.
    pub(crate) async fn versions_removed(&self, name: &FullyQualifiedName) -> Result<Vec<Change>, ApiError> {
        let stored = self.stored_versions(name, 0).await?;
        Ok(stored.into_iter().map(|(id, revision)| Change::Delete(id, revision)).collect())
    }

    /// The action at this address as it was in this version, or as it is, if that is the present one.
    pub(crate) async fn resolve_version(
        &self,
        address: &ActionAddress,
        version: Version,
    ) -> Result<Asked, LoadError> {
        let present = self.resolve_action(address).await?;
        if present.executable.version == version {
            return Ok(Asked::Found(present));
        }
        let name = &present.executable.name;
        if let Some(document) = self.store.get(&id_of(name, version)).await? {
            return Ok(Asked::Found(self.earlier(address, document).await?));
        }
        let stored = self.stored_versions(name, 0).await?;
        let earlier = stored.iter().filter_map(|(id, _)| Version::parse(&id.name).ok());
        Ok(Asked::NotKept(std::iter::once(present.executable.version).chain(earlier).collect()))
    }

    /// A kept version, ready to be invoked where its action lies now.
    async fn earlier(
        &self,
        address: &ActionAddress,
        document: Document,
    ) -> Result<Arc<ResolvedAction>, LoadError> {
        let revision = document.revision;
        let action: Action = read(&Document { collection: Collection::Actions, ..document })?;
        let resolved = ResolvedAction::of(&action, revision, &self.runtimes.manifest()).superseded();
        let Some(package) = address.package_name() else { return Ok(Arc::new(resolved)) };
        let package = self.resolve_package(&package).await?;
        Ok(Arc::new(resolved.inside(package.parameters(), package.binding_name())))
    }

    /// The stored versions of an action, the newest first, without the newest `skip`.
    async fn stored_versions(&self, name: &FullyQualifiedName, skip: u64) -> Result<Vec<Place>, StoreError> {
        let all = DocumentQuery::at(Collection::Versions, path_of(name));
        let mut query = DocumentQuery { skip, limit: PIECE, ..all };
        let mut stored = Vec::new();
        loop {
            let piece = self.store.list(&query).await?;
            let is_last = (piece.len() as u64) < PIECE;
            stored.extend(piece.into_iter().map(|document| (document.id, document.revision)));
            if is_last {
                return Ok(stored);
            }
            query.skip += PIECE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay() {
        let id = |name: &str| DocumentId { path: "guest/a#".to_owned(), name: name.to_owned() };
        let beyond = |names: &[&str]| -> Vec<Place> { names.iter().map(|name| (id(name), 1)).collect() };
        for (stored, replaced, gone) in [
            (&["b", "a"][..], None, &["b", "a"][..]),
            (&["b", "a"], Some("a"), &["b"]),
            (&["b", "a"], Some("c"), &["a"]),
            (&[], Some("c"), &[]),
            (&[], None, &[]),
        ] {
            let found = excess(beyond(stored), replaced.map(id).as_ref());
            assert_eq!(found, beyond(gone), "{stored:?} {replaced:?}");
        }
    }
}
