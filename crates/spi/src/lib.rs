//! The sockets of the platform: one trait per file, named alike everywhere.
//!
//! Rooms meet here and only here. Each socket has its error type and, where doubles are useful, an in-memory
//! reference in [`memory`] and a conformance suite in [`conformance`] that every implementation runs.

pub mod activation_store;
pub mod artifact_store;
pub mod attachment_store;
pub mod conformance;
pub mod container_factory;
pub mod dead_letter;
pub mod entitlement;
pub mod event_log;
pub mod idempotency_store;
pub mod image_store;
pub mod invoke;
pub mod invoker;
pub mod memory;
pub mod node_status;
pub mod parameter_lock;
pub mod placement;
pub mod pressure;
pub mod runtimes;
pub mod scaling;
pub mod store_error;
pub mod subject_store;

pub use activation_store::{ActivationQuery, ActivationStore, RecordVisitor};
pub use artifact_store::{ArtifactStore, Change, Collection, Document, DocumentId, DocumentQuery};
pub use attachment_store::AttachmentStore;
pub use container_factory::{Container, ContainerFactory, ContainerSpec, CreateError, RunReply};
pub use dead_letter::{DeadLetter, DeadLetterQuery, DeadLetterStore};
pub use entitlement::{Entitlement, NoGrants, Privilege, Resource};
pub use event_log::{EventLog, OpenActivation, Position, TakenUp, Unfinished};
pub use idempotency_store::{Claim, IdempotencyStore, KeyedRequest};
pub use image_store::{HeldImage, ImageConfig, ImageStore};
pub use invoke::{
    Cancelled, Invoke, OpenSession, PendingQuery, Rejection, Resumed, Session, Sessions, Ticket, UnderWay,
};
pub use invoker::{
    Invoker, ReadyContainer, RunFailure, RunReport, StartFailure, StartRequest, StartedContainer,
};
pub use node_status::{InvokerState, NodeStatus};
pub use parameter_lock::{LockError, NoLock, ParameterLock};
pub use placement::{
    Choice, FleetNode, Need, NoNode, NodeView, Patience, Placement, Reservation, ReserveFailure,
};
pub use pressure::CpuPressure;
pub use runtimes::{Runtimes, RuntimesKeeper};
pub use scaling::{Decision, Load, Scaling};
pub use store_error::StoreError;
pub use subject_store::{SubjectDocument, SubjectNamespace, SubjectStore};

/// A boxed future that owns everything it needs.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'static>>;
