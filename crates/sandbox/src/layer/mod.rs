//! Layers: the code of each action, unpacked once and shared, never written, by all its sandboxes.
//!
//! A layer is a folder below the store's own; it is built beside its place and renamed into it, so that a layer is
//! whole or absent. Layers are a cache: what a former life of the node left is removed at start.

mod store;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chasen_runtime::code::{self, UnpackError};
pub use chasen_runtime::code::{BadCode, Bounds, Shape};
use tokio::sync::Semaphore;

pub(crate) use store::Store;

/// What is kept of layers that no sandbox uses.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Bytes of all layers, used ones included; the longest unused go first.
    pub total: u64,
    /// How long an unused layer stays.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { total: 2 << 30, age: Duration::from_secs(3600) }
    }
}

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The code is to blame.
    #[error(transparent)]
    Code(#[from] BadCode),
    /// The node is.
    #[error("the code could not be unpacked below {}: {source}", folder.display())]
    Disk {
        /// The store.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder that cells see below their own changes.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    shape: Shape,
    bytes: u64,
    /// Whether the folder stays when the last holder lets go.
    lasting: AtomicBool,
}

impl Layer {
    /// A layer whose folder goes with its last holder.
    pub(crate) fn new(path: PathBuf, shape: Shape, bytes: u64) -> Self {
        Self { path, shape, bytes, lasting: AtomicBool::new(false) }
    }

    /// A layer whose folder stays, for another life of the node, until it is given up.
    pub(crate) fn lasting(path: PathBuf, shape: Shape, bytes: u64) -> Self {
        Self { path, shape, bytes, lasting: AtomicBool::new(true) }
    }

    /// Lets the folder go with the last holder.
    fn give_up(&self) {
        self.lasting.store(false, Ordering::Relaxed);
    }

    /// The folder; files in it are readable and writable by everybody who can reach it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the code was.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        if !self.lasting.load(Ordering::Relaxed) {
            remove(&self.path);
        }
    }
}

/// The store of one node.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
    bounds: Bounds,
    /// Unpacking is work for processor and disk: not more at a time than there are processors.
    workers: Semaphore,
    /// By digest of the text, and whether it was taken as base64. Bad code stays bad, so that is remembered too.
    store: Store<(String, bool), BadCode>,
    built: AtomicU64,
}

impl Layers {
    /// Opens the store in `folder`, which is its own: what lies there is removed.
    ///
    /// # Errors
    /// When the folder cannot be made or emptied.
    pub fn open(folder: PathBuf, bounds: Bounds, retention: Retention) -> io::Result<Self> {
        discard(&folder)?;
        // Files in it are open to everybody; nobody else gets that far.
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let store = Store::new(retention, Duration::MAX);
        Ok(Self { folder, bounds, workers: Semaphore::new(workers), store, built: AtomicU64::new(0) })
    }

    /// The layer of the code `text`, whose digest is `digest`; built if there is none, once however many ask.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub async fn layer(&self, digest: &str, text: &Bytes, binary: bool) -> Result<Arc<Layer>, LayerError> {
        let key = (digest.to_owned(), binary);
        let outcome = self.store.get(key, || self.build(text.clone(), binary)).await;
        Ok(outcome.map_err(|source| LayerError::Disk { folder: self.folder.clone(), source })??)
    }

    async fn build(&self, text: Bytes, binary: bool) -> io::Result<Result<Layer, BadCode>> {
        let number = self.built.fetch_add(1, Ordering::Relaxed) + 1;
        let _permit = self.workers.acquire().await.map_err(io::Error::other)?;
        let (bounds, path) = (self.bounds, self.folder.join(format!("{number:08}")));
        tokio::task::spawn_blocking(move || build(&text, binary, path, bounds))
            .await
            .map_err(io::Error::other)?
    }
}

/// Builds a layer beside `path` and renames it to there.
fn build(text: &[u8], binary: bool, path: PathBuf, bounds: Bounds) -> io::Result<Result<Layer, BadCode>> {
    let partial = path.with_extension("partial");
    make_open(&partial)?;
    let (shape, bytes) = match code::unpack(text, binary, partial.clone(), bounds) {
        Ok(unpacked) => unpacked,
        Err(error) => {
            remove(&partial);
            return match error {
                UnpackError::Code(bad) => Ok(Err(bad)),
                UnpackError::Disk(error) => Err(error),
            };
        }
    };
    fs::rename(&partial, &path)?;
    Ok(Ok(Layer::new(path, shape, bytes)))
}

/// Makes the root of a layer: a cell must be able to write to its copy.
pub(crate) fn make_open(path: &Path) -> io::Result<()> {
    DirBuilder::new().create(path)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
}

/// Moves what a former life of the node left out of the way and removes it meanwhile: there may be much of it.
fn discard(folder: &Path) -> io::Result<()> {
    let trash = folder.with_extension("old");
    let former = trash.join(std::process::id().to_string());
    let Some(parent) = folder.parent() else { return Ok(()) };
    fs::create_dir_all(parent)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&trash)?;
    match fs::rename(folder, &former) {
        // The same number again, after a restart of the machine.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) =>
        {
            fs::remove_dir_all(folder)?;
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::thread::Builder::new().name("old-layers".to_owned()).spawn(move || remove(&trash))?;
    Ok(())
}

pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "a layer of code could not be removed");
    }
}

#[cfg(test)]
mod tests;
