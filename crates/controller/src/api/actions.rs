//! Actions: the entity, its lists, its life.

mod exec;
mod invoke;
mod put;
mod view;

use bytes::Bytes;
use chasen_entity::{Action, Code, FullyQualifiedName, Parameters, error_text};
use chasen_spi::{Collection, Document, DocumentQuery, Privilege};

pub(crate) use self::exec::NewExec;
pub(crate) use self::invoke::invoke;
pub(crate) use self::put::put;
use self::view::{ActionView, Summary};
use crate::api::listing::{self, EntityListing};
use crate::aside;
use crate::call::Call;
use crate::entities::{ActionAddress, Batch, Stored};
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
    let query = DocumentQuery {
        collection: Collection::Actions,
        path,
        path_exact,
        public_only: false,
        skip: 0,
        limit: 0,
    };
    let push = |listing: &mut EntityListing<'_>, document: &Document| {
        listing.push_document(document, &Summary::of(document)?)
    };
    listing::entities(call, query, push).await
}

/// `GET …/actions/{package}/`: those of a package, or of the one that a binding stands for.
pub(crate) async fn list_package(call: &Call<'_>, namespace: &str, package: &str) -> Result<Reply, ApiError> {
    let name = call.entity(namespace, package)?;
    call.rights().package(&name).await?.required()?;
    let package = call.controller.entities.resolve_package(&name).await?;
    list_path(call, package.path().to_string(), true).await
}

/// `GET …/actions/{name}`
pub(crate) async fn get(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    call.rights().action(Privilege::Read, &address).await?.required()?;
    let with_code = call.query.flag("code", true)?;
    let entities = &call.controller.entities;
    let (action, binding) = match address.package_name() {
        None => (entities.load::<Action>(&address.qualified()).await?.entity, None),
        Some(package) => {
            let package = entities.resolve_package(&package).await?;
            let stored = FullyQualifiedName::new(package.path(), address.name.clone());
            let action = entities.load::<Action>(&stored).await?.entity;
            let parameters: Parameters = package.parameters().merged_with(action.parameters.clone());
            (Action { parameters, ..action }, package.binding_name())
        }
    };
    let code = match &action.exec.code {
        Some(code) if with_code => Some(read_code(call, &address, code).await?),
        _ => None,
    };
    let held = room(call, code.as_ref())?;
    answer(call, action, code, binding.filter(|_| !with_code), held).await
}

/// `DELETE …/actions/{name}`
pub(crate) async fn delete(call: &Call<'_>, address: ActionAddress) -> Result<Reply, ApiError> {
    call.rights().action(Privilege::Delete, &address).await?.required()?;
    writable(call, &address).await?;
    let name = address.qualified();
    let Stored { entity: action, revision, .. } = call.controller.entities.load::<Action>(&name).await?;
    // Missing code must not keep an action from being deleted.
    let code = match &action.exec.code {
        Some(code) => call.controller.attachments.get(code).await.unwrap_or_default(),
        None => None,
    };
    let held = room(call, code.as_ref())?;
    Batch::default().delete(name, revision).commit(call.controller).await?;
    answer(call, action, code, None, held).await
}

/// Refuses to write through a package that is none, or through a binding.
async fn writable(call: &Call<'_>, address: &ActionAddress) -> Result<(), ApiError> {
    let Some(package) = address.package_name() else { return Ok(()) };
    let (package, _) = call.controller.entities.package(&package).await?;
    match package.binding {
        Some(_) => Err(ApiError::bad_request(error_text::NOT_ON_BINDING)),
        None => Ok(()),
    }
}

/// Memory for an answer with this code, asked for before anything is written.
fn room(call: &Call<'_>, code: Option<&Bytes>) -> Result<Held, ApiError> {
    let mut held = Held::default();
    call.controller.downloads.cover(&mut held, code.map_or(0, Bytes::len) as u64)?;
    Ok(held)
}

/// The action with its code, or without.
async fn answer(
    call: &Call<'_>,
    action: Action,
    code: Option<Bytes>,
    binding: Option<String>,
    held: Held,
) -> Result<Reply, ApiError> {
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
