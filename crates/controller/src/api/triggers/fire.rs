//! Firing a trigger: charge, read, look whether a rule waits for it, begin. The rules react afterwards.

use chasen_entity::{FullyQualifiedName, Parameter};
use chasen_spi::Privilege;
use http::StatusCode;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};

use super::TRIGGERS;
use crate::activate::fire::{self, Fire};
use crate::api::wishes::{self, DURABILITY};
use crate::call::{Call, EXTRA_LOGGING};
use crate::keys::{self, Known};
use crate::wire::body::{self, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::headers;
use crate::wire::reply::{Cors, Reply};

/// The argument that tells an action of the request that fired.
const HEADERS: &str = "__ow_headers";
/// What an action is not told: secrets of the caller, and what is about the body or meant for the platform.
const WITHHELD: [HeaderName; 8] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    EXTRA_LOGGING,
    DURABILITY,
    HeaderName::from_static("timeout-access"),
];

/// `POST …/triggers/{name}`: 202 at once, or 204 if no rule waits for the trigger.
pub(crate) async fn fire(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    let (controller, caller) = (call.controller, &call.caller);
    // As for invocations: whoever asks again under a key pays nothing for it.
    let is_keyed = wishes::has_key(call.headers);
    if !is_keyed {
        admit(call, &name).await?;
    }
    let allowed = controller.config.max_payload_of(&caller.identity.limits);
    let absent = body.is_absent();
    let payload = body.read(controller, call.upload(), allowed).await?.within(allowed)?;
    let payload = body::payload(call.headers, &payload, absent)?;
    let key = match keys::look(call, || format!("trigger {name}"), payload.as_str()).await? {
        Known::New(key) => key,
        Known::Earlier(id, _) => return call.accepted(id),
    };
    if is_keyed {
        admit(call, &name).await?;
    }
    let asked = wishes::durability(call.headers)?;
    let due = wishes::due(call, false)?;
    let durability = call.durability(false, due, asked);
    let (trigger, revision) = controller.entities.trigger(&name).await?;
    if !trigger.has_active_rule() {
        return Ok(Reply::empty(StatusCode::NO_CONTENT).with_cors(Cors::Rest));
    }
    let mut beneath = fire::arguments(&trigger);
    beneath.insert(Parameter {
        key: HEADERS.to_owned(),
        value: headers::object(call.headers, &WITHHELD),
        init: false,
        encryption: None,
    });
    let identity = caller.identity.clone();
    let transaction_id = call.transaction_id.clone();
    let (arrived, trace_context, extra_logging) = (call.arrived, call.trace_context(), call.extra_logging());
    let controller = call.controller.clone();
    let accept = move |id| {
        let fire = Fire {
            id,
            beneath,
            trigger,
            revision,
            payload,
            durability,
            due,
            identity,
            transaction_id,
            arrived,
            trace_context,
            extra_logging,
        };
        Ok((fire::begin(&controller, fire)?, ()))
    };
    let (id, ()) = keys::accept(call, key, durability, accept).await?;
    call.accepted(id)
}

/// Charges the fire, and asks whether the caller may fire the trigger.
async fn admit(call: &Call<'_>, name: &FullyQualifiedName) -> Result<(), ApiError> {
    let caller = &call.caller;
    call.controller.throttles.charge_fire(&caller.usage, &caller.identity.limits, call.arrived)?;
    call.rights().entity(Privilege::Activate, TRIGGERS, name).await?.required()
}
