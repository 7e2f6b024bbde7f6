//! Recorded activations run again with what they were given.

use chasen_entity::Version;
use chasen_spi::Privilege;

use super::authorized;
use crate::activate::repeat::{self, Original};
use crate::call::Call;
use crate::keys::{self, Known};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// `POST …/activations/{id}/replay`: with the action as it is, or as it was in the version `code-version`.
pub(crate) async fn replay(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Activate).await?;
    // What it was given is shown to nobody, so nobody else may have a function of theirs see it.
    if !call.rights().owns(namespace.as_str()) {
        return Err(ApiError::forbidden(&format!("{namespace}/{id}")));
    }
    let version = |value: &str| Version::parse(value).map_err(|text| ApiError::query("code-version", &text));
    let version = call.query.get("code-version").map(|value| version(&value)).transpose()?;
    let what = || match version {
        Some(version) => format!("replay {id} {version}"),
        None => format!("replay {id}"),
    };
    let key = match keys::look(call, what, "").await? {
        Known::New(key) => key,
        Known::Earlier(id, _) => return call.accepted(id),
    };
    let permit = repeat::charge(call)?;
    let found = call.controller.activations.get(namespace.as_str(), &id).await?;
    let original = Original::recorded(&*found.ok_or_else(ApiError::not_found)?)?;
    let repeated = repeat::begin(call, key, permit, original, version).await?;
    call.accepted(repeated)
}
