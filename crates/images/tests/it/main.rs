//! Archives are imported, listed and removed through the room's public door.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at the first surprise"
)]

mod archives;
mod build;
mod escape;
mod layers;
mod store;

use std::path::{Path, PathBuf};

use chasen_images::{Bounds, ImageError, Images};
use chasen_spi::ImageStore;
use serde_json::{Value, json};

use build::{Item, config, docker_save, layer};

/// A store of its own, and a place for archives.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) images: Images,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::bounded(|_| {})
    }

    /// In memory where that can be had: for many imports, each of which waits for its disk.
    pub(crate) fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let images = Images::new(folder.path().join("images"), Bounds { reserve: 1, ..Bounds::default() });
        Self { folder, images }
    }

    pub(crate) fn bounded(change: impl FnOnce(&mut Bounds)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bounds = Bounds { reserve: 1, ..Bounds::default() };
        change(&mut bounds);
        let images = Images::new(folder.path().join("images"), bounds);
        Self { folder, images }
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.path().join("archive.tar")
    }

    /// Imports an image `t` of these layers.
    pub(crate) fn import(&self, run: &Value, layers: &[Vec<u8>]) -> Result<(), ImageError> {
        docker_save(&self.archive(), &["t:latest"], &config(run, layers), layers);
        self.images.import(&self.archive(), None, &()).map(|_| ())
    }

    /// Imports an image of one layer; the folder of the layer.
    pub(crate) fn unpack(&self, items: &[Item]) -> Result<PathBuf, ImageError> {
        self.import(&json!({}), &[layer(items)])?;
        Ok(self.layer_folders("t")[0].clone())
    }

    pub(crate) fn layer_folders(&self, name: &str) -> Vec<PathBuf> {
        self.images.hold(name).unwrap().unwrap().layers
    }

    /// What lies in a folder of the store.
    pub(crate) fn entries(&self, name: &str) -> usize {
        self.folder.path().join("images").join(name).read_dir().map_or(0, Iterator::count)
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
