//! How a cell comes to life, in the helper and in its newborn child.
//!
//! The helper prepares one mount namespace per root ([`tree`]); a birth is one `clone3` from inside it. The child
//! ([`inside`]) finishes the world around itself, gives up every right, and starts the program ([`program`]); what
//! is left of the child is the cell's first process: it collects orphans and takes the whole cell with it when the
//! program ends. Code is laid over a living cell from outside ([`code`]).

pub(crate) mod code;
pub(crate) mod fork_server;
pub(crate) mod home;
pub(crate) mod image_tree;
mod inside;
pub(crate) mod isolated;
pub(crate) mod news;
pub(crate) mod plain;
mod program;
pub(crate) mod rights;
pub(crate) mod tree;
