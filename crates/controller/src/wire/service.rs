//! One request: protocol bounds, its id, its route, its answer. A defect in a handler ends here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{TransactionId, error_text};
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

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
fn check_protocol(
    controller: &Controller,
    head: &http::request::Parts,
    body: &RequestBody<'_>,
) -> Result<(), ApiError> {
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
    Ok(())
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
