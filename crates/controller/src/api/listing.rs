//! Lists: read from a store piece by piece and written as they come, so that a page of large entities never lies in
//! memory as a whole but in its answer, which is counted.

use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::call::Call;
use crate::wire::error::ApiError;
use crate::wire::memory::Held;
use crate::wire::query::Page;
use crate::wire::reply::Reply;

/// Elements read at once.
const PIECE: u64 = 10;
/// Lists read at the same time; more wait for their turn.
const AT_ONCE: usize = 16;

/// The turns of all lists.
pub(crate) struct Turns(Semaphore);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
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
    _turn: Option<SemaphorePermit<'a>>,
}

impl<'a, K: Ord> Listing<'a, K> {
    /// Waits for a turn to read this page.
    pub(crate) async fn begin(call: &'a Call<'a>, page: Page) -> Self {
        // The semaphore is never closed; a missing permit would only lift the bound.
        let turn = call.controller.turns.0.acquire().await.ok();
        Self {
            call,
            next: page,
            exhausted: false,
            last: None,
            text: vec![b'['],
            held: Held::default(),
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
