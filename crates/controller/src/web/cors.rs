//! The headers that let browsers use web actions.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderValue,
};

use crate::wire::reply::{ALLOWED_HEADERS, ANY};

const METHODS: HeaderValue = HeaderValue::from_static("OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH");

/// What goes with the answer to a request with these headers: whatever it asks to send, it may.
pub(crate) fn headers(request: &HeaderMap) -> HeaderMap {
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    HeaderMap::from_iter([
        (ACCESS_CONTROL_ALLOW_ORIGIN, ANY),
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(ALLOWED_HEADERS)),
    ])
}
