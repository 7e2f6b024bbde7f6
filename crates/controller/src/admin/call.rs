//! One request at the operator's door.

use std::sync::Arc;

use chasen_entity::ByteSize;
use chasen_spi::SubjectStore;
use http::StatusCode;
use http::header::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::MutexGuard;

use super::Admin;
use crate::controller::Controller;
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::media;
use crate::wire::memory::Held;
use crate::wire::query::Query;
use crate::wire::reply::{Cors, Reply};

/// Longest body at this door.
const MAX_BODY: ByteSize = ByteSize::mb(1);

/// What every handler gets.
pub(super) struct AdminCall<'a> {
    pub(super) controller: &'a Arc<Controller>,
    pub(super) admin: &'a Arc<Admin>,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: Query<'a>,
}

impl AdminCall<'_> {
    /// The store of subjects.
    pub(super) fn subjects(&self) -> &dyn SubjectStore {
        &*self.controller.subjects
    }

    /// Waits for the turn to change subjects or limits: one change is made from what the one before it left.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.admin.editing.lock().await
    }

    /// 200 with JSON.
    pub(super) fn success<T: Serialize + ?Sized>(&self, value: &T) -> Reply {
        self.answer(StatusCode::OK, value)
    }

    /// A status with JSON.
    pub(super) fn answer<T: Serialize + ?Sized>(&self, status: StatusCode, value: &T) -> Reply {
        Reply::json(status, value).with_cors(Cors::Server)
    }

    /// 200 with text.
    pub(super) fn text(&self, text: &'static str) -> Reply {
        Reply::text(StatusCode::OK, text).with_cors(Cors::Server)
    }

    /// The body as text.
    pub(super) async fn body(&self, body: RequestBody<'_>) -> Result<String, ApiError> {
        media::require_json(self.headers, body.is_absent())?;
        let bytes = body.read(self.controller, Held::default(), MAX_BODY).await?.within(MAX_BODY)?;
        String::from_utf8(bytes.into()).map_err(|error| ApiError::malformed(error.utf8_error().to_string()))
    }

    /// The body as a document; one that is absent is an empty object.
    pub(super) async fn document<T: DeserializeOwned>(&self, body: RequestBody<'_>) -> Result<T, ApiError> {
        let text = self.body(body).await?;
        let text = if text.trim().is_empty() { "{}" } else { text.as_str() };
        serde_json::from_str(text).map_err(|error| ApiError::malformed(error.to_string()))
    }
}
