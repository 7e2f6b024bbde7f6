//! What every store can fail with.

use chasen_entity::{Blame, Fault};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The document changed since it was read, or exists although it should not (or the other way round).
    #[error("the document was changed by somebody else")]
    Conflict,
    /// The stored bytes are not what they should be.
    #[error("stored data of {what} is corrupt: {why}")]
    Corrupt {
        /// Which document or file.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No room on the disk. Nothing was written.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// The engine did not answer as it should. Nothing is known to be written.
    #[error("the store failed: {0}")]
    Unavailable(String),
}

impl Fault for StoreError {
    fn blame(&self) -> Blame {
        match self {
            Self::Conflict => Blame::Caller,
            Self::Corrupt { .. } => Blame::Platform,
            Self::Full(_) | Self::Unavailable(_) => Blame::Backend,
        }
    }

    fn retry(&self) -> bool {
        !matches!(self, Self::Corrupt { .. })
    }
}
