//! The resources of the API, one file each.

pub(crate) mod actions;
pub(crate) mod activations;
pub(crate) mod dead_letters;
pub(crate) mod docs;
pub(crate) mod info;
pub(crate) mod listing;
pub(crate) mod namespaces;
pub(crate) mod packages;
pub(crate) mod parameters;
pub(crate) mod put;
pub(crate) mod rules;
pub(crate) mod triggers;
pub(crate) mod wishes;
