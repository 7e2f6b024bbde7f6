//! Container images that a node holds itself, unpacked, so that no container engine is needed to run them.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// How an image wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Program and arguments: entry point, then command. May be empty: then the image cannot be run.
    pub command: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Absolute path of the working folder.
    pub working_dir: String,
    /// Number of its user.
    pub uid: u32,
    /// Number of its user's group.
    pub gid: u32,
    /// Home folder of its user.
    pub home: String,
}

/// An image that may be run for as long as this is held: it is not removed meanwhile.
#[derive(Clone)]
pub struct HeldImage {
    /// Name by content, as `sha256:…`.
    pub id: String,
    /// Folders of the host, lowest first, that make up its file system as the layers of an overlay; removals are
    /// marked the overlay's way. Shared, never written.
    pub layers: Vec<PathBuf>,
    /// How it wants to be run.
    pub config: ImageConfig,
    hold: Arc<dyn Any + Send + Sync>,
}

impl HeldImage {
    /// An image that stays until `hold` is dropped.
    #[must_use]
    pub fn new(
        id: String,
        layers: Vec<PathBuf>,
        config: ImageConfig,
        hold: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { id, layers, config, hold }
    }
}

impl std::fmt::Debug for HeldImage {
    /// Without the environment, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let holders = Arc::strong_count(&self.hold);
        f.debug_struct("HeldImage").field("id", &self.id).field("holders", &holders).finish_non_exhaustive()
    }
}

/// Holds images.
pub trait ImageStore: Send + Sync {
    /// True if there is an image of this name. Asked for every call of an image: cheap.
    fn has(&self, reference: &str) -> bool;

    /// The image of this name, kept until what is returned is dropped. Reads a small file.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn hold(&self, reference: &str) -> io::Result<Option<HeldImage>>;
}
