//! Answers: status, headers and a whole body.

use std::borrow::Cow;

use bytes::Bytes;
use chasen_entity::{ActivationId, TransactionId};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use serde::Serialize;

use crate::wire::pretty::pretty;

/// The id of a request, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The id of the activation that an answer belongs to.
pub(crate) const ACTIVATION_ID: HeaderName = HeaderName::from_static("x-openwhisk-activation-id");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
/// Everybody.
pub(crate) const ANY: HeaderValue = HeaderValue::from_static("*");
/// Headers that browsers may send.
pub(crate) const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent");
const REST_METHODS: HeaderValue = HeaderValue::from_static("GET, DELETE, POST, PUT, HEAD");
const SERVER_METHODS: HeaderValue = HeaderValue::from_static("OPTIONS, GET, POST");

/// The headers that let browsers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cors {
    /// Of the REST API.
    Rest,
    /// Of everything beside it.
    Server,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply(Response<Full<Bytes>>);

impl Reply {
    /// JSON, compact. What cannot be written as JSON is a defect and becomes a bare 500.
    pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        match write(value) {
            Some(text) => Self::whole(status, JSON, text.into()),
            None => Self::whole(StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::new()),
        }
    }

    /// The same for people.
    pub(crate) fn pretty_json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        match write(value) {
            Some(text) => Self::whole(status, JSON, pretty(&String::from_utf8_lossy(&text)).into()),
            None => Self::whole(StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::new()),
        }
    }

    /// JSON that was written before.
    pub(crate) fn prepared_json(text: Bytes) -> Self {
        Self::whole(StatusCode::OK, JSON, text)
    }

    /// Text.
    pub(crate) fn text(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        let body = match text.into() {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => text.into(),
        };
        Self::whole(status, TEXT, body)
    }

    /// Nothing but a status.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Self(response)
    }

    /// A body of any type.
    pub(crate) fn whole(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Self {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        // Room for the usual set: type, request id, three of CORS, activation id, date, length.
        *response.headers_mut() = HeaderMap::with_capacity(8);
        Self(response).with(CONTENT_TYPE, content_type)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// These headers too, beside what there is of the same name.
    pub(crate) fn extended(mut self, headers: HeaderMap) -> Self {
        for (name, value) in &headers {
            if self.0.headers_mut().try_append(name, value.clone()).is_err() {
                tracing::warn!("an answer has too many headers; the last ones are left out");
                break;
            }
        }
        self
    }

    /// This header too, beside what there is of the same name.
    fn and(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if self.0.headers_mut().try_append(name, value).is_err() {
            tracing::warn!("an answer has too many headers; the last one is left out");
        }
        self
    }

    pub(crate) fn with_cors(self, cors: Cors) -> Self {
        let methods = match cors {
            Cors::Rest => REST_METHODS,
            Cors::Server => SERVER_METHODS,
        };
        self.with(ACCESS_CONTROL_ALLOW_ORIGIN, ANY)
            .with(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
            .with(ACCESS_CONTROL_ALLOW_METHODS, methods)
    }

    pub(crate) fn with_activation_id(self, id: ActivationId) -> Self {
        match HeaderValue::from_str(id.digits().as_str()) {
            Ok(value) => self.with(ACTIVATION_ID, value),
            Err(_) => self,
        }
    }

    pub(crate) fn with_request_id(self, id: &TransactionId) -> Self {
        match HeaderValue::from_str(id.as_str()) {
            Ok(value) => self.and(REQUEST_ID, value),
            Err(_) => self,
        }
    }

    /// The answer in the form of the HTTP library.
    pub(crate) fn into_response(mut self) -> Response<Full<Bytes>> {
        if self.0.status().canonical_reason().is_none() {
            self.0.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        self.0
    }
}

fn write<T: Serialize + ?Sized>(value: &T) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(512);
    serde_json::to_writer(&mut text, value)
        .inspect_err(|error| tracing::error!(%error, "an answer cannot be written as JSON"))
        .ok()?;
    Some(text)
}
