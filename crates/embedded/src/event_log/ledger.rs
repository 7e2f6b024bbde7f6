//! What the segments of the log hold that is still needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chasen_entity::{ActivationId, ById, Millis};

use super::record::{self, Header, Kind};
use super::segment::{Segment, Slice};

/// Every segment that is kept, and every activation that is open.
#[derive(Default)]
pub(super) struct Ledger {
    /// Segments by number.
    pub(super) books: BTreeMap<u64, Book>,
    /// Accepted and not finished.
    pub(super) open: ById<Open>,
}

/// What a segment holds.
pub(super) struct Book {
    pub(super) segment: Arc<Segment>,
    /// Bytes used, once the segment does not grow any more.
    pub(super) used: usize,
    /// Finished events that are in no file of records yet.
    pub(super) unwritten: usize,
    /// Bytes of accepted events of open work.
    pub(super) open_bytes: usize,
}

/// Work that was accepted and has not finished.
pub(super) struct Open {
    /// The accepted event.
    pub(super) accepted: Slice,
    /// Time of it.
    pub(super) time: Millis,
    /// Highest attempt that was started, and when.
    pub(super) started: Option<(u32, Millis)>,
}

impl Ledger {
    /// Enters a segment.
    pub(super) fn enter(&mut self, segment: Arc<Segment>, used: usize) {
        self.books.insert(segment.number(), Book { segment, used, unwritten: 0, open_bytes: 0 });
    }

    /// Notes a record that was appended, now or in an earlier life.
    pub(super) fn note(&mut self, header: &Header, slice: &Slice) {
        match header.kind {
            Kind::Accepted => {
                // The same work twice is work that was moved to the log's end: what was started of it stays so.
                let started = self.open.get(&header.id).and_then(|older| older.started);
                self.forget(&header.id);
                if let Some(book) = self.books.get_mut(&slice.segment()) {
                    book.open_bytes += record::length(slice.len());
                }
                self.open.insert(header.id, Open { accepted: slice.clone(), time: header.time, started });
            }
            Kind::Started => {
                if let Some(open) = self.open.get_mut(&header.id) {
                    open.started = open.started.max(Some((header.attempt, header.time)));
                }
            }
            Kind::Finished | Kind::Ended => self.forget(&header.id),
        }
    }

    /// Takes work out of the open.
    pub(super) fn forget(&mut self, id: &ActivationId) {
        let Some(open) = self.open.remove(id) else { return };
        if let Some(book) = self.books.get_mut(&open.accepted.segment()) {
            book.open_bytes = book.open_bytes.saturating_sub(record::length(open.accepted.len()));
        }
    }

    /// A finished event waits to be written to a file of records.
    pub(super) fn await_writing(&mut self, slice: &Slice) {
        if let Some(book) = self.books.get_mut(&slice.segment()) {
            book.unwritten += 1;
        }
    }

    /// It was written.
    pub(super) fn written(&mut self, slice: &Slice) {
        if let Some(book) = self.books.get_mut(&slice.segment()) {
            book.unwritten = book.unwritten.saturating_sub(1);
        }
    }

    /// True if moving the open work of the oldest segment pays: more than twice as many bytes are kept as are
    /// open, and two segments' worth beyond that. A moved byte thus frees at least one, and the log never takes
    /// more than that multiple of what it must keep.
    pub(super) fn is_worth_moving(&self, active: u64, segment_bytes: usize) -> bool {
        let kept: usize = self
            .books
            .range(..active)
            .map(|(_, book)| book)
            .take_while(|book| book.unwritten == 0)
            .map(|book| book.used)
            .sum();
        let open: usize = self.books.values().map(|book| book.open_bytes).sum();
        kept > 2 * open + 2 * segment_bytes
    }

    /// Open work whose accepted event lies in this segment.
    pub(super) fn open_in(&self, segment: u64) -> Vec<ActivationId> {
        self.open.iter().filter(|(_, open)| open.accepted.segment() == segment).map(|(id, _)| *id).collect()
    }
}
