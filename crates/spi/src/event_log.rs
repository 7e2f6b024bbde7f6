//! The one log of what happened to activations.

use async_trait::async_trait;
use chasen_entity::Event;

use crate::StoreError;

/// How far the log reached after an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The event log. An append survives the death of the process when it returns; power loss only after a sync.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends one event. A copy into memory: never waits for a disk. Of a `Finished` event the record is
    /// readable in the activation store when this returns.
    /// Errors: [`StoreError::Full`] when no segment can be made; `Finished` is taken even then, as long as
    /// its `Accepted` was.
    fn append(&self, event: &Event) -> Result<Position, StoreError>;

    /// Waits until everything up to this position is on the disk.
    async fn sync(&self, position: Position) -> Result<(), StoreError>;

    /// Activations that an earlier life of the node accepted and did not finish, oldest first, each with
    /// the attempts that were started. Asked once, at start.
    fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError>;
}

/// Work that the log knows to be accepted and not finished.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// What was accepted.
    pub invocation: std::sync::Arc<chasen_entity::Invocation>,
    /// Highest attempt that reached a runtime; `None` if none did.
    pub started: Option<u32>,
}
