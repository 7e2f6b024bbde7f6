//! One request: protocol bounds, its id, its route, its answer. A defect in a handler ends here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{TransactionId, error_text};
use futures_util::FutureExt;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::controller::Controller;
use crate::wire::body::RequestBody;
use crate::wire::connection::Activity;
use crate::wire::error::ApiError;
use crate::wire::reply::REQUEST_ID;
use crate::wire::server::Door;
use crate::{admin, routes};

/// Answers a request, whatever it is.
pub(crate) async fn respond(
    controller: &Arc<Controller>,
    door: &Door,
    request: Request<Incoming>,
    activity: &Activity,
) -> Response<Full<Bytes>> {
    let arrived = Instant::now();
    let (head, incoming) = request.into_parts();
    let body = RequestBody::new(incoming, activity);
    let sent_id = head.headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let transaction_id = TransactionId::from_client(sent_id);
    let work = async {
        check_protocol(controller, &head, &body)?;
        match door {
            Door::Api => routes::route(controller, &head, body, &transaction_id).await,
            Door::Admin(admin) => admin::route(controller, admin, &head, body).await,
        }
    };
    let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(%transaction_id, method = %head.method, "a handler panicked");
        Err(ApiError::internal())
    });
    if let Err(error) = &result
        && error.is_wrong_guess()
    {
        controller.guesses.hold_back(activity.peer(), &head.headers, arrived).await;
    }
    if let Err(error) = &result
        && let Some(cause) = error.cause()
    {
        tracing::warn!(%transaction_id, method = %head.method, path = head.uri.path(), cause, "a request failed");
    }
    let reply = match result {
        Ok(reply) => reply.with_request_id(&transaction_id),
        Err(error) if error.is_identified() => {
            error.into_reply(&transaction_id).with_request_id(&transaction_id)
        }
        Err(error) => error.into_reply(&transaction_id),
    };
    let mut response = reply.into_response();
    if activity.is_last() {
        // Said, so that no client sends its next request into a connection that is closing.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    tracing::debug!(%transaction_id, method = %head.method, path = head.uri.path(), status, "answered");
    response
}

/// What is refused before a request is looked at.
fn check_protocol(controller: &Controller, head: &Parts, body: &RequestBody<'_>) -> Result<(), ApiError> {
    let bounds = &controller.config;
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > bounds.max_uri {
        return Err(ApiError::protocol(StatusCode::URI_TOO_LONG, error_text::uri_too_long(bounds.max_uri)));
    }
    if !is_known(&head.method) {
        return Err(ApiError::protocol(StatusCode::NOT_IMPLEMENTED, error_text::UNKNOWN_METHOD));
    }
    if matches!(head.method, Method::HEAD | Method::TRACE) && !body.is_absent() {
        let text = format!("{} requests must not have a body", head.method);
        return Err(ApiError::protocol(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    if body.announced() > bounds.max_entity.as_bytes() {
        return Err(ApiError::protocol(StatusCode::BAD_REQUEST, error_text::REQUEST_TOO_LARGE));
    }
    if !body.has_length() && !is_plainly_chunked(head) {
        return Err(ApiError::protocol(StatusCode::NOT_IMPLEMENTED, error_text::UNKNOWN_TRANSFER_CODING));
    }
    if !is_host_clear(head) {
        return Err(ApiError::protocol(StatusCode::BAD_REQUEST, error_text::HOST_UNCLEAR));
    }
    Ok(())
}

/// True if there is one transfer coding, `chunked`: of others it cannot be said where the body ends, and whoever
/// stands in front may think otherwise.
fn is_plainly_chunked(head: &Parts) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// True if it is beyond doubt which host is meant.
fn is_host_clear(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let same = |host: &HeaderValue| {
        let target = head.uri.authority();
        target.is_none_or(|target| target.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    };
    match (first, second) {
        (None, _) => head.version != Version::HTTP_11,
        (Some(host), None) => same(host),
        (Some(_), Some(_)) => false,
    }
}

fn is_known(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::PUT
            | Method::POST
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::PATCH
            | Method::TRACE
            | Method::CONNECT
    )
}
