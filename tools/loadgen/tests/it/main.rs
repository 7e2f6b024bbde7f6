//! The load generator against servers of any manners.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod records;
mod runs;
mod server;
mod tls;
