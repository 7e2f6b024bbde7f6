//! Actions: the entity, its lists, its life.

mod exec;
mod invoke;
mod logs;
mod put;
mod records;
mod sequence;
mod summary;
mod view;

use bytes::Bytes;
use chasen_entity::{Action, Code, FullyQualifiedName, error_text};
use chasen_spi::{Collection, Document, DocumentQuery, Privilege};
use http::StatusCode;

pub(crate) use self::exec::{ExecRules, NewExec};
pub(crate) use self::invoke::invoke;
pub(crate) use self::put::put;
pub(crate) use self::records::{Told, tell, tell_by_name};
use self::view::{ActionView, Summary};
use crate::api::listing::{self, EntityListing};
use crate::api::parameters;
use crate::aside;
use crate::call::Call;
use crate::entities::doors::Passage;
use crate::entities::{ActionAddress, Batch, ResolvedPackage, Stored};
use crate::wire::error::ApiError;
use crate::wire::memory::Held;
use crate::wire::reply::Reply;

/// `GET …/actions`: those of the namespace and of its packages.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    let collection = Collection::Actions;
    call.rights().collection(Privilege::Read, collection.as_str(), &namespace).await?.required()?;
    list_path(call, namespace.to_string(), false).await
}

/// A page of the actions below a path.
async fn list_path(call: &Call<'_>, path: String, path_exact: bool) -> Result<Reply, ApiError> {
    let query = DocumentQuery { path_exact, ..DocumentQuery::at(Collection::Actions, path) };
    let push = |listing: &mut EntityListing<'_>, document: &Document| {
        listing.push_document(document, &listing::element::<Summary<'_>>(document)?)
    };
    listing::entities(call, query, push).await
}

/// `GET …/actions/{package}/`: those of a package, or of the one that a binding stands for.
pub(crate) async fn list_package(call: &Call<'_>, namespace: &str, package: &str) -> Result<Reply, ApiError> {
    let name = call.entity(namespace, package)?;
    call.rights().package(&name).await.map_err(|error| error.of_package(&name))?.required()?;
    let package = call.controller.entities.resolve_package(&name).await?;
    list_path(call, package.path().to_string(), true).await
}

/// `GET …/actions/{name}`
pub(crate) async fn get(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    let readable = call.rights().action(Privilege::Read, &address).await;
    readable.map_err(|error| address.explain(error))?.required()?;
    let with_code = call.query.flag("code", true)?;
    let (action, binding) = read(call, &address).await?;
    let code = match &action.exec.code {
        Some(code) if with_code => Some(read_code(call, &address, code).await?),
        _ => None,
    };
    let held = room(call, code.as_ref())?;
    answer(call, action, code, binding.filter(|_| !with_code), held).await
}

/// The action at an address as the caller sees it, with the parameters of its package, and the binding it was reached
/// through: `ns/binding`.
async fn read(call: &Call<'_>, address: &ActionAddress) -> Result<(Action, Option<String>), ApiError> {
    let entities = &call.controller.entities;
    let Some(package) = address.package_name() else {
        require_readable(call, address, None)?;
        return Ok((entities.load::<Action>(&address.qualified()).await?.entity, None));
    };
    let package = entities.resolve_package(&package).await.map_err(|error| address.explain(error))?;
    require_readable(call, address, Some(&package))?;
    let stored = FullyQualifiedName::new(package.path(), address.name.clone());
    let action = entities.load::<Action>(&stored).await?.entity;
    let lock = &*call.controller.parameter_lock;
    let own = parameters::shown(lock, action.parameters, &action.location.namespace, call.own());
    let parameters = parameters::of_package(lock, &package, call.own()).merged_with(own);
    Ok((Action { parameters, ..action }, package.binding_name()))
}

/// Where shared packages may only be executed, actions in those of others are not shown.
fn require_readable(
    call: &Call<'_>,
    address: &ActionAddress,
    package: Option<&ResolvedPackage>,
) -> Result<(), ApiError> {
    if !call.controller.config.shared_packages_execute_only {
        return Ok(());
    }
    let rights = call.rights();
    let foreign = |package: &&ResolvedPackage| !rights.owns(package.provider.location.namespace.namespace());
    let text = if !rights.owns(address.namespace.as_str()) {
        error_text::action_in_shared_package(address.path().as_str())
    } else if package.filter(foreign).is_some() {
        error_text::action_in_binding_of_shared_package(&address.qualified().to_string())
    } else {
        return Ok(());
    };
    Err(ApiError::refusal(StatusCode::FORBIDDEN, text))
}

/// `DELETE …/actions/{name}`
pub(crate) async fn delete(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    call.rights().action(Privilege::Delete, &address).await?.required()?;
    let passage = writable(call, &address).await?;
    let name = address.qualified();
    let Stored { entity: action, revision, .. } = call.controller.entities.load::<Action>(&name).await?;
    // Missing code must not keep an action from being deleted.
    let code = match &action.exec.code {
        Some(code) => call.controller.attachments.get(code).await.unwrap_or_default(),
        None => None,
    };
    let held = room(call, code.as_ref())?;
    let versions = call.controller.entities.versions_removed(&name).await?;
    let batch = Batch::default().versions(versions).delete(name, revision).behind(passage);
    batch.commit(call.controller).await?;
    answer(call, action, code, None, held).await
}

/// Passes through the door of the action's package. There is none for what is no package, nor for a binding.
async fn writable(call: &Call<'_>, address: &ActionAddress) -> Result<Option<Passage>, ApiError> {
    let Some(name) = address.package_name() else { return Ok(None) };
    let entities = &call.controller.entities;
    let passage = entities.doors().pass(&name).await;
    let (package, _) = entities.package(&name).await?;
    match package.binding {
        Some(_) => Err(ApiError::bad_request(error_text::NOT_ON_BINDING)),
        None => Ok(Some(passage)),
    }
}

/// Memory for an answer with this code, asked for before anything is written.
fn room(call: &Call<'_>, code: Option<&Bytes>) -> Result<Held, ApiError> {
    let mut held = call.download();
    call.controller.downloads.cover(&mut held, code.map_or(0, Bytes::len) as u64)?;
    Ok(held)
}

/// The action with its code, or without, its parameters opened.
async fn answer(
    call: &Call<'_>,
    action: Action,
    code: Option<Bytes>,
    binding: Option<String>,
    held: Held,
) -> Result<Reply, ApiError> {
    let parameters = parameters::opened(call, action.parameters).await?;
    let action = Action { parameters, ..action };
    let length = code.as_ref().map_or(0, Bytes::len);
    let write = move || {
        let view = ActionView::new(&action, code.as_deref(), binding.as_deref())?;
        serde_json::to_vec(&view).map_err(|_| ApiError::internal())
    };
    let text = aside::compute(length, write).await??;
    call.prepared(held.until_dropped(text.into()))
}

async fn read_code(call: &Call<'_>, address: &ActionAddress, code: &Code) -> Result<Bytes, ApiError> {
    let text = call.controller.attachments.get(code).await?;
    text.ok_or_else(|| ApiError::corrupt(&address.qualified(), &"its code is missing"))
}
