//! What every implementation of a socket must do; each one's tests call these.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "called from tests only")]

mod activations;
mod containers;
mod durable;
mod entities;
mod subjects;

pub use activations::{LeftWork, event_log, leave_work, taken_up_work};
pub use containers::{Probe, Sample, Samples, container_factory};
pub use durable::{dead_letter_store, idempotency_store};
pub use entities::{artifact_store, attachment_store};
pub use subjects::subject_store;

#[cfg(test)]
mod tests {
    use crate::memory::{
        MemoryArtifactStore, MemoryAttachmentStore, MemoryDeadLetterStore, MemoryEventLog,
        MemoryIdempotencyStore, MemorySubjectStore,
    };

    #[tokio::test]
    async fn the_memory_references_conform() {
        super::artifact_store(&MemoryArtifactStore::default()).await;
        super::attachment_store(&MemoryAttachmentStore::default()).await;
        let log = MemoryEventLog::default();
        super::event_log(&log, &log).await;
        let left = super::leave_work(&log);
        super::taken_up_work(&log.next_life(false), &left);
        super::subject_store(&MemorySubjectStore::default()).await;
        super::dead_letter_store(&MemoryDeadLetterStore::default()).await;
        super::idempotency_store(&MemoryIdempotencyStore::default(), 1_000_000).await;
    }
}
