//! The embedded engines through their public door.

mod conformance;
mod fixture;
