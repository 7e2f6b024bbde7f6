//! One authenticated request on its way through a route.

use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{EntityName, EntityPath, FullyQualifiedName, Millis, TransactionId};
use http::StatusCode;
use http::header::HeaderMap;
use serde::Serialize;

use crate::authenticate::Caller;
use crate::controller::Controller;
use crate::error::ApiError;
use crate::memory::Held;
use crate::query::Query;
use crate::reply::{Cors, Reply};
use crate::{media, path};

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

/// Where an action lies, as a path names it.
#[derive(Debug, Clone)]
pub(crate) struct ActionAddress {
    pub(crate) namespace: EntityName,
    pub(crate) package: Option<EntityName>,
    pub(crate) name: EntityName,
}

impl Call<'_> {
    /// The caller's own namespace.
    pub(crate) fn own(&self) -> &EntityName {
        &self.caller.identity.namespace.name
    }

    /// Reads the namespace segment of a path.
    pub(crate) fn namespace(&self, segment: &str) -> Result<EntityName, ApiError> {
        path::namespace(segment, self.own())
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

    /// 200 with JSON that may be large and that counts for the memory of downloads.
    pub(crate) fn document<T: Serialize + ?Sized>(&self, value: &T) -> Result<Reply, ApiError> {
        let text = serde_json::to_vec(value).map_err(|_| ApiError::internal())?;
        let mut held = Held::default();
        self.controller.downloads.cover(&mut held, text.len() as u64)?;
        self.prepared(held.until_dropped(text.into()))
    }

    /// 200 with JSON that is written already, for a client that takes it.
    pub(crate) fn prepared(&self, json: Bytes) -> Result<Reply, ApiError> {
        media::require_acceptance(self.headers)?;
        Ok(Reply::prepared_json(json).with_cors(Cors::Rest))
    }
}

impl ActionAddress {
    /// `ns` or `ns/package`.
    pub(crate) fn path(&self) -> EntityPath {
        match &self.package {
            Some(package) => EntityPath::package(&self.namespace, package),
            None => EntityPath::root(&self.namespace),
        }
    }

    /// The address as the name of an entity.
    pub(crate) fn qualified(&self) -> FullyQualifiedName {
        FullyQualifiedName::new(self.path(), self.name.clone())
    }
}
