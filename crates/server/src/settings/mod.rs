//! Settings: one tree, each key settable by file, environment and flag, declared in one place.
//!
//! [`Settings::declare`] is the table of all keys: reading a key declares its name, kind, default and meaning.
//! What `chasen config` prints and `docs/settings.md` says follows from it.

mod check;
mod layers;
mod problem;
mod reader;
mod reference;
mod tree;
mod value;

pub use layers::{Layers, Origin};
pub use problem::{Problem, SettingsError};
pub use reader::Row;
pub use reference::{effective, reference};
pub use tree::{
    Activations, Admin, Limits, Log, NamespaceLimits, Node, Packages, ParameterStorage, Runtimes, Sandbox,
    Server, Settings, Tls,
};
pub use value::{Auto, Bound, Listen, Secret, Value};
