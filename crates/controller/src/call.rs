//! One authenticated request on its way through a route.

use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{
    ActivationId, Durability, EntityName, EntityPath, FullyQualifiedName, Millis, RawJson, TransactionId,
};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::activate;
use crate::authenticate::Caller;
use crate::controller::Controller;
use crate::entities::{ActionAddress, ResolvedAction};
use crate::entitle::Rights;
use crate::turns::Turn;
use crate::wire::error::ApiError;
use crate::wire::memory::Held;
use crate::wire::query::Query;
use crate::wire::reply::{Cors, Reply};
use crate::wire::{media, path};

/// Longest `traceparent` that is taken over.
const MAX_TRACE_CONTEXT: usize = 128;
/// Header that asks for a record whatever the store level says.
pub(crate) const EXTRA_LOGGING: HeaderName = HeaderName::from_static("x-ow-extra-logging");

/// What every handler gets.
pub(crate) struct Call<'a> {
    pub(crate) controller: &'a Arc<Controller>,
    pub(crate) transaction_id: &'a TransactionId,
    /// When its headers were in, epoch milliseconds.
    pub(crate) arrived: Millis,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: Query<'a>,
    pub(crate) caller: Caller,
}

impl Call<'_> {
    /// The caller's own namespace.
    pub(crate) fn own(&self) -> &EntityName {
        &self.caller.identity.namespace.name
    }

    /// Waits for a turn to read much.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.controller.turns.take(Some(&self.caller.usage.reads)).await
    }

    /// Reads the namespace segment of a path.
    pub(crate) fn namespace(&self, segment: &str) -> Result<EntityName, ApiError> {
        path::namespace(segment, self.own())
    }

    /// Reads the segments that name a package, a trigger or a rule.
    pub(crate) fn entity(&self, namespace: &str, name: &str) -> Result<FullyQualifiedName, ApiError> {
        let namespace = self.namespace(namespace)?;
        Ok(FullyQualifiedName::new(EntityPath::root(&namespace), path::entity(name)?))
    }

    /// Reads the segments that name an action.
    pub(crate) fn action(
        &self,
        namespace: &str,
        package: Option<&str>,
        name: &str,
    ) -> Result<ActionAddress, ApiError> {
        Ok(ActionAddress {
            namespace: self.namespace(namespace)?,
            package: package.map(path::entity).transpose()?,
            name: path::entity(name)?,
        })
    }

    /// What the caller may do.
    pub(crate) fn rights(&self) -> Rights<'_> {
        self.controller.rights(&self.caller.identity)
    }

    /// An activation that this request asks for.
    pub(crate) fn activation(
        &self,
        action: Arc<ResolvedAction>,
        payload: RawJson,
        blocking: bool,
    ) -> activate::Request {
        activate::Request {
            id: ActivationId::generate(),
            transaction_id: self.transaction_id.clone(),
            identity: self.caller.identity.clone(),
            action,
            payload,
            sets_environment: true,
            blocking,
            cause: None,
            fire: None,
            arrived: self.arrived,
            durability: self.durability(blocking, None, None),
            due: None,
            replay_of: None,
            locked: Default::default(),
            trace_context: self.trace_context(),
            extra_logging: self.extra_logging(),
        }
    }

    /// What the events of an activation outlive that this request asks for.
    /// What is put off outlives a power cut whatever the rest does: when that has begun is to be known for certain.
    pub(crate) fn durability(
        &self,
        blocking: bool,
        due: Option<Millis>,
        asked: Option<Durability>,
    ) -> Durability {
        if due.is_some() {
            return Durability::Synced;
        }
        activate::durability(&self.controller.config, &self.caller.identity, blocking, asked)
    }

    /// Memory of uploads, as this namespace's.
    pub(crate) fn upload(&self) -> Held {
        self.controller.uploads.held_by(&self.caller.identity.namespace)
    }

    /// Memory of downloads, as this namespace's.
    pub(crate) fn download(&self) -> Held {
        self.controller.downloads.held_by(&self.caller.identity.namespace)
    }

    /// The `traceparent` of the request.
    pub(crate) fn trace_context(&self) -> Option<String> {
        let trace = self.headers.get("traceparent").and_then(|value| value.to_str().ok());
        trace.filter(|trace| trace.len() <= MAX_TRACE_CONTEXT).map(str::to_owned)
    }

    /// True if the request asks for a record whatever the store level says.
    pub(crate) fn extra_logging(&self) -> bool {
        self.headers.get(EXTRA_LOGGING).is_some_and(|value| value == "on")
    }

    /// 200 with JSON of a few fields, for a client that takes it.
    pub(crate) fn success<T: Serialize + ?Sized>(&self, value: &T) -> Result<Reply, ApiError> {
        self.answer(StatusCode::OK, value)
    }

    /// A status with JSON of bounded size, for a client that takes it.
    pub(crate) fn answer<T: Serialize + ?Sized>(
        &self,
        status: StatusCode,
        value: &T,
    ) -> Result<Reply, ApiError> {
        media::require_acceptance(self.headers)?;
        Ok(Reply::json(status, value).with_cors(Cors::Rest))
    }

    /// 202 with the id of an activation that goes on.
    pub(crate) fn accepted(&self, id: ActivationId) -> Result<Reply, ApiError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Accepted {
            activation_id: ActivationId,
        }
        let reply = self.answer(StatusCode::ACCEPTED, &Accepted { activation_id: id })?;
        Ok(reply.with_activation_id(id))
    }

    /// 200 with JSON that may be large and that counts for the memory of downloads.
    pub(crate) fn document<T: Serialize + ?Sized>(&self, value: &T) -> Result<Reply, ApiError> {
        self.prepared(self.render(value)?)
    }

    /// The JSON of an answer, counted for the memory of downloads; made before something is written that could not
    /// be answered.
    pub(crate) fn render<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, ApiError> {
        let text = serde_json::to_vec(value).map_err(|_| ApiError::internal())?;
        let mut held = self.download();
        self.controller.downloads.cover(&mut held, text.len() as u64)?;
        Ok(held.until_dropped(text.into()))
    }

    /// 200 with JSON that is written already, for a client that takes it.
    pub(crate) fn prepared(&self, json: Bytes) -> Result<Reply, ApiError> {
        media::require_acceptance(self.headers)?;
        Ok(Reply::prepared_json(json).with_cors(Cors::Rest))
    }
}
