//! Actions: the entity, its lists, its life. Invoking one is in `invoke.rs`.

mod exec;
mod put;
mod view;

use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{Action, Code, EntityName, Revision, error_text};
use chasen_spi::{Collection, DocumentId, DocumentQuery};
use serde_json::json;

pub(crate) use self::put::put;
use self::view::{ActionView, Summary};
use crate::action_cache::ResolvedAction;
use crate::call::{ActionAddress, Call};
use crate::error::ApiError;
use crate::listing::Listing;
use crate::memory::Held;
use crate::reply::Reply;
use crate::{aside, entitle};

/// An action as the store has it.
pub(crate) struct Stored {
    pub(crate) action: Action,
    pub(crate) revision: Revision,
    /// Bytes of its document.
    pub(crate) length: usize,
}

/// `GET …/actions`: those of the namespace and of its packages.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    entitle::owner(call, &namespace, || namespace.to_string())?;
    let collection = Collection::Actions;
    let config = &call.controller.config;
    let page = call.query.page(collection.as_str(), config.default_list_limit, config.max_list_limit)?;
    let mut query = DocumentQuery {
        collection,
        path: namespace.to_string(),
        path_exact: false,
        skip: page.skip,
        limit: page.limit,
    };
    let store = &call.controller.artifacts;
    if page.count {
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return call.success(&json!({ collection.as_str(): count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let documents = store.list(&query).await?;
        listing.received(documents.len());
        for document in &documents {
            listing.push((Reverse(document.updated), document.id.clone()), &Summary::of(document)?)?;
        }
    }
    listing.finish()
}

/// `GET …/actions/{package}/`
pub(crate) async fn list_package(call: &Call<'_>, namespace: &str, package: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    let package = crate::path::entity(package)?;
    entitle::owner(call, &namespace, || format!("{namespace}/{package}"))?;
    Err(missing_package(call, &namespace, &package).await)
}

/// `GET …/actions/{name}`
pub(crate) async fn get(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    entitle::read_action(call, &address)?;
    let with_code = call.query.flag("code", true)?;
    if let Some(package) = &address.package {
        return Err(missing_package(call, &address.namespace, package).await);
    }
    let action = find(call, &address).await?.ok_or_else(ApiError::not_found)?.action;
    let code = match &action.exec.code {
        Some(code) if with_code => Some(read_code(call, &address, code).await?),
        _ => None,
    };
    let held = room(call, code.as_ref())?;
    answer(call, action, code, held).await
}

/// `DELETE …/actions/{name}`
pub(crate) async fn delete(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    entitle::write_action(call, &address)?;
    if let Some(package) = &address.package {
        return Err(entitle::no_package(call, &address.namespace, package, ApiError::not_found()).await);
    }
    let Stored { action, revision, .. } = find(call, &address).await?.ok_or_else(ApiError::not_found)?;
    // Missing code must not keep an action from being deleted.
    let code = match &action.exec.code {
        Some(code) => call.controller.attachments.get(code).await.unwrap_or_default(),
        None => None,
    };
    let held = room(call, code.as_ref())?;
    let (controller, id, name) = (call.controller.clone(), document_id(&address), address.qualified());
    aside::finish(async move {
        controller
            .artifacts
            .delete(&id, revision)
            .await
            .inspect_err(|error| controller.actions.after(error))?;
        controller.actions.deleted(name, revision);
        Ok(())
    })
    .await?;
    answer(call, action, code, held).await
}

/// The stored action of this address, for which entitlement has been checked.
pub(crate) async fn find(call: &Call<'_>, address: &ActionAddress) -> Result<Option<Stored>, ApiError> {
    let Some(document) = call.controller.artifacts.get(&document_id(address)).await? else { return Ok(None) };
    if document.collection != Collection::Actions {
        return Err(ApiError::conflict(error_text::CONFORMANCE));
    }
    let action =
        serde_json::from_str(&document.body).map_err(|why| ApiError::corrupt(&address.qualified(), &why))?;
    Ok(Some(Stored { action, revision: document.revision, length: document.body.len() }))
}

/// The action of this address ready to be invoked, by preference from memory.
pub(crate) async fn resolve(
    call: &Call<'_>,
    address: &ActionAddress,
) -> Result<Arc<ResolvedAction>, ApiError> {
    let cache = &call.controller.actions;
    if let Some(known) = cache.get(&address.qualified()) {
        return Ok(known);
    }
    let entries = cache.before_read();
    let Stored { action, revision, length } = find(call, address).await?.ok_or_else(ApiError::not_found)?;
    let resolved = Arc::new(ResolvedAction::of(&action, revision, &call.controller.manifest));
    cache.remember(&entries, &resolved, length);
    Ok(resolved)
}

async fn missing_package(call: &Call<'_>, namespace: &EntityName, package: &EntityName) -> ApiError {
    let missing = ApiError::package_not_found(&format!("{namespace}/{package}"));
    entitle::no_package(call, namespace, package, missing).await
}

/// Memory for an answer with this code, asked for before anything is written.
fn room(call: &Call<'_>, code: Option<&Bytes>) -> Result<Held, ApiError> {
    let mut held = Held::default();
    call.controller.downloads.cover(&mut held, code.map_or(0, Bytes::len) as u64)?;
    Ok(held)
}

/// The action with its code, or without.
async fn answer(call: &Call<'_>, action: Action, code: Option<Bytes>, held: Held) -> Result<Reply, ApiError> {
    let length = code.as_ref().map_or(0, Bytes::len);
    let write = move || {
        let view = ActionView::new(&action, code.as_deref())?;
        serde_json::to_vec(&view).map_err(|_| ApiError::internal())
    };
    let text = aside::compute(length, write).await??;
    call.prepared(held.until_dropped(text.into()))
}

async fn read_code(call: &Call<'_>, address: &ActionAddress, code: &Code) -> Result<Bytes, ApiError> {
    let text = call.controller.attachments.get(code).await?;
    text.ok_or_else(|| ApiError::corrupt(&address.qualified(), &"its code is missing"))
}

fn document_id(address: &ActionAddress) -> DocumentId {
    DocumentId { path: address.path().to_string(), name: address.name.to_string() }
}
