//! Container images without a container engine: archives are read, checked and unpacked here, once.
//!
//! [`Images`] is a store in the data folder that commands fill and running nodes read. What it holds of an image is a
//! stack of folders, one per layer and each shared by every image that has the layer, and the configuration that the
//! image brings. Archives are made by strangers: every size is bounded, every digest verified, and nothing they name
//! lies outside the folder of its layer. Running images is the sandbox's work.

mod archive;
mod bounds;
mod config;
mod digest;
mod error;
mod layer;
mod reference;
mod store;

pub use bounds::Bounds;
pub use digest::Digest;
pub use error::ImageError;
pub use reference::Reference;
pub use store::{Images, Imported, Listed, Progress, Removed};
