//! Removing segments that are not needed any more.
//!
//! A segment goes when its records are in files of records and none of its work is open, always the oldest first:
//! a finished event never goes before the accepted one it answers. Work that stays open for long would keep
//! everything after it, so when that pays its events are appended again at the end.

use chasen_entity::ActivationId;
use std::sync::Arc;

use super::record::{self, Header, Kind};
use super::segment::{PREAMBLE, Segment};
use super::state::{Spare, State};
use super::{Shared, payload};
use crate::activations::tail::{Source, TailRecord};

impl Shared {
    /// Notes that these records, the oldest of the tail, are safe in files of records.
    pub(super) fn written(&self, records: &[Arc<TailRecord>]) {
        let slices = || {
            records.iter().filter_map(|record| match &record.source {
                Source::Logged(slice) => Some(slice),
                Source::Held(_) => None,
            })
        };
        let segments: Vec<(Arc<Segment>, usize)> = {
            let mut state = self.state.lock();
            let mut touched = std::collections::BTreeMap::new();
            for slice in slices() {
                state.ledger.written(slice);
                touched.insert(slice.segment(), slice.end_in_segment());
            }
            let book = |(number, end)| Some((state.ledger.books.get(&number)?.segment.clone(), end));
            touched.into_iter().filter_map(book).collect()
        };
        segments.iter().for_each(|(segment, end)| segment.release(*end));
        if let Some(last) = slices().next_back() {
            self.checkpoint.store(last.end());
        }
    }

    /// Removes what is not needed, the oldest first.
    pub(super) fn clean(&self) {
        loop {
            let number = {
                let mut state = self.state.lock();
                let active = state.active.segment().number();
                let Some((number, book)) = state.ledger.books.range(..active).next() else { return };
                let (number, open) = (*number, book.open_bytes);
                if book.unwritten > 0
                    || (open > 0 && !state.ledger.is_worth_moving(active, self.segment_bytes))
                {
                    return;
                }
                if open == 0 {
                    let book = state.ledger.books.remove(&number);
                    drop(state);
                    book.iter().for_each(|book| remove(&book.segment));
                    continue;
                }
                number
            };
            if !self.move_open(number) {
                return;
            }
        }
    }

    /// Appends the open work of a segment again at the end; false if there is no room for it.
    fn move_open(&self, number: u64) -> bool {
        let ids = self.state.lock().ledger.open_in(number);
        // One lock for each, so that appends are not held up.
        if !ids.iter().all(|id| self.move_one(number, id)) {
            return false;
        }
        // What was synced in its old place must be in its new one before the old one goes.
        self.commit.commit(self)
    }

    /// Appends everything of one open work again, in one piece: a crash leaves it here, there or in both places, and is
    /// read the same.
    fn move_one(&self, number: u64, id: &ActivationId) -> bool {
        let mut state = self.state.lock();
        let Some(open) = state.ledger.open.get(id).filter(|open| open.accepted.segment() == number) else {
            return true;
        };
        let open = open.clone();
        let mut this = Vec::new();
        if let Err(error) = payload::write_cause(id, &mut this) {
            tracing::error!(%id, %error, "open work stays where it is");
            return false;
        }
        let header = |kind, number, time, id| Header { kind, number, time, id };
        let (time, rank) = open.place;
        let progress =
            open.progress.iter().map(|state| (header(Kind::Progress, 0, time, *id), state.bytes(), None));
        let started =
            open.started.map(|(attempt, at)| (header(Kind::Started, attempt, at, *id), &[][..], None));
        let ended = open.ended.iter().map(|step| (header(Kind::Ended, 0, time, *step), &this[..], Some(*id)));
        let events: Vec<_> = [(header(Kind::Accepted, rank, time, *id), open.accepted.bytes(), None)]
            .into_iter()
            .chain(progress)
            .chain(started)
            .chain(ended)
            .collect();
        let total = events.iter().map(|(_, payload, _)| record::length(payload.len())).sum();
        self.has_spare(&mut state, total)
            && events.iter().all(|(header, payload, cause)| state.append(header, payload, *cause).is_some())
    }

    /// True if a segment of the usual size holds a record with this much payload.
    pub(super) fn is_for_any(&self, payload: usize) -> bool {
        record::length(payload) <= self.segment_bytes - PREAMBLE
    }

    /// Makes the active segment one with room for this much payload, if that takes no waiting.
    pub(super) fn has_spare(&self, state: &mut State, payload: usize) -> bool {
        if state.active.fits(payload) {
            return true;
        }
        if !self.is_for_any(payload) {
            return false;
        }
        match std::mem::replace(&mut state.spare, Spare::Wanted) {
            Spare::Ready(next) => {
                self.roll(state, next);
                state.active.fits(payload)
            }
            other => {
                state.spare = other;
                false
            }
        }
    }
}

fn remove(segment: &Segment) {
    if let Err(error) = segment.remove() {
        tracing::warn!(%error, segment = segment.number(), "a segment of the event log could not be removed");
    }
}
