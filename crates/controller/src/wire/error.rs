//! Errors of the API: the one place where a cause becomes a status and a body.

use std::borrow::Cow;
use std::fmt::Display;

use chasen_entity::{ActivationId, Blame, Fault, TransactionId, error_text};
use chasen_spi::{LockError, Rejection, StoreError};
use http::StatusCode;
use http::header::{ALLOW, CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::wire::reply::{Cors, Reply};

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"OpenWhisk secure realm\",charset=UTF-8");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Seconds after which a platform that has no room may have some.
const RETRY_UNAVAILABLE: u32 = 1;
/// Seconds after which an action may have caught up.
const RETRY_OVER_OWN_LIMIT: u32 = 1;

/// Which layer says no; it decides the form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// HTTP itself, before a request has an id: plain text, and the connection closes.
    Protocol,
    /// Finding and reading the request: JSON without CORS headers.
    Framework,
    /// A route: JSON with CORS headers.
    Route,
    /// The operator's door: JSON for people, and who may is no affair of browsers.
    Admin,
    /// The route of web actions: JSON for people, whose CORS headers are the action's affair.
    Web,
}

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    text: Cow<'static, str>,
    layer: Layer,
    /// For the log, never for the client.
    cause: Option<String>,
    /// Seconds.
    retry_after: Option<u32>,
    /// Methods, of a 405.
    allowed: Option<&'static str>,
    /// Headers beside those of its form.
    headers: Option<Box<HeaderMap>>,
    /// What goes on nevertheless.
    activation: Option<ActivationId>,
}

impl ApiError {
    fn new(layer: Layer, status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            layer,
            cause: None,
            retry_after: None,
            allowed: None,
            headers: None,
            activation: None,
        }
    }

    /// HTTP itself is broken or over a bound.
    pub(crate) fn protocol(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Layer::Protocol, status, text)
    }

    /// The request cannot be routed or read.
    pub(crate) fn rejection(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Layer::Framework, status, text)
    }

    /// A route refuses.
    pub(crate) fn refusal(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Layer::Route, status, text)
    }

    /// 400: the body does not deserialize.
    pub(crate) fn malformed(reason: impl AsRef<str>) -> Self {
        Self::rejection(
            StatusCode::BAD_REQUEST,
            format!("{}{}", error_text::MALFORMED_CONTENT, reason.as_ref()),
        )
    }

    /// 400: a query value does not deserialize.
    pub(crate) fn query(name: &str, reason: &str) -> Self {
        Self::rejection(StatusCode::BAD_REQUEST, error_text::bad_query(name, reason))
    }

    /// 400: the value of a header is none of those that there are. `name` as clients write it.
    pub(crate) fn header(name: &str, reason: &str) -> Self {
        Self::rejection(StatusCode::BAD_REQUEST, error_text::bad_header(name, reason))
    }

    /// 400 of a route.
    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::refusal(StatusCode::BAD_REQUEST, text)
    }

    /// 403 that names what is refused.
    pub(crate) fn forbidden(resource: &str) -> Self {
        Self::refusal(StatusCode::FORBIDDEN, error_text::not_authorized_for(resource))
    }

    /// 404: no such entity.
    pub(crate) fn not_found() -> Self {
        Self::refusal(StatusCode::NOT_FOUND, error_text::NOT_FOUND)
    }

    /// 404: no such package, by name.
    pub(crate) fn package_not_found(package: &str) -> Self {
        Self::refusal(StatusCode::NOT_FOUND, error_text::not_found_named(package))
    }

    /// 404: no such route.
    pub(crate) fn no_route() -> Self {
        Self::rejection(StatusCode::NOT_FOUND, error_text::NO_ROUTE)
    }

    /// 405 with the methods that there are, beside the API.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let text = error_text::method_not_allowed(allowed);
        Self { allowed: Some(allowed), ..Self::rejection(StatusCode::METHOD_NOT_ALLOWED, text) }
    }

    /// 409 of a route.
    pub(crate) fn conflict(text: &'static str) -> Self {
        Self::refusal(StatusCode::CONFLICT, text)
    }

    /// 413: a part of the request is over its bound.
    pub(crate) fn too_large(field: &str, is: u64, allowed: u64) -> Self {
        Self::refusal(StatusCode::PAYLOAD_TOO_LARGE, error_text::larger_than_allowed(field, is, allowed))
    }

    /// 429: trying again makes sense after this many seconds.
    pub(crate) fn throttled(text: String, retry_after: u32) -> Self {
        Self { retry_after: Some(retry_after), ..Self::refusal(StatusCode::TOO_MANY_REQUESTS, text) }
    }

    /// 500: a stored document or its code is unreadable.
    pub(crate) fn corrupt(what: &dyn Display, why: &dyn Display) -> Self {
        let cause = Some(format!("{what} is unreadable: {why}"));
        Self { cause, ..Self::refusal(StatusCode::INTERNAL_SERVER_ERROR, error_text::CORRUPT) }
    }

    /// 500: a defect of ours.
    pub(crate) fn internal() -> Self {
        Self::refusal(StatusCode::INTERNAL_SERVER_ERROR, error_text::INTERNAL)
    }

    /// 504: the activation was waited for so many milliseconds, and goes on.
    pub(crate) fn not_ended(id: ActivationId, waited: u64) -> Self {
        let text = error_text::not_ended(waited);
        Self { activation: Some(id), ..Self::refusal(StatusCode::GATEWAY_TIMEOUT, text) }
    }

    /// 422: it is understood and cannot be done.
    pub(crate) fn unprocessable(text: &'static str) -> Self {
        Self::refusal(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    /// 405: the activation has ended; its record can be read.
    pub(crate) fn has_ended(id: ActivationId) -> Self {
        let refusal = Self::refusal(StatusCode::METHOD_NOT_ALLOWED, error_text::has_ended(id));
        Self { allowed: Some("GET"), ..refusal }
    }

    /// 503: an activation was accepted and may be lost with the machine.
    pub(crate) fn not_known_safe(id: ActivationId, why: &Rejection) -> Self {
        Self::may_be_lost(id, error_text::not_known_safe(id), why)
    }

    /// 503: an activation that somebody waited for has ended, and its record may be lost with the machine.
    pub(crate) fn record_not_known_safe(id: ActivationId, why: &Rejection) -> Self {
        Self::may_be_lost(id, error_text::record_not_known_safe(id), why)
    }

    fn may_be_lost(id: ActivationId, text: String, why: &Rejection) -> Self {
        let refusal = Self::refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        let retry_after = Some(RETRY_UNAVAILABLE);
        Self { activation: Some(id), cause: Some(why.to_string()), retry_after, ..refusal }
    }

    /// 503: nobody can tell whether a key was used, so that nothing is begun under it.
    pub(crate) fn key_not_known(why: &StoreError) -> Self {
        Self { cause: Some(why.to_string()), ..Self::busy(error_text::KEY_NOT_KNOWN) }
    }

    /// 503: a bounded thing of this request's kind is full.
    pub(crate) fn busy(text: &'static str) -> Self {
        let refusal = Self::refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        Self { retry_after: Some(RETRY_UNAVAILABLE), ..refusal }
    }

    /// 503: a bounded thing is full.
    pub(crate) fn overloaded() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::refusal(StatusCode::SERVICE_UNAVAILABLE, error_text::OVERLOADED)
        }
    }

    /// The same refusal in the form of the operator's door.
    pub(crate) fn in_admin(self) -> Self {
        Self { layer: if self.layer == Layer::Route { Layer::Admin } else { self.layer }, ..self }
    }

    /// The same refusal in the form that web actions give it.
    pub(crate) fn in_web(self) -> Self {
        Self { layer: if self.layer == Layer::Route { Layer::Web } else { self.layer }, ..self }
    }

    /// The same with these headers, if it is a web action that refuses.
    pub(crate) fn with_web_headers(self, headers: HeaderMap) -> Self {
        Self { headers: (self.layer == Layer::Web).then(|| Box::new(headers)), ..self }
    }

    /// True if it is about who calls, not about what is asked.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// True if the credentials that came are nobody's.
    pub(crate) fn is_wrong_guess(&self) -> bool {
        self.is_unauthorized()
            && (self.text == error_text::BAD_CREDENTIALS || self.text == error_text::WRONG_ADMIN)
    }

    /// What the operator should know, if anything.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref().filter(|_| self.status.is_server_error())
    }

    /// True if the answer carries the id of its request.
    pub(crate) fn is_identified(&self) -> bool {
        self.layer != Layer::Protocol
    }

    /// What the client is told.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// True if the platform is to blame, not the request.
    pub(crate) fn is_server_error(&self) -> bool {
        self.status.is_server_error()
    }

    /// True if somebody else changed what was to be changed.
    pub(crate) fn is_stale(&self) -> bool {
        self.status == StatusCode::CONFLICT && self.text == error_text::CONFLICT
    }

    /// The answer.
    pub(crate) fn into_reply(self, transaction_id: &TransactionId) -> Reply {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            error: &'a str,
            code: &'a TransactionId,
            #[serde(skip_serializing_if = "Option::is_none")]
            activation_id: Option<ActivationId>,
        }
        if self.layer == Layer::Protocol {
            return Reply::text(self.status, self.text).with(CONNECTION, CLOSE);
        }
        let body = Body { error: &self.text, code: transaction_id, activation_id: self.activation };
        let mut reply = match self.layer {
            Layer::Web | Layer::Admin => Reply::pretty_json(self.status, &body),
            _ => Reply::json(self.status, &body),
        };
        if self.layer == Layer::Route {
            reply = reply.with_cors(Cors::Rest);
        }
        if self.layer == Layer::Admin {
            reply = reply.with_cors(Cors::Server);
        }
        if self.status == StatusCode::UNAUTHORIZED && !matches!(self.layer, Layer::Web | Layer::Admin) {
            reply = reply.with(WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(id) = self.activation {
            reply = reply.with_activation_id(id);
        }
        if let Some(headers) = self.headers {
            reply = reply.extended(*headers);
        }
        if let Some(seconds) = self.retry_after {
            reply = reply.with(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allowed) = self.allowed {
            reply = reply.with(ALLOW, HeaderValue::from_static(allowed));
        }
        reply
    }
}

/// Whose fault an error is, and whether trying again helps, decide the status.
fn status_of(blame: Blame, retry: bool) -> StatusCode {
    match (blame, retry) {
        (Blame::Caller, false) => StatusCode::BAD_REQUEST,
        (Blame::Caller, true) => StatusCode::CONFLICT,
        (Blame::Action, _) => StatusCode::BAD_GATEWAY,
        (Blame::Platform, false) => StatusCode::INTERNAL_SERVER_ERROR,
        (Blame::Platform, true) | (Blame::Backend, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = match error {
            StoreError::Conflict => error_text::CONFLICT,
            StoreError::Corrupt { .. } => error_text::CORRUPT,
            StoreError::Full(_) | StoreError::Unavailable(_) => error_text::UNAVAILABLE,
        };
        let status = status_of(error.blame(), error.retry());
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_UNAVAILABLE);
        Self { cause: Some(error.to_string()), retry_after, ..Self::refusal(status, text) }
    }
}

/// Keys are the platform's affair.
impl From<LockError> for ApiError {
    fn from(error: LockError) -> Self {
        Self { cause: Some(error.to_string()), ..Self::internal() }
    }
}

/// A platform that takes no work is a 503, whoever is to blame; an action that has all it asks for is a 429.
impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let text = match rejection {
            Rejection::NotRecorded(_) => error_text::NOT_RECORDED,
            _ => error_text::UNAVAILABLE,
        };
        let cause = match rejection {
            Rejection::Overloaded => return Self::overloaded(),
            Rejection::OverOwnLimit { .. } | Rejection::TooManyPending { .. } => {
                return Self::throttled(rejection.to_string(), RETRY_OVER_OWN_LIMIT);
            }
            Rejection::Draining => None,
            Rejection::NotRecorded(_) | Rejection::NoDomain(_) => Some(rejection.to_string()),
        };
        let retry_after = rejection.retry().then_some(RETRY_UNAVAILABLE);
        let refusal = Self::refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        Self { cause, retry_after, ..refusal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_map_to_statuses_and_texts() {
        let unavailable = || StoreError::Unavailable("x".to_owned());
        for (error, status, text) in [
            (ApiError::from(StoreError::Conflict), 409, error_text::CONFLICT),
            (
                ApiError::from(StoreError::Corrupt { what: String::new(), why: String::new() }),
                500,
                error_text::CORRUPT,
            ),
            (ApiError::from(StoreError::Full(String::new())), 503, error_text::UNAVAILABLE),
            (ApiError::from(unavailable()), 503, error_text::UNAVAILABLE),
            (ApiError::from(Rejection::Overloaded), 503, error_text::OVERLOADED),
            (
                ApiError::from(Rejection::OverOwnLimit { in_flight: 9, allowed: 2 }),
                429,
                "Too many concurrent requests in flight (count: 9, allowed: 2).",
            ),
            (ApiError::from(Rejection::Draining), 503, error_text::UNAVAILABLE),
            (ApiError::from(Rejection::NotRecorded(unavailable())), 503, error_text::NOT_RECORDED),
            (ApiError::from(Rejection::NoDomain("k".to_owned())), 503, error_text::UNAVAILABLE),
        ] {
            assert_eq!((error.status.as_u16(), error.text()), (status, text));
        }
        for later in [StoreError::Full(String::new()), unavailable()] {
            assert_eq!(ApiError::from(later).retry_after, Some(RETRY_UNAVAILABLE));
        }
        assert_eq!(ApiError::from(StoreError::Conflict).retry_after, None);
        assert_eq!(status_of(Blame::Action, false), 502);
        assert_eq!(status_of(Blame::Caller, false), 400);
    }
}
