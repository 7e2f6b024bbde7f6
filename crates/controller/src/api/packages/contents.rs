//! What is in a package.

use std::borrow::Cow;
use std::cmp::Reverse;

use chasen_entity::{EntityName, EntityPath, FullyQualifiedName, Version};
use chasen_spi::{Collection, Document, DocumentQuery};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::listing;
use crate::call::Call;
use crate::entities::Batch;
use crate::wire::error::ApiError;
use crate::wire::memory::Held;

/// Actions read at once: each may be some megabytes.
const PIECE: u64 = 10;
/// Annotation of an action that manages a feed.
const FEED: &str = "feed";
/// Bytes that an element takes beside its annotations.
const OVERHEAD: u64 = 512;

/// The actions in a package, newest first.
pub(super) struct Contents {
    pub(super) actions: Vec<Content>,
    pub(super) feeds: Vec<Content>,
    size: u64,
    held: Held,
}

/// An action, as its package shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    name: EntityName,
    version: Version,
    annotations: Box<RawValue>,
}

impl Contents {
    /// What is in the package of this path, as long as there is memory for it.
    pub(super) async fn of(call: &Call<'_>, path: &EntityPath) -> Result<Self, ApiError> {
        let mut contents = Self { actions: Vec::new(), feeds: Vec::new(), size: 0, held: call.download() };
        each(call, path, |document| contents.push(call, document)).await?;
        Ok(contents)
    }

    fn push(&mut self, call: &Call<'_>, document: &Document) -> Result<(), ApiError> {
        let content: Content = listing::element(document)?;
        self.size += OVERHEAD + content.annotations.get().len() as u64;
        call.controller.downloads.cover(&mut self.held, self.size)?;
        if content.is_feed() {
            self.feeds.push(content)
        } else {
            self.actions.push(content)
        }
        Ok(())
    }
}

impl Content {
    fn is_feed(&self) -> bool {
        #[derive(Deserialize)]
        struct Annotation<'a> {
            #[serde(borrow)]
            key: Cow<'a, str>,
        }
        let annotations: Vec<Annotation<'_>> =
            serde_json::from_str(self.annotations.get()).unwrap_or_default();
        annotations.iter().any(|annotation| annotation.key == FEED)
    }
}

/// The batch with the removal of everything in the package of this path.
pub(super) async fn removed(call: &Call<'_>, path: &EntityPath, batch: Batch) -> Result<Batch, ApiError> {
    let mut names = Vec::new();
    each(call, path, |document| {
        let name = EntityName::new(&document.id.name)
            .ok_or_else(|| ApiError::corrupt(&document.id.name, &"its name is illegal"))?;
        names.push((FullyQualifiedName::new(path.clone(), name), document.revision));
        Ok(())
    })
    .await?;
    let mut batch = batch;
    for (name, revision) in names {
        let versions = call.controller.entities.versions_removed(&name).await?;
        batch = batch.versions(versions).delete(name, revision);
    }
    Ok(batch)
}

/// All actions in the package of this path.
pub(super) fn query(path: &EntityPath) -> DocumentQuery {
    DocumentQuery { limit: PIECE, ..DocumentQuery::at(Collection::Actions, path.to_string()) }
}

/// Visits every action in the package of this path once, newest first.
async fn each(
    call: &Call<'_>,
    path: &EntityPath,
    mut visit: impl FnMut(&Document) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let _turn = call.turn().await;
    let mut query = query(path);
    let mut last = None;
    loop {
        let documents = call.controller.entities.store().list(&query).await?;
        for document in &documents {
            let key = (Reverse(document.updated), document.id.clone());
            // What was written meanwhile moves the others back.
            if last.as_ref().is_none_or(|last| *last < key) {
                visit(document)?;
                last = Some(key);
            }
        }
        if (documents.len() as u64) < PIECE {
            return Ok(());
        }
        query.skip += PIECE;
    }
}
