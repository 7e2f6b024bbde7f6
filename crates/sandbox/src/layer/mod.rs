//! Layers: the code of each action, unpacked once and shared, never written, by all its sandboxes.
//!
//! A layer is a folder below the store's own; it is built beside its place and renamed into it, so that a layer is
//! whole or absent. Layers are a cache: what a former life of the node left is removed at start.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chasen_runtime::code::{self, UnpackError};
pub use chasen_runtime::code::{BadCode, Bounds, Shape};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};

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

/// Unpacked code. The folder goes when the last holder lets go.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    shape: Shape,
    bytes: u64,
}

impl Layer {
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
        remove(&self.path);
    }
}

/// The store of one node.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
    bounds: Bounds,
    retention: Retention,
    /// Unpacking is work for processor and disk: not more at a time than there are processors.
    workers: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    built: u64,
}

/// Digest of the text, and whether it was taken as base64.
type Key = (String, bool);
/// What came of unpacking; bad code stays bad, so that is remembered too.
type Outcome = Result<Arc<Layer>, BadCode>;

#[derive(Debug)]
struct Entry {
    outcome: Arc<OnceCell<Outcome>>,
    used: Instant,
}

impl Entry {
    fn bytes(&self) -> u64 {
        match self.outcome.get() {
            // Bad code costs memory only; a page stands for it.
            Some(Ok(layer)) => layer.bytes.max(4096),
            Some(Err(_)) | None => 4096,
        }
    }

    /// True if nobody holds the layer or waits for it.
    fn is_unused(&self) -> bool {
        let waited_for = Arc::strong_count(&self.outcome) > 1;
        !waited_for
            && self
                .outcome
                .get()
                .is_none_or(|outcome| outcome.as_ref().map_or(true, |layer| Arc::strong_count(layer) == 1))
    }
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
        Ok(Self { folder, bounds, retention, workers: Semaphore::new(workers), state: Mutex::default() })
    }

    /// The layer of the code `text`, whose digest is `digest`; built if there is none, once however many ask.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub async fn layer(&self, digest: &str, text: &Bytes, binary: bool) -> Result<Arc<Layer>, LayerError> {
        let key = (digest.to_owned(), binary);
        let cell = {
            let mut state = self.state.lock();
            let entry = state
                .entries
                .entry(key)
                .or_insert_with(|| Entry { outcome: Arc::default(), used: Instant::now() });
            entry.used = Instant::now();
            Arc::clone(&entry.outcome)
        };
        let mut is_new = false;
        let outcome = cell
            .get_or_try_init(|| {
                is_new = true;
                self.build(text.clone(), binary)
            })
            .await;
        let outcome =
            outcome.map_err(|source| LayerError::Disk { folder: self.folder.clone(), source })?.clone();
        drop(cell);
        if is_new {
            self.sweep();
        }
        Ok(outcome?)
    }

    async fn build(&self, text: Bytes, binary: bool) -> io::Result<Outcome> {
        let number = {
            let mut state = self.state.lock();
            state.built += 1;
            state.built
        };
        let _permit = self.workers.acquire().await.map_err(io::Error::other)?;
        let (bounds, path) = (self.bounds, self.folder.join(format!("{number:08}")));
        tokio::task::spawn_blocking(move || build(&text, binary, path, bounds))
            .await
            .map_err(io::Error::other)?
    }

    /// Removes unused layers that are too old, then the longest unused while all are too large.
    fn sweep(&self) {
        let mut state = self.state.lock();
        let mut total: u64 = state.entries.values().map(Entry::bytes).sum();
        let mut unused: Vec<(Instant, Key, u64)> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_unused())
            .map(|(key, entry)| (entry.used, key.clone(), entry.bytes()))
            .collect();
        unused.sort_unstable();
        let mut removed = Vec::new();
        for (used, key, bytes) in unused {
            if total <= self.retention.total && used.elapsed() < self.retention.age {
                break;
            }
            total = total.saturating_sub(bytes);
            removed.extend(state.entries.remove(&key));
        }
        drop(state);
        if !removed.is_empty() {
            // Dropping a layer removes its files.
            tokio::task::spawn_blocking(move || drop(removed));
        }
    }
}

/// Builds a layer beside `path` and renames it to there.
fn build(text: &[u8], binary: bool, path: PathBuf, bounds: Bounds) -> io::Result<Outcome> {
    let partial = path.with_extension("partial");
    DirBuilder::new().create(&partial)?;
    fs::set_permissions(&partial, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
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
    Ok(Ok(Arc::new(Layer { path, shape, bytes })))
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

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "a layer of code could not be removed");
    }
}

#[cfg(test)]
mod tests;
