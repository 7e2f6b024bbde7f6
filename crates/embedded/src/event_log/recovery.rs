//! Reading the log of an earlier life.
//!
//! Files of an earlier life are cut where their last whole record ends and never written again. What is damaged
//! in the middle is reported and skipped; what comes after it is kept.

use std::path::Path;
use std::sync::Arc;

use chasen_spi::Position;

use super::ledger::Ledger;
use super::payload;
use super::record::{Found, Kind, Record, Scan};
use super::segment::{PREAMBLE, Preamble, Segment, Slice, VERSION, segments_in};
use crate::OpenError;
use crate::activations::tail::{Entry, Source, Tail};
use crate::faults::Faults;

/// What was found.
pub(super) struct Recovered {
    pub(super) ledger: Ledger,
    /// Number of the next segment: larger than every earlier one's, even of those that are gone.
    pub(super) next_number: u64,
}

/// Reads every segment in the folder. Records that lie after the checkpoint go into the tail.
pub(super) fn recover(
    folder: &Path,
    checkpoint: Position,
    tail: &Tail,
    faults: &Faults,
) -> Result<Recovered, OpenError> {
    let mut ledger = Ledger::default();
    let mut last = checkpoint.0 >> 32;
    for (number, path) in segments_in(folder).map_err(OpenError::io("read the folder", folder))? {
        last = last.max(number);
        let Some((segment, used)) = cut(&path, number, faults)? else { continue };
        ledger.enter(segment.clone(), used);
        read(&segment, checkpoint, tail, &mut ledger);
        // What was read only to be known is not to stay in memory.
        segment.release(used);
    }
    ledger.open.values_mut().for_each(|open| open.is_inherited = true);
    Ok(Recovered { ledger, next_number: last + 1 })
}

/// Cuts a file after its last whole record and maps what is left; removes it if that is nothing.
fn cut(path: &Path, number: u64, faults: &Faults) -> Result<Option<(Arc<Segment>, usize)>, OpenError> {
    let open = || Segment::open(path, number, faults).map_err(OpenError::io("open", path));
    let used = open()?.map_or(Ok(PREAMBLE), |segment| whole_records(&segment, path))?;
    if used == PREAMBLE {
        crate::files::remove(path).map_err(OpenError::io("remove", path))?;
        return Ok(None);
    }
    if let Some(segment) = open()? {
        segment.trim(used).map_err(OpenError::io("cut", path))?;
    }
    Ok(open()?.map(|segment| (segment, used)))
}

/// Bytes up to the end of the last whole record.
fn whole_records(segment: &Segment, path: &Path) -> Result<usize, OpenError> {
    match segment.preamble() {
        Preamble::Newer(found) => {
            return Err(OpenError::Newer { file: path.to_owned(), found, supported: VERSION });
        }
        Preamble::Damaged => {
            tracing::error!(file = %path.display(), "the preamble of a log segment is damaged; its records are read");
        }
        Preamble::Known | Preamble::Blank => {}
    }
    let mut scan = Scan::new(segment.contents(), PREAMBLE, segment.number());
    scan.by_ref().for_each(drop);
    if scan.is_torn() {
        tracing::info!(file = %path.display(), at = scan.end(), "the log ends in an unfinished append; it is cut off");
    }
    Ok(scan.end())
}

fn read(segment: &Arc<Segment>, checkpoint: Position, tail: &Tail, ledger: &mut Ledger) {
    let bytes = segment.contents();
    for found in Scan::new(bytes, PREAMBLE, segment.number()) {
        match found {
            Found::Damage(range) => tracing::error!(
                segment = segment.number(),
                from = range.start,
                bytes = range.len(),
                "part of the event log is damaged and lost; what follows is kept"
            ),
            Found::Record(record) => keep(segment, &record, checkpoint, tail, ledger),
        }
    }
}

fn keep(segment: &Arc<Segment>, record: &Record, checkpoint: Position, tail: &Tail, ledger: &mut Ledger) {
    let Some(slice) = Slice::of(segment, record.payload.clone()) else { return };
    let cause = match record.header.kind {
        // Its record may be gone before what it was a part of is over.
        Kind::Finished => ledger.cause_of(&record.header.id),
        _ => payload::cause_of(&record.header, slice.bytes()),
    };
    ledger.note(&record.header, &slice, cause);
    if record.header.kind != Kind::Finished || slice.end() <= checkpoint {
        return;
    }
    match payload::activation(slice.bytes()) {
        Ok(activation) => {
            ledger.await_writing(&slice);
            tail.insert(Entry::of(&activation).at(Source::Logged(slice)));
        }
        Err(error) => tracing::error!(id = %record.header.id, %error, "a record in the event log is lost"),
    }
}
