//! Request bodies: bounded in size, in time, and in the memory that all of them hold together.

use bytes::Bytes;
use chasen_entity::{ByteSize, error_text};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde_json::value::RawValue;
use std::borrow::Cow;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::connection::Activity;
use crate::controller::Controller;
use crate::error::ApiError;

/// Bodies up to this many bytes are not counted: the bound on connections covers them.
const UNCOUNTED: u64 = 64 * 1024;
/// Bytes per permit.
const UNIT: u64 = 1024;

/// The memory that bodies in flight may hold together.
pub(crate) struct BodyMemory(Semaphore);

impl BodyMemory {
    pub(crate) fn new(bound: ByteSize) -> Self {
        let units = usize::try_from(bound.as_bytes() / UNIT).unwrap_or(usize::MAX);
        Self(Semaphore::new(units.min(Semaphore::MAX_PERMITS)))
    }

    /// Raises what is held to cover `total` bytes, at once or not at all.
    fn cover<'a>(&'a self, held: &mut Option<SemaphorePermit<'a>>, total: u64) -> Result<(), ApiError> {
        if total <= UNCOUNTED {
            return Ok(());
        }
        let units = usize::try_from(total.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let missing = units.saturating_sub(held.as_ref().map_or(0, SemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| ApiError::overloaded())?;
        let more = self.0.try_acquire_many(missing).map_err(|_| ApiError::overloaded())?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// A body that has not been read. Dropping it unread makes the connection close slowly.
pub(crate) struct RequestBody<'a> {
    incoming: Incoming,
    ended: bool,
    activity: &'a Activity,
}

/// A body that was read.
pub(crate) enum Received<'a> {
    /// All of it.
    Whole(Body<'a>),
    /// It had this many bytes, more than were to be kept; they are gone.
    TooLong(u64),
}

/// The bytes of a body, and the memory they are counted for.
pub(crate) struct Body<'a> {
    bytes: Bytes,
    _memory: Option<SemaphorePermit<'a>>,
}

impl<'a> RequestBody<'a> {
    pub(crate) fn new(incoming: Incoming, activity: &'a Activity) -> Self {
        Self { ended: incoming.is_end_stream(), incoming, activity }
    }

    /// True if the request said that it has none.
    pub(crate) fn is_absent(&self) -> bool {
        self.ended
    }

    /// Bytes that it will have at least.
    pub(crate) fn announced(&self) -> u64 {
        self.incoming.size_hint().lower()
    }

    /// Reads it to its end, keeping up to `keep` bytes.
    pub(crate) async fn read<'c>(
        mut self,
        controller: &'c Controller,
        keep: ByteSize,
    ) -> Result<Received<'c>, ApiError> {
        match tokio::time::timeout(controller.config.body_timeout, self.collect(controller, keep.as_bytes()))
            .await
        {
            Ok(received) => received,
            Err(_) => Err(ApiError::rejection(StatusCode::REQUEST_TIMEOUT, error_text::REQUEST_TIMEOUT)),
        }
    }

    async fn collect<'c>(&mut self, controller: &'c Controller, keep: u64) -> Result<Received<'c>, ApiError> {
        let bound = controller.config.max_entity.as_bytes();
        let announced = self.announced();
        let mut memory = None;
        if announced <= keep {
            controller.body_memory.cover(&mut memory, announced)?;
        }
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
                (first, rest, memory) = (Bytes::new(), Vec::new(), None);
                continue;
            }
            controller.body_memory.cover(&mut memory, length)?;
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
        Ok(Received::Whole(Body { bytes, _memory: memory }))
    }
}

impl Drop for RequestBody<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.activity.leave_unread();
        }
    }
}

impl<'a> Received<'a> {
    /// The body, or 413 for more than `allowed`.
    pub(crate) fn within(self, allowed: ByteSize) -> Result<Body<'a>, ApiError> {
        match self {
            Self::Whole(body) => Ok(body),
            Self::TooLong(length) => Err(ApiError::too_large("Request", length, allowed.as_bytes())),
        }
    }
}

impl Body<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The top-level fields of the object that the body is. `first` is the field that an error speaks of where the
    /// body is no object.
    pub(crate) fn fields(&self, first: &str) -> Result<Fields<'_>, ApiError> {
        if self.bytes.is_empty() {
            return Err(ApiError::malformed("Unexpected end-of-input at input index 0"));
        }
        let text =
            std::str::from_utf8(&self.bytes).map_err(|error| ApiError::malformed(error.to_string()))?;
        let value: &RawValue =
            serde_json::from_str(text).map_err(|error| ApiError::malformed(error.to_string()))?;
        Fields::of(value).ok_or_else(|| ApiError::malformed(format!("Object expected in field '{first}'")))
    }
}

/// Top-level fields of an object; of equal ones the last counts.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of a value; `None` if it is no object.
    pub(crate) fn of(value: &'a RawValue) -> Option<Self> {
        chasen_entity::json::entries(value.get()).ok().map(Self)
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

    fn body(text: &str) -> Body<'static> {
        Body { bytes: Bytes::copy_from_slice(text.as_bytes()), _memory: None }
    }

    #[test]
    fn memory_is_covered_at_once_or_refused() {
        let memory = BodyMemory::new(ByteSize::mb(1));
        let mut first = None;
        memory.cover(&mut first, 1000).unwrap();
        assert!(first.is_none(), "small bodies are free");
        memory.cover(&mut first, 600 * 1024).unwrap();
        memory.cover(&mut first, 500 * 1024).unwrap();
        assert_eq!(first.as_ref().map(SemaphorePermit::num_permits), Some(600));
        let mut second = None;
        assert!(memory.cover(&mut second, 600 * 1024).is_err());
        drop(first);
        memory.cover(&mut second, 600 * 1024).unwrap();
    }

    #[test]
    fn fields_are_found_and_null_may_be_absence() {
        let body = body(r#"{"a":1,"n":null,"a":2}"#);
        let fields = body.fields("exec").unwrap();
        assert_eq!(fields.get("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.get("n").map(RawValue::get), Some("null"));
        assert!(fields.optional("n").is_none() && fields.get("z").is_none());
    }

    #[test]
    fn bad_bodies_say_why() {
        let error = |text: &str| body(text).fields("exec").err().unwrap().text().to_owned();
        assert_eq!(error("[]"), "The request content was malformed:\nObject expected in field 'exec'");
        assert!(error("").starts_with("The request content was malformed:\nUnexpected end-of-input"));
        assert!(error("{\"a\":}").starts_with("The request content was malformed:\n"));
    }
}
