//! The engines of a node that needs nothing else: everything durable lies in one data folder.
//!
//! | in the folder | what | who |
//! |---|---|---|
//! | `format` | version of the folder | `format` |
//! | `node.lock` | which node uses the folder | [`lock`] |
//! | `node.key` | key that secrets are sealed with | `node_key` |
//! | `parameters.key` | key that parameters are locked with where nobody gave one | [`ParameterKeys`] |
//! | `entities.db` | entities, subjects, limits | `entities`, [`Subjects`] |
//! | `dead-letters.db` | work that was given up | `dead_letters` |
//! | `idempotency.db` | keys of requests | `idempotency` |
//! | `attachments/ab/<sha256>` | code | `attachments` |
//! | `events/<number>.log` | what happened to activations | `event_log` |
//! | `activations/<created>.db` | records of activations, a file per time segment | `activations` |
//!
//! [`Embedded::open`] opens them all; [`ParameterKeys`] locks parameters before they come here. This room never decides
//! what runs; it keeps what others decided.

mod activations;
mod attachments;
mod background;
pub mod backup;
mod database;
mod dead_letters;
mod embedded;
mod entities;
mod event_log;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
#[cfg(not(any(test, feature = "faults")))]
mod faults;
mod files;
mod format;
mod idempotency;
pub mod lock;
mod node_key;
mod open_error;
mod parameter_keys;
mod places;
mod sqlite;
mod subjects;

pub use embedded::{Embedded, EmbeddedConfig};
pub use open_error::OpenError;
pub use parameter_keys::{ParameterKeyError, ParameterKeys, ParameterKeysConfig};
pub use subjects::Subjects;
