//! The platform's side of a runtime: an action's code laid out on disk, and the conversation with what runs it.
//!
//! The sandbox and the proxy both host runtimes; what they share lies here. What either receives was possibly written
//! by a function: it is bounded and checked.

pub mod code;
pub mod connection;
#[cfg(feature = "platform")]
pub mod http;
#[cfg(feature = "platform")]
pub mod lines;
#[cfg(feature = "platform")]
pub mod meter;
pub mod personality;
#[cfg(feature = "platform")]
pub mod sentinel;
pub mod walls;
