//! Removing a name, and with the last one the image.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

use super::Images;
use super::import::reference;
use crate::{Digest, ImageError};

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The name, written out.
    pub reference: String,
    /// The image that had it.
    pub id: Digest,
    /// True if that was its last name, so that the image went too.
    pub image_gone: bool,
    /// Bytes of files that went.
    pub freed: u64,
}

impl Images {
    /// Removes a name, and the image if it has no other one, with the layers that no other image has.
    ///
    /// # Errors
    /// [`ImageError::Unknown`]; [`ImageError::InUse`] while a node runs it and this is its last name; and what the
    /// disk says.
    pub fn remove(&self, name: &str) -> Result<Removed, ImageError> {
        let reference = reference(name)?;
        let change = self.change()?;
        let mut index = change.index()?;
        let Some(id) = index.references.remove(reference.as_str()) else {
            return Err(ImageError::Unknown(name.to_owned()));
        };
        let image_gone = !index.references.values().any(|other| *other == id);
        // Held until the names are written: from here on no node can begin to use it.
        let path = self.record_path(&id);
        let hold = match File::open(&path) {
            Ok(file) if image_gone => Some(file),
            _ => None,
        };
        if let Some(file) = &hold {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(ImageError::InUse(name.to_owned())),
                Err(error) => return Err(ImageError::at(&path)(error.into())),
            }
        }
        change.write(&self.index_path(), &index)?;
        drop(hold);
        let freed = change.sweep()?;
        Ok(Removed { reference: reference.to_string(), id, image_gone, freed })
    }
}
