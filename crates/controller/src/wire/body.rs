//! Request bodies: bounded in size, in time, and in the memory that all of them hold together.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use chasen_entity::json::{self, JsonType};
use chasen_entity::{ByteSize, RawJson, error_text};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::controller::Controller;
use crate::wire::connection::Activity;
use crate::wire::error::ApiError;
use crate::wire::media;
use crate::wire::memory::Held;

/// Longest unread rest of a body, in bytes, that is skipped for the sake of the connection.
const IN_PASSING: u64 = 8 * 1024;

/// A body that has not been read. Dropping it unread makes the connection close slowly.
pub(crate) struct RequestBody<'a> {
    incoming: Incoming,
    ended: bool,
    /// Its time is over: no rest is worth waiting for.
    late: bool,
    activity: &'a Activity,
}

/// A body that was read.
pub(crate) enum Received {
    /// All of it.
    Whole(Bytes),
    /// It had this many bytes, more than were to be kept; they are gone.
    TooLong(u64),
}

impl<'a> RequestBody<'a> {
    pub(crate) fn new(incoming: Incoming, activity: &'a Activity) -> Self {
        Self { ended: incoming.is_end_stream(), late: false, incoming, activity }
    }

    /// The address that it comes from.
    pub(crate) fn peer(&self) -> IpAddr {
        self.activity.peer()
    }

    /// True if the request said that it has none.
    pub(crate) fn is_absent(&self) -> bool {
        self.ended
    }

    /// True if its length is known before it comes: there is none, or the request says it.
    pub(crate) fn has_length(&self) -> bool {
        self.ended || self.incoming.size_hint().exact().is_some()
    }

    /// Bytes that it will have at least.
    pub(crate) fn announced(&self) -> u64 {
        self.incoming.size_hint().lower()
    }

    /// Reads it to its end, keeping up to `keep` bytes, which count for the memory of uploads as they come: who only
    /// announces a body holds nothing. `held` says whose they are.
    pub(crate) async fn read(
        mut self,
        controller: &Controller,
        held: Held,
        keep: ByteSize,
    ) -> Result<Received, ApiError> {
        let collecting = self.collect(controller, held, keep.as_bytes());
        if let Ok(received) = tokio::time::timeout(controller.config.body_timeout, collecting).await {
            return received;
        }
        self.late = true;
        Err(ApiError::rejection(StatusCode::REQUEST_TIMEOUT, error_text::REQUEST_TIMEOUT))
    }

    async fn collect(
        &mut self,
        controller: &Controller,
        mut held: Held,
        keep: u64,
    ) -> Result<Received, ApiError> {
        let bound = controller.config.max_entity.as_bytes();
        let announced = self.announced();
        let mut first = Bytes::new();
        let mut rest = Vec::new();
        let mut length = 0u64;
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|_| ApiError::malformed("the body could not be read to its end"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            if length > bound {
                return Err(ApiError::protocol(StatusCode::BAD_REQUEST, error_text::REQUEST_TOO_LARGE));
            }
            if length > keep {
                (first, rest) = (Bytes::new(), Vec::new());
                held.release();
                continue;
            }
            controller.uploads.cover(&mut held, length)?;
            if first.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.reserve(usize::try_from(announced.min(keep)).unwrap_or(0).max(first.len() + data.len()));
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
        self.ended = true;
        if length > keep {
            return Ok(Received::TooLong(length));
        }
        let bytes = if rest.is_empty() { first } else { rest.into() };
        Ok(Received::Whole(held.until_dropped(bytes)))
    }
}

impl Drop for RequestBody<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let short = self.incoming.size_hint().upper().is_some_and(|rest| rest <= IN_PASSING);
            self.activity.leave_unread(short && !self.late);
        }
    }
}

impl Received {
    /// The body, or 413 for more than `allowed`.
    pub(crate) fn within(self, allowed: ByteSize) -> Result<Bytes, ApiError> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLong(length) => Err(ApiError::too_large("Request", length, allowed.as_bytes())),
        }
    }
}

/// The arguments that a request brings: an object, or nothing. `absent` as of the [`RequestBody`].
pub(crate) fn payload(headers: &HeaderMap, body: &[u8], absent: bool) -> Result<RawJson, ApiError> {
    media::require_json(headers, absent)?;
    if body.is_empty() {
        return Ok(RawJson::empty_object());
    }
    let value = RawJson::parse(body).map_err(|error| ApiError::malformed(error.to_string()))?;
    if value.json_type() == JsonType::Object {
        Ok(value)
    } else {
        Err(ApiError::malformed("JSON object expected"))
    }
}

/// Top-level fields of an object; of equal ones the last counts.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of a body. `first` is the field that an error speaks of where the body is no object.
    pub(crate) fn of_body(body: &'a [u8], first: &str) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(ApiError::malformed("Unexpected end-of-input at input index 0"));
        }
        let text = std::str::from_utf8(body).map_err(|error| ApiError::malformed(error.to_string()))?;
        json::entries(text).map(Self).map_err(|error| match error.classify() {
            Category::Data => ApiError::malformed(format!("Object expected in field '{first}'")),
            _ => ApiError::malformed(error.to_string()),
        })
    }

    /// The fields of a value; `None` if it is no object.
    pub(crate) fn of(value: &'a RawValue) -> Option<Self> {
        json::entries(value.get()).ok().map(Self)
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field, `null` too.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rfind(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The value of a field that may be left out; `null` counts as absent.
    pub(crate) fn optional(&self, key: &str) -> Option<&'a RawValue> {
        self.get(key).filter(|value| value.get() != "null")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_null_may_be_absence() {
        let fields = Fields::of_body(br#"{"a":1,"n":null,"a":2}"#, "exec").unwrap();
        assert_eq!(fields.get("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.get("n").map(RawValue::get), Some("null"));
        assert!(fields.optional("n").is_none() && fields.get("z").is_none());
    }

    #[test]
    fn bad_bodies_say_why() {
        let error = |text: &str| Fields::of_body(text.as_bytes(), "exec").err().unwrap().text().to_owned();
        assert_eq!(error("[]"), "The request content was malformed:\nObject expected in field 'exec'");
        assert!(error("").starts_with("The request content was malformed:\nUnexpected end-of-input"));
        assert!(error("{\"a\":}").starts_with("The request content was malformed:\n"));
    }
}
