//! The table of contents: every method and path with its handler.
//!
//! Below `/api/v1` everything but the API's own description needs credentials, and whatever has no line here is a 404
//! with them and a 401 without; web actions need what they say themselves. Beside it nothing needs credentials, and whatever has no line is a 405.

use std::sync::Arc;

use chasen_entity::{TransactionId, error_text};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::api::actions::Told;
use crate::api::docs::{self, Described};
use crate::api::{actions, activations, dead_letters, info, namespaces, packages, rules, triggers};
use crate::call::Call;
use crate::clock;
use crate::controller::Controller;
use crate::web::{self, WebAddress};
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::path::Segments;
use crate::wire::query::Query;
use crate::wire::reply::{Cors, Reply};

const DELETE: &Method = &Method::DELETE;
const GET: &Method = &Method::GET;
const OPTIONS: &Method = &Method::OPTIONS;
const POST: &Method = &Method::POST;
const PUT: &Method = &Method::PUT;

/// Finds the handler of a request and runs it.
pub(crate) async fn route(
    controller: &Arc<Controller>,
    head: &Parts,
    body: RequestBody<'_>,
    transaction_id: &TransactionId,
) -> Result<Reply, ApiError> {
    let path = web::path(head, controller.config.domain.as_deref());
    if let Some(address) = WebAddress::of(&head.method, &path) {
        return web::serve(controller, head, address, body, transaction_id).await;
    }
    let path = Segments::of(&path);
    let (method, below) = match path.as_slice() {
        ["api", "v1", below @ ..] => (&head.method, below),
        beside => return beside_api(controller, &head.method, beside),
    };
    match (method, below) {
        (OPTIONS, _) => return Ok(Reply::text(StatusCode::OK, "OK").with_cors(Cors::Rest)),
        (GET, [] | [""]) => return Ok(info::api(controller)),
        (GET, ["api-docs"] | ["api-docs", ""]) => {
            return Ok(docs::document(Described::Api).with_cors(Cors::Rest));
        }
        (GET, ["docs"]) => return Ok(docs::redirect(Described::Api).with_cors(Cors::Rest)),
        (GET, ["docs", file]) if let Some(page) = docs::page(file) => return Ok(page.with_cors(Cors::Rest)),
        _ => {}
    }
    let arrived = clock::now();
    let caller = controller.identities.authenticate(&head.headers, &controller.throttles).await?;
    if path.is_overlong() {
        return Err(ApiError::no_route());
    }
    let query = Query(head.uri.query().unwrap_or_default());
    let call = &Call { controller, transaction_id, arrived, headers: &head.headers, query, caller };
    below_api(call, method, below, body).await
}

#[rustfmt::skip]
fn beside_api(controller: &Controller, method: &Method, path: &[&str]) -> Result<Reply, ApiError> {
    match (method, path) {
        (OPTIONS, _)                           => Ok(Reply::text(StatusCode::OK, "OK").with_cors(Cors::Server)),
        (GET, [""])                            => Ok(info::deployment(controller)),
        (GET, ["ping"])                        => Ok(Reply::text(StatusCode::OK, "pong")),
        (GET, ["api-docs"] | ["api-docs", ""]) => Ok(docs::document(Described::Server)),
        (GET, ["docs"])                        => Ok(docs::redirect(Described::Server)),
        (GET, ["docs", file]) if let Some(page) = docs::page(file) => Ok(page),
        (_, [""] | ["ping"] | ["docs"] | ["api-docs"] | ["api-docs", ""]) => Err(ApiError::method_not_allowed("GET, OPTIONS")),
        _                                      => Err(ApiError::method_not_allowed("OPTIONS")),
    }
}

#[rustfmt::skip]
async fn below_api(call: &Call<'_>, method: &Method, path: &[&str], body: RequestBody<'_>) -> Result<Reply, ApiError> {
    let ["namespaces", path @ ..] = path else { return Err(ApiError::no_route()) };
    match (method, path) {
        (GET,    [] | [""])                                  => namespaces::list(call),
        (GET,    [ns, "limits"] | [ns, "limits", ""])        => namespaces::limits(call, ns).await,
        (GET,    [_, "limits", _])                           => Err(ApiError::bad_request(error_text::LIMITS_INNER_ROUTE)),

        (GET,    [ns, "actions"] | [ns, "actions", ""])      => actions::list(call, ns).await,
        (GET,    [ns, "actions", package, ""])               => actions::list_package(call, ns, package).await,
        (_,      [_, "actions", ""] | [_, "actions", _, ""]) => Err(ApiError::no_route()),
        (GET,    [ns, "actions", name])                      => actions::get(call, call.action(ns, None, name)?).await,
        (GET,    [ns, "actions", name, "logs"])              => actions::tell_by_name(call, ns, name, Told::Logs).await,
        (GET,    [ns, "actions", name, "summary"])           => actions::tell_by_name(call, ns, name, Told::Summary).await,
        (GET,    [ns, "actions", package, name, "logs"])     => actions::tell(call, call.action(ns, Some(package), name)?, Told::Logs).await,
        (GET,    [ns, "actions", package, name, "summary"])  => actions::tell(call, call.action(ns, Some(package), name)?, Told::Summary).await,
        (GET,    [ns, "actions", package, name])             => actions::get(call, call.action(ns, Some(package), name)?).await,
        (PUT,    [ns, "actions", name])                      => actions::put(call, call.action(ns, None, name)?, body).await,
        (PUT,    [ns, "actions", package, name])             => actions::put(call, call.action(ns, Some(package), name)?, body).await,
        (DELETE, [ns, "actions", name])                      => actions::delete(call, call.action(ns, None, name)?).await,
        (DELETE, [ns, "actions", package, name])             => actions::delete(call, call.action(ns, Some(package), name)?).await,
        (POST,   [ns, "actions", name])                      => actions::invoke(call, call.action(ns, None, name)?, body).await,
        (POST,   [ns, "actions", package, name])             => actions::invoke(call, call.action(ns, Some(package), name)?, body).await,

        (GET,    [ns, "packages"] | [ns, "packages", ""])    => packages::list(call, ns).await,
        (_,      [_, "packages", ""])                        => Err(ApiError::no_route()),
        (GET,    [ns, "packages", name])                     => packages::get(call, call.entity(ns, name)?).await,
        (PUT,    [ns, "packages", name])                     => packages::put(call, call.entity(ns, name)?, body).await,
        (DELETE, [ns, "packages", name])                     => packages::delete(call, call.entity(ns, name)?).await,

        (GET,    [ns, "activations"] | [ns, "activations", ""])         => activations::list(call, ns).await,
        (GET,    [ns, "activations", id] | [ns, "activations", id, ""]) => activations::get(call, ns, id).await,
        (DELETE, [ns, "activations", id] | [ns, "activations", id, ""]) => activations::cancel(call, ns, id).await,
        (GET,    [ns, "activations", id, "result"])                     => activations::result(call, ns, id).await,
        (GET,    [ns, "activations", id, "logs"])                       => activations::logs(call, ns, id).await,
        (POST,   [ns, "activations", id, "replay"])                     => activations::replay(call, ns, id).await,

        (GET,    [ns, "dead-letters"] | [ns, "dead-letters", ""])         => dead_letters::list(call, ns).await,
        (GET,    [ns, "dead-letters", id])                              => dead_letters::get(call, ns, id).await,
        (POST,   [ns, "dead-letters", id])                              => dead_letters::retry(call, ns, id).await,
        (DELETE, [ns, "dead-letters", id])                              => dead_letters::drop(call, ns, id).await,

        (GET,    [ns, "triggers"] | [ns, "triggers", ""])    => triggers::list(call, ns).await,
        (_,      [_, "triggers", ""])                        => Err(ApiError::no_route()),
        (GET,    [ns, "triggers", name])                     => triggers::get(call, call.entity(ns, name)?).await,
        (PUT,    [ns, "triggers", name])                     => triggers::put(call, call.entity(ns, name)?, body).await,
        (DELETE, [ns, "triggers", name])                     => triggers::delete(call, call.entity(ns, name)?).await,
        (POST,   [ns, "triggers", name])                     => triggers::fire(call, call.entity(ns, name)?, body).await,

        (GET,    [ns, "rules"] | [ns, "rules", ""])          => rules::list(call, ns).await,
        (_,      [_, "rules", ""])                           => Err(ApiError::no_route()),
        (GET,    [ns, "rules", name] | [ns, "rules", name, ""])    => rules::get(call, call.entity(ns, name)?).await,
        (PUT,    [ns, "rules", name] | [ns, "rules", name, ""])    => rules::put(call, call.entity(ns, name)?, body).await,
        (DELETE, [ns, "rules", name] | [ns, "rules", name, ""])    => rules::delete(call, call.entity(ns, name)?).await,
        (POST,   [ns, "rules", name] | [ns, "rules", name, ""])    => rules::set_status(call, call.entity(ns, name)?, body).await,

        _ => Err(ApiError::no_route()),
    }
}
