//! The log as others than its node read it: for backups and checks, beside a node that may be writing it.
//!
//! A node adds to its newest segment only, and removes the oldest ones only. So whoever reads segments from the newest to
//! the oldest has everything up to one position: the end of the newest as it was read. Files are read, not mapped, as a node
//! that stops or starts cuts them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::payload::{self, Payloads};
use super::record::{Found, Kind, Record, Scan};
use super::segment::{MOST, PREAMBLE, Preamble, Segment, VERSION, segments_in};
use crate::OpenError;

/// A segment as it was when it was read.
pub(crate) struct SegmentText {
    number: u64,
    /// Everything up to the end of the last whole record.
    bytes: Vec<u8>,
    /// What is damaged in the middle of it.
    damage: Vec<Range<usize>>,
}

impl SegmentText {
    /// Reads a segment that may be written to meanwhile.
    fn read(file: &File, number: u64) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > MOST {
            return Err(io::Error::other(format!("it has {length} bytes, more than a segment may have")));
        }
        let mut bytes = vec![0; length];
        let read = fill(file, &mut bytes, 0)?;
        bytes.truncate(read);
        // It may have been there before there was a preamble in it.
        if let Some(preamble) = bytes.get_mut(..PREAMBLE) {
            fill(file, preamble, 0)?;
        }
        loop {
            let (end, damage) = scan(&bytes, number);
            let mut mended = false;
            for range in &damage {
                // It was passed before it was written, if what follows was seen.
                let Some(part) = bytes.get_mut(range.clone()) else { continue };
                let before = part.to_vec();
                fill(file, part, range.start)?;
                mended |= *part != before[..];
            }
            if !mended {
                bytes.truncate(end);
                return Ok(Self { number, bytes, damage });
            }
        }
    }

    /// True if no record is in it.
    fn is_empty(&self) -> bool {
        self.bytes.len() <= PREAMBLE
    }

    /// Refuses what a later release wrote.
    fn known(self, path: &Path) -> Result<Self, OpenError> {
        match Preamble::of(&self.bytes, self.number) {
            Preamble::Newer(found) => {
                Err(OpenError::Newer { file: path.to_owned(), found, supported: VERSION })
            }
            Preamble::Known | Preamble::Blank | Preamble::Damaged => Ok(self),
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> + '_ {
        Scan::new(&self.bytes, PREAMBLE, self.number).filter_map(|found| match found {
            Found::Record(record) => Some(record),
            Found::Damage(_) => None,
        })
    }

    /// What is wrong with it, in a sentence each; work is looked into with this key.
    pub(crate) fn problems(&self, payloads: Option<&Payloads>) -> Vec<String> {
        let mut problems = Vec::new();
        if Preamble::of(&self.bytes, self.number) == Preamble::Damaged {
            problems.push("its preamble is damaged; its records are read nevertheless".to_owned());
        }
        problems.extend(self.damage.iter().map(|range| {
            format!("{} bytes at {} are damaged; what follows is kept", range.len(), range.start)
        }));
        let (mut closed, mut unreadable) = (0u64, 0u64);
        for record in self.records() {
            let text = self.bytes.get(record.payload.clone()).unwrap_or_default();
            match (record.header.kind, payloads) {
                (Kind::Accepted, Some(payloads)) if payloads.invocation(text).is_err() => closed += 1,
                (Kind::Finished, _) if payload::activation(text).is_err() => unreadable += 1,
                _ => {}
            }
        }
        if closed > 0 {
            problems.push(format!("{closed} accepted invocations cannot be opened with the node's key"));
        }
        if unreadable > 0 {
            problems.push(format!("{unreadable} records cannot be read"));
        }
        problems
    }
}

fn scan(bytes: &[u8], number: u64) -> (usize, Vec<Range<usize>>) {
    let mut scan = Scan::new(bytes, PREAMBLE, number);
    let damage = scan
        .by_ref()
        .filter_map(|found| match found {
            Found::Damage(range) => Some(range),
            Found::Record(_) => None,
        })
        .collect();
    (scan.end().min(bytes.len()), damage)
}

/// Reads from this offset until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: usize) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, (offset + done) as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Copies the log of a folder into another one.
pub(crate) struct LogCopy {
    folder: PathBuf,
    target: PathBuf,
    open: BTreeMap<u64, (PathBuf, File)>,
    /// Those whose copies are complete.
    copied: BTreeMap<u64, PathBuf>,
}

impl LogCopy {
    /// From the one folder into the other, which is there.
    pub(crate) fn new(folder: &Path, target: &Path) -> Self {
        let (open, copied) = (BTreeMap::new(), BTreeMap::new());
        Self { folder: folder.to_owned(), target: target.to_owned(), open, copied }
    }

    /// Copies what nobody adds to any more, so that [`finish`](Self::finish) takes little time.
    pub(crate) fn begin(&mut self) -> Result<(), OpenError> {
        self.look()?;
        let mut is_closed = false;
        for number in self.newest_first() {
            let Some(text) = self.read(number)? else { continue };
            if is_closed {
                self.keep(&text)?;
            }
            is_closed |= !text.is_empty();
        }
        Ok(())
    }

    /// Copies everything else that is there now, and gives the copies, oldest first. What was removed meanwhile is not
    /// among them: what was needed of it lies in later ones.
    pub(crate) fn finish(mut self) -> Result<Vec<PathBuf>, OpenError> {
        self.look()?;
        for number in self.newest_first() {
            if self.copied.contains_key(&number) {
                continue;
            }
            if let Some(text) = self.read(number)?.filter(|text| !text.is_empty()) {
                self.keep(&text)?;
            }
        }
        let open = &self.open;
        Ok(self
            .copied
            .into_iter()
            .filter(|(number, _)| open.contains_key(number))
            .map(|(_, path)| path)
            .collect())
    }

    /// Opens every segment that is there, so that none can be removed meanwhile.
    fn look(&mut self) -> Result<(), OpenError> {
        loop {
            let listed = segments_in(&self.folder).map_err(OpenError::io("read the folder", &self.folder))?;
            let mut found = false;
            for (number, path) in &listed {
                if self.open.contains_key(number) {
                    continue;
                }
                match File::open(path) {
                    Ok(file) => {
                        self.open.insert(*number, (path.clone(), file));
                        found = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(OpenError::io("open", path)(error)),
                }
            }
            // One that was removed before it could be opened may have left its work to one that was made since.
            if !found {
                let listed: Vec<u64> = listed.into_iter().map(|(number, _)| number).collect();
                self.open.retain(|number, _| listed.contains(number));
                return Ok(());
            }
        }
    }

    fn newest_first(&self) -> Vec<u64> {
        self.open.keys().rev().copied().collect()
    }

    fn read(&self, number: u64) -> Result<Option<SegmentText>, OpenError> {
        let Some((path, file)) = self.open.get(&number) else { return Ok(None) };
        let text = SegmentText::read(file, number).map_err(OpenError::io("read", path))?;
        text.known(path).map(Some)
    }

    fn keep(&mut self, text: &SegmentText) -> Result<(), OpenError> {
        let path = Segment::path(&self.target, text.number);
        std::fs::write(&path, &text.bytes).map_err(OpenError::io("write", &path))?;
        self.copied.insert(text.number, path);
        Ok(())
    }
}

/// Reads every segment of a folder, oldest first, for somebody who looks into them. Those that go meanwhile are left out.
pub(crate) fn look_into(
    folder: &Path,
    mut into: impl FnMut(&Path, Result<SegmentText, OpenError>),
) -> Result<(), OpenError> {
    for (number, path) in segments_in(folder).map_err(OpenError::io("read the folder", folder))? {
        match File::open(&path) {
            Ok(file) => {
                let text = SegmentText::read(&file, number).map_err(OpenError::io("read", &path));
                into(&path, text.and_then(|text| text.known(&path)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => into(&path, Err(OpenError::io("open", &path)(error))),
        }
    }
    Ok(())
}
