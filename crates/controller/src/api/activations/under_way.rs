//! Activations that have not ended: pending ones in lists, what they are, and their cancelling.

use chasen_entity::{
    Activation, ActivationId, EntityName, Invocation, Millis, Parameters, Version, error_text,
};
use chasen_spi::{Cancelled, PendingQuery, Privilege, UnderWay};
use serde::Serialize;
use serde_json::json;

use super::{COLLECTION, authorized, name_filter};
use crate::api::listing::Listing;
use crate::call::Call;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Where an activation is that has not ended.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Not due yet.
    Pending,
    /// It waits for a container, or runs.
    Running,
}

/// What is shown of one, like the element of a list of records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    namespace: &'a EntityName,
    name: &'a EntityName,
    version: Version,
    publish: bool,
    annotations: Parameters,
    activation_id: ActivationId,
    /// When it is due, or was accepted.
    start: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ActivationId>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Millis>,
    accepted: Millis,
}

impl<'a> View<'a> {
    fn new(invocation: &'a Invocation, status: Status) -> Self {
        let action = &invocation.action;
        let mut annotations = Parameters::new();
        annotations.set("path", &action.name.to_string());
        annotations.set("kind", &action.exec.kind);
        if let Some(binding) = &invocation.binding {
            annotations.set("binding", binding);
        }
        Self {
            namespace: &invocation.identity.namespace.name,
            name: &action.name.name,
            version: action.version,
            publish: false,
            annotations,
            activation_id: invocation.activation_id,
            start: invocation.due.unwrap_or(invocation.accepted_at),
            cause: invocation.cause,
            status,
            due: invocation.due,
            accepted: invocation.accepted_at,
        }
    }
}

/// `GET …/activations?status=pending`, for who may see the collection: the first to be due first.
pub(super) async fn list(call: &Call<'_>, namespace: &EntityName, status: &str) -> Result<Reply, ApiError> {
    if status != "pending" {
        return Err(ApiError::query("status", &error_text::bad_status(status)));
    }
    if call.query.flag("docs", false)? || call.query.get("cause").is_some() {
        return Err(ApiError::bad_request(error_text::PENDING_LIST));
    }
    let config = &call.controller.config;
    let page = call.query.page(COLLECTION, config.default_list_limit, config.max_list_limit)?;
    let name = call.query.get("name").map(|value| name_filter(&value)).transpose()?.flatten();
    let (since, upto) = call.query.times()?;
    let (skip, limit) = (page.skip, page.limit);
    let mut query = PendingQuery { namespace: namespace.clone(), name, since, upto, skip, limit };
    let invoke = call.controller.invoke.under_way();
    invoke.left_work_known().await?;
    if page.count {
        let count = invoke.pending_count(&query).saturating_sub(page.skip);
        return call.success(&json!({ COLLECTION: count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let pending = invoke.pending(&query)?;
        listing.received(pending.len());
        for invocation in &pending {
            let key = (invocation.due, invocation.activation_id);
            listing.push(key, &View::new(invocation, Status::Pending))?;
        }
    }
    listing.finish()
}

/// What `GET …/activations/{id}?pending=true` answers for one that has not ended; nothing for any other.
pub(super) async fn show(
    call: &Call<'_>,
    namespace: &EntityName,
    id: &ActivationId,
) -> Result<Option<Reply>, ApiError> {
    let invoke = call.controller.invoke.under_way();
    invoke.left_work_known().await?;
    let found = invoke.under_way(namespace, id)?;
    let shown = |UnderWay { invocation, is_pending }: UnderWay| {
        let status = if is_pending { Status::Pending } else { Status::Running };
        call.success(&View::new(&invocation, status))
    };
    found.map(shown).transpose()
}

/// `DELETE …/activations/{id}`
pub(crate) async fn cancel(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Delete).await?;
    let controller = call.controller;
    match controller.invoke.under_way().cancel(&namespace, &id).await? {
        Cancelled::Ended(record) => call.document(&Activation::api(&record)),
        Cancelled::NotUnderWay => match controller.activations.get(namespace.as_str(), &id).await? {
            Some(_) => Err(ApiError::has_ended(id)),
            None => Err(ApiError::not_found()),
        },
    }
}
