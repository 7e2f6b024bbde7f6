//! Taking images from an archive.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::records::{LayerRecord, Record};
use super::space::Space;
use super::{Change, Images, users};
use crate::archive::{Archive, Found};
use crate::layer;
use crate::{Bounds, Digest, ImageError, Reference};

/// Is told how an import goes on.
pub trait Progress {
    /// So many bytes of layers are to be read.
    fn begin(&self, bytes: u64);
    /// So many of them were read, or need not be.
    fn advance(&self, bytes: u64);
}

/// Nobody is told.
impl Progress for () {
    fn begin(&self, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// An image that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its names, written out.
    pub references: Vec<String>,
    /// Its identity.
    pub id: Digest,
    /// Layers that were there already.
    pub shared_layers: usize,
    /// Layers that were unpacked.
    pub new_layers: usize,
    /// Device files, pipes and sockets of the new layers that were left out.
    pub left_out: u64,
}

impl Images {
    /// Imports every image of an archive, a file or a folder. An archive with one image may have it named `name`.
    ///
    /// What was imported under the same name before loses it. Blocks for as long as reading, unpacking and verifying
    /// take; a killed import leaves whole layers or nothing.
    ///
    /// # Errors
    /// See [`ImageError`]; no name is given then.
    pub fn import(
        &self,
        file: &Path,
        name: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, ImageError> {
        let name = name.map(reference).transpose()?;
        let change = self.change()?;
        let archive = Archive::open(file, &change.scratch, self.bounds)?;
        let mut images = archive.images(file)?;
        give_name(&mut images, name, file)?;
        let outcome = change.take(&archive, file, &images, progress);
        // Layers that no image came to have go; finished ones of an import that was killed do not get here.
        change.sweep()?;
        outcome
    }
}

/// Reads the name of an image as people write it.
pub(super) fn reference(text: &str) -> Result<Reference, ImageError> {
    Reference::parse(text)
        .ok_or_else(|| ImageError::Name(format!("'{text}' is no name of an image; write REPOSITORY:TAG")))
}

/// Sees to it that every image has a name.
fn give_name(images: &mut [Found], name: Option<Reference>, file: &Path) -> Result<(), ImageError> {
    match (images, name) {
        ([one], Some(name)) => one.names = vec![name],
        (many, Some(_)) => {
            let text =
                format!("{} holds {} images, so that one name is not enough", file.display(), many.len());
            return Err(ImageError::Name(format!("{text}; leave --name away")));
        }
        (images, None) => {
            if let Some(image) = images.iter().find(|image| image.names.is_empty()) {
                let text = format!("{} gives no name to the image {}", file.display(), image.id);
                return Err(ImageError::Name(format!("{text}; give it one with --name REPOSITORY:TAG")));
            }
        }
    }
    Ok(())
}

impl Change<'_> {
    fn take(
        &self,
        archive: &Archive,
        file: &Path,
        images: &[Found],
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, ImageError> {
        let mut total = 0_u64;
        for layer in images.iter().flat_map(|image| &image.layers) {
            total = total.saturating_add(archive.layer(file, layer)?.length);
        }
        progress.begin(total);
        let mut work = Work {
            change: self,
            archive,
            file,
            progress,
            space: Space::new(&self.scratch, self.store.bounds.reserve)?,
            left: self.store.bounds.total,
        };
        let mut imported = Vec::new();
        let mut records = Vec::new();
        for image in images {
            let (record, outcome) = work.image(image)?;
            records.push(record);
            imported.push(outcome);
        }
        let mut index = self.index()?;
        for (record, image) in records.iter().zip(images) {
            let path = self.store.record_path(&record.id);
            // A record that is there is the same, and may be locked by a node.
            if !path.exists() {
                self.write(&path, record)?;
            }
            index.references.extend(image.names.iter().map(|name| (name.to_string(), record.id.clone())));
        }
        self.write(&self.store.index_path(), &index)?;
        Ok(imported)
    }
}

/// The work of one import.
struct Work<'a> {
    change: &'a Change<'a>,
    archive: &'a Archive,
    file: &'a Path,
    progress: &'a dyn Progress,
    space: Space,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl Work<'_> {
    fn image(&mut self, image: &Found) -> Result<(Record, Imported), ImageError> {
        let refused = |why: String| ImageError::NotAnImage { file: self.file.to_owned(), why };
        let run = image.document.run_config().map_err(refused)?;
        let mut outcome = Imported {
            references: image.names.iter().map(ToString::to_string).collect(),
            id: image.id.clone(),
            shared_layers: 0,
            new_layers: 0,
            left_out: 0,
        };
        let mut layers = Vec::new();
        for layer in &image.layers {
            let path = self.change.store.layer_path(&layer.diff_id);
            if path.exists() {
                self.progress.advance(self.archive.layer(self.file, layer)?.length);
                outcome.shared_layers += 1;
            } else {
                outcome.left_out += self.layer(layer, &path)?;
                outcome.new_layers += 1;
            }
            layers.push(LayerRecord { diff_id: layer.diff_id.clone(), bytes: super::size(&path) });
        }
        let folders: Vec<PathBuf> =
            layers.iter().map(|layer| self.change.store.layer_path(&layer.diff_id)).collect();
        let user = users::find(&run.user, &folders).map_err(refused)?;
        let created = image.document.created.clone();
        Ok((Record { id: image.id.clone(), created, layers, run, user }, outcome))
    }

    /// Unpacks a layer beside its place and renames it to there. Returns how many entries were left out.
    fn layer(&mut self, layer: &crate::archive::FoundLayer, path: &Path) -> Result<u64, ImageError> {
        let partial = self.change.scratch.join(layer.diff_id.hex());
        fs::DirBuilder::new().mode(0o755).create(&partial).map_err(ImageError::at(&partial))?;
        let blob = self.archive.layer(self.file, layer)?;
        let bounds = Bounds { total: self.left, ..self.change.store.bounds };
        let advance = |bytes| self.progress.advance(bytes);
        let unpacked = layer::unpack(layer, blob, &partial, &bounds, &mut self.space, &advance)?;
        self.left = self.left.saturating_sub(unpacked.bytes);
        // A name must not outlive its content, should the machine lose power now.
        let folder = fs::File::open(&partial).map_err(ImageError::at(&partial))?;
        rustix::fs::syncfs(&folder).map_err(|error| ImageError::at(&partial)(error.into()))?;
        fs::rename(&partial, path).map_err(ImageError::at(path))?;
        Ok(unpacked.left_out)
    }
}
