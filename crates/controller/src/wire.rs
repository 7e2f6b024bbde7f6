//! HTTP: connections, heads, bodies, answers, and every bound on them.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod error;
mod handshake;
pub(crate) mod headers;
pub(crate) mod media;
pub(crate) mod memory;
pub(crate) mod path;
pub(crate) mod percent;
pub(crate) mod pretty;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod server;
mod service;
