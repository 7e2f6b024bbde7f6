//! What an activation outlives.

use serde::{Deserialize, Serialize};

/// What the events of an activation outlive; the later one is the stronger. Written as in `memory`, `synced`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The death of the node's process.
    #[default]
    Memory,
    /// A power cut: they are on the disk before anybody is told, and before the function runs.
    Synced,
}

impl Durability {
    /// Both, the weaker first.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Synced];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Synced => "synced",
        }
    }

    /// The one that this word names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// True for the one that documents need not name.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        *self == Self::Memory
    }
}
