//! In-memory references of the sockets: doubles for tests, and the model that real stores are checked against.

mod activations;
mod containers;
mod durable;
mod entities;
mod subjects;

use chasen_entity::{
    Activation, ActivationId, EntityName, EntityPath, Millis, Outcome, Parameters, RawJson, Response,
    Subject, Version,
};

pub use activations::MemoryEventLog;
pub use containers::{MemoryContainerFactory, Notes, invocation};
pub use durable::{MemoryDeadLetterStore, MemoryIdempotencyStore};
pub use entities::{MemoryArtifactStore, MemoryAttachmentStore};
pub use subjects::{MemoryEntitlement, MemorySubjectStore};

/// A record for tests.
#[must_use]
#[expect(clippy::unwrap_used, reason = "the callers are tests with legal names")]
pub fn activation(namespace: &str, name: &str, start: Millis) -> Activation {
    Activation {
        namespace: EntityPath::parse(namespace).unwrap(),
        name: EntityName::new(name).unwrap(),
        subject: Subject::new("guest").unwrap(),
        activation_id: ActivationId::generate(),
        cause: None,
        start,
        end: start + 1,
        duration: None,
        response: Response {
            outcome: Outcome::Success,
            result: Some(RawJson::empty_object()),
            size: Some(2),
        },
        logs: Vec::new(),
        version: Version::default(),
        annotations: Parameters::new(),
        given: None,
    }
}

fn page<T>(all: Vec<T>, skip: u64, limit: u64) -> Vec<T> {
    let bound = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    all.into_iter().skip(bound(skip)).take(bound(limit)).collect()
}
