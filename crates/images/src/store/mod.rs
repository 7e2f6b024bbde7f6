//! The store: what lies in the folder, who may change it, and how running nodes keep images from going away.
//!
//! ```text
//! index.json          names, and the images that bear them
//! records/ID.json     an image; locked, shared, by every node that runs it
//! layers/DIGEST/      a layer, unpacked; shared by the images that have it
//! scratch/            what is being made
//! lock                held by whoever changes anything
//! ```
//! Whatever has its final name is whole: things are made in `scratch/` and renamed. What a killed import left there
//! goes with the next one, and layers that it had finished are not unpacked again.

mod import;
mod records;
mod remove;
pub(crate) mod space;
mod users;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use chasen_spi::image_store::{HeldImage, ImageConfig, ImageStore};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

pub use import::{Imported, Progress};
pub use remove::Removed;

use crate::{Bounds, Digest, ImageError, Reference};
use records::{Index, Record};

/// The images of one data folder.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    bounds: Bounds,
    names: Mutex<Names>,
}

/// The index as it was when it was last read, and how to tell that it has changed.
#[derive(Debug, Default)]
struct Names {
    seen: Option<Version>,
    index: Arc<Index>,
}

/// Tells one index file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    modified: SystemTime,
}

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// A name of it, written out.
    pub reference: String,
    /// Its identity.
    pub id: Digest,
    /// Bytes of all its layers; some may be shared.
    pub bytes: u64,
    /// When it was made, in the words of its maker.
    pub created: Option<String>,
    /// How many layers it has.
    pub layers: usize,
}

impl Images {
    /// The store in `folder`, which need not be there yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, bounds: Bounds) -> Self {
        Self { folder: folder.into(), bounds, names: Mutex::default() }
    }

    /// Every image, once for each of its names, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let index = self.index().map_err(ImageError::at(self.index_path()))?;
        let mut listed = Vec::new();
        for (reference, id) in &index.references {
            let path = self.record_path(id);
            // Removed since the index was read.
            let Some(record) = records::read::<Record>(&path).map_err(ImageError::at(path))? else {
                continue;
            };
            listed.push(Listed {
                reference: reference.clone(),
                id: record.id,
                bytes: record.layers.iter().map(|layer| layer.bytes).sum(),
                created: record.created,
                layers: record.layers.len(),
            });
        }
        Ok(listed)
    }

    /// The index as it is now; read only if it has changed.
    fn index(&self) -> io::Result<Arc<Index>> {
        let path = self.index_path();
        let version = match path.metadata() {
            Ok(meta) => Some(Version { inode: meta.ino(), modified: meta.modified()? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut names = self.names.lock();
        if names.seen != version {
            names.index = Arc::new(records::read(&path)?.unwrap_or_default());
            names.seen = version;
        }
        Ok(Arc::clone(&names.index))
    }

    /// Makes the folders and takes the lock. Clears away what a killed import left.
    fn change(&self) -> Result<Change<'_>, ImageError> {
        let make = |folder: PathBuf| {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(ImageError::at(folder))
        };
        make(self.folder.clone())?;
        let owner = self.folder.metadata().map_err(ImageError::at(&self.folder))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(ImageError::Owner { folder: self.folder.clone(), owner });
        }
        let path = self.folder.join("lock");
        let lock = File::create(&path).map_err(ImageError::at(&path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| ImageError::at(&path)(error.into()))?;
        let scratch = self.folder.join("scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(ImageError::at(&scratch))?;
        }
        make(scratch.clone())?;
        make(self.folder.join("layers"))?;
        make(self.folder.join("records"))?;
        Ok(Change { store: self, scratch, _lock: lock })
    }

    fn index_path(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    fn record_path(&self, id: &Digest) -> PathBuf {
        self.folder.join("records").join(format!("{}.json", id.hex()))
    }

    fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.folder.join("layers").join(diff_id.hex())
    }

    /// Takes a shared lock on an image's record and reads it; `None` if it is not there any more.
    fn locked(&self, id: &Digest) -> io::Result<Option<(File, Record)>> {
        let path = self.record_path(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {}
            // Whoever holds it alone is removing it.
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Removed, or replaced, between the two steps.
        let is_current =
            path.metadata().is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino()));
        if !is_current {
            return Ok(None);
        }
        Ok(records::read(&path)?.map(|record| (file, record)))
    }
}

/// The right to change the store, and a place for what is being made.
struct Change<'a> {
    store: &'a Images,
    scratch: PathBuf,
    _lock: File,
}

impl Drop for Change<'_> {
    /// What was being made and did not get its name goes; if it cannot, it goes with the next change.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Change<'_> {
    fn index(&self) -> Result<Index, ImageError> {
        let path = self.store.index_path();
        Ok(records::read(&path).map_err(ImageError::at(path))?.unwrap_or_default())
    }

    fn write(&self, path: &Path, document: &impl serde::Serialize) -> Result<(), ImageError> {
        records::write(path, &self.scratch, document).map_err(ImageError::at(path))
    }

    /// Removes what no name leads to: records that nobody uses, and then layers that no record has. Returns the
    /// bytes of files that went.
    fn sweep(&self) -> Result<u64, ImageError> {
        let named: BTreeSet<Digest> = self.index()?.references.into_values().collect();
        let mut kept = BTreeSet::new();
        let records = self.store.folder.join("records");
        for path in entries(&records)? {
            let Some(record) = records::read::<Record>(&path).map_err(ImageError::at(&path))? else {
                continue;
            };
            if named.contains(&record.id) || !self.remove_record(&path)? {
                kept.extend(record.layers.into_iter().map(|layer| layer.diff_id));
            }
        }
        let mut freed = 0;
        for path in entries(&self.store.folder.join("layers"))? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if Digest::from_hex(&name).is_some_and(|digest| kept.contains(&digest)) {
                continue;
            }
            // Out of sight first: what has its name is whole.
            let doomed = self.scratch.join(name);
            fs::rename(&path, &doomed).map_err(ImageError::at(&path))?;
            freed += size(&doomed);
            fs::remove_dir_all(&doomed).map_err(ImageError::at(&doomed))?;
        }
        Ok(freed)
    }

    /// Removes a record unless a node uses the image.
    fn remove_record(&self, path: &Path) -> Result<bool, ImageError> {
        let file = File::open(path).map_err(ImageError::at(path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => fs::remove_file(path).map(|()| true).map_err(ImageError::at(path)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(ImageError::at(path)(error.into())),
        }
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let listing = fs::read_dir(folder).map_err(ImageError::at(folder))?;
    let paths = listing.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>();
    paths.map_err(ImageError::at(folder))
}

/// Bytes of the files below a folder.
fn size(folder: &Path) -> u64 {
    let listing = fs::read_dir(folder).into_iter().flatten().flatten();
    listing
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}

impl ImageStore for Images {
    fn has(&self, reference: &str) -> bool {
        let known = |reference: Reference| match self.index() {
            Ok(index) => index.references.contains_key(reference.as_str()),
            Err(error) => {
                tracing::warn!(%error, folder = %self.folder.display(), "the index of imported images cannot be read");
                false
            }
        };
        Reference::parse(reference).is_some_and(known)
    }

    fn hold(&self, reference: &str) -> io::Result<Option<HeldImage>> {
        let Some(reference) = Reference::parse(reference) else { return Ok(None) };
        let index = self.index()?;
        let Some(id) = index.references.get(reference.as_str()) else { return Ok(None) };
        let Some((file, record)) = self.locked(id)? else { return Ok(None) };
        let layers = record.layers.iter().map(|layer| self.layer_path(&layer.diff_id)).collect();
        let config = ImageConfig {
            command: record.run.command,
            env: record.run.env,
            working_dir: record.run.working_dir,
            uid: record.user.uid,
            gid: record.user.gid,
            home: record.user.home,
        };
        Ok(Some(HeldImage::new(record.id.to_string(), layers, config, Arc::new(file))))
    }
}
