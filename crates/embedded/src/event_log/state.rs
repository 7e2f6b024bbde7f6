//! The log while it runs, behind one short lock.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use chasen_entity::{ActivationId, Event};
use chasen_spi::{Position, StoreError};

use super::ledger::{ENDED, Ledger, Open};
use super::payload;
use super::record::{self, Header, Kind};
use super::segment::{Segment, SegmentWriter, Slice};

/// The log's state.
pub(super) struct State {
    /// Where appends go.
    pub(super) active: SegmentWriter,
    /// The segment after that one.
    pub(super) spare: Spare,
    /// Number of the segment that is made next.
    pub(super) next_number: u64,
    /// What is still needed of what was appended.
    pub(super) ledger: Ledger,
    /// Ends of open work that found no room. They are appended as soon as there is some.
    pub(super) held: VecDeque<Event>,
    /// No more appends.
    pub(super) closed: bool,
}

/// The segment that is made ahead of need.
pub(super) enum Spare {
    /// Being made, or about to be.
    Wanted,
    /// Ready for use.
    Ready(SegmentWriter),
    /// It could not be made; the text says why. It is tried again every second.
    Failed(String),
}

/// What the log knows of an activation.
pub(super) enum Fate<'a> {
    /// It is under way.
    Open(&'a mut Open),
    /// It was a part of something open, and has ended.
    Ended,
    /// It was never accepted, or is over.
    Unknown,
}

impl State {
    /// The log that goes on in this segment.
    pub(super) fn new(active: SegmentWriter, mut ledger: Ledger) -> Self {
        ledger.enter(active.segment().clone(), 0);
        let next_number = active.segment().number() + 1;
        Self { active, spare: Spare::Wanted, next_number, ledger, held: VecDeque::new(), closed: false }
    }

    /// Makes this segment the active one.
    pub(super) fn roll(&mut self, next: SegmentWriter) {
        self.ledger.enter(next.segment().clone(), 0);
        let last = std::mem::replace(&mut self.active, next);
        if let Some(book) = self.ledger.books.get_mut(&last.segment().number()) {
            book.used = last.used();
        }
    }

    /// Bytes that the active segment must have room for, as one payload, to append one of this kind and length. The end
    /// of a part may name its cause, and a record of one may need its end beside it.
    pub(super) fn room_for(kind: Kind, payload: usize) -> usize {
        let beside = if kind == Kind::Finished { record::length(ENDED) } else { 0 };
        payload.max(ENDED) + beside
    }

    /// Appends a record to the active segment; `None` if it has no room. `cause` is what it is a part of, if that is known.
    pub(super) fn append(
        &mut self,
        header: &Header,
        payload: &[u8],
        cause: Option<ActivationId>,
    ) -> Option<Slice> {
        let is_finished = header.kind == Kind::Finished;
        let left_behind = cause.filter(|cause| is_finished && self.ledger.is_left_behind(&header.id, cause));
        let slice = self.active.append(header, payload)?;
        self.ledger.note(header, &slice, cause);
        if let Some(cause) = left_behind {
            self.append_end(header, &cause);
        }
        if !self.held.is_empty() && matches!(header.kind, Kind::Finished | Kind::Ended) {
            self.held.retain(|held| held.activation_id() != header.id);
        }
        Some(slice)
    }

    /// Appends, where there is room for it, that a part has ended whose record was just appended.
    fn append_end(&mut self, finished: &Header, cause: &ActivationId) {
        let mut payload = Vec::with_capacity(ENDED);
        let header = Header { kind: Kind::Ended, number: 0, ..*finished };
        if payload::write_cause(cause, &mut payload).is_ok()
            && let Some(slice) = self.active.append(&header, &payload)
        {
            self.ledger.note(&header, &slice, Some(*cause));
        }
    }

    /// Adds to an event what only the log knows: the place of accepted work, the cause of a part that ends. Gives what it
    /// is a part of.
    pub(super) fn complete(
        &self,
        event: &Event,
        header: &mut Header,
        payload: &mut Vec<u8>,
    ) -> Result<Option<ActivationId>, StoreError> {
        match event {
            Event::Accepted(invocation) => {
                (header.time, header.number) = self.ledger.next_place(header.time);
                Ok(invocation.part_of())
            }
            Event::Ended(id) => {
                let cause = self.open_cause(id);
                cause.iter().try_for_each(|cause| payload::write_cause(cause, payload))?;
                Ok(cause)
            }
            Event::Finished(record) => Ok(self.open_cause(&record.activation_id)),
            Event::Started { .. } | Event::Progress { .. } => Ok(None),
        }
    }

    fn open_cause(&self, id: &ActivationId) -> Option<ActivationId> {
        let cause = self.ledger.open.get(id).and_then(|open| open.cause);
        cause.filter(|cause| self.ledger.open.contains_key(cause))
    }

    /// What is known of an activation.
    pub(super) fn fate(&mut self, id: &ActivationId) -> Fate<'_> {
        if self.held.iter().any(|held| held.activation_id() == *id) || self.ledger.has_ended(id).is_some() {
            return Fate::Ended;
        }
        self.ledger.open.get_mut(id).map_or(Fate::Unknown, Fate::Open)
    }

    /// Work that is accepted and has not ended, be it that its end has no room yet.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (&ActivationId, &Open)> {
        let held: HashSet<_> = self.held.iter().map(Event::activation_id).collect();
        self.ledger.open.iter().filter(move |(id, _)| !held.contains(id))
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> Position {
        self.active.position()
    }

    /// Segments that are not wholly on the disk, with the bytes used of each.
    pub(super) fn unsynced(&self) -> Vec<(Arc<Segment>, usize)> {
        let (active, used) = (self.active.segment(), self.active.used());
        let sealed = self.ledger.books.range(..active.number()).map(|(_, book)| (&book.segment, book.used));
        sealed
            .chain([(active, used)])
            .filter(|(segment, used)| !segment.is_synced(*used))
            .map(|(segment, used)| (segment.clone(), used))
            .collect()
    }
}
