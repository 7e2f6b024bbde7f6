//! Activations: lists, records and their parts.

mod replay;
mod under_way;

use std::cmp::Reverse;
use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, EntityName, error_text};
use chasen_spi::{ActivationQuery, Privilege};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::api::listing::Listing;
use crate::call::Call;
use crate::entitle::Verdict;
use crate::wire::error::ApiError;
use crate::wire::percent;
use crate::wire::reply::Reply;

pub(crate) use self::replay::replay;
pub(crate) use self::under_way::cancel;

/// What records are called in paths and texts.
pub(crate) const COLLECTION: &str = "activations";

/// `GET …/activations`
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, COLLECTION, &namespace).await?.required()?;
    if let Some(status) = call.query.get("status") {
        return under_way::list(call, &namespace, &status).await;
    }
    let config = &call.controller.config;
    let page = call.query.page(COLLECTION, config.default_list_limit, config.max_list_limit)?;
    let docs = call.query.flag("docs", false)?;
    let name = call.query.get("name").map(|value| name_filter(&value)).transpose()?.flatten();
    let cause = |value: &str| ActivationId::parse(value).map_err(|text| ApiError::query("cause", &text));
    let cause = call.query.get("cause").map(|value| cause(&value)).transpose()?;
    let (since, upto) = call.query.times()?;
    if docs && page.count {
        return Err(ApiError::bad_request(error_text::DOCS_WITH_COUNT));
    }
    let mut query = ActivationQuery {
        namespace: namespace.to_string(),
        name,
        cause,
        since,
        upto,
        skip: page.skip,
        limit: page.limit,
    };
    let store = &call.controller.activations;
    if page.count {
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return call.success(&json!({ COLLECTION: count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let records = store.list(&query).await?;
        listing.received(records.len());
        for record in &records {
            let key = Reverse((record.start, record.activation_id));
            if docs { listing.push(key, &record.api())? } else { listing.push(key, &record.summary())? }
        }
    }
    listing.finish()
}

/// `GET …/activations/{id}`
pub(crate) async fn get(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Read).await?;
    if call.query.flag("pending", false)?
        && let Some(reply) = under_way::show(call, &namespace, &id).await?
    {
        return Ok(reply);
    }
    let found = call.controller.activations.get(namespace.as_str(), &id).await?;
    call.document(&found.ok_or_else(ApiError::not_found)?.api())
}

/// `GET …/activations/{id}/result`
pub(crate) async fn result(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    call.document(&record(call, namespace, id).await?.api_response())
}

/// `GET …/activations/{id}/logs`
pub(crate) async fn logs(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct Logs<'a> {
        logs: &'a [String],
    }
    call.document(&Logs { logs: &record(call, namespace, id).await?.logs })
}

async fn record(call: &Call<'_>, namespace: &str, id: &str) -> Result<Arc<Activation>, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Read).await?;
    let found = call.controller.activations.get(namespace.as_str(), &id).await?;
    found.ok_or_else(ApiError::not_found)
}

/// The namespace and the id that a path names, if the caller may do this with what lies there.
pub(crate) async fn authorized(
    call: &Call<'_>,
    namespace: &str,
    id: &str,
    privilege: Privilege,
) -> Result<(EntityName, ActivationId), ApiError> {
    let namespace = call.namespace(namespace)?;
    let id = ActivationId::parse(&percent::decode(id))
        .map_err(|text| ApiError::rejection(StatusCode::BAD_REQUEST, text))?;
    let rights = call.rights();
    if !rights.owns(namespace.as_str()) {
        // Ids are no names, so no right beyond the collection's is asked for.
        let verdict = rights.collection(privilege, COLLECTION, &namespace).await?;
        if verdict != Verdict::Allowed {
            return Err(ApiError::forbidden(&format!("{namespace}/{id}")));
        }
    }
    Ok((namespace, id))
}

/// Reads `name` or `package/name`; nothing where it is empty.
pub(crate) fn name_filter(value: &str) -> Result<Option<String>, ApiError> {
    let parts: Vec<&str> = value.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Ok(None),
        [_] | [_, _] if parts.iter().all(|part| EntityName::new(part).is_some()) => Ok(Some(parts.join("/"))),
        _ => Err(ApiError::query("name", &error_text::bad_name_filter(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_filters_are_names_with_or_without_package() {
        for (value, filter) in [
            ("", None),
            ("/", None),
            ("a", Some("a")),
            ("p/a", Some("p/a")),
            ("/a", Some("a")),
            ("/p/a", Some("p/a")),
            ("p//a/", Some("p/a")),
        ] {
            assert_eq!(name_filter(value).unwrap().as_deref(), filter, "{value}");
        }
        for value in ["a/b/c", "a/-b", "a b ", "a?"] {
            let error = name_filter(value).unwrap_err();
            assert!(
                error.text().ends_with(&format!("'package-name/simple' name: {value}")),
                "{}",
                error.text()
            );
        }
    }
}
