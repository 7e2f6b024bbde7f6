//! After a failed commit: the log goes on in another segment, and what may be lost is written there again.

use std::sync::Arc;
use std::time::Instant;

use chasen_spi::{Position, StoreError};
use parking_lot::MutexGuard;

use super::record::{Found, Header, Kind, Record, Scan};
use super::segment::{Segment, Slice};
use super::state::{Spare, State};
use super::{PATIENCE, Shared, no_room, payload};
use crate::activations::tail::{Entry, Source};

impl Shared {
    /// Writes everything again that is needed and not known to be on the disk. Gives the end of what is to be synced for
    /// all of it to be safe.
    pub(super) fn rewrite(&self) -> Result<Position, StoreError> {
        let lost = {
            let mut state = self.state.lock();
            self.wait_for_spare(&mut state)?;
            if let Spare::Ready(next) = std::mem::replace(&mut state.spare, Spare::Wanted) {
                self.roll(&mut state, next);
            }
            let active = state.active.segment().number();
            let mut lost = state.unsynced();
            lost.retain(|(segment, _)| segment.number() < active);
            lost
        };
        for (segment, _) in &lost {
            let from = segment.synced();
            for found in Scan::new(segment.contents(), from, segment.number()) {
                if let Found::Record(record) = found {
                    self.rewrite_one(segment, &record)?;
                }
            }
        }
        let end = self.state.lock().end();
        for (segment, used) in &lost {
            // Nothing needs it to be there any more.
            segment.settle(*used);
        }
        Ok(end)
    }

    /// Appends an event again if it is still what counts. Each has the lock for itself, so that appends are not held up.
    fn rewrite_one(&self, segment: &Arc<Segment>, record: &Record) -> Result<(), StoreError> {
        let Some(slice) = Slice::of(segment, record.payload.clone()) else { return Ok(()) };
        let mut state = self.state.lock();
        let needed = State::room_for(record.header.kind, slice.len());
        if !self.is_for_any(needed) {
            self.roll_to_large(&mut state, needed)?;
        }
        while self.is_for_any(needed) && !self.has_spare(&mut state, needed) {
            self.wait_for_spare(&mut state)?;
        }
        let id = &record.header.id;
        let open = state.ledger.open.get(id);
        let logged = match record.header.kind {
            Kind::Finished => self.tail.get(id).filter(|record| record.position() == Some(slice.end())),
            _ => None,
        };
        let is_needed = match record.header.kind {
            Kind::Accepted => open.is_some_and(|open| open.accepted.end() == slice.end()),
            Kind::Progress => {
                open.and_then(|open| open.progress.as_ref()).is_some_and(|state| state.end() == slice.end())
            }
            Kind::Started => open.is_some(),
            Kind::Finished => {
                self.rewrite_end(&mut state, record)?;
                logged.is_some()
            }
            // Cheaper than knowing whether the accepted event is on the disk.
            Kind::Ended => true,
        };
        if !is_needed {
            return Ok(());
        }
        let cause = payload::cause_of(&record.header, slice.bytes());
        let again = state.append(&record.header, slice.bytes(), cause).ok_or_else(no_room)?;
        if let Some(record) = logged {
            state.ledger.await_writing(&again);
            self.tail.insert(Entry::of(record.load()?.as_ref()).at(Source::Logged(again)));
        }
        Ok(())
    }

    /// Appends again that a part of open work has ended: its record may be in a file, and gone before that is over.
    fn rewrite_end(&self, state: &mut MutexGuard<'_, State>, record: &Record) -> Result<(), StoreError> {
        let Some(cause) = state.ledger.has_ended(&record.header.id) else { return Ok(()) };
        let mut payload = Vec::new();
        payload::write_cause(&cause, &mut payload)?;
        let header = Header { kind: Kind::Ended, number: 0, ..record.header };
        state.append(&header, &payload, Some(cause)).ok_or_else(no_room).map(drop)
    }

    /// Waits until the next segment is ready.
    fn wait_for_spare(&self, state: &mut MutexGuard<'_, State>) -> Result<(), StoreError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match &state.spare {
                Spare::Ready(_) => return Ok(()),
                Spare::Failed(why) => return Err(StoreError::Full(why.clone())),
                Spare::Wanted if state.closed => return Err(no_room()),
                Spare::Wanted => {}
            }
            if self.spare_changed.wait_until(state, deadline).timed_out() {
                return Err(no_room());
            }
        }
    }
}
