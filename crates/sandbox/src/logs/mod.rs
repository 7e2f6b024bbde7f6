//! What a function prints: read from its two pipes, cut at the end of each activation, bounded by its limit.
//!
//! There are no sentinels. A launcher flushes before it replies, so when the reply is there everything that the
//! activation printed lies in the pipes: they are drained and the cut is made there. What is printed later (by
//! something left running) belongs to the next activation, as does what an initialisation printed. Activations that
//! share a container at the same time share its pipes: the one that ends takes what is there.

mod output;

pub(crate) use output::Output;
