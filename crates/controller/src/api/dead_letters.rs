//! Dead letters: what was given up after its last try, to be looked at, tried again, or dropped.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chasen_entity::{ActivationId, EntityName, Millis, RawJson, Version};
use chasen_spi::{DeadLetter, DeadLetterQuery, Privilege};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::activate::repeat::{self, Original};
use crate::api::activations::{authorized, name_filter};
use crate::api::listing::Listing;
use crate::call::Call;
use crate::wire::error::ApiError;
use crate::wire::reply::{Cors, Reply};

/// What they are called in paths.
const COLLECTION: &str = "dead-letters";

/// What lists show of a letter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    namespace: &'a EntityName,
    /// `[package/]name`
    name: String,
    version: Version,
    kind: &'a str,
    activation_id: ActivationId,
    attempts: u32,
    accepted: Millis,
    died_at: Millis,
}

/// A letter with what it holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    arguments: &'a RawJson,
    /// Algorithms that arguments are still locked with, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    locked: &'a BTreeMap<String, String>,
}

fn summary(letter: &DeadLetter) -> Summary<'_> {
    let invocation = &letter.invocation;
    Summary {
        namespace: letter.namespace(),
        name: letter.name(),
        version: invocation.action.version,
        kind: &invocation.action.exec.kind,
        activation_id: invocation.activation_id,
        attempts: letter.attempts,
        accepted: invocation.accepted_at,
        died_at: letter.died_at,
    }
}

/// `GET …/dead-letters`: the newest first.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, COLLECTION, &namespace).await?.required()?;
    let config = &call.controller.config;
    let page = call.query.page(COLLECTION, config.default_list_limit, config.max_list_limit)?;
    let name = call.query.get("name").map(|value| name_filter(&value)).transpose()?.flatten();
    let mut query = DeadLetterQuery { namespace, name, skip: page.skip, limit: page.limit };
    let store = &call.controller.dead_letters;
    if page.count {
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return call.success(&json!({ COLLECTION: count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let letters = store.list(&query).await?;
        listing.received(letters.len());
        for letter in &letters {
            let key = Reverse((letter.died_at, letter.invocation.activation_id));
            listing.push(key, &summary(letter))?;
        }
    }
    listing.finish()
}

/// `GET …/dead-letters/{id}`
pub(crate) async fn get(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (_, letter) = letter(call, namespace, id, Privilege::Read).await?;
    let invocation = &letter.invocation;
    let (arguments, locked) = (&invocation.arguments, &invocation.locked);
    call.document(&Whole { summary: summary(&letter), arguments, locked })
}

/// `POST …/dead-letters/{id}`: tries again as a new activation; the letter goes when that one is accepted.
pub(crate) async fn retry(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, letter) = letter(call, namespace, id, Privilege::Activate).await?;
    let original = Original::of(&letter.invocation);
    let retried = repeat::begin(call, original, None).await?;
    if let Err(error) =
        call.controller.dead_letters.remove(&namespace, &letter.invocation.activation_id).await
    {
        let activation = letter.invocation.activation_id;
        tracing::warn!(%activation, %error, "a dead letter that was tried again could not be removed");
    }
    call.accepted(retried)
}

/// `DELETE …/dead-letters/{id}`
pub(crate) async fn drop(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Delete).await?;
    match call.controller.dead_letters.remove(&namespace, &id).await? {
        true => Ok(Reply::empty(StatusCode::NO_CONTENT).with_cors(Cors::Rest)),
        false => Err(ApiError::not_found()),
    }
}

async fn letter(
    call: &Call<'_>,
    namespace: &str,
    id: &str,
    privilege: Privilege,
) -> Result<(EntityName, DeadLetter), ApiError> {
    let (namespace, id) = authorized(call, namespace, id, privilege).await?;
    let found = call.controller.dead_letters.get(&namespace, &id).await?;
    Ok((namespace, found.ok_or_else(ApiError::not_found)?))
}
