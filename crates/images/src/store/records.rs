//! What is written down of the images: one record each, and one index of names, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::config::RunConfig;

/// Most bytes of a record or of the index.
const MAX_FILE: u64 = 16 << 20;

/// Names of images, written out, and the images that bear them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) references: BTreeMap<String, Digest>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: Digest,
    /// When it was made, in the words of its maker.
    pub(super) created: Option<String>,
    /// Lowest first.
    pub(super) layers: Vec<LayerRecord>,
    pub(super) run: RunConfig,
    /// Who its user is, by its own list of users.
    pub(super) user: User,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) diff_id: Digest,
    pub(super) bytes: u64,
}

/// A user in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

/// Reads a document; `None` if there is none.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let reader = io::BufReader::new(io::Read::take(file, MAX_FILE));
    serde_json::from_reader(reader)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces a document as a whole, by way of a file in `scratch`.
pub(super) fn write(path: &Path, scratch: &Path, document: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(document).map_err(io::Error::other)?;
    let partial = scratch.join("document");
    let mut file = fs::File::create(&partial)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(partial, path)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
