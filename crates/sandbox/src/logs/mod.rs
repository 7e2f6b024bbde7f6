//! What a function prints: read from its two pipes, cut at the end of each activation, bounded by its limit.
//!
//! There are no sentinels. A launcher flushes before it replies, so when the reply is there everything that the
//! activation printed lies in the pipes: they are drained and the cut is made there. What is printed later (by
//! something left running) belongs to the next activation, as does what an initialisation printed.
//!
//! Activations that are in a container at the same time share its pipes. What they print comes in the launcher's
//! frames, each piece with the activation that it belongs to; what comes through the pipes nevertheless (of native code,
//! child processes, the loading of the code) goes to the one that ends next.

mod output;
mod shared;

pub(crate) use output::Output;
pub(crate) use shared::{OwnLog, Together};
