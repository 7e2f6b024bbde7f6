//! Why an image cannot be imported, listed or removed. Each text says what happened and what to do next.

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is no archive of images.
    #[error("{}: {why}; `docker save`, `podman save` and `skopeo copy` write archives that can be imported", file.display())]
    NotAnImage {
        /// What was to be imported.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A layer holds what no layer may.
    #[error("the layer {layer} is refused: {why}")]
    Layer {
        /// Which.
        layer: Digest,
        /// What it holds.
        why: String,
    },
    /// Content is not what its name says.
    #[error(
        "{what} has the digest {found} and should have {expected}: the archive is damaged or was changed; fetch it again"
    )]
    Digest {
        /// What was read.
        what: String,
        /// What its name or its manifest says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// For another machine.
    #[error("the image is for {image} and this machine runs {machine}; save it with `--platform {machine}`")]
    Platform {
        /// What it is for, as `linux/arm64`.
        image: String,
        /// What runs here.
        machine: String,
    },
    /// It would not fit.
    #[error("the disk below {} has no room for the image: {free} bytes are free and {} stay so; make room, or move the data folder", folder.display(), reserve)]
    Full {
        /// The store.
        folder: PathBuf,
        /// What is free.
        free: u64,
        /// What must stay free.
        reserve: u64,
    },
    /// No name for it.
    #[error("{0}")]
    Name(String),
    /// There is none of this name.
    #[error("there is no image '{0}'; `chasen image list` shows those that are there")]
    Unknown(String),
    /// A node runs it.
    #[error(
        "the image '{0}' is in use: stop its containers (they end by themselves when idle), or the node, and try again"
    )]
    InUse(String),
    /// Somebody else's store.
    #[error("the images below {} belong to user {owner}; do this as that user", folder.display())]
    Owner {
        /// The store.
        folder: PathBuf,
        /// Number of its user.
        owner: u32,
    },
    /// The disk.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ImageError {
    /// For `map_err` around work on a path.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { path: path.into(), source }
    }
}
