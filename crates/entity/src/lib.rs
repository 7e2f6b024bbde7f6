//! The nouns of the platform: names, identities, actions, packages, triggers, rules, activations, limits,
//! parameters, messages.
//!
//! Everybody uses this room; it uses nobody. No IO, no async, no clock: values and rules only.

pub mod action;
pub mod activation;
pub mod activation_id;
pub mod delivery;
pub mod durability;
pub mod error_text;
pub mod event;
pub mod exec;
pub mod fault;
pub mod frame;
pub mod given;
pub mod identity;
pub mod image;
pub mod invocation;
pub mod json;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod network;
pub mod package;
pub mod parameters;
pub mod resource_use;
pub mod response;
pub mod rule;
pub mod scheduling_policy;
pub mod size;
pub mod store_level;
pub mod transaction_id;
pub mod trigger;
pub mod user_limits;
pub mod version;

pub use action::{Action, ExecutableAction};
pub use activation::Activation;
pub use activation_id::{ActivationId, ById};
pub use delivery::{Delivery, max_attempts};
pub use durability::Durability;
pub use event::Event;
pub use exec::{Code, Exec};
pub use fault::{Blame, Fault};
pub use given::Given;
pub use identity::{AuthKey, Identity, Namespace, Subject};
pub use image::{ImageReference, ImageVersion};
pub use invocation::{ActionKey, Invocation, Role};
pub use json::RawJson;
pub use limits::{ActionLimits, LimitBounds, PayloadLimits};
pub use manifest::Manifest;
pub use name::{EntityName, EntityPath, FullyQualifiedName, Location};
pub use network::{NetworkPolicy, Subnet};
pub use package::{Binding, Package};
pub use parameters::{Parameter, Parameters};
pub use resource_use::{ResourceUse, StartKind};
pub use response::{Outcome, Response};
pub use rule::Rule;
pub use scheduling_policy::SchedulingPolicy;
pub use size::ByteSize;
pub use store_level::StoreLevel;
pub use transaction_id::TransactionId;
pub use trigger::{RuleLink, Status, Trigger};
pub use user_limits::{TimeoutStatus, UserLimits};
pub use version::Version;

/// Milliseconds since the epoch: every time in documents and messages.
pub type Millis = u64;

/// The number of a stored state of an entity; a later state of any entity has a larger one.
pub type Revision = u64;
