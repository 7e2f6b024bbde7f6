//! What the segments of the log hold that is still needed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chasen_entity::{ActivationId, ById, Millis};

use super::payload;
use super::record::{self, Header, Kind};
use super::segment::{Segment, Slice};

/// Every segment that is kept, and every activation that is open.
#[derive(Default)]
pub(super) struct Ledger {
    /// Segments by number.
    pub(super) books: BTreeMap<u64, Book>,
    /// Accepted and not finished.
    pub(super) open: ById<Open>,
    /// Steps of open work that ended, and what they are steps of.
    ended: ById<ActivationId>,
    /// Place of the newest accepted event.
    newest: Place,
}

/// Time and rank of an accepted event: the order in which work came.
pub(super) type Place = (Millis, u32);

/// What a segment holds.
pub(super) struct Book {
    pub(super) segment: Arc<Segment>,
    /// Bytes used, once the segment does not grow any more.
    pub(super) used: usize,
    /// Finished events that are in no file of records yet.
    pub(super) unwritten: usize,
    /// Bytes of open work whose accepted events are in it. What else there is of that work lies after them, so that a
    /// segment without any can go once the ones before it have gone.
    pub(super) open_bytes: usize,
}

/// Work that was accepted and has not finished.
#[derive(Clone)]
pub(super) struct Open {
    /// The accepted event.
    pub(super) accepted: Slice,
    /// Its place.
    pub(super) place: Place,
    /// Highest attempt that was started, and when.
    pub(super) started: Option<(u32, Millis)>,
    /// The last progress event.
    pub(super) progress: Option<Slice>,
    /// What it is a part of. Of work of an earlier life it is known once that was taken up.
    pub(super) cause: Option<ActivationId>,
    /// Its parts that ended: their records may go before it does. There are as many as it may have steps at most.
    pub(super) ended: Vec<ActivationId>,
    /// It is of an earlier life, and nobody has taken it up.
    pub(super) is_inherited: bool,
}

impl Open {
    /// Bytes that its events take; the started one, smaller than any accepted one, does not count.
    fn bytes(&self) -> usize {
        let progress = self.progress.as_ref().map_or(0, |slice| record::length(slice.len()));
        record::length(self.accepted.len()) + progress + self.ended.len() * record::length(ENDED)
    }
}

/// Bytes in the payload of an ended event that names a cause.
pub(super) const ENDED: usize = 34;

impl Ledger {
    /// Enters a segment.
    pub(super) fn enter(&mut self, segment: Arc<Segment>, used: usize) {
        self.books.insert(segment.number(), Book { segment, used, unwritten: 0, open_bytes: 0 });
    }

    /// Place of the newest work that was ever accepted, as far as the log tells.
    pub(super) fn newest(&self) -> Place {
        self.newest
    }

    /// All work that is accepted from now on comes after this place, too.
    pub(super) fn come_after(&mut self, place: Place) {
        self.newest = self.newest.max(place);
    }

    /// The place of work that is accepted now: after all others, whatever the clock says.
    pub(super) fn next_place(&self, now: Millis) -> Place {
        let (time, rank) = self.newest;
        match rank.checked_add(1) {
            _ if now > time => (now, 0),
            Some(rank) => (time, rank),
            None => (time + 1, 0),
        }
    }

    /// Notes a record that was appended, now or in an earlier life. `cause` is what it is a part of, as far as that is
    /// known.
    pub(super) fn note(&mut self, header: &Header, slice: &Slice, cause: Option<ActivationId>) {
        let id = &header.id;
        match header.kind {
            Kind::Accepted => {
                let place = (header.time, header.number);
                self.newest = self.newest.max(place);
                // The same work twice is work that was moved to the log's end: what is known of it stays so.
                let moved = match self.take(id) {
                    Some(older) => Open { accepted: slice.clone(), place, ..older },
                    None => Open {
                        accepted: slice.clone(),
                        place,
                        started: None,
                        progress: None,
                        cause,
                        ended: Vec::new(),
                        is_inherited: false,
                    },
                };
                self.put(header.id, moved);
            }
            Kind::Started => {
                let attempt = Some((header.number, header.time));
                self.change(id, |open| open.started = open.started.max(attempt));
            }
            Kind::Progress => self.change(id, |open| open.progress = Some(slice.clone())),
            Kind::Finished | Kind::Ended => self.end(id, cause),
        }
    }

    /// Notes that work has ended which is a part of this: remembered for as long as that is open.
    fn end(&mut self, id: &ActivationId, cause: Option<ActivationId>) {
        self.forget(id);
        let Some(cause) = cause.filter(|cause| self.open.contains_key(cause)) else { return };
        if self.ended.insert(*id, cause).is_none() {
            self.change(&cause, |open| open.ended.push(*id));
        }
    }

    /// Notes that work of an earlier life has its record in a file, whatever the log lost of it.
    pub(super) fn is_recorded(&mut self, id: &ActivationId) {
        let cause = self.cause_of(id);
        self.end(id, cause);
    }

    /// What open work of an earlier life is a part of, if that is open.
    pub(super) fn cause_of(&self, id: &ActivationId) -> Option<ActivationId> {
        let cause = payload::part_of(self.open.get(id)?.accepted.bytes())?;
        self.open.contains_key(&cause).then_some(cause)
    }

    /// True if the log may lose that this open work is a part of that one before that one is over: what says so is the
    /// accepted event, which lies in an earlier segment since the other one was moved past it.
    pub(super) fn is_left_behind(&self, id: &ActivationId, cause: &ActivationId) -> bool {
        let segment = |id| self.open.get(id).map(|open| open.accepted.segment());
        segment(id).zip(segment(cause)).is_some_and(|(part, whole)| part < whole)
    }

    /// Takes work out of the open, and what is remembered for its sake.
    pub(super) fn forget(&mut self, id: &ActivationId) {
        let Some(open) = self.take(id) else { return };
        for step in &open.ended {
            self.ended.remove(step);
        }
    }

    /// The open work that this was a part of, if it has ended.
    pub(super) fn has_ended(&self, id: &ActivationId) -> Option<ActivationId> {
        self.ended.get(id).copied()
    }

    /// Work of an earlier life that nobody has taken up.
    pub(super) fn inherited(&self) -> impl Iterator<Item = (Place, ActivationId)> {
        self.open.iter().filter(|(_, open)| open.is_inherited).map(|(id, open)| (open.place, *id))
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

    /// Open work whose accepted event lies in this segment, in the order of its coming.
    pub(super) fn open_in(&self, segment: u64) -> Vec<ActivationId> {
        let here = self.open.iter().filter(|(_, open)| open.accepted.segment() == segment);
        let mut found: Vec<_> = here.map(|(id, open)| (open.place, *id)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn change(&mut self, id: &ActivationId, change: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(id) else { return };
        let before = open.bytes();
        change(open);
        let after = open.bytes();
        if before != after
            && let Some(book) = self.books.get_mut(&open.accepted.segment())
        {
            book.open_bytes = (book.open_bytes + after).saturating_sub(before);
        }
    }

    fn take(&mut self, id: &ActivationId) -> Option<Open> {
        let open = self.open.remove(id)?;
        if let Some(book) = self.books.get_mut(&open.accepted.segment()) {
            book.open_bytes = book.open_bytes.saturating_sub(open.bytes());
        }
        Some(open)
    }

    fn put(&mut self, id: ActivationId, open: Open) {
        if let Some(book) = self.books.get_mut(&open.accepted.segment()) {
            book.open_bytes += open.bytes();
        }
        self.open.insert(id, open);
    }
}
