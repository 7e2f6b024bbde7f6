//! One file of the log, mapped into memory.
//!
//! A segment's blocks are allocated when it is made, so that a write into the map never meets a full disk. The
//! first 64 bytes say what it is (five little-endian words: magic, version, number, time of making, CRC-32 of
//! these); records follow. One [`SegmentWriter`] writes; what it has written is read through [`Slice`]s and
//! never changes again. A file of an earlier life is mapped read-only and never written again.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use chasen_spi::Position;
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::FallocateFlags;

use super::record::{self, ALIGNMENT, HEADER, Header};
use crate::faults::{Faults, Moment};
use crate::files;

/// Bytes before the first record.
pub(super) const PREAMBLE: usize = 64;
/// Version of the format, of segments and of what is in them. Each one added what a reader of the one before would take
/// for damage, and is otherwise the same: the second [`record::Kind::Ended`], the third [`record::Kind::Progress`] and
/// ranks of accepted events.
pub(super) const VERSION: u32 = 3;
/// Most bytes of a segment: positions inside one are 32 bits wide.
pub(super) const MOST: usize = 1 << 30;

const MAGIC: u64 = u64::from_le_bytes(*b"CHASENEV");
const PAGE: usize = 4096;

/// A mapped file.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    map: MmapRaw,
    /// Bytes written. They never change again; of a file of an earlier life it is all of them.
    written: AtomicUsize,
    /// A writer may add records.
    grows: bool,
    faults: Faults,
    /// Bytes known to be on the disk.
    synced: AtomicUsize,
    /// The file's name and size are known to be on the disk.
    placed: AtomicBool,
}

/// What the first bytes of a segment say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// A segment of the known version.
    Known,
    /// Never begun: all zeros, or shorter than a preamble.
    Blank,
    /// Of this later version.
    Newer(u32),
    /// Unreadable.
    Damaged,
}

impl Preamble {
    /// What the preamble at the beginning of these bytes says, of a segment of this number.
    pub(super) fn of(bytes: &[u8], number: u64) -> Self {
        let Some(bytes) = bytes.get(..PREAMBLE) else { return Self::Blank };
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Blank;
        }
        let mut words = bytes.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
        let words = [(); 5].map(|()| words.next().unwrap_or_default());
        let [magic, version, found, made, sum] = words;
        if magic == MAGIC && sum == preamble_sum([magic, version, found, made]) && found == number {
            let version = u32::try_from(version).unwrap_or(u32::MAX);
            return if version > VERSION { Self::Newer(version) } else { Self::Known };
        }
        Self::Damaged
    }
}

impl Segment {
    /// Name of the file of a number.
    pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{number:016x}.log"))
    }

    /// The number in a file's name.
    pub(super) fn number_of(path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
        (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok())?
    }

    /// Makes a segment with room for this many bytes, preamble included, and the writer of it.
    pub(super) fn create(
        folder: &Path,
        number: u64,
        bytes: usize,
        now: u64,
        faults: &Faults,
    ) -> io::Result<SegmentWriter> {
        let path = Self::path(folder, number);
        let made = faults.room().and_then(|()| Self::make(&path, number, bytes, faults));
        let segment = match made {
            Ok(segment) => Arc::new(segment),
            Err(error) => {
                files::remove(&path)?;
                return Err(error);
            }
        };
        for (index, word) in preamble(number, now).into_iter().enumerate() {
            segment.store(index * 8, word);
        }
        segment.written.store(PREAMBLE, Ordering::Release);
        Ok(SegmentWriter { segment, next: PREAMBLE })
    }

    fn make(path: &Path, number: u64, bytes: usize, faults: &Faults) -> io::Result<Self> {
        let file = files::private().create(true).truncate(true).open(path)?;
        allocate(&file, bytes as u64)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        Ok(Self {
            number,
            path: path.to_owned(),
            file,
            map,
            written: 0.into(),
            grows: true,
            faults: faults.clone(),
            synced: 0.into(),
            placed: false.into(),
        })
    }

    /// Maps a file of an earlier life. `None` if it has not even room for a preamble.
    pub(super) fn open(path: &Path, number: u64, faults: &Faults) -> io::Result<Option<Arc<Self>>> {
        let file = files::private().open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MOST);
        if bytes < PREAMBLE {
            return Ok(None);
        }
        let map = MmapOptions::new().len(bytes).map_raw_read_only(&file)?;
        let path = path.to_owned();
        Ok(Some(Arc::new(Self {
            number,
            path,
            file,
            map,
            written: bytes.into(),
            grows: false,
            faults: faults.clone(),
            synced: 0.into(),
            placed: false.into(),
        })))
    }

    /// Its number; later segments have larger ones.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Everything that was written to it by now.
    pub(super) fn contents(&self) -> &[u8] {
        let written = self.written.load(Ordering::Acquire).min(self.map.len());
        // SAFETY: the map lives as long as `self` and has this many bytes at least. They do not change: the writer adds
        // behind them only and says so after it has, and the lock on the data folder keeps other nodes out.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), written) }
    }

    /// What its preamble says.
    pub(super) fn preamble(&self) -> Preamble {
        Preamble::of(self.contents(), self.number)
    }

    /// Bytes from here on are not needed: the file is cut, its map stays and must not be read beyond.
    pub(super) fn trim(&self, used: usize) -> io::Result<()> {
        self.file.set_len(used as u64)
    }

    /// Removes the file. Slices of it can still be read.
    pub(super) fn remove(&self) -> io::Result<()> {
        files::remove(&self.path)
    }

    /// True if everything before `end` is on the disk.
    pub(super) fn is_synced(&self, end: usize) -> bool {
        self.placed.load(Ordering::Acquire) && self.synced.load(Ordering::Acquire) >= end
    }

    /// Bytes known to be on the disk, the preamble among them in any case.
    pub(super) fn synced(&self) -> usize {
        self.synced.load(Ordering::Acquire).max(PREAMBLE)
    }

    /// Nothing before `end` needs to be brought to the disk any more.
    pub(super) fn settle(&self, end: usize) {
        self.placed.store(true, Ordering::Release);
        self.synced.fetch_max(end, Ordering::AcqRel);
    }

    /// Brings the file's name and size to the disk, so that a sync is left with its contents.
    pub(super) fn place(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.path.parent().map_or(Ok(()), files::sync_folder)?;
        self.placed.store(true, Ordering::Release);
        Ok(())
    }

    /// Brings everything before `end` to the disk.
    pub(super) fn sync(&self, end: usize) -> io::Result<()> {
        self.faults.sync()?;
        if !self.placed.load(Ordering::Acquire) {
            self.place()?;
        } else {
            let from = self.synced.load(Ordering::Acquire) & !(PAGE - 1);
            let end = end.min(self.map.len());
            if end > from {
                self.map.flush_range(from, end - from)?;
            }
        }
        self.faults.synced();
        self.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Lets go of the memory of whole pages before `end`. They are read again from the file when needed.
    pub(super) fn release(&self, end: usize) {
        let pages = end.min(self.map.len()) & !(PAGE - 1);
        if pages == 0 {
            return;
        }
        // SAFETY: of a shared map of a file this drops page-table entries only; readers of the range find the
        // same bytes again, and what was written stays in the file's cache.
        if let Err(error) = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, 0, pages) } {
            tracing::debug!(%error, "memory of the log could not be released");
        }
    }

    /// Stores one word after everything that was written before it.
    fn store(&self, offset: usize, word: u64) {
        debug_assert!(self.grows && offset.is_multiple_of(ALIGNMENT) && offset + 8 <= self.map.len());
        let word = word.to_le();
        // SAFETY: the callers, all in this file, keep the offset inside the map and a multiple of eight; the map
        // begins at a page. The place is only ever written through this function, by the one writer.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
            .store(word, Ordering::Release);
    }
}

/// Allocates a file's blocks; where the file system cannot, by writing them.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut &*file).map(drop)
        }
        done => Ok(done?),
    }
}

fn preamble(number: u64, now: u64) -> [u64; 5] {
    let words = [MAGIC, u64::from(VERSION), number, now];
    let [magic, version, number, now] = words;
    [magic, version, number, now, preamble_sum(words)]
}

fn preamble_sum(words: [u64; 4]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    words.iter().for_each(|word| hasher.update(&word.to_le_bytes()));
    u64::from(hasher.finalize())
}

/// The only one that adds to a segment.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    segment: Arc<Segment>,
    next: usize,
}

impl SegmentWriter {
    /// The segment.
    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Bytes written, preamble included.
    pub(super) fn used(&self) -> usize {
        self.next
    }

    /// Where the log ends if it ends here.
    pub(super) fn position(&self) -> Position {
        position(self.segment.number, self.next)
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.segment.map.len() - self.next
    }

    /// True if a record with this much payload fits.
    pub(super) fn fits(&self, payload: usize) -> bool {
        record::length(payload) <= self.left()
    }

    /// Appends a record; `None` if it does not fit. Gives the payload's place.
    pub(super) fn append(&mut self, header: &Header, payload: &[u8]) -> Option<Slice> {
        if !self.fits(payload.len()) {
            return None;
        }
        let [front, words @ ..] = record::encode(header, payload, self.segment.number);
        let start = self.next + HEADER;
        let faults = &self.segment.faults;
        faults.write(Moment::Before);
        let payload = faults.torn(payload);
        // SAFETY: `fits` says that the range lies inside the map. Nobody else writes, for there is one writer and
        // it is borrowed mutably; nobody reads it, for slices are given out below, after the write.
        unsafe {
            let target = self.segment.map.as_mut_ptr().add(start);
            std::ptr::copy_nonoverlapping(payload.as_ptr(), target, payload.len());
        }
        for (index, word) in (1usize..).zip(words) {
            self.segment.store(self.next + index * 8, word);
        }
        faults.write(Moment::Torn);
        self.segment.store(self.next, front);
        self.next += record::length(payload.len());
        self.segment.written.store(self.next, Ordering::Release);
        faults.write(Moment::After);
        Slice::new(self.segment.clone(), start..start + payload.len())
    }
}

/// A position of the log: the number of a segment and bytes in it.
fn position(segment: u64, bytes: usize) -> Position {
    Position(segment << 32 | bytes as u64)
}

/// A payload that lies in a segment.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    segment: Arc<Segment>,
    offset: u32,
    length: u32,
}

impl Slice {
    fn new(segment: Arc<Segment>, range: Range<usize>) -> Option<Self> {
        let offset = u32::try_from(range.start).ok()?;
        let length = u32::try_from(range.len()).ok()?;
        Some(Self { segment, offset, length })
    }

    /// A payload in a file of an earlier life.
    pub(super) fn of(segment: &Arc<Segment>, range: Range<usize>) -> Option<Self> {
        segment.contents().get(range.clone())?;
        Self::new(segment.clone(), range)
    }

    /// Number of its segment.
    pub(super) fn segment(&self) -> u64 {
        self.segment.number
    }

    /// Where the record ends, in bytes of its segment.
    pub(super) fn end_in_segment(&self) -> usize {
        (self.offset as usize + self.length as usize).next_multiple_of(ALIGNMENT)
    }

    /// Where the record ends, as a position of the log.
    pub(crate) fn end(&self) -> Position {
        position(self.segment.number, self.end_in_segment())
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: slices are made in this file only, of ranges inside the map that were written before and are
        // never written again; the map lives as long as the segment that the slice holds.
        unsafe {
            std::slice::from_raw_parts(
                self.segment.map.as_ptr().add(self.offset as usize),
                self.length as usize,
            )
        }
    }
}

/// Segments in a folder, by number, smallest first. Other files are left alone.
pub(crate) fn segments_in(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        found.extend(Segment::number_of(&path).map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use chasen_entity::ActivationId;

    use super::super::record::{Found, Kind, Scan};
    use super::*;

    fn header() -> Header {
        Header { kind: Kind::Finished, number: 0, time: 5, id: ActivationId::from_bytes([1; 16]) }
    }

    #[test]
    fn what_is_appended_is_there_at_once_and_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Segment::create(folder.path(), 3, 4096, 1, &Faults::default()).unwrap();
        let slice = writer.append(&header(), b"{}").unwrap();
        assert_eq!((slice.bytes(), slice.segment()), (b"{}".as_slice(), 3));
        assert_eq!(slice.end(), writer.position());
        while writer.append(&header(), &[b'x'; 500]).is_some() {}
        writer.segment().sync(writer.used()).unwrap();
        writer.segment().release(writer.used());
        assert_eq!(slice.bytes(), b"{}", "released memory is read again");
        assert_eq!(writer.segment().contents().len(), writer.used(), "no more than was written");

        let [(number, path)] = &segments_in(folder.path()).unwrap()[..] else { panic!("one segment") };
        let again = Segment::open(path, *number, &Faults::default()).unwrap().unwrap();
        assert_eq!(again.preamble(), Preamble::Known);
        let found: Vec<_> = Scan::new(again.contents(), PREAMBLE, 3).collect();
        assert_eq!(found.len(), 8);
        assert!(matches!(&found[0], Found::Record(record) if record.header == header()));
    }

    #[test]
    fn preambles_tell_what_a_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = Segment::path(folder.path(), 9);
            fs::write(&path, bytes).unwrap();
            Segment::open(&path, 9, &Faults::default()).unwrap().map(|segment| segment.preamble())
        };
        assert_eq!(check(&[1; 20]), None);
        assert_eq!(check(&[0; 100]), Some(Preamble::Blank));
        assert_eq!(check(&[1; 100]), Some(Preamble::Damaged));
        let of_version = |version: u32| {
            let words = [MAGIC, u64::from(version), 9, 0];
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.extend(preamble_sum(words).to_le_bytes());
            bytes.resize(PREAMBLE, 0);
            check(&bytes)
        };
        assert_eq!([1, 2, VERSION].map(of_version), [(); 3].map(|()| Some(Preamble::Known)));
        assert_eq!(of_version(VERSION + 1), Some(Preamble::Newer(VERSION + 1)));
    }
}
