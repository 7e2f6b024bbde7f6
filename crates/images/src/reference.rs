//! Names of images, written out: whatever short form people use, one image has one name.

use std::fmt;

use chasen_entity::ImageReference;

/// A whole name: registry, repository, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(String);

impl Reference {
    /// Reads a name as people and actions write it; `None` for what is no name of an image.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ImageReference::parse(text).map(|reference| Self(reference.whole()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
