//! One layer: read, verified and unpacked into a folder of its own, in the form that overlays stack.

mod access;
mod tree;
mod unpack;
pub(crate) mod whiteout;

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use crate::archive::{Blob, FoundLayer, decoder};
use crate::digest::Hashing;
use crate::store::space::Space;
use crate::{Bounds, ImageError};

/// What a layer became.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Device files, pipes and sockets that were left out: sandboxes have their own.
    pub(crate) left_out: u64,
}

/// Why a layer is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    /// The archive is to blame.
    #[error("{0}")]
    Bad(String),
    /// It would not fit.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The disk is.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Unpacks a layer into `folder`, a new empty one, and verifies it. `read` is told the bytes of the blob as they pass.
///
/// # Errors
/// What is wrong with it; what was written by then stays.
pub(crate) fn unpack(
    layer: &FoundLayer,
    blob: Blob<'_>,
    folder: &Path,
    bounds: &Bounds,
    space: &mut Space,
    read: &dyn Fn(u64),
) -> Result<Unpacked, ImageError> {
    let bad = |why: String| ImageError::Layer { layer: layer.diff_id.clone(), why };
    let damaged = |error: io::Error| bad(format!("it is damaged: {error}"));
    let by_ratio = blob.length.saturating_mul(bounds.ratio).saturating_add(bounds.ratio_free);
    let most = bounds.total.min(by_ratio);
    let mut packed = Hashing::new(Told { inner: blob.reader, read });
    let reader = decoder(&mut packed).map_err(damaged)?.map_err(bad)?;
    let mut plain = Hashing::new(Limited { inner: reader, left: most, most });
    // Holes in files take room, and no bytes of the archive: the ratio holds for what is written, too.
    let bounds = Bounds { total: most, ..*bounds };
    let unpacked = unpack::entries(&mut plain, folder, &bounds, space).map_err(|error| match error {
        LayerError::Bad(why) => bad(why),
        LayerError::Image(error) => error,
        LayerError::Disk(source) => space.failed(folder, source),
    })?;
    // What follows the archive's end belongs to the digests too.
    let (found, _) = plain.finish().map_err(damaged)?;
    if found != layer.diff_id {
        let what = "a layer".to_owned();
        return Err(ImageError::Digest { what, expected: layer.diff_id.clone(), found });
    }
    let (found, _) = packed.finish().map_err(damaged)?;
    match &layer.packed {
        Some(expected) if *expected != found => {
            Err(ImageError::Digest { what: "a packed layer".to_owned(), expected: expected.clone(), found })
        }
        _ => Ok(unpacked),
    }
}

fn too_much(most: u64) -> String {
    format!("it unpacks to more than {most} bytes, which its packed size does not account for")
}

/// A reader that tells how much passed.
struct Told<'a, R> {
    inner: R,
    read: &'a dyn Fn(u64),
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.read)(count as u64);
        Ok(count)
    }
}

/// A reader that fails instead of giving more than `most` bytes.
struct Limited<R> {
    inner: R,
    left: u64,
    most: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(too_much(self.most))),
        }
        Ok(count)
    }
}

/// A reader that fails instead of giving more than `left` bytes on end: the archive reader keeps headers and long
/// names in memory, however long they are.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("an entry's header is too long"))?);
        Ok(count)
    }
}
