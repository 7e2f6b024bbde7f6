//! Lists: read from a store piece by piece and written as they come, so that a page of large entities never lies in
//! memory as a whole but in its answer, which is counted.

use std::cmp::Reverse;

use chasen_entity::Millis;
use chasen_spi::{Document, DocumentId, DocumentQuery};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::call::Call;
use crate::turns::Turn;
use crate::wire::error::ApiError;
use crate::wire::memory::Held;
use crate::wire::query::Page;
use crate::wire::reply::Reply;

/// Elements read at once.
const PIECE: u64 = 10;

/// Answers the page of entities that a request asks for, or their number. `query` says of which; its `skip` and
/// `limit` are the request's. `push` writes one document with [`Listing::push_document`].
pub(crate) async fn entities<'a>(
    call: &'a Call<'a>,
    mut query: DocumentQuery,
    push: impl Fn(&mut EntityListing<'a>, &Document) -> Result<(), ApiError>,
) -> Result<Reply, ApiError> {
    let name = query.collection.as_str();
    let config = &call.controller.config;
    let page = call.query.page(name, config.default_list_limit, config.max_list_limit)?;
    let store = call.controller.entities.store();
    if page.count {
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return call.success(&json!({ name: count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let documents = store.list(&query).await?;
        listing.received(documents.len());
        for document in &documents {
            push(&mut listing, document)?;
        }
    }
    listing.finish()
}

/// What a list shows of a document: fields of it, as far as possible as text.
pub(crate) fn element<'a, T: Deserialize<'a>>(document: &'a Document) -> Result<T, ApiError> {
    serde_json::from_str(&document.body).map_err(|why| ApiError::corrupt(&document.id.name, &why))
}

/// A list of entities, newest first.
pub(crate) type EntityListing<'a> = Listing<'a, (Reverse<Millis>, DocumentId)>;

impl EntityListing<'_> {
    /// Writes what the list shows of a document.
    pub(crate) fn push_document<T: Serialize>(
        &mut self,
        document: &Document,
        element: &T,
    ) -> Result<(), ApiError> {
        self.push((Reverse(document.updated), document.id.clone()), element)
    }
}

/// A list in the making. `K` is what it is sorted by.
pub(crate) struct Listing<'a, K> {
    call: &'a Call<'a>,
    /// Where the next piece begins, and how many elements are still to come.
    next: Page,
    /// The store had no more.
    exhausted: bool,
    last: Option<K>,
    text: Vec<u8>,
    held: Held,
    _turn: Turn<'a>,
}

impl<'a, K: Ord> Listing<'a, K> {
    /// Waits for a turn to read this page.
    pub(crate) async fn begin(call: &'a Call<'a>, page: Page) -> Self {
        let turn = call.turn().await;
        Self {
            call,
            next: page,
            exhausted: false,
            last: None,
            text: vec![b'['],
            held: call.download(),
            _turn: turn,
        }
    }

    /// What to read next: how many to leave out and how many to take; `None` when the page is full.
    pub(crate) fn piece(&self) -> Option<(u64, u64)> {
        (self.next.limit > 0 && !self.exhausted).then_some((self.next.skip, self.next.limit.min(PIECE)))
    }

    /// A piece was read and had this many elements; fewer than asked for are the last ones.
    pub(crate) fn received(&mut self, count: usize) {
        let count = count as u64;
        self.exhausted = self.piece().is_none_or(|(_, asked)| count < asked);
        self.next.skip += count;
    }

    /// Writes an element, unless it moved here from an earlier piece because of newer ones.
    pub(crate) fn push<T: Serialize>(&mut self, key: K, element: &T) -> Result<(), ApiError> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Ok(());
        }
        if self.last.replace(key).is_some() {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, element).map_err(|_| ApiError::internal())?;
        self.next.limit = self.next.limit.saturating_sub(1);
        self.call.controller.downloads.cover(&mut self.held, self.text.len() as u64)
    }

    /// The answer.
    pub(crate) fn finish(mut self) -> Result<Reply, ApiError> {
        self.text.push(b']');
        self.call.prepared(self.held.until_dropped(self.text.into()))
    }
}
