//! Packages on the wire: documents with what is in them, and elements of lists.

use chasen_entity::{Millis, Package};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::contents::Content;

/// A package as clients see it.
#[derive(Serialize)]
pub(super) struct PackageView<'a> {
    #[serde(flatten)]
    pub(super) package: &'a Package,
    pub(super) actions: &'a [Content],
    pub(super) feeds: &'a [Content],
}

/// The element of a list: fields of the stored document, copied as text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    namespace: &'a RawValue,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    version: &'a RawValue,
    publish: bool,
    #[serde(borrow)]
    annotations: &'a RawValue,
    updated: Millis,
    #[serde(borrow, serialize_with = "false_for_none")]
    binding: &'a RawValue,
}

/// Documents say `{}` where lists say `false`.
fn false_for_none<S: Serializer>(binding: &&RawValue, serializer: S) -> Result<S::Ok, S::Error> {
    if binding.get() == "{}" { serializer.serialize_bool(false) } else { binding.serialize(serializer) }
}
