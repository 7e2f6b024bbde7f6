//! The form of one record in a segment, and reading a segment that may be damaged.
//!
//! A record is five little-endian 64-bit words and the payload, padded with zeros to eight bytes:
//!
//! | word | bits 0–31 | bits 32–63 |
//! |---|---|---|
//! | 0 | bytes of payload | CRC-32, started with the segment's number, of the length, words 1–4 and the payload |
//! | 1 | kind: 1 accepted, 2 started, 3 finished, 4 ended, 5 progress | attempt of a started event, rank of an accepted one, else 0 |
//! | 2 | time, epoch milliseconds | |
//! | 3, 4 | bytes of the activation id | |
//!
//! Time and rank of accepted events grow with every one, whatever the clock does: they are the order in which work came,
//! also of work that was moved to the log's end later.
//!
//! Word 0 is written last, so a record that is there in part never checks out. Where nothing was written there are
//! zeros. A payload is JSON or empty and holds no zero byte, so no tenant can put into an argument what looks like
//! a header: word 1 always has zero bytes.

use std::ops::Range;

use chasen_entity::{ActivationId, Millis};

/// Bytes before a payload.
pub(super) const HEADER: usize = 40;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The payload is an invocation.
    Accepted,
    /// No payload.
    Started,
    /// The payload is a record of an activation.
    Finished,
    /// It ended, and no record of it is kept. The payload is the id of what it was a step of, if that was open.
    Ended,
    /// The payload is a state of the work; the last one counts.
    Progress,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Accepted, Self::Started, Self::Finished, Self::Ended, Self::Progress];

    fn number(self) -> u64 {
        match self {
            Self::Accepted => 1,
            Self::Started => 2,
            Self::Finished => 3,
            Self::Ended => 4,
            Self::Progress => 5,
        }
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == u64::from(number))
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Attempt of a started event, rank of an accepted one, else 0.
    pub(super) number: u32,
    /// When it was appended, or happened.
    pub(super) time: Millis,
    pub(super) id: ActivationId,
}

/// A record as it lies in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: usize,
    pub(super) header: Header,
    /// Where the payload lies.
    pub(super) payload: Range<usize>,
}

impl Record {
    /// Where the next record may begin.
    pub(super) fn end(&self) -> usize {
        self.payload.end.next_multiple_of(ALIGNMENT)
    }
}

/// Bytes that a record with this much payload takes.
pub(super) fn length(payload: usize) -> usize {
    (HEADER + payload).next_multiple_of(ALIGNMENT)
}

/// The five words before a payload, which is at most `u32::MAX` bytes long.
pub(super) fn encode(header: &Header, payload: &[u8], segment: u64) -> [u64; 5] {
    let id = u128::from_le_bytes(header.id.to_bytes());
    let first = header.kind.number() | u64::from(header.number) << 32;
    let words = [first, header.time, low_half(id), low_half(id >> 64)];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let sum = checksum(segment, length, words, payload);
    let [first, second, third, fourth] = words;
    [u64::from(length) | u64::from(sum) << 32, first, second, third, fourth]
}

fn checksum(segment: u64, length: u32, words: [u64; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(low(segment));
    hasher.update(&length.to_le_bytes());
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    hasher.update(payload);
    hasher.finalize()
}

/// The record that begins at this offset, if a whole one does.
fn decode(bytes: &[u8], offset: usize, segment: u64) -> Option<Record> {
    let start = offset.checked_add(HEADER)?;
    let header = bytes.get(offset..start)?;
    let mut words = header.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
    let [front, first, second, third, fourth] =
        [words.next()?, words.next()?, words.next()?, words.next()?, words.next()?];
    let kind = Kind::of(low(first))?;
    let payload = start..start.checked_add(usize::try_from(low(front)).ok()?)?;
    let sum = checksum(segment, low(front), [first, second, third, fourth], bytes.get(payload.clone())?);
    if u64::from(sum) != front >> 32 {
        return None;
    }
    let id = ActivationId::from_bytes((u128::from(third) | u128::from(fourth) << 64).to_le_bytes());
    Some(Record { offset, header: Header { kind, number: low(first >> 32), time: second, id }, payload })
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is asked for")]
fn low(word: u64) -> u32 {
    word as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is asked for")]
fn low_half(word: u128) -> u64 {
    word as u64
}

/// What a scan comes across.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record.
    Record(Record),
    /// Bytes that are no record, with records after them: damage, not the end.
    Damage(Range<usize>),
}

/// Reads the records of a segment in order.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    segment: u64,
    next: usize,
}

impl<'a> Scan<'a> {
    /// Reads from this offset on.
    pub(super) fn new(bytes: &'a [u8], start: usize, segment: u64) -> Self {
        Self { bytes, segment, next: start }
    }

    /// Where the last whole record that was read ended.
    pub(super) fn end(&self) -> usize {
        self.next
    }

    /// True if there is anything but zeros after the end: an append that was cut off.
    pub(super) fn is_torn(&self) -> bool {
        first_written(self.bytes, self.next).is_some()
    }
}

impl Iterator for Scan<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(record) = decode(self.bytes, self.next, self.segment) {
            self.next = record.end();
            return Some(Found::Record(record));
        }
        let damage = self.next;
        let mut at = damage + ALIGNMENT;
        while let Some(written) = first_written(self.bytes, at) {
            at = written - written % ALIGNMENT;
            if let Some(record) = decode(self.bytes, at, self.segment) {
                self.next = record.offset;
                return Some(Found::Damage(damage..record.offset));
            }
            at += ALIGNMENT;
        }
        None
    }
}

/// The first byte at or after the offset that is not zero. Compares pages at once: a segment is mostly unused.
fn first_written(bytes: &[u8], offset: usize) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = offset;
    for page in bytes.get(offset..)?.chunks(ZEROS.len()) {
        if ZEROS.get(..page.len()) != Some(page) {
            return page.iter().position(|byte| *byte != 0).map(|inside| at + inside);
        }
        at += page.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: u64 = 7;

    fn write(bytes: &mut Vec<u8>, header: &Header, payload: &[u8]) {
        for word in encode(header, payload, SEGMENT) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn records(bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
        Scan::new(bytes, 0, SEGMENT)
            .filter_map(|found| match found {
                Found::Record(record) => Some((record.header, bytes[record.payload].to_vec())),
                Found::Damage(_) => None,
            })
            .collect()
    }

    fn any_record() -> impl Strategy<Value = (Header, Vec<u8>)> {
        let header = (0..5usize, any::<u32>(), any::<u64>(), any::<[u8; 16]>()).prop_map(
            |(kind, number, time, id)| Header {
                kind: Kind::ALL[kind],
                number,
                time,
                id: ActivationId::from_bytes(id),
            },
        );
        (header, prop::collection::vec(1..=255u8, 0..300))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(written in prop::collection::vec(any_record(), 0..20), unused in 0..10_000usize) {
            let mut bytes = Vec::new();
            for (header, payload) in &written {
                write(&mut bytes, header, payload);
            }
            let used = bytes.len();
            bytes.resize(used + unused, 0);
            prop_assert_eq!(records(&bytes), written);
            let mut scan = Scan::new(&bytes, 0, SEGMENT);
            scan.by_ref().for_each(drop);
            prop_assert_eq!((scan.end(), scan.is_torn()), (used, false));
        }

        #[test]
        fn a_cut_loses_only_the_record_it_hits(written in prop::collection::vec(any_record(), 1..20), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (header, payload) in &written {
                write(&mut bytes, header, payload);
                ends.push(bytes.len() - (length(payload.len()) - HEADER - payload.len()));
            }
            let cut = cut.index(bytes.len() + 1);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            bytes.truncate(cut);
            prop_assert_eq!(&records(&bytes)[..], &written[..whole], "the file ends there");
            bytes.resize(cut + 5000, 0);
            let read = records(&bytes);
            prop_assert_eq!(&read[..whole.min(read.len())], &written[..whole], "zeros from there on");
            prop_assert!(read.len() <= whole + 1);
        }

        #[test]
        fn a_flipped_bit_loses_one_record(written in prop::collection::vec(any_record(), 2..20), place in any::<prop::sample::Index>(), bit in 0..8u32) {
            let mut bytes = Vec::new();
            let mut starts = Vec::new();
            for (header, payload) in &written {
                starts.push(bytes.len());
                write(&mut bytes, header, payload);
            }
            let place = place.index(bytes.len());
            let hit = starts.iter().filter(|start| **start <= place).count() - 1;
            bytes[place] ^= 1 << bit;
            let padding = place >= starts[hit] + HEADER + written[hit].1.len();
            let expected: Vec<_> =
                written.iter().enumerate().filter(|(i, _)| *i != hit || padding).map(|(_, r)| r.clone()).collect();
            prop_assert_eq!(records(&bytes), expected);
        }

        #[test]
        fn any_bytes_can_be_scanned(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert!(records(&bytes).is_empty());
        }
    }

    #[test]
    fn damage_is_told_from_the_end() {
        let header =
            Header { kind: Kind::Started, number: 1, time: 2, id: ActivationId::from_bytes([3; 16]) };
        let mut bytes = Vec::new();
        (0..3).for_each(|_| write(&mut bytes, &header, b"x"));
        let one = length(1);
        bytes[one + 20] ^= 1;
        let found: Vec<_> = Scan::new(&bytes, 0, SEGMENT).collect();
        assert_eq!(found[1], Found::Damage(one..2 * one));
        assert_eq!(found.len(), 3);
        bytes[2 * one + 20] ^= 1;
        let mut scan = Scan::new(&bytes, 0, SEGMENT);
        assert_eq!(scan.by_ref().count(), 1);
        assert!(scan.is_torn() && scan.end() == one);
        assert_eq!(
            Scan::new(&bytes, 0, SEGMENT + 1).count(),
            0,
            "records of another segment do not check out"
        );
    }
}
