//! The table of contents of the operator's door: who may, then which handler.

use std::sync::Arc;

use chasen_entity::error_text;
use http::request::Parts;
use http::{Method, StatusCode};

use super::call::AdminCall;
use super::credentials::Presented;
use super::{Admin, dump, runtimes, status, users};
use crate::controller::Controller;
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::path::Segments;
use crate::wire::query::Query;
use crate::wire::reply::{Cors, Reply};

const DELETE: &Method = &Method::DELETE;
const GET: &Method = &Method::GET;
const OPTIONS: &Method = &Method::OPTIONS;
const PATCH: &Method = &Method::PATCH;
const POST: &Method = &Method::POST;
const PUT: &Method = &Method::PUT;

/// Finds the handler of a request and runs it.
pub(crate) async fn route(
    controller: &Arc<Controller>,
    admin: &Arc<Admin>,
    head: &Parts,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    if head.method == OPTIONS {
        return Ok(Reply::text(StatusCode::OK, "OK").with_cors(Cors::Server));
    }
    let path = Segments::of(head.uri.path());
    let path = if path.is_overlong() { &[] } else { path.as_slice() };
    let path = path.strip_suffix(&[""]).filter(|path| !path.is_empty()).unwrap_or(path);
    let query = Query(head.uri.query().unwrap_or_default());
    let call = &AdminCall { controller, admin, headers: &head.headers, query };
    require_method(&head.method, methods(path)).map_err(ApiError::in_admin)?;
    if path == ["ping"] {
        return Ok(Reply::text(StatusCode::OK, "pong"));
    }
    require_credentials(call).map_err(ApiError::in_admin)?;
    handle(call, &head.method, path, body).await.map_err(ApiError::in_admin)
}

/// The methods of what is there, and of what is not.
fn methods(path: &[&str]) -> &'static str {
    match path {
        ["ping"]
        | ["invokers"]
        | ["invokers", "healthy", "count"]
        | ["invokers", "ready"]
        | ["nodes"]
        | ["activation"]
        | ["activation", "count"] => "GET, OPTIONS",
        ["disable" | "enable"] | ["users", _, "block" | "unblock"] | ["whois"] => "POST, OPTIONS",
        ["runtimes"] | ["runtimes", _] => "GET, PUT, DELETE, OPTIONS",
        ["users", _] => "GET, DELETE, OPTIONS",
        ["users", _, "namespaces", _] => "GET, PUT, DELETE, OPTIONS",
        ["namespaces", _, "users"] | ["db", _] => "GET, OPTIONS",
        ["namespaces", _, "limits"] => "GET, PUT, PATCH, DELETE, OPTIONS",
        _ => "OPTIONS",
    }
}

fn require_method(method: &Method, allowed: &'static str) -> Result<(), ApiError> {
    match allowed.split(", ").any(|allowed| method == allowed) {
        true => Ok(()),
        false => Err(ApiError::method_not_allowed(allowed)),
    }
}

fn require_credentials(call: &AdminCall<'_>) -> Result<(), ApiError> {
    let text = match call.admin.credentials.presented(call.headers) {
        Presented::Right => return Ok(()),
        Presented::Wrong => error_text::WRONG_ADMIN,
        Presented::None => error_text::NO_ADMIN,
    };
    Err(ApiError::refusal(StatusCode::UNAUTHORIZED, text))
}

#[rustfmt::skip]
async fn handle(
    call: &AdminCall<'_>, method: &Method, path: &[&str], body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    match (method, path) {
        (GET,    ["invokers"])                            => Ok(status::invokers(call)),
        (GET,    ["invokers", "healthy", "count"])        => Ok(status::healthy_count(call)),
        (GET,    ["invokers", "ready"])                   => Ok(status::ready(call)),
        (GET,    ["nodes"])                               => Ok(status::nodes(call)),
        (GET,    ["activation"])                          => status::activations(call).await,
        (GET,    ["activation", "count"])                 => Ok(status::activation_count(call)),
        (POST,   ["disable"])                             => Ok(status::disable(call)),
        (POST,   ["enable"])                              => Ok(status::enable(call)),

        (GET,    ["runtimes"])                            => Ok(runtimes::get(call)),
        (PUT,    ["runtimes"])                            => runtimes::put(call, body).await,
        (DELETE, ["runtimes"])                            => runtimes::reset(call).await,
        (GET,    ["runtimes", kind])                      => runtimes::get_kind(call, kind),
        (PUT,    ["runtimes", kind])                      => runtimes::put_kind(call, kind, body).await,
        (DELETE, ["runtimes", kind])                      => runtimes::delete_kind(call, kind).await,

        (POST,   ["whois"])                               => users::whois(call, body).await,
        (GET,    ["users", subject])                      => users::get(call, subject).await,
        (DELETE, ["users", subject])                      => users::delete(call, subject).await,
        (POST,   ["users", subject, "block"])             => users::set_blocked(call, subject, true).await,
        (POST,   ["users", subject, "unblock"])           => users::set_blocked(call, subject, false).await,
        (GET,    ["users", subject, "namespaces", ns])    => users::key(call, subject, ns).await,
        (PUT,    ["users", subject, "namespaces", ns])    => users::create(call, subject, ns, body).await,
        (DELETE, ["users", subject, "namespaces", ns])    => users::delete_namespace(call, subject, ns).await,

        (GET,    ["namespaces", ns, "users"])             => users::holders(call, ns).await,
        (GET,    ["namespaces", ns, "limits"])            => users::limits(call, ns).await,
        (PUT,    ["namespaces", ns, "limits"])            => users::set_limits(call, ns, body, false).await,
        (PATCH,  ["namespaces", ns, "limits"])            => users::set_limits(call, ns, body, true).await,
        (DELETE, ["namespaces", ns, "limits"])            => users::delete_limits(call, ns).await,

        (GET,    ["db", database])                        => dump::page_of(call, database).await,

        _ => Err(ApiError::method_not_allowed("OPTIONS")),
    }
}
