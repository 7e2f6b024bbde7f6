//! The one log of what happened to activations.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{ActivationId, Event, FullyQualifiedName, Invocation, RawJson, Version};

use crate::StoreError;

/// How far the log reached after an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Where the log ends, whenever that is asked: behind everything that was appended until then.
    pub const END: Self = Self(u64::MAX);
}

/// The event log. An append survives the death of the process when it returns; power loss only after a sync.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends one event. A copy into memory: never waits for a disk. Of a `Finished` event the record is
    /// readable in the activation store when this returns.
    /// Errors: [`StoreError::Full`] when no segment can be made; `Finished` and `Ended` are taken even then, as long
    /// as their `Accepted` was, and other events as long as there is room in the segment that there is.
    /// [`StoreError::Unavailable`] for an `Accepted` that nobody waits for, or that is to be synced, while the disk is too
    /// slow or has failed: nothing is accepted then that could not be kept. Steps of open work are not refused for that.
    fn append(&self, event: &Event) -> Result<Position, StoreError>;

    /// Waits until everything up to this position is on the disk.
    async fn sync(&self, position: Position) -> Result<(), StoreError>;

    /// Why work that nobody waits for, or that is to be synced, is not accepted at the moment; `None` if it is.
    fn refusal(&self) -> Option<StoreError> {
        None
    }

    /// Ids of the activations that an earlier life of the node accepted and did not finish, oldest first: what lies in
    /// others comes after them. Each is to be taken up once.
    fn inherited(&self) -> Vec<ActivationId>;

    /// A number that stays the same from life to life of the node for as long as nothing can have been lost that was
    /// appended, synced or not: the machine has not gone down. `None` where that is not known.
    fn era(&self) -> Option<u64> {
        None
    }

    /// Unfinished work of an earlier life, for whoever asks first. Reads one event, which may wait for the disk.
    fn take_up(&self, id: &ActivationId) -> Result<TakenUp, StoreError>;

    /// What was accepted, of an activation under way. Reads one event, which may wait for the disk.
    fn accepted(&self, id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError>;

    /// Activations that are under way at the moment, accepted and neither finished nor ended: the oldest first, at most
    /// this many. For operators: it reads the events of all that it returns, and must be called where that may block.
    fn open(&self, most: usize) -> Result<Vec<OpenActivation>, StoreError>;

    /// How many activations are under way at the moment.
    fn open_count(&self) -> usize;
}

/// An activation under way. Displays as `ns/[package/]name@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenActivation {
    /// Its id.
    pub activation_id: ActivationId,
    /// What it runs.
    pub action: FullyQualifiedName,
    /// Version of that.
    pub version: Version,
}

impl fmt::Display for OpenActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.action, self.version)
    }
}

/// Work that the log knows to be accepted and not finished.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// What was accepted.
    pub invocation: Arc<Invocation>,
    /// Highest attempt that reached a runtime; `None` if none did.
    pub started: Option<u32>,
    /// State of the last [`Progress`](Event::Progress): of a session its opener's, of an action the scheduler's.
    pub progress: Option<RawJson>,
    /// Nothing that was appended of it can be missing. False if the machine may have gone down since it was accepted: then
    /// what was not synced may be lost.
    pub is_whole: bool,
}

/// What became of work that somebody wants to take up.
#[derive(Debug, Clone)]
pub enum TakenUp {
    /// It is the asker's now.
    Taken(Box<Unfinished>),
    /// Somebody else has it.
    Elsewhere,
    /// It ended; whether its record is still there, or ever was, the log does not know. It remembers the end for as long as
    /// what it was a step of is open.
    Ended,
    /// The log knows nothing of it: it was never accepted, or what it was a step of is over.
    Unknown,
}
