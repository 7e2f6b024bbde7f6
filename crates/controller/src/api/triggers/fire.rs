//! Firing a trigger: charge, read, look whether a rule waits for it, begin. The rules react afterwards.

use chasen_entity::{FullyQualifiedName, Parameter, Parameters};
use chasen_spi::Privilege;
use http::StatusCode;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};

use super::TRIGGERS;
use crate::activate::fire::{self, Fire};
use crate::call::{Call, EXTRA_LOGGING};
use crate::wire::body::{self, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::headers;
use crate::wire::reply::{Cors, Reply};

/// The argument that tells an action of the request that fired.
const HEADERS: &str = "__ow_headers";
/// What an action is not told: secrets of the caller, and what is about the body or meant for the platform.
const WITHHELD: [HeaderName; 7] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    EXTRA_LOGGING,
    HeaderName::from_static("timeout-access"),
];

/// `POST …/triggers/{name}`: 202 at once, or 204 if no rule waits for the trigger.
pub(crate) async fn fire(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    let (controller, caller) = (call.controller, &call.caller);
    controller.throttles.charge_fire(&caller.usage, &caller.identity.limits, call.arrived)?;
    call.rights().entity(Privilege::Activate, TRIGGERS, &name).await?.required()?;
    let allowed = controller.config.max_payload_of(&caller.identity.limits);
    let absent = body.is_absent();
    let payload = body.read(controller, call.upload(), allowed).await?.within(allowed)?;
    let payload = body::payload(call.headers, &payload, absent)?;
    let (trigger, revision) = controller.entities.trigger(&name).await?;
    if !trigger.has_active_rule() {
        return Ok(Reply::empty(StatusCode::NO_CONTENT).with_cors(Cors::Rest));
    }
    // An initialisation has no fire to take parameters from: they are arguments, all of them.
    let argument = |parameter: &Parameter| Parameter { init: false, ..parameter.clone() };
    let mut beneath: Parameters = trigger.parameters.iter().map(argument).collect();
    beneath.insert(Parameter {
        key: HEADERS.to_owned(),
        value: headers::object(call.headers, &WITHHELD),
        init: false,
        encryption: None,
    });
    let fire = Fire { beneath, trigger, revision, payload };
    call.accepted(fire::begin(call, fire)?)
}
