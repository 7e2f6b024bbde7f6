//! Packages and bindings: the entity, its lists, its life.

mod contents;
mod put;
mod view;

use chasen_entity::{EntityPath, FullyQualifiedName, Package, error_text};
use chasen_spi::{Collection, Document, DocumentQuery, Privilege};
use http::StatusCode;

use self::contents::Contents;
pub(crate) use self::put::put;
use self::view::{PackageView, Summary};
use super::listing::{self, EntityListing};
use super::parameters;
use crate::call::Call;
use crate::entities::{Batch, ResolvedPackage, Stored};
use crate::entitle::Verdict;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

const PACKAGES: &str = "packages";

/// `GET …/packages`: all of the caller's own, and what other namespaces publish.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    let verdict = call.rights().collection(Privilege::Read, PACKAGES, &namespace).await?;
    let query = DocumentQuery {
        public_only: verdict != Verdict::Allowed,
        ..DocumentQuery::at(Collection::Packages, namespace.to_string())
    };
    let push = |listing: &mut EntityListing<'_>, document: &Document| {
        listing.push_document(document, &listing::element::<Summary<'_>>(document)?)
    };
    listing::entities(call, query, push).await
}

/// `GET …/packages/{name}`: the document with what is in the package, or in the one that a binding stands for.
pub(crate) async fn get(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    let readable = call.rights().package(&name).await.map_err(|error| error.of_package(&name))?;
    readable.required()?;
    let entities = &call.controller.entities;
    let package = entities.resolve_package(&name).await.map_err(|error| error.of_package(&name))?;
    require_readable(call, &name, &package)?;
    let contents = Contents::of(call, &package.path()).await?;
    let parameters = parameters::of_package(&*call.controller.parameter_lock, &package, call.own());
    let shown = Package {
        parameters: parameters::opened(call, parameters).await?,
        ..Package::clone(package.binding.as_ref().unwrap_or(&package.provider))
    };
    let answer = PackageView { package: &shown, actions: &contents.actions, feeds: &contents.feeds };
    call.document(&answer)
}

/// Where shared packages may only be executed, those of others are not shown.
fn require_readable(
    call: &Call<'_>,
    name: &FullyQualifiedName,
    package: &ResolvedPackage,
) -> Result<(), ApiError> {
    if !call.controller.config.shared_packages_execute_only {
        return Ok(());
    }
    let rights = call.rights();
    let text = if !rights.owns(name.path.namespace()) {
        error_text::shared_package(&name.to_string())
    } else if !rights.owns(package.provider.location.namespace.namespace()) {
        error_text::binding_of_shared_package(name.name.as_str())
    } else {
        return Ok(());
    };
    Err(ApiError::refusal(StatusCode::FORBIDDEN, text))
}

/// `DELETE …/packages/{name}`: with `force`, what is in it goes with it.
pub(crate) async fn delete(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Delete, PACKAGES, &name).await?.required()?;
    let force = call.query.flag("force", false)?;
    let entities = &call.controller.entities;
    let alone = entities.doors().close([&name]).await;
    let Stored { entity: package, revision } = entities.load::<Package>(&name).await?;
    let mut batch = Batch::default().behind(Some(alone));
    if package.binding.is_none() {
        let path = name.clone().into_path();
        if force {
            batch = contents::removed(call, &path, batch).await?;
        } else {
            require_empty(call, &path).await?;
        }
    }
    let parameters = parameters::opened(call, package.parameters.clone()).await?;
    let answer = call.render(&Package { parameters, ..package })?;
    batch.delete(name, revision).commit(call.controller).await?;
    call.prepared(answer)
}

async fn require_empty(call: &Call<'_>, path: &EntityPath) -> Result<(), ApiError> {
    match call.controller.entities.store().count(&contents::query(path)).await? {
        0 => Ok(()),
        count => Err(ApiError::refusal(StatusCode::CONFLICT, error_text::package_not_empty(count))),
    }
}
